"""Reads the rows of the main job: whole columns as arrays, shuffled batches for tf.data, counts of tokens."""

import functools
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.errors import InputError
from recsys_tft.reading.rows import Rows
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.training import row_blocks

if TYPE_CHECKING:
    import tensorflow as tf


class Joined(DataFolder):
    """The rows of several folders with the same columns, in order; damage is reported with its file.

    Args:
        folders: one, several or none.
        schema: the folder whose schema is used; by default the first.
    """

    def __init__(self, folders: Sequence[DataFolder], schema: DataFolder | None = None):
        super().__init__((schema or folders[0]).path)
        self._folders = folders

    @functools.cached_property
    def files(self) -> list[str]:
        """The shards of all folders."""
        return [file for folder in self._folders for file in folder.files]


def columns(folder: DataFolder, names: Sequence[str]) -> dict[str, np.ndarray]:
    """All rows of a folder in order: [n, ...] by column; lists padded with 0 to the longest, text as bytes.

    Raises:
        InputError: if the folder lacks one of the columns, or a file is damaged.
    """
    return {name: row_blocks.dense(values) for name, values in _columns(folder, names).items()}


def coded_columns(folder: DataFolder, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Like `columns`, with ids as [n] int64; text ids by their codes.

    Raises:
        InputError: if the folder lacks one of the columns, or a file is damaged.
    """
    columns_read = _columns(folder, names)
    coded = {n: ids.codes_of(values) if values.type == pa.binary() else values for n, values in columns_read.items()}
    return {name: row_blocks.dense(values) for name, values in coded.items()}


def _columns(folder: DataFolder, names: Sequence[str]) -> dict[str, pa.Array]:
    spec = row_blocks.spec_of(folder, names)
    table = Rows(tuple(folder.files), tuple(spec.values())).table()
    return {name: pa.concat_arrays(_chunks(table[name])) for name in names}


def _chunks(column: pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks or [pa.array([], column.type)]


def batches(folder: DataFolder, names: Sequence[str], size: int, seed: int, shuffled: int) -> "tf.data.Dataset":
    """One epoch of shuffled batches of `size` rows, as `columns` lays them out; see `ShuffledRows`.

    Args:
        folder: the rows; TFRecord or Parquet.
        names: the columns to read; others are skipped.
        size: rows per batch.
        seed: of the order.
        shuffled: rows of the shuffle buffer.
    """
    from recsys_tft.training.shuffled_rows import ShuffledRows

    return ShuffledRows(folder, names, shuffled).epoch(size, seed)


def token_counts(folder: DataFolder, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """How often each token occurs in rows and lists, [size] int64 for each named column."""
    counts = {name: np.zeros(size, np.int64) for name, size in sizes.items()}
    spec = row_blocks.spec_of(folder, list(sizes))
    for block in Rows(tuple(folder.files), tuple(spec.values())).blocks():
        for name, tokens in zip(spec, block.columns, strict=True):
            flat = tokens.flatten() if pa.types.is_nested(tokens.type) else tokens
            counts[name] += np.bincount(flat.to_numpy(), minlength=sizes[name])
    return counts


def categories(folder: DataFolder) -> dict[str, int]:
    """The number of values of each categorical column, including 0 for missing, by the folder's schema."""
    return {
        feature.name: feature.int_domain.max + 1
        for feature in folder.schema().feature
        if feature.HasField("int_domain")
    }


def folder_of(root: str | pathlib.Path, *below: str) -> DataFolder:
    """A data folder under OUTPUT_DIR/processed_data.

    Raises:
        InputError: if the main job has not written it.
    """
    path = pathlib.Path(root, "processed_data", *below)
    if not (path / "schema.pbtxt").exists():
        raise InputError(f"{path}: there are no rows; run the main job first (recsys-tft run).")
    return DataFolder(str(path))
