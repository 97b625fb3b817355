"""The startup time of each command, and the time of a whole `recommend`: each in a process of its own, in turn.

    python -m bench.commands OUTPUT_DIR

OUTPUT_DIR is a run with trained models and an export; without it a small one is made first. Every command runs several
times, round by round, and the least is shown: what else the machine does can only add. CPU seconds hold on a busy
machine, wall seconds on a quiet one. Then where the seconds of one `recommend` go, and its largest imports.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

PYTHON = (sys.executable, "-m", "recsys_tft")
HELPS = (
    "run", "refresh", "dataset", "train", "export", "recommend", "verify", "audit", "encoder", "similar", "vocabulary",
    "features", "init",
)  # fmt: skip
SMALL = ("--users", "1000", "--videos", "500", "--interactions", "10000")
PARTS = """
import sys, time
from recsys_tft import cli, libraries
told, last = [], [0.0, float(sys.argv[2])]

def lap(name):
    now = [time.process_time(), time.monotonic()]
    told.append((name, now[0] - last[0], now[1] - last[1]))
    last[:] = now

lap("Python and the command line")
libraries.arrow_without_pandas()
lap("Arrow and NumPy")
arguments = ["recommend", "--output-dir", sys.argv[1], "--user-id", "1"]
cli._parser(arguments).parse_known_args(arguments)
lap("settings, columns, options")
from rich.console import Console
from recsys_tft.recommending import recommendation_report, recommender
lap("the recommender and rich")
from recsys_tft.serving import c_library
with libraries.quietly():
    c_library._library()
lap("TensorFlow's C library")
loaded = recommender.Recommender(sys.argv[1])
lap("two models, with a first call each, on two threads")
found = loaded.recommend(1)
Console(file=open("/dev/null", "w")).print(recommendation_report.table(found))
lap("the request and its table")
for name, cpu, wall in told:
    print(f"| {name} | {cpu:.2f} | {wall:.2f} |")
"""


@dataclasses.dataclass
class Cost:
    """The least seconds of several processes."""

    cpu: float = float("inf")
    wall: float = float("inf")

    def add(self, command: tuple[str, ...], code: int) -> None:
        """Runs a command to its end, which is to be `code`."""
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        self.wall = min(self.wall, time.monotonic() - begun)
        self.cpu = min(self.cpu, usage.ru_utime + usage.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != code:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}, not {code}")


def commands(output_dir: str, folder: str) -> dict[str, tuple[tuple[str, ...], int]]:
    """The measured commands, with their exit codes."""
    helps = {f"{name} --help": ((*PYTHON, name, "--help"), 0) for name in HELPS}
    recommend = (*PYTHON, "recommend", "--output-dir", output_dir)
    return {
        "Python alone": ((sys.executable, "-c", "pass"), 0),
        "import recsys_tft": ((sys.executable, "-c", "import recsys_tft"), 0),
        "recsys-tft, which says what it takes": (PYTHON, 2),
        **helps,
        "recommend --help, of an export": ((*recommend, "--help"), 0),
        "features": ((*PYTHON, "features"), 0),
        "init": ((*PYTHON, "init", folder), 1),  # whose files are there: it stops where it would write
        "recommend --user-id 1": ((*recommend, "--user-id", "1"), 0),
        "recommend, someone unknown, as JSON": ((*recommend, "--country", "DE", "--json"), 0),
        "recommend --explain": ((*recommend, "--user-id", "1", "--explain"), 0),
        "import tensorflow": ((sys.executable, "-c", "import tensorflow"), 0),
        "import tensorflow, as commands do": (
            (sys.executable, "-c", "from recsys_tft.libraries import *; load('tensorflow', without=UNSERVED)"), 0,
        ),
    }  # fmt: skip


def made(folder: str, *options: str) -> str:
    """A run of synthetic tables without titles, with both models and an export."""
    output = str(pathlib.Path(folder, "output"))
    run = ("run", "--synthetic", "--title-encoder", "none", *(options or SMALL))
    for command in (run, ("train", "two-tower"), ("train", "ranker"), ("export",)):
        subprocess.run([*PYTHON, *command, "--output-dir", output], check=True, stdout=subprocess.DEVNULL)
    return output


def largest_imports(output_dir: str, count: int = 12) -> list[str]:
    """The modules whose own code takes longest to import in a process that recommends, in milliseconds."""
    command = (sys.executable, "-X", "importtime", *PYTHON[1:], "recommend", "--output-dir", output_dir)
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", told)
    slowest = sorted(((int(own), name) for own, name in found), reverse=True)[:count]
    return [f"{name} {own / 1000:.0f}" for own, name in slowest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output_dir", nargs="?", help="of a run with an export; without it a small one is made")
    parser.add_argument("--rounds", type=int, default=5, help="how often each command runs (default 5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output_dir = options.output_dir or made(folder)
        subprocess.run([*PYTHON, "init", f"{folder}/shop"], check=True, stdout=subprocess.DEVNULL)
        chosen = commands(output_dir, f"{folder}/shop")
        costs = {name: Cost() for name in chosen}
        for _ in range(options.rounds):
            for name, (command, code) in chosen.items():
                costs[name].add(command, code)
        print("| | CPU s | wall s |\n|---|---|---|")
        for name, cost in costs.items():
            print(f"| {name} | {cost.cpu:.2f} | {cost.wall:.2f} |")
        print("\n| of one recommend | CPU s | wall s |\n|---|---|---|", flush=True)
        subprocess.run([sys.executable, "-c", PARTS, output_dir, str(time.monotonic())], check=True)
        print(f"\nLargest imports, ms each: {', '.join(largest_imports(output_dir))}")


if __name__ == "__main__":
    main()
