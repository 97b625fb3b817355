"""Bytes a row, and rows written and read a second, of the formats that a run may write; beside tf.io.parse_example.

    python -m bench.reading --output-dir out

The rows are those of a run, of its training splits; without an output a synthetic run is made first. All is measured
on one core, in CPU time, the best of several passes in turn over files that are in memory.
"""

import argparse
import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import tensorflow as tf

import recsys_tft
from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.storage.rows import WRITERS

BATCH = 8192
PASSES = 5
FORMATS = {
    "TFRecord": ("tfrecord", None),
    "TFRecord, gzip": ("tfrecord", "gzip"),
    "Parquet, snappy": ("parquet", None),
    "Parquet, zstd": ("parquet", "zstd"),
}


def run(folder: str, interactions: int) -> str:
    """The output of a synthetic run."""
    config = PipelineConfig(output_dir=folder, title_encoder="none")
    ProcessingPipeline(config).run_synthetic(interactions // 20, interactions // 50, interactions)
    return folder


def write(table: pa.Table, path: pathlib.Path, kind: str, compression: str | None) -> str:
    """Writes the rows as a run does, into a new file."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        WRITERS[kind]([table], compression).write(file, [np.arange(len(table))])
    return str(path)


def read(file: str, folder: DataFolder) -> int:
    """How many rows the reader gives as NumPy batches."""
    rows = recsys_tft.read(file, spec=folder.schema(), batch_size=BATCH, threads=0)
    return sum(len(batch["weight"]) for batch in rows.numpy())


def parse(file: str, folder: DataFolder) -> int:
    """How many rows tf.io.parse_example gives."""
    spec, compression = folder.feature_spec(), "GZIP" if file.endswith(".gz") else ""
    records = tf.data.TFRecordDataset(file, compression).batch(BATCH)
    return sum(len(batch["weight"]) for batch in records.map(lambda batch: tf.io.parse_example(batch, spec)))


def best(*functions: Callable[[], object]) -> list[float]:
    """The least CPU seconds of each, called in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(PASSES):
        for function, taken in zip(functions, times, strict=True):
            begun = time.process_time()
            function()
            taken.append(time.process_time() - begun)
    return [min(taken) for taken in times]


def measure(folder: DataFolder, name: str, temporary: pathlib.Path) -> None:
    """A line of the table for each format."""
    table = folder.read().table()
    for shown, (kind, compression) in FORMATS.items():
        path = temporary / f"rows.{kind}{'.gz' if (kind, compression) == ('tfrecord', 'gzip') else ''}"
        (written,) = best(functools.partial(write, table, path, kind, compression))
        size = path.stat().st_size / len(table)
        rows = read(str(path), folder)
        functions = [lambda path=path: read(str(path), folder)]
        if kind == "tfrecord":
            functions.append(lambda path=path: parse(str(path), folder))
            assert parse(str(path), folder) == rows
        ours, *theirs = best(*functions)
        rates = [f"{size:.0f}", f"{rows / written:,.0f}", f"{rows / ours:,.0f}"]
        rates += [f"{rows / theirs[0]:,.0f}", f"{theirs[0] / ours:.1f}"] if theirs else ["", ""]
        print(f"| {name} | {shown} | {' | '.join(rates)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", help="of a run")
    parser.add_argument("--interactions", type=int, default=200_000, help="of the synthetic run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        output = options.output_dir or run(f"{temporary}/out", options.interactions)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        pa.set_cpu_count(1)
        print("| rows | format | bytes a row | written rows/s | read rows/s | parse_example rows/s | ratio |")
        print("|---|---|---|---|---|---|---|")
        for name in ("ranker", "two_tower"):
            measure(DataFolder(f"{output}/processed_data/{name}/train"), name, pathlib.Path(temporary))


if __name__ == "__main__":
    main()
