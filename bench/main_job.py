"""The main job against a hand-written Polars pipeline, on generated data, in both formats, each in its own process.

    python -m bench.main_job --interactions 1000000

Users are a twentieth of the interactions and videos a fiftieth. Each interaction is a view of its own, so that 1
million make 4.5 million rows; with `--sessions` it is one of the several events of a view, as in the tables of
`run --synthetic`, and they make 2.9 million. Prints wall and CPU time, peak memory, rows per second, ratios, and the
time of each step of ours; and checks that the peer wrote as many rows, with the same values in a sample of them. The
peer makes no watch history and counts nothing before an exposure; what is said of it is against a run without these,
and with the defaults. `--floor` adds what only encodes and writes our rows with tfx_bsl and tf.io.
"""

import argparse
import collections
import dataclasses
import json
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import polars as pl

from bench import folders
from recsys_tft.tables import synthetic

PEER = pathlib.Path(__file__).with_name("peer.yaml")
PARQUET_PEER = "Polars peer, Parquet"


@dataclasses.dataclass(frozen=True)
class Measured:
    """One process: seconds of wall and CPU time, and the most memory that it held, in GB."""

    wall: float
    cpu: float
    peak: float
    printed: str


def measure(*command: str) -> Measured:
    """Runs a command to its end."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as printed:
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL, env=quiet)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}: {text[-500:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, text)


def peer_rows(printed: str) -> dict[str, int]:
    """The number of rows that the peer reports, by folder."""
    rows: collections.Counter[str] = collections.Counter()
    for line in printed.splitlines():
        folder, number = line.split()
        rows[folder] += int(number)
    return dict(rows)


def job(raw: pathlib.Path, output: pathlib.Path, *options: str) -> tuple[Measured, dict[str, int]]:
    """The main job, and how many rows it wrote by folder."""
    shutil.rmtree(output, ignore_errors=True)
    python = [sys.executable, "-m", "bench.timed_job", str(raw), str(output)]
    measured = measure(*python, *options)
    counts = json.loads((output / "artifacts" / "manifest.json").read_text())["counts"]
    written = {name.removeprefix("written/"): rows for name, rows in counts.items() if name.startswith("written/")}
    return measured, written


def tables(interactions: int, sessions: bool, folder: pathlib.Path) -> pathlib.Path:
    """The folder of the raw tables, which are made if they are not there."""
    raw = folder / f"{'sessions' if sessions else 'views'}-{interactions}"
    if raw.exists():
        return raw
    # In another process, as what this one has taken counts as the peak of all that it starts.
    making = multiprocessing.get_context("spawn").Process(target=_write_tables, args=(raw, interactions, sessions))
    making.start()
    making.join()
    if making.exitcode:
        raise SystemExit(f"{raw}: the tables could not be made")
    return raw


def _write_tables(raw: pathlib.Path, interactions: int, sessions: bool) -> None:
    users, videos = max(interactions // 20, 1), max(interactions // 50, 1)
    drawn = interactions if sessions else 5 * interactions // 2
    synthetic.write_tables(raw, users=users, videos=videos, interactions=drawn)
    if not sessions:
        events = pl.read_parquet(raw / "interactions.parquet")
        views = events.unique(["user_id", "video_id"], keep="first", maintain_order=True).head(interactions)
        views.write_parquet(raw / "interactions.parquet", row_group_size=synthetic.ROWS_PER_GROUP)


SAMPLE = ["user_id", "video_id", "interaction_time", "weight", "age_bucket", "video_duration_bucket"]


def compare(raw: pathlib.Path, ratio: int, workers: int | None, folder: pathlib.Path, floor: bool = False) -> None:
    """Measures the job and its peers on these tables, in both formats, and prints the results."""
    given = ["--negative-ratio", str(ratio)]
    alike = ["--config", str(PEER), *given, *(["--workers", str(workers)] if workers else [])]
    runs: dict[str, Measured] = {}
    runs["recsys-tft, TFRecord"], rows = job(raw, folder / "job", *alike)
    runs["the same with the defaults"], _ = job(raw, folder / "job", *given, *alike[4:])
    shutil.rmtree(folder / "job")
    runs["recsys-tft, Parquet"], _ = job(raw, folder / "parquet", "--format", "parquet", *alike)
    rows.pop("rejected", None)
    shapes = {"Polars peer": [], "Polars peer, 2 processes": ["--processes=2"], PARQUET_PEER: ["--format=parquet"]}
    for name, options in shapes.items():
        shutil.rmtree(folder / "peer", ignore_errors=True)
        runs[name] = module("bench.polars_peer", raw, folder / "peer", *given, *options)
        if (found := peer_rows(runs[name].printed)) != rows:
            raise SystemExit(f"the peer wrote other rows: {found}, not {rows}")
    check_values(folder / "parquet" / "processed_data", folder / "peer")
    shutil.rmtree(folder / "peer")
    if floor:
        runs["floor"] = module("bench.floor", folder / "parquet" / "processed_data", folder / "peer")
        shutil.rmtree(folder / "peer")
    shutil.rmtree(folder / "parquet")
    _print(raw.name, sum(rows.values()), runs)


def module(name: str, *arguments: str | pathlib.Path) -> Measured:
    """Runs a module of Python to its end."""
    return measure(sys.executable, "-m", name, *map(str, arguments))


def check_values(ours: pathlib.Path, peers: pathlib.Path) -> None:
    """Compares the columns of two_tower/val, in Parquet, that no order of equal counts and no draw decides."""
    found = [pl.read_parquet(folder / "two_tower" / "val" / "*.parquet") for folder in (ours, peers)]
    found = [rows.select(SAMPLE).sort(SAMPLE) for rows in found]
    if not found[0].equals(found[1]):
        raise SystemExit(f"the peer wrote other values: {found[0]}, not {found[1]}")


def _print(data: str, rows: int, runs: dict[str, Measured]) -> None:
    load = os.getloadavg()[2]
    print(f"\n{data}, {rows:,} rows written, {os.cpu_count()} cores, load {load:.1f} in the last 15 minutes\n")
    print("| | wall s | CPU s | CPU/wall | peak GB | rows/s | wall / peer | CPU / peer |")
    print("|---|---|---|---|---|---|---|---|")
    for name, run in runs.items():
        peer = runs[PARQUET_PEER if "Parquet" in name else "Polars peer"]
        numbers = [f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.cpu / run.wall:.2f}", f"{run.peak:.2f}"]
        numbers += [f"{rows / run.wall:,.0f}", f"{run.wall / peer.wall:.2f}", f"{run.cpu / peer.cpu:.2f}"]
        print(f"| {name} | {' | '.join(numbers)} |")
    for name, run in runs.items():
        if run.printed.strip().endswith("}"):  # of ours
            print(f"\nSeconds in each step, {name}:", run.printed.strip().splitlines()[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--negative-ratio", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--sessions", action="store_true", help="several events a view")
    parser.add_argument("--floor", action="store_true", help="also encode and write our rows with tfx_bsl alone")
    parser.add_argument("--folder", type=pathlib.Path, help="for the data, kept there; else a temporary one")
    options = parser.parse_args()
    with folders.chosen(options.folder) as folder:
        for interactions in options.interactions:
            raw = tables(interactions, options.sessions, folder)
            compare(raw, options.negative_ratio, options.workers, folder, options.floor)


if __name__ == "__main__":
    main()
