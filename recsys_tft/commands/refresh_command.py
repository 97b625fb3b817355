"""`recsys-tft refresh`."""

import argparse
import json
from collections.abc import Sequence

from recsys_tft import libraries

EXAMPLE = """example:
  recsys-tft refresh --output-dir out --data-dir data/2025-03-02
  recsys-tft refresh --output-dir out --data-dir data/2025-03-02 --overwrite
  recsys-tft refresh --output-dir gs://bucket/out --data-dir gs://bucket/2025-03-02 --config dataflow \\
    --project=my-project --region=europe-west1 --temp_location=gs://bucket/temp

The period is an output of its own, OUTPUT_DIR/periods/NAME, with its rows in processed_data/*/train. Every option that
is not listed here goes to Apache Beam, as with `recsys-tft run`."""
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
    parser.add_argument("--name", metavar="NAME", help="of the period (default: the name of the folder --data-dir)")
    text = "YAML whose section `beam` says where the job runs; all other settings are those of the run"
    parser.add_argument("--config", metavar="FILE", help=text)
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: as for a run)")
    parser.add_argument("--overwrite", action="store_true", help="make the last period again")
    parser.add_argument("--no-wait", action="store_true", help="leave when Dataflow has got the job")


def refresh(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Make the rows of a new period."""
    from recsys_tft import refreshing
    from recsys_tft.commands import ready
    from recsys_tft.commands.summary import submission, summary
    from recsys_tft.configuration import settings
    from recsys_tft.progress import Progress
    from recsys_tft.storage.files import is_local

    ready.within("--workers", options.workers, 1, _MOST_WORKERS)
    ready.folder("--config", options.config)
    with libraries.quietly(options.debug):  # what is wrong is an error before TensorFlow is loaded
        refreshing.check(options.output_dir, options.data_dir)
        chosen = ready.run_there(options.output_dir)["settings"] if is_local(options.output_dir) else {}
        configured = () if options.config is None else settings.load(options.config).beam_arguments
    beam_args = (*configured, *rest)
    if options.is_process and is_local(options.output_dir) and chosen.get("features") is None:
        libraries.arrow_without_pandas()
    arguments = (options.output_dir, options.data_dir, json.dumps(chosen))
    is_here = not beam_args and not any("://" in text for text in arguments)
    needless = (*libraries.UNUSED, *(libraries.CLOUD if is_here else ())) if options.is_process else ()
    with Progress() as progress:
        progress.say("Loading TensorFlow and Beam")
        libraries.load("recsys_tft.beam_pipelines.run", options.debug, needless)
        keywords = {"name": options.name, "overwrite": options.overwrite, "say": progress.say, "beam_args": beam_args}
        if options.no_wait:
            submitted = refreshing.submit(options.output_dir, options.data_dir, **keywords)
            progress.console.print(submission(submitted), soft_wrap=True)
            return 0
        result = refreshing.refresh(options.output_dir, options.data_dir, workers=options.workers, **keywords)
    progress.console.print(summary(result.manifest, result.output, result.seconds))
    return 0
