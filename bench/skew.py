"""Skewed tables: a video in half of all interactions, and a user with many of them; memory of each step and partition.

    python -m bench.skew --interactions 1000000 --partitions 7
    python -m bench.skew --interactions 2000000 --partitions 13 --modes even user  # a user with a million

Runs the main job in this process on one partition at a time, on even tables and on skewed ones of the same size, and
prints for each step the bytes of its largest and average partition (or part of one), the most memory that it took on
the way, beyond what the process had after it gave back all that it could, and how many times the mean that is.
"""

import argparse
import collections
import ctypes
import gc
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.tables import synthetic

MODES = ("even", "video", "user")
_PAGE = resource.getpagesize()
_AT_ONCE = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0"}  # Polars gives back what it frees


def skew(raw: pathlib.Path, mode: str, share: float) -> None:
    """Gives a share of the interactions, chosen at random, to one video or to one user."""
    path = raw / "interactions.parquet"
    rows = pl.read_parquet(path)
    chosen = pl.Series(np.random.default_rng(0).random(len(rows)) < share)
    key = {"video": "video_id", "user": "user_id"}.get(mode)
    if key:
        rows = rows.with_columns(pl.when(chosen).then(1).otherwise(key).cast(pl.Int64).alias(key))
    rows.write_parquet(path, row_group_size=synthetic.ROWS_PER_GROUP)


class Watched:
    """The cost of each call of a step: bytes in and out, and the growth of the process's memory."""

    def __init__(self) -> None:
        self.calls: dict[str, list[dict[str, float]]] = collections.defaultdict(list)

    def watch(self, name: str, results: Iterator[Any], taken: int) -> Iterator[Any]:
        _give_back()
        before, peak, going = _resident(), [_resident()], threading.Event()

        def look() -> None:
            while not going.wait(0.002):
                peak[0] = max(peak[0], _resident())

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        made, began = 0, time.perf_counter()
        for result in results:
            made += size_of(result)
            yield result
        going.set()
        thread.join()
        seconds = time.perf_counter() - began
        self.calls[name].append({"in": taken, "out": made, "peak": peak[0] - before, "seconds": seconds})


def _give_back() -> None:
    """Returns to the system what the allocators of Python and Arrow keep for later."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def size_of(value: Any) -> int:
    """The bytes of all tables in a value."""
    from apache_beam.pvalue import TaggedOutput

    from recsys_tft.storage.arrow_ipc import Spilled

    if isinstance(value, (bytes, Spilled)):
        return len(value) if isinstance(value, bytes) else value.size
    if isinstance(value, TaggedOutput):
        return size_of(value.value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return sum(map(size_of, parts))


def measure(raw: str, output: str, options: list[str]) -> dict[str, Any]:
    """Runs the job here, and returns what each step took."""
    from recsys_tft.beam_pipelines.pairs import ForEachPair
    from recsys_tft.cli import main as run

    watched = Watched()
    process = ForEachPair.process

    def watching(step: ForEachPair, pair: tuple[Any, Any], *sides: Any) -> Iterator[Any]:
        key, value = pair
        value = value if isinstance(value, (bytes, dict)) or not isinstance(value, Iterable) else list(value)
        yield from watched.watch(step._name, process(step, (key, value), *sides), size_of(value))

    setattr(ForEachPair, "process", watching)  # noqa: B010
    if run(["run", "--data-dir", raw, "--output-dir", output, "--title-encoder=none", "--workers=1", *options]):
        raise SystemExit("the run failed")
    files = [path.stat().st_size for path in pathlib.Path(output).rglob("part-*") if path.is_file()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"steps": watched.calls, "peak": peak, "largest_file": max(files), "files": len(files)}


def show(mode: str, seconds: float, found: dict[str, Any]) -> None:
    mega = 1 / 1e6
    print(f"\n{mode}: {seconds:.0f} s, {found['peak'] * mega:,.0f} MB at most, {found['files']} files,", end=" ")
    print(f"the largest of {found['largest_file'] * mega:,.1f} MB\n")
    print(
        "| step | calls | MB in, mean | largest | MB out, mean | largest | MB in use, mean | largest | x | s, largest |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for step, calls in found["steps"].items():
        numbers = {name: np.array([call[name] for call in calls]) for name in calls[0]}
        cells = [f"{f(numbers[name]) * mega:.1f}" for name in ("in", "out", "peak") for f in (np.mean, np.max)]
        times = numbers["peak"].max() / max(numbers["peak"].mean(), 1)
        print(
            f"| {step} | {len(calls)} | {' | '.join(cells)} | {times:.1f} | {numbers['seconds'].max():.1f} |",
            flush=True,
        )


def tables(folder: pathlib.Path, interactions: int, users: int, videos: int, mode: str, share: float) -> pathlib.Path:
    """The folder of the raw tables of a mode."""
    raw = folder / mode
    synthetic.write_tables(raw, users=users, videos=videos, interactions=interactions)
    skew(raw, mode, share)
    return raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=16, help="of users; a quarter as many of videos")
    parser.add_argument("--share", type=float, default=0.5, help="of the interactions that the video or user has")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--config", help="a file of settings")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options, job = parser.parse_known_args()
    if options.one:
        raw, output = options.one
        print(json.dumps(measure(raw, output, ["--config", options.config, *job])))
        return
    users, videos = max(options.interactions // 20, 1), max(options.interactions // 50, 1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        config = folder / "config.yaml"
        shards = {"users": options.partitions, "videos": max(options.partitions // 4, 1)}
        sizes = {"users": users, "videos": videos}
        per_shard = ", ".join(f"{name}_per_shard: {-(-sizes[name] // shards[name])}" for name in sizes)
        given = pathlib.Path(options.config).read_text() if options.config else ""
        config.write_text(f"{given}\noutput: {{{per_shard}}}\n")
        for mode in options.modes:
            raw = tables(folder, options.interactions, users, videos, mode, options.share)
            rows = pq.read_metadata(raw / "interactions.parquet").num_rows
            command = [sys.executable, "-m", "bench.skew", "--one", str(raw), str(folder / "output")]
            began = time.monotonic()
            ran = subprocess.run(
                [*command, "--overwrite", "--config", str(config), *job],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | _AT_ONCE,
            )
            found = json.loads(ran.stdout.splitlines()[-1])
            show(f"{mode}, {rows:,} interactions", time.monotonic() - began, found)


if __name__ == "__main__":
    main()
