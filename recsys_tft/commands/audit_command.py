"""The command `audit`."""

import argparse
import importlib
from collections.abc import Sequence

from recsys_tft import libraries

EXAMPLE = """example:
  recsys-tft audit --output-dir output
  recsys-tft audit --output-dir out --data-dir data/movielens --users 500 --cut 1998-01-01
  recsys-tft audit --output-dir out/periods/2025-03-02 --data-dir data/2025-03-01 data/2025-03-02

Reruns the job on a sample of users, with the settings and the transform graph of the run and everything after a cut
removed, shuffled in time, altered or delayed. No row before the cut may change in a bit. Exits with 1 if one does,
naming the feature, the row and both values, or if there was nothing to compare."""


def add(parser: argparse.ArgumentParser) -> None:
    """The options of `audit`."""
    parser.add_argument(
        "--output-dir", default="output", metavar="DIR", help="output of the run or a period (default: output)"
    )
    parser.add_argument(
        "--data-dir",
        nargs="+",
        metavar="DIR",
        help="the run's raw tables (default: OUTPUT_DIR/raw); for a period the folders of the run and of the periods "
        "up to it, in order, or one with the tables of all these days",
    )
    parser.add_argument("--users", type=int, default=1000, metavar="N", help="size of the sample (default: 1000)")
    parser.add_argument(
        "--cut",
        action="append",
        default=[],
        metavar="TIME",
        help="time of a cut in UTC, such as 2025-03-01T12:00; may be repeated (default: the end of the training "
        "split, and the middles of the interactions before and after it)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="random seed of the sample (default: 0)")


def audit(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Rerun the job with several futures, and print the differences."""
    from recsys_tft.commands import ready
    from recsys_tft.progress import Progress

    ready.within("--users", options.users, 1)
    ready.within("--seed", options.seed, 0)
    cuts = [ready.microseconds("--cut", text) for text in options.cut]
    ready.run_there(options.output_dir)
    ready.raw_there(options.output_dir, options.data_dir)
    with Progress() as progress:
        progress.say("Loading TensorFlow and Beam")
        libraries.load("recsys_tft.auditing.leak_audit", options.debug)
        module = importlib.import_module("recsys_tft.auditing.leak_audit")
        result = module.audit(options.output_dir, options.data_dir, options.users, cuts, options.seed, say=progress.say)
    for part in result.report():
        progress.console.print(part)
    return 0 if result.is_clean else 1
