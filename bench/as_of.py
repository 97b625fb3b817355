"""What counters as of each exposure, and the watch history, cost the main job; each run is a process of its own.

    python -m bench.as_of --interactions 1000000

Prints wall and CPU time and peak memory of runs without both, with each, and with both, their ratio to the first, and
the seconds of each step.
"""

import argparse
import pathlib
import tempfile

from bench.main_job import Measured, job, tables

CONFIGS = {
    "neither": "counters: {source: snapshot}\nhistory: {length: 0}\n",
    "counters": "counters: {source: as_of}\nhistory: {length: 0}\n",
    "history": "counters: {source: snapshot}\nhistory: {length: 20}\n",
    "both": "counters: {source: as_of}\nhistory: {length: 20}\n",
}


def compare(raw: pathlib.Path, folder: pathlib.Path) -> dict[str, Measured]:
    """One run with each of CONFIGS."""
    runs = {}
    for name, text in CONFIGS.items():
        config = folder / f"{name}.yaml"
        config.write_text(text)
        runs[name], _ = job(raw, folder / "job", "--config", str(config))
    return runs


def _print(data: str, runs: dict[str, Measured]) -> None:
    base = runs["neither"]
    print(f"\n{data}\n\n| | wall s | CPU s | peak GB | wall / neither | CPU / neither |\n|---|---|---|---|---|---|")
    for name, run in runs.items():
        numbers = [f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.peak:.2f}"]
        print(f"| {' | '.join([name, *numbers, f'{run.wall / base.wall:.2f}', f'{run.cpu / base.cpu:.2f}'])} |")
    for name, run in runs.items():
        print(f"\nSeconds in each step, {name}:", run.printed.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--sessions", action="store_true", help="several events a view")
    parser.add_argument("--folder", type=pathlib.Path, help="for the data, kept there; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        raw = tables(options.interactions, options.sessions, options.folder or pathlib.Path(temporary))
        _print(raw.name, compare(raw, pathlib.Path(temporary)))


if __name__ == "__main__":
    main()
