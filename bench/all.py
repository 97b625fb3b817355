"""All that docs/performance.md says, measured in one run, a table after the other.

    python -m bench.all --folder bench_data
    python -m bench.all --interactions 10000 1000000 5000000 20000000 --only main_job
    python -m bench.all --interactions 2000 --others 5000       # to see that all of it works

Each measurement is a command of its own, which says what it prints: `python -m bench.NAME --help`.
"""

import argparse
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from bench import folders
from bench.commands import made

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
EVENTS = 400_000  # interactions of the export that is made
# A line each: the module below bench/, and its options. SIZES, FOLDER and OTHERS stand for what is given here, and
# EXPORT for a run with both models that is made before its first use.
MEASUREMENTS = {
    "main_job": ["--interactions", "SIZES", "--folder", "FOLDER"],
    "as_of": ["OTHERS", "--folder", "FOLDER", "--only", "neither", "all", "co-occurrence"],
    "ids": ["OTHERS", "--folder", "FOLDER"],
    "encoding": [],
    "reading": ["OTHERS"],
    "training": ["OTHERS"],
    "commands": [],
    "refresh": ["OTHERS", "--folder", "FOLDER", "--days", "6"],
    "events": ["EXPORT"],
    "serving": ["EXPORT"],
    "encoder": [],
}


def command(name: str, sizes: Sequence[int], others: int | None, folder: pathlib.Path) -> list[str]:
    """What runs a measurement."""
    given = {"SIZES": list(map(str, sizes)), "FOLDER": [str(folder)]}
    given["OTHERS"] = [] if others is None else ["--interactions", str(others)]
    given["EXPORT"] = [export(folder, others or EVENTS)] if "EXPORT" in MEASUREMENTS[name] else []
    options = [part for option in MEASUREMENTS[name] for part in given.get(option, [option])]
    return [sys.executable, "-m", f"bench.{name}", *options]


def export(folder: pathlib.Path, interactions: int) -> str:
    """A run with `recent` and `cooccurrence`, both models and an export; made unless it is there."""
    place = folder / f"export-{interactions}"
    if not place.exists():
        config = folder / "export.yaml"
        config.write_text("recent: {enabled: true}\ncooccurrence: {enabled: true}\n")
        few = str(max(interactions // 20, 20))
        sizes = ("--users", few, "--videos", few, "--interactions", str(interactions))
        made(str(folder / "being-made"), *sizes, "--config", str(config))
        (folder / "being-made" / "output").rename(place)
    return str(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, nargs="+", default=SIZES, help="sizes of the main job")
    parser.add_argument("--others", type=int, help="interactions of all else, in the place of what each has by default")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--folder", type=pathlib.Path, help="for the data, kept there; else a temporary one")
    options = parser.parse_args()
    failed = []
    with folders.chosen(options.folder) as folder:
        for name in options.only:
            load = os.getloadavg()[2]
            print(f"\n## python -m bench.{name}, load {load:.1f} in the 15 minutes before\n", flush=True)
            try:
                subprocess.run(command(name, options.interactions, options.others, folder), check=True)
            except subprocess.CalledProcessError:
                failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
