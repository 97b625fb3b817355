"""The commands `export` and `verify`. Like `cli.py`, this module imports nothing that `--help` does not need."""

import argparse
import importlib
from collections.abc import Sequence

from recsys_tft import libraries

EXPORT_EXAMPLE = """example:
  recsys-tft export --output-dir output
  recsys-tft export --output-dir out --data-dir data/movielens
  recsys-tft export --output-dir out --data-dir data/2025-03-01 data/2025-03-02"""
RECOMMEND_EXAMPLE = """example:
  recsys-tft recommend --output-dir output --user-id 5
  recsys-tft recommend --output-dir output --user-id c0ffee00-5f00-4d1e-8a3b-2f0e5d1c9b7a
  recsys-tft recommend --output-dir output --country DE --age 30 -k 20 --explain"""
VERIFY_EXAMPLE = """example:
  recsys-tft verify --output-dir output
  recsys-tft verify --output-dir out --data-dir data/movielens --all
  recsys-tft verify --output-dir out/periods/2025-03-02 --data-dir data/2025-03-01 data/2025-03-02
  recsys-tft verify --output-dir out --online"""

_DATA = "the run's raw tables (default: OUTPUT_DIR/raw), then those of each period, unless all are in one folder"


def add_export(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of the run (default: output)")
    parser.add_argument("--data-dir", metavar="DIR", nargs="+", help=_DATA)
    parser.add_argument(
        "--index", choices=["hnsw", "ivf"], help="also write an approximate faiss index, and print its recall"
    )


def add_verify(parser: argparse.ArgumentParser) -> None:
    """The options of `verify`."""
    parser.add_argument(
        "--output-dir", default="output", metavar="DIR", help="output of the run or a period (default: output)"
    )
    parser.add_argument("--data-dir", metavar="DIR", nargs="+", help=_DATA)
    parser.add_argument(
        "--rows",
        type=int,
        metavar="N",
        help="rows to sample from each data folder (default: 10,000; with --online 1,000)",
    )
    parser.add_argument("--all", action="store_true", help="compare all rows")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed of the sample (default: 0)")
    parser.add_argument(
        "--online",
        action="store_true",
        help="replay the interactions through the online state, and compare its features with the rows",
    )


def export(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Serving models."""
    from recsys_tft.commands import ready
    from recsys_tft.progress import Progress

    ready.run_there(options.output_dir)
    ready.models_there(options.output_dir)
    ready.raw_there(options.output_dir, options.data_dir)
    if options.index is not None:
        ready.index_installed()
    with Progress() as progress:
        progress.say("Loading TensorFlow")
        libraries.load("recsys_tft.exporting.export", options.debug)
        module = importlib.import_module("recsys_tft.exporting.export")
        done = module.export(options.output_dir, options.data_dir, options.index, progress.say)
    for part in module.report(done):
        progress.console.print(part)
    return 0


def verify(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Compare training and serving."""
    from recsys_tft.commands import ready
    from recsys_tft.progress import Progress

    number = (1000 if options.online else 10_000) if options.rows is None else options.rows
    ready.within("--rows", number, 1)
    ready.within("--seed", options.seed, 0)
    ready.run_there(options.output_dir)
    ready.raw_there(options.output_dir, options.data_dir)
    with Progress() as progress:
        progress.say("Loading TensorFlow")
        libraries.load("recsys_tft.verifying.verification", options.debug, libraries.UNSERVED)
        module = importlib.import_module("recsys_tft.verifying.verification")
        rows = None if options.all else number
        result = module.verify(options.output_dir, options.data_dir, rows, options.seed, progress.say, options.online)
    for part in result.report():
        progress.console.print(part)
    return 0 if result.is_equal else 1
