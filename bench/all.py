"""All that docs/performance.md says, measured in one run, a table after the other.

    python -m bench.all --folder bench_data
    python -m bench.all --interactions 10000 1000000 5000000 20000000 --only main_job

Each measurement is a command of its own, which says what it prints: `python -m bench.NAME --help`.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
# A line each: the module below bench/, and its options. SIZES and FOLDER stand for what is given here.
MEASUREMENTS = {
    "main_job": ["--interactions", "SIZES", "--folder", "FOLDER"],
    "as_of": ["--folder", "FOLDER", "--only", "neither", "all", "co-occurrence"],
    "ids": ["--folder", "FOLDER"],
    "encoding": [],
    "reading": [],
    "training": [],
    "commands": [],
    "refresh": ["--folder", "FOLDER"],
}


def command(name: str, sizes: Sequence[int], folder: pathlib.Path) -> list[str]:
    """What runs a measurement."""
    given = {"SIZES": [str(size) for size in sizes], "FOLDER": [str(folder)]}
    options = [part for option in MEASUREMENTS[name] for part in given.get(option, [option])]
    return [sys.executable, "-m", f"bench.{name}", *options]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, nargs="+", default=SIZES, help="sizes of the main job")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--folder", type=pathlib.Path, help="for the data, kept there; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, failed = options.folder or pathlib.Path(temporary), []
        for name in options.only:
            print(f"\n## python -m bench.{name}", flush=True)
            if subprocess.run(command(name, options.interactions, folder), check=False).returncode:
                failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
