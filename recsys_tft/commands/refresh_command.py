"""`recsys-tft refresh`."""

import argparse
import json
from collections.abc import Sequence

from recsys_tft import libraries

EXAMPLE = """example:
  recsys-tft refresh --output-dir out --data-dir data/2025-03-02
  recsys-tft refresh --output-dir out --data-dir data/2025-03-02 --overwrite

The period is an output of its own, OUTPUT_DIR/periods/NAME, with its rows in processed_data/*/train."""
_MOST_WORKERS = 1024  # threads


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of the run (default: output)")
    parser.add_argument(
        "--data-dir",
        required=True,
        metavar="DIR",
        help="the new interactions, and new, changed or all users, videos and channels",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="name of the period (default: the name of the folder --data-dir)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: as for a run)")
    parser.add_argument("--overwrite", action="store_true", help="make the last period again")


def refresh(options: argparse.Namespace, _: Sequence[str]) -> int:
    """The rows of a new period."""
    from recsys_tft import refreshing
    from recsys_tft.commands import ready
    from recsys_tft.commands.summary import summary
    from recsys_tft.progress import Progress

    ready.within("--workers", options.workers, 1, _MOST_WORKERS)
    with libraries.quietly(options.debug):  # what is wrong is an error before TensorFlow is loaded
        refreshing.check(options.output_dir, options.data_dir)
        chosen = ready.run_there(options.output_dir)["settings"]
    if options.is_process and chosen.get("features") is None:
        libraries.arrow_without_pandas()
    is_here = "://" not in json.dumps(chosen)
    needless = (*libraries.UNUSED, *(libraries.CLOUD if is_here else ())) if options.is_process else ()
    with Progress() as progress:
        progress.say("Loading TensorFlow and Beam")
        libraries.load("recsys_tft.beam_pipelines.run", options.debug, needless)
        named = {"name": options.name, "workers": options.workers, "overwrite": options.overwrite}
        result = refreshing.refresh(options.output_dir, options.data_dir, **named, say=progress.say)
    progress.console.print(summary(result.manifest, result.output, result.seconds))
    return 0
