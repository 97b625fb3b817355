"""`recsys-tft vectors`. Like `cli.py`, this module imports nothing that `--help` does not need."""

import argparse
import importlib
from collections.abc import Sequence

from recsys_tft import libraries

STORES = ("pinecone", "vertex", "milvus", "qdrant", "lancedb", "parquet")

EXAMPLE = """example:
  recsys-tft vectors qdrant --output-dir output --to vectors/qdrant
  recsys-tft vectors parquet --output-dir out --to vectors --metadata category video_language --overwrite

The vectors are those of the exported retrieval model; the query tower of the same version makes the query vector.
docs/vectors.md shows how to load them into each store."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("store", choices=STORES, help="the vector store")
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of the export (default: output)")
    parser.add_argument("--to", required=True, metavar="DIR", help="the new folder")
    parser.add_argument(
        "--metadata", nargs="*", metavar="COLUMN",
        help="columns of videos for filters (default: texts, lists of texts, booleans, times and ids)",
    )  # fmt: skip
    parser.add_argument("--version", type=int, metavar="N", help="version of the export (default: the newest)")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder made by this command")


def vectors(options: argparse.Namespace, _: Sequence[str]) -> int:
    """The vectors of all videos."""
    from recsys_tft.commands import ready
    from recsys_tft.progress import Progress

    ready.local_folder("--to", options.to)
    ready.export_there(options.output_dir, options.version, None)
    with Progress() as progress:
        progress.say("Loading TensorFlow")
        libraries.load("tensorflow", options.debug, libraries.UNSERVED)
        module = importlib.import_module("recsys_tft.stores.vectors")
        done = module.write(
            options.output_dir, options.store, options.to, options.metadata, options.version, options.overwrite,
            progress.say,
        )  # fmt: skip
    index = done.description
    print(f"Vectors: {done.count:,} of {index['dimension']} numbers in {done.folder}, for {index['format']}")
    print(f"Version {index['version']} of the export, as of {index['as_of']}; compared by {index['metric']}")
    return 0
