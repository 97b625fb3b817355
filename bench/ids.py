"""The main job on ids of 36 characters against the same tables with integers; each run is a process of its own.

    python -m bench.ids --interactions 1000000

Runs both in turn, `--rounds` times, with the default settings and without titles. Prints wall and CPU time, peak
memory, the ratios of their medians, and the bytes of a row of each data set.
"""

import argparse
import hashlib
import pathlib
import statistics
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from bench import folders
from bench.main_job import Measured, job, tables
from recsys_tft.columns import KEYS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=pathlib.Path, help="for the data, kept there; else a temporary one")
    parser.add_argument("--config")
    options = parser.parse_args()
    with folders.chosen(options.folder) as folder:
        compare(options.interactions, options.rounds, folder, options.config)


def compare(interactions: int, rounds: int, folder: pathlib.Path, config: str | None) -> None:
    """Runs the job on both tables in turn, and prints what it took."""
    raw = {"integers": tables(interactions, False, folder)}
    raw["36 characters"] = with_text(raw["integers"], folder / f"{raw['integers'].name}-text")
    given = ["--config", config] if config else []
    outputs = {name: folder / name.replace(" ", "-") for name in raw}
    runs: dict[str, list[Measured]] = {name: [] for name in raw}
    for _ in range(rounds):
        for name, own in raw.items():
            measured, rows = job(own, outputs[name], *given)  # which are as many with either
            runs[name].append(measured)
    print(f"| {interactions:,} interactions | wall s | CPU s | peak GB |\n|---|---|---|---|")
    for name, of_name in runs.items():
        for run in of_name:
            print(f"| {name} | {run.wall:.1f} | {run.cpu:.1f} | {run.peak:.2f} |")
    ratios = " | ".join(f"{_ratio(runs, field):.2f}" for field in ("wall", "cpu", "peak"))
    print(f"| 36 characters / integers, medians | {ratios} |\n")
    print("| bytes a row | integers | 36 characters |\n|---|---|---|")
    for data_set in ("two_tower/train", "ranker/train", "users", "videos"):
        sizes = " | ".join(f"{_bytes(output, data_set) / rows[data_set]:.0f}" for output in outputs.values())
        print(f"| {data_set} | {sizes} |")


def _ratio(runs: dict[str, list[Measured]], field: str) -> float:
    integers, texts = (statistics.median(getattr(run, field) for run in of_name) for of_name in runs.values())
    return texts / integers


def _bytes(output: pathlib.Path, data_set: str) -> int:
    return sum(file.stat().st_size for file in (output / "processed_data" / data_set).glob("part-*"))


def with_text(raw: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The folder of the same tables with random UUIDs as text in the place of ids; made if they are not there."""
    for file in raw.glob("*.parquet"):
        target = folder / file.name
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            table = pq.read_table(file)
            for key in (key for key in KEYS.values() if key in table.column_names):
                encoded = table[key].combine_chunks().dictionary_encode()
                texts = pa.array([_text(key, number) for number in encoded.dictionary.to_pylist()])
                table = table.set_column(table.column_names.index(key), key, texts.take(encoded.indices))
            pq.write_table(table, target, row_group_size=max(pq.ParquetFile(file).metadata.row_group(0).num_rows, 1))
    return folder


def _text(key: str, number: int) -> str:
    return str(uuid.UUID(bytes=hashlib.md5(f"{key} {number}".encode()).digest()))


if __name__ == "__main__":
    main()
