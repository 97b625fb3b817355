"""`recsys-tft report`: one page of HTML about an output."""

import argparse
import pathlib
from collections.abc import Sequence

EXAMPLE = """example:
  recsys-tft report --output-dir out
  recsys-tft report --output-dir out/periods/2025-03-02 --file today.html

The page is a single file that needs no network: rows read and rejected, splits, labels, every column and feature by
split, the models beside their baselines, and the settings. It is made from statistics; no rows are read."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--output-dir", default="output", metavar="DIR", help="output of a run or a refresh (default: output)"
    )
    parser.add_argument("--file", metavar="FILE", help="the page to write (default: report.html in the output)")


def report(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Write the page, and print its path."""
    from recsys_tft.commands import ready
    from recsys_tft.reporting import page

    ready.run_there(options.output_dir)
    path = pathlib.Path(options.file or pathlib.Path(options.output_dir, "report.html"))
    page.write(options.output_dir, str(path))
    print(f"Report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
