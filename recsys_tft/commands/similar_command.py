"""`recsys-tft similar`."""

import argparse
from collections.abc import Sequence

from recsys_tft import libraries
from recsys_tft.errors import UsageError

EXAMPLE = 'example:\n  recsys-tft similar --title "Toy Story" --output-dir out'


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--title", required=True, action="append", help="title to search for; may be repeated")
    parser.add_argument("--feature", metavar="NAME", help="the text embedding of videos to use (default: the first)")
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of a run (default: output)")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="number of videos (default: 10)")


def similar(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Nearest titles by cosine."""
    from recsys_tft import terminal
    from recsys_tft.commands import ready
    from recsys_tft.commands.similar import TitleIndex

    ready.within("-k", options.k, 1, ready.MOST_SHOWN)
    if not all(title.strip() for title in options.title):
        raise UsageError("--title is blank; expected some words.")
    ready.folder("--output-dir", options.output_dir)
    ready.warn_of_others(options.output_dir)
    index = TitleIndex(options.output_dir, options.feature)
    libraries.load("tensorflow_text", options.debug, libraries.UNSERVED)
    console = terminal.console()
    for title in options.title:
        console.print(index.table(title, options.k))
    return 0
