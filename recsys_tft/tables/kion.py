"""KION, viewings of a video streaming service, as the four raw tables, from the user's folder."""

import os

import polars as pl

from recsys_tft.tables import csv_parts, public_tables
from recsys_tft.tables.csv_parts import CsvPart

PAGE = "https://github.com/irsafilo/KION_DATASET"
NOTICE = f"KION is a data set of MTS; {PAGE} says how it may be used."
# The English translation of users and items has files of other names.
FILES = (("interactions.csv",), ("users.csv", "users_en.csv"), ("items.csv", "items_en.csv"))
LEAST_WATCHED = 25  # percent; shorter viewings are not used to estimate durations
OPEN_BAND = 10  # assumed years of the last band, 65 and older


def write_tables(directory: str | os.PathLike[str], source: str | os.PathLike[str] | None) -> None:
    """Write users, videos, channels and interactions .parquet, and print where the data come from.

    - A row of interactions is a `watch` at midnight UTC of its `last_watch_dt`, as no time of day is known; its
      `watch_time` is `total_dur`, in seconds.
    - `video_duration` is an estimate: the median of `total_dur * 100 / watched_pct` over the video's viewings with
      `total_dur` above 0 and a `watched_pct` of 25 or more; missing where there is none. It is the video's length and
      not a count, and so taken over all time.
    - `age` is the middle of a band, rounded down (age_25_34: 29); of age_65_inf that of ten years, 69. Users without a
      row of their own get one, with a missing age.
    - `title` is the title as the file has it, in Russian or in English, else `title_orig`. The first of `genres` is
      the category, the others child categories, all of them tags. `published_at` is the first of January of
      `release_year`.
    - The default feature table has no columns for income, sex, kids_flg, content_type, countries, for_kids,
      age_rating, studios, directors, actors, keywords and description, which are left out.

    Args:
        directory: where the tables go; created if need be.
        source: a folder with interactions.csv, users.csv and items.csv; or users_en.csv and items_en.csv.

    Raises:
        InputError: there is no source, a file is missing, or a line cannot be read.
    """
    public_tables.check_free(directory)
    interactions, users, items = public_tables.find_files("kion", source, FILES, PAGE)
    watched = csv_parts.read(
        interactions, ("user_id", "item_id", "last_watch_dt", "total_dur", "watched_pct"), _interactions
    )
    videos = csv_parts.read(items, ("item_id", "title", "title_orig", "release_year", "genres"), _videos)
    tables = {
        "interactions": watched.drop("watched_pct"),
        "videos": videos.join(_durations(watched), on="video_id", how="left", maintain_order="left"),
        "users": _with_all(csv_parts.read(users, ("user_id", "age"), _users), watched),
    }
    public_tables.write(directory, tables)
    print(NOTICE)


def _interactions(part: CsvPart, rows: pl.DataFrame) -> pl.DataFrame:
    """The viewings, in the file's order, with watched_pct."""
    rows = part.integers(rows, "user_id", "item_id")
    day = pl.col("last_watch_dt").str.to_date("%Y-%m-%d", strict=False)
    part.check(rows, day.dt.year().is_between(1970, 2199), "a last_watch_dt such as 2021-05-11")
    seconds = pl.col("total_dur").cast(pl.Float64, strict=False)
    part.check(rows, seconds.is_between(0, float("inf"), closed="left"), "a total_dur of seconds, 0 or more")
    share = pl.col("watched_pct").cast(pl.Float64, strict=False)
    part.check(
        rows, pl.col("watched_pct").is_null() | share.is_between(0, 100), "a watched_pct from 0 to 100, or nothing"
    )
    return rows.select(
        "user_id",
        pl.col("item_id").alias("video_id"),
        day.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("interaction_time"),
        pl.lit("watch").alias("interaction_type"),
        seconds.alias("watch_time"),
        share,
    )


def _durations(watched: pl.DataFrame) -> pl.DataFrame:
    """video_id and video_duration, of the videos that somebody watched enough of."""
    enough = watched.filter((pl.col("watched_pct") >= LEAST_WATCHED) & (pl.col("watch_time") > 0))
    whole = pl.col("watch_time") * 100 / pl.col("watched_pct")
    return enough.group_by("video_id").agg(whole.median().alias("video_duration"))


def _users(part: CsvPart, rows: pl.DataFrame) -> pl.DataFrame:
    rows = part.integers(rows, "user_id")
    band = pl.col("age").str.extract_groups(r"^age_(\d{1,3})_(\d{1,3}|inf)$")
    first = band.struct.field("1").cast(pl.Int64)
    last = band.struct.field("2").cast(pl.Int64, strict=False).fill_null(first + OPEN_BAND - 1)
    part.check(rows, pl.col("age").is_null() | first.is_not_null(), "an age such as age_25_34, or nothing")
    return rows.select("user_id", ((first + last) // 2).alias("age"))


def _with_all(users: pl.DataFrame, watched: pl.DataFrame) -> pl.DataFrame:
    """The users and, behind them, those of the viewings that have no row."""
    others = watched.select(pl.col("user_id").unique().sort()).join(users, on="user_id", how="anti")
    return pl.concat([users, others], how="diagonal")


def _videos(part: CsvPart, rows: pl.DataFrame) -> pl.DataFrame:
    rows = part.integers(rows, "item_id")
    year = pl.col("release_year")
    part.check(rows, year.is_null() | year.cast(pl.Float64, strict=False).is_not_null(), "a release_year, or nothing")
    genres = pl.col("genres").fill_null("").str.split(",").list.eval(pl.element().str.strip_chars())
    return public_tables.with_genres(
        rows.select(
            pl.col("item_id").alias("video_id"),
            pl.coalesce("title", "title_orig").alias("title"),
            genres.list.filter(pl.element() != "").alias("tags"),
            public_tables.new_year(year).alias("published_at"),
        )
    )
