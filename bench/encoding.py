"""Rows per second of recsys_tft's tf.Example encoder against tfx_bsl's encoder with tf.io.TFRecordWriter.

    python -m bench.encoding [--rows 300000]

Generated data of two shapes: `two_tower`, 25 scalar features, and `ranker`, user, video, context and outcome with
lists. Each as one plain table, and joined from fragments of entities that many rows share. Writing goes to a
temporary folder; one thread.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from recsys_tft.storage.tf_example import encode_fragments
from recsys_tft.storage.tfrecord import frame, write_examples, write_records

USERS, VIDEOS = 50_000, 20_000
TF_ROWS = 100_000  # enough to time the slower one


def scalars(rng: np.random.Generator, rows: int, prefix: str, floats: int, integers: int, tokens: int) -> pa.Table:
    """Floats, integers of one to three bytes, and short tokens."""
    columns: dict[str, np.ndarray] = {
        f"{prefix}_ratio_{k}": rng.normal(size=rows).astype(np.float32) for k in range(floats)
    }
    columns |= {f"{prefix}_count_{k}": rng.integers(0, 100 << 7 * (k % 3), rows) for k in range(integers)}
    countries = pa.array([f"country_{k}" for k in range(40)])
    columns |= {f"{prefix}_token_{k}": countries.take(pa.array(rng.integers(0, 40, rows))) for k in range(tokens)}
    return pa.table(columns)


def lists(rng: np.random.Generator, rows: int, prefix: str) -> pa.Table:
    """0 to 8 tags and 8 floats."""
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 9, rows))])
    tags = pa.array([f"tag_{k}" for k in range(500)]).take(pa.array(rng.integers(0, 500, offsets[-1])))
    embedding = pa.array(rng.normal(size=rows * 8).astype(np.float32))
    columns = [pa.LargeListArray.from_arrays(offsets, tags), pa.FixedSizeListArray.from_arrays(embedding, 8)]
    return pa.table(columns, [f"{prefix}_tags", f"{prefix}_embedding"])


def ids(rng: np.random.Generator, rows: int, prefix: str) -> pa.Table:
    return pa.table({f"{prefix}_id": pa.array([f"{prefix}_{k:07d}" for k in rng.permutation(rows)])})


def beside(*tables: pa.Table) -> pa.Table:
    names = [name for table in tables for name in table.column_names]
    return pa.table([column for table in tables for column in table.columns], names)


def two_tower(rng: np.random.Generator, rows: int) -> list[tuple[pa.Table, np.ndarray | None]]:
    """25 scalars: 10 of the user, 12 of the video, 3 of the event."""
    users = beside(ids(rng, USERS, "user"), scalars(rng, USERS, "user", 4, 3, 2))
    videos = beside(ids(rng, VIDEOS, "video"), scalars(rng, VIDEOS, "video", 5, 4, 2))
    events = scalars(rng, rows, "event", 1, 2, 0)
    return [(users, rng.integers(0, USERS, rows)), (videos, rng.integers(0, VIDEOS, rows)), (events, None)]


def ranker(rng: np.random.Generator, rows: int) -> list[tuple[pa.Table, np.ndarray | None]]:
    """About 150 bytes of the user, 250 of the video, 150 of the context, 60 of the outcome."""
    users = beside(ids(rng, USERS, "user"), scalars(rng, USERS, "user", 1, 2, 2))
    videos = beside(ids(rng, VIDEOS, "video"), scalars(rng, VIDEOS, "video", 2, 2, 0), lists(rng, VIDEOS, "video"))
    context, outcome = scalars(rng, rows, "context", 3, 2, 1), scalars(rng, rows, "outcome", 1, 1, 0)
    return [(users, rng.integers(0, USERS, rows)), (videos, rng.integers(0, VIDEOS, rows)), (context, None),
            (outcome, None)]  # fmt: skip


def plain(parts: list[tuple[pa.Table, np.ndarray | None]]) -> pa.Table:
    return beside(*(table if rows is None else table.take(pa.array(rows)) for table, rows in parts)).combine_chunks()


def write_with_tf(table: pa.Table, path: str) -> None:
    """What a pipeline without this library does."""
    ragged = {name: _as_list(table[name].combine_chunks()) for name in table.column_names}
    encoder = RecordBatchToExamplesEncoder()
    with tf.io.TFRecordWriter(path) as writer:
        for batch in pa.table(ragged).to_batches(max_chunksize=4096):
            for example in encoder.encode(batch):
                writer.write(example)


def _as_list(column: pa.Array) -> pa.Array:
    """tfx_bsl reads lists of binary, not scalars or strings."""
    if pa.types.is_fixed_size_list(column.type):
        return column.cast(pa.large_list(column.type.value_type))
    if not pa.types.is_large_list(column.type):
        column = pa.LargeListArray.from_arrays(np.arange(len(column) + 1), column)
    text = pa.types.is_string(column.type.value_type)
    return column.cast(pa.large_list(pa.large_binary())) if text else column


def seconds(run: Callable[[], object], path: str) -> float:
    """The best of three; each writes a new file, as truncating an old one takes its own time."""
    times = []
    for _ in range(3):
        pathlib.Path(path).unlink(missing_ok=True)
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def report(name: str, parts: list[tuple[pa.Table, np.ndarray | None]], folder: pathlib.Path) -> None:
    table, path = plain(parts), str(folder / name)
    few = table.slice(0, TF_ROWS)
    theirs = len(few) / seconds(lambda: write_with_tf(few, path), path)
    size = pathlib.Path(path).stat().st_size / len(few)

    def line(what: str, taken: float) -> None:
        rate = len(table) / taken
        print(f"{name:10} {what:48} {rate:12,.0f} rows/s {rate * size / 1e9:6.2f} GB/s {rate / theirs:6.1f}x")

    print(f"{name}: {size:.0f} bytes a row, {len(table):,} rows, {table.num_columns} features")
    line("tfx_bsl encoder + tf.io.TFRecordWriter", len(table) / theirs)
    line("plain table: encode_fragments", seconds(lambda: encode_fragments(table), path))
    line("plain table: write_examples", seconds(lambda: write_examples(path, table), path))
    joined = [(encode_fragments(part), rows) for part, rows in parts]
    line("joined: frame (gather, checksums, one buffer)", seconds(lambda: frame(joined), path))
    line("joined: write_records", seconds(lambda: write_records(path, joined), path))
    line("joined: encode_fragments of all + write_records", seconds(lambda: write_joined(parts, path), path))


def write_joined(parts: list[tuple[pa.Table, np.ndarray | None]], path: str) -> None:
    joined = [(encode_fragments(part), rows) for part, rows in parts]
    write_records(path, joined)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    rows = parser.parse_args().rows
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        for build in (two_tower, ranker):
            report(build.__name__, build(np.random.default_rng(0), rows), pathlib.Path(folder))


if __name__ == "__main__":
    main()
