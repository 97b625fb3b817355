"""Code shared by converters of public data sets to the four raw tables."""

import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError, UsageError
from recsys_tft.storage.temporary import temporary_folder
from recsys_tft.storage.version_folders import take_place

TIME = pl.Datetime("us", "UTC")


def find_files(
    data_set: str, source: str | os.PathLike[str] | None, files: Sequence[Sequence[str]], page: str
) -> tuple[pathlib.Path, ...]:
    """The files of a data set that is not downloaded; for each the first of its names that exists.

    Raises:
        InputError: naming all missing files, or without a source the page of the data set.
    """
    names = ", ".join(" or ".join(file) for file in files)
    if source is None:
        raise UsageError(
            f"{data_set} is not downloaded by this command: get it from {page} and name the unpacked folder, with "
            f"{names}, by --source."
        )
    folder = pathlib.Path(source)
    if not folder.is_dir():
        raise InputError(f"The {data_set} source {folder} is not a folder; expected one with {names}.")
    there = [next((folder / name for name in file if (folder / name).is_file()), None) for file in files]
    if missing := [" or ".join(file) for file, path in zip(files, there, strict=True) if path is None]:
        raise InputError(f"The {data_set} source {folder} lacks {', '.join(missing)}; expected all of {names}.")
    return tuple(path for path in there if path is not None)


def check_free(directory: str | os.PathLike[str]) -> None:
    """Refuse a folder for tables whose name is taken by a file."""
    path = pathlib.Path(directory).resolve()
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a folder to write the tables to.")


def write(directory: str | os.PathLike[str], tables: Mapping[str, pl.DataFrame]) -> None:
    """Write these tables, and channels without a row.

    They replace earlier tables in one step, unless the folder holds more or is, or is above, the working directory.

    Args:
        directory: where they go; created if need be.
        tables: users, videos and interactions, of columns of the default table, whose types they take.

    Raises:
        InputError: `directory` is a file.
    """
    check_free(directory)
    directory, cwd = pathlib.Path(directory).resolve(), pathlib.Path.cwd()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(directory.parent, f".{directory.name}-recsys_tft-") as beside:
        made = pathlib.Path(beside, "made")
        made.mkdir()
        tables = {**tables, "channels": pl.DataFrame(schema={"channel_id": pl.Int64})}
        for name, table in tables.items():
            pq.write_table(_typed(name, table), made / f"{name}.parquet")
        own = {f"{name}.parquet" for name in tables}
        if not directory.exists():
            made.rename(directory)
        elif {path.name for path in directory.iterdir()} <= own and directory not in (cwd, *cwd.parents):
            shutil.copymode(directory, made)
            take_place(made, directory, pathlib.Path(beside, "replaced"))
        else:
            for name in tables:
                (made / f"{name}.parquet").replace(directory / f"{name}.parquet")


def _typed(table: str, rows: pl.DataFrame) -> pa.Table:
    columns = DEFAULT.columns_of(table)
    return rows.to_arrow().cast(pa.schema([(name, columns[name].type) for name in rows.columns]))


def with_genres(videos: pl.DataFrame) -> pl.DataFrame:
    """The videos with category and child_categories from their tags, and dates as midnight UTC."""
    return videos.with_columns(
        pl.col("title").replace("", None),
        pl.col("tags").list.first().alias("category"),
        pl.col("tags").list.slice(1).alias("child_categories"),
        pl.col("published_at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )


def new_year(year: pl.Expr) -> pl.Expr:
    """The first of January of a year given as text; null for an implausible year."""
    number = year.cast(pl.Float64, strict=False).cast(pl.Int32, strict=False)
    return pl.date(pl.when(number.is_between(1800, 2200)).then(number), 1, 1)
