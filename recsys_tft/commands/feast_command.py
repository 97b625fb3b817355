"""`recsys-tft feast`. Like `cli.py`, this module imports nothing that `--help` does not need."""

import argparse
from collections.abc import Sequence

EXAMPLE = """example:
  recsys-tft feast --output-dir output --to feature_repo

Feast itself is not needed to write it; docs/feast.md has the next steps."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of the export (default: output)")
    parser.add_argument("--to", required=True, metavar="DIR", help="the new folder")
    parser.add_argument("--version", type=int, metavar="N", help="version of the export (default: the newest)")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder made by this command")


def feast(options: argparse.Namespace, _: Sequence[str]) -> int:
    """A feature repository."""
    from recsys_tft.commands import ready
    from recsys_tft.stores import feast as repository

    ready.local_folder("--to", options.to)
    ready.export_there(options.output_dir, options.version, None)
    done = repository.write(options.output_dir, options.to, options.version, options.overwrite)
    counted = " and ".join(f"{count:,} {name}" for name, count in done.counts.items())
    print(f"Features of {counted} in {done.folder}")
    print(f"Version {done.description['version']} of the export, as of {done.description['as_of']}")
    return 0
