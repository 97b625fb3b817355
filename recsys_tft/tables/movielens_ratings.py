"""Code shared by the MovieLens data sets: ratings with stars and seconds, titles that end in a year."""

import polars as pl

from recsys_tft.tables import public_tables
from recsys_tft.tables.line_checks import Checked

LIKED_RATING = 4.0  # of 5 stars
LAST_SECOND = 253_402_300_799  # of the year 9999
PAPER = """\
In publications cite F. Maxwell Harper and Joseph A. Konstan (2015), The MovieLens Datasets: History and Context, ACM
TiiS 5(4), https://doi.org/10.1145/2827872."""


def interactions(file: Checked, rows: pl.DataFrame, liked_from: float, lowest: float = 1) -> pl.DataFrame:
    """One event per rating, in the file's order: a like, or a watch of unknown length where it has fewer stars.

    Args:
        file: where the rows come from.
        rows: user_id, video_id, rating and timestamp as text.
        liked_from: the least stars of a like.
        lowest: the least number of stars in the data set.

    Raises:
        InputError: at the first line where one of the four is not valid.
    """
    rows = file.integers(rows, "user_id", "video_id", "timestamp")
    file.check(rows, pl.col("timestamp").is_between(0, LAST_SECOND), "a timestamp in seconds since 1970")
    rating = pl.col("rating").cast(pl.Float64, strict=False)
    file.check(rows, rating.is_between(lowest, 5), f"a rating from {lowest:g} to 5")
    return rows.select(
        "user_id",
        "video_id",
        pl.from_epoch("timestamp", "s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("interaction_time"),
        pl.when(rating >= liked_from).then(pl.lit("like")).otherwise(pl.lit("watch")).alias("interaction_type"),
        pl.lit(None, pl.Float32).alias("watch_time"),
    )


def title() -> pl.Expr:
    """The title without its year."""
    return pl.col("title").str.strip_chars().str.replace(r"\s*\(\d{4}\)$", "")


def titles_year() -> pl.Expr:
    """The first of January of the year at the end of the title; null without one."""
    return public_tables.new_year(pl.col("title").str.extract(r"\((\d{4})\)\s*$"))
