"""The command `dataset`."""

import argparse
import shlex
from collections.abc import Sequence

from recsys_tft.errors import UsageError

NAMES = ("movielens-100k", "movielens-1m", "movielens-20m", "movielens-latest-small", "kion")

EXAMPLE = """example:
  recsys-tft dataset movielens-100k --data-dir data/movielens
  recsys-tft dataset movielens-20m --source ml-20m --data-dir data/movielens
  recsys-tft dataset kion --source data_original --data-dir data/kion

Only movielens-100k is downloaded. Files in the folder of the others:
  movielens-1m            ratings.dat, users.dat, movies.dat
  movielens-20m           ratings.csv, movies.csv
  movielens-latest-small  ratings.csv, movies.csv
  kion                    interactions.csv, users.csv, items.csv (or users_en.csv, items_en.csv)"""


def add(parser: argparse.ArgumentParser) -> None:
    """The options of `dataset`."""
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=f"the data set: {', '.join(NAMES)}")
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="folder for users.parquet and so on")
    parser.add_argument(
        "--source", metavar="DIR", help="folder of the original files; without it movielens-100k is downloaded with pip"
    )
    parser.add_argument(
        "--liked-from", type=float, choices=[half / 2 for half in range(1, 11)], metavar="STARS",
        help="MovieLens: the lowest rating, 0.5 to 5, that counts as a like (default: 4)",
    )  # fmt: skip


def dataset(options: argparse.Namespace, _: Sequence[str]) -> int:
    """A public data set as raw tables."""
    from recsys_tft.commands import ready

    ready.folder("--source", options.source)
    ready.folder("--data-dir", options.data_dir)
    _write(options.name, options.data_dir, options.source, options.liked_from)
    print(f"Wrote users, videos, channels and interactions to {options.data_dir}.")
    config = "kion" if options.name == "kion" else "movielens"
    print(f"Next: recsys-tft run --data-dir {shlex.quote(options.data_dir)} --output-dir out --config {config}")
    return 0


def _write(name: str, data_dir: str, source: str | None, liked_from: float | None) -> None:
    from recsys_tft.tables import kion, movielens, movielens_larger

    if name == "kion":
        if liked_from is not None:
            raise UsageError("--liked-from is for ratings, and kion has none.")
        kion.write_tables(data_dir, source)
        return
    options = {} if liked_from is None else {"liked_from": liked_from}
    if name == "movielens-100k":
        movielens.write_tables(data_dir, source, **options)
    else:
        movielens_larger.write_tables(name, data_dir, source, **options)
