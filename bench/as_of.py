"""The cost of point-in-time counters, the watch history and recent counts in the main job.

    python -m bench.as_of --interactions 1000000

Prints wall and CPU time and peak memory of runs without them, with each, and with all, their ratio to the first, how
many versions of videos there are, and the seconds of each step. Each run is a process of its own. Interactions are the
events of sessions, as `run --synthetic` makes them: with `--views` each is an impression, and nothing is counted.
"""

import argparse
import json
import pathlib
import tempfile
from collections.abc import Sequence

from bench import folders
from bench.main_job import Measured, job, tables

CONFIGS = {
    "neither": "counters: {source: snapshot}\nhistory: {length: 0}\nrecent: {enabled: false}\n",
    "counters": "counters: {source: as_of}\nhistory: {length: 0}\nrecent: {enabled: false}\n",
    "history": "counters: {source: snapshot}\nhistory: {length: 20}\nrecent: {enabled: false}\n",
    "recent": "counters: {source: snapshot}\nhistory: {length: 0}\nrecent: {enabled: true}\n",
    "all": "counters: {source: as_of}\nhistory: {length: 20}\nrecent: {enabled: true}\n",
    "co-occurrence": "counters: {source: as_of}\nhistory: {length: 20}\nrecent: {enabled: true}\n"
    "cooccurrence: {enabled: true}\n",
}
Run = tuple[Measured, int]  # and the number of versions


def compare(raw: pathlib.Path, folder: pathlib.Path, names: Sequence[str]) -> dict[str, Run]:
    """One run with each of the named CONFIGS."""
    runs = {}
    for name in names:
        config = folder / f"{name}.yaml"
        config.write_text(CONFIGS[name])
        measured, _ = job(raw, folder / "job", "--config", str(config))
        manifest = json.loads((folder / "job" / "artifacts" / "manifest.json").read_text())
        runs[name] = measured, manifest["counts"].get("counters/versions", 0)
    return runs


def _print(data: str, runs: dict[str, Run]) -> None:
    (base, _), *_ = runs.values()
    print(
        f"\n{data}\n\n| | wall s | CPU s | peak GB | wall ratio | CPU ratio | versions |\n|---|---|---|---|---|---|---|"
    )
    for name, (run, versions) in runs.items():
        numbers = [f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.peak:.2f}"]
        ratios = [f"{run.wall / base.wall:.2f}", f"{run.cpu / base.cpu:.2f}", f"{versions:,}"]
        print(f"| {' | '.join([name, *numbers, *ratios])} |")
    for name, (run, _) in runs.items():
        print(f"\nSeconds in each step, {name}:", run.printed.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--views", action="store_true", help="every interaction is the impression of a view of its own")
    parser.add_argument("--only", nargs="+", choices=CONFIGS, default=list(CONFIGS), help="these runs, in this order")
    parser.add_argument("--folder", type=pathlib.Path, help="for the data, kept there; else a temporary one")
    options = parser.parse_args()
    with folders.chosen(options.folder) as folder, tempfile.TemporaryDirectory() as temporary:
        raw = tables(options.interactions, not options.views, folder)
        _print(raw.name, compare(raw, pathlib.Path(temporary), options.only))


if __name__ == "__main__":
    main()
