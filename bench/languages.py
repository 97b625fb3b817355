"""How well title encoders find a title among its translations.

    python -m bench.languages [--encoder minilm] [--encoder multilingual] [--encoder PATH]

bench/languages.txt has the same 24 titles in five languages. For each title in another language the nearest of the
English titles should be its translation: `found` is the share of titles for which it is; `cosine` is the mean over
translations, `others` that over all other English titles. An encoder is named as by the setting `title_encoder`.
"""

import argparse
import pathlib

import numpy as np
import pyarrow as pa

from recsys_tft.titles import title_encoder

TITLES = pathlib.Path(__file__).with_suffix(".txt")


def titles() -> dict[str, list[str]]:
    """The titles by language, in one order."""
    rows = (line.split("\t") for line in TITLES.read_text("utf-8").splitlines())
    return {language: found for language, *found in rows}


def cosines(encoder: str, language: str) -> np.ndarray:
    """[titles of a language, titles in English]."""
    vectors = [title_encoder.encode(encoder, pa.array(titles()[name])) for name in (language, "en")]
    own, english = (found / np.linalg.norm(found, axis=1, keepdims=True) for found in vectors)
    return own @ english.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", action="append", help="may be repeated (default: minilm and multilingual)")
    for encoder in parser.parse_args().encoder or ["minilm", "multilingual"]:
        print(f"\n{encoder}\n| language | found | cosine | others |\n|---|---|---|---|")
        for language in titles():
            found = cosines(encoder, language)
            right = np.diag(found)
            share = (found.argmax(axis=1) == np.arange(len(found))).mean()
            others = (found.sum() - right.sum()) / (found.size - len(found))
            print(f"| {language} | {share:.0%} | {right.mean():.2f} | {others:.2f} |")


if __name__ == "__main__":
    main()
