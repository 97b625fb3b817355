"""The cost of a refresh day by day, compared with one run over all days.

    python -m bench.refresh --interactions 5000000 --users 250000 --videos 50000 --folder bench_data

Synthetic tables (default settings, no titles) are cut into days: a run over all but the last --days, and a refresh for
each of these. One CPU second is user and system time of the whole process. Then one run over everything, and the bytes
of the state. Users, videos and channels are in the first day; later days have interactions alone.
"""

import argparse
import datetime
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench import folders
from recsys_tft.tables import synthetic

COMMAND = (sys.executable, "-m", "recsys_tft")
OPTIONS = ("--title-encoder", "none")
DAY = datetime.timedelta(days=1)


def run(*arguments: str) -> tuple[float, float]:
    """CPU and wall seconds of a command."""
    began, before = time.monotonic(), os.times()
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.monotonic() - began


def write_days(raw: pathlib.Path, root: pathlib.Path, count: int) -> Iterator[pathlib.Path]:
    """A folder of all but the last days, which has the other tables too, and one of each of these."""
    events = pq.read_table(raw / "interactions.parquet")
    time = events["interaction_time"]
    midnight = pc.max(time).as_py().replace(hour=0, minute=0, second=0, microsecond=0)
    begins = [midnight - (count - 1 - day) * DAY for day in range(count)]
    for number, (since, until) in enumerate(zip([None, *begins], [*begins, None], strict=True)):
        folder = root / f"day-{number:03d}"
        folder.mkdir(parents=True)
        bounds = [(pc.greater_equal, since), (pc.less, until)]
        inside = [compare(time, pa.scalar(bound, time.type)) for compare, bound in bounds if bound]
        mask = pc.and_(*inside) if len(inside) > 1 else inside[0]
        pq.write_table(events.filter(mask), folder / "interactions.parquet")
        for name in ("users", "videos", "channels") if not number else ():
            shutil.copy(raw / f"{name}.parquet", folder)
        yield folder


def state_bytes(output: pathlib.Path) -> dict[str, int]:
    """The bytes of each table of a state."""
    return {
        folder.name: sum(path.stat().st_size for path in folder.iterdir())
        for folder in sorted((output / "state").resolve().iterdir())
        if folder.is_dir()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, help="default: a 20th of the interactions")
    parser.add_argument("--videos", type=int, help="default: a 100th of the interactions")
    parser.add_argument("--days", type=int, default=30, help="that are refreshed one by one")
    parser.add_argument("--folder", type=pathlib.Path, help="for the data; else a temporary one")
    options = parser.parse_args()
    with folders.chosen(options.folder) as given, tempfile.TemporaryDirectory(dir=given) as folder:
        root = pathlib.Path(folder)
        sizes = {"users": options.users or options.interactions // 20, "interactions": options.interactions}
        sizes |= {"videos": options.videos or options.interactions // 100}
        synthetic.write_tables(root / "raw", **sizes)
        first, *days = write_days(root / "raw", root / "days", options.days)
        print("| what | interactions | CPU s | wall s |\n|---|---|---|---|")
        show("run over all", root / "raw", run("run", "--data-dir", str(root / "raw"), *to(root / "all"), *OPTIONS))
        show("run over the first days", first, run("run", "--data-dir", str(first), *to(root / "out"), *OPTIONS))
        for number, day in enumerate(days, 1):
            show(f"refresh {number}", day, run("refresh", "--data-dir", str(day), *to(root / "out")))
        for output in (root / "out", root / "out" / "periods" / days[-1].name):
            found = state_bytes(output)
            print(f"\nstate of {output.name}: {sum(found.values()):,} bytes; " + ", ".join(
                f"{name} {size:,}" for name, size in found.items()
            ))  # fmt: skip


def to(output: pathlib.Path) -> tuple[str, str]:
    return "--output-dir", str(output)


def show(what: str, tables: pathlib.Path, seconds: tuple[float, float]) -> None:
    rows = pq.read_metadata(tables / "interactions.parquet").num_rows
    print(f"| {what} | {rows:,} | {seconds[0]:.1f} | {seconds[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
