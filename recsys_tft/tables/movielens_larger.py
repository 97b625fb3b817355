"""MovieLens-1M, MovieLens-20M and MovieLens latest-small as the four raw tables, from the user's folder."""

import os
import pathlib
from collections.abc import Callable

import polars as pl

from recsys_tft.tables import csv_parts, movielens_ratings, public_tables
from recsys_tft.tables.csv_parts import CsvPart
from recsys_tft.tables.line_checks import Checked
from recsys_tft.tables.text_lines import TextFile

NOTICE = f"""\
{{name}} is (c) GroupLens Research, University of Minnesota. Its README says how it may be used: not
commercially without permission.
{movielens_ratings.PAPER}"""

RATINGS = TextFile("ratings.dat", "::", ("user_id", "video_id", "rating", "timestamp"), encoding="latin-1")
MOVIES = TextFile("movies.dat", "::", ("video_id", "title", "genres"), encoding="latin-1")
USERS = TextFile("users.dat", "::", ("user_id", "gender", "age", "occupation", "zip_code"), encoding="latin-1")
NO_GENRES = "(no genres listed)"
# The middle of the age band of each code in MovieLens-1M; the last one, 56 and older, is assumed to be ten years.
AGES = {1: 14, 18: 21, 25: 29, 35: 39, 45: 47, 50: 52, 56: 60}
PAGES = {"movielens-1m": "1m", "movielens-20m": "20m", "movielens-latest-small": "latest"}

Tables = dict[str, pl.DataFrame]


def write_tables(
    name: str,
    directory: str | os.PathLike[str],
    source: str | os.PathLike[str] | None,
    liked_from: float = movielens_ratings.LIKED_RATING,
) -> None:
    """Write users, videos, channels and interactions .parquet, and print the data's notice.

    Ratings, titles and genres are converted as by `movielens.write_tables`. In MovieLens-1M a user's age is the middle
    of its band; the others have no table of users, who are those of the ratings. `tags.csv` is not read: its tags were
    given over years, and as `tags` of a video they would leak the future.

    Args:
        name: movielens-1m, movielens-20m or movielens-latest-small.
        directory: where the tables go; created if need be.
        source: the unpacked folder, with ratings.dat, users.dat and movies.dat, or ratings.csv and movies.csv.
        liked_from: 0.5 to 5 stars; from there on a rating is a `like`, a lower one a `watch` of unknown length.

    Raises:
        InputError: there is no source, a file is missing, or a line cannot be read.
    """
    public_tables.check_free(directory)
    page = f"https://grouplens.org/datasets/movielens/{PAGES[name]}/"
    names = (
        [file.name for file in (RATINGS, USERS, MOVIES)] if name == "movielens-1m" else ["ratings.csv", "movies.csv"]
    )
    files = public_tables.find_files(name, source, [(file,) for file in names], page)
    read: Callable[..., Tables] = _tables_of_1m if name == "movielens-1m" else _tables_of_csv
    tables = read(*files, liked_from)
    public_tables.write(directory, tables)
    print(NOTICE.format(name=name))


def _tables_of_1m(ratings: pathlib.Path, users: pathlib.Path, movies: pathlib.Path, liked_from: float) -> Tables:
    return {
        "interactions": movielens_ratings.interactions(RATINGS, RATINGS.rows(ratings.read_bytes()), liked_from),
        "videos": _videos(MOVIES, MOVIES.rows(movies.read_bytes())),
        "users": _users(USERS.rows(users.read_bytes())),
    }


def _users(rows: pl.DataFrame) -> pl.DataFrame:
    rows = USERS.integers(rows, "user_id", "age")
    USERS.check(rows, pl.col("age").is_in(list(AGES)), f"an age out of {', '.join(map(str, AGES))}")
    return rows.select("user_id", pl.col("age").replace_strict(AGES, return_dtype=pl.Int64))


def _tables_of_csv(ratings: pathlib.Path, movies: pathlib.Path, liked_from: float) -> Tables:
    def rated(part: CsvPart, rows: pl.DataFrame) -> pl.DataFrame:
        rows = rows.rename({"userId": "user_id", "movieId": "video_id"})
        return movielens_ratings.interactions(part, rows, liked_from, lowest=0.5)

    def film(part: CsvPart, rows: pl.DataFrame) -> pl.DataFrame:
        return _videos(part, rows.rename({"movieId": "video_id"}))

    interactions = csv_parts.read(ratings, ("userId", "movieId", "rating", "timestamp"), rated)
    return {
        "interactions": interactions,
        "videos": csv_parts.read(movies, ("movieId", "title", "genres"), film),
        "users": interactions.select(pl.col("user_id").unique().sort()),
    }


def _videos(file: Checked, rows: pl.DataFrame) -> pl.DataFrame:
    """The videos, whose genres stand between bars; none of them is a value of its own in the CSV files."""
    rows = file.integers(rows, "video_id")
    file.check(rows, pl.col("genres").is_not_null(), f"genres between |, or {NO_GENRES}")
    genres = pl.col("genres").str.split("|").list.filter(~pl.element().is_in(["", NO_GENRES]))
    return public_tables.with_genres(
        rows.select(
            "video_id",
            movielens_ratings.title(),
            genres.alias("tags"),
            movielens_ratings.titles_year().alias("published_at"),
        )
    )
