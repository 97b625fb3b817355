"""Reads the rows that the main job wrote: whole columns as arrays, shuffled batches for tf.data, counts of tokens."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from recsys_tft.errors import InputError
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.training import row_blocks
from recsys_tft.training.shuffled_rows import ShuffledRows


def columns(folder: DataFolder, names: Sequence[str]) -> dict[str, np.ndarray]:
    """All rows of a folder in their order: [n, ...] by column; lists padded with 0 to the longest, text as bytes.

    Raises:
        InputError: if the folder lacks one of the columns.
    """
    spec = row_blocks.spec_of(folder, names)
    with row_blocks.whole(folder.files, spec):
        return row_blocks.stacked(list(row_blocks.in_order(folder.files, spec)), spec)


def coded_columns(folder: DataFolder, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The same with ids as [n] int64: of ids that are text their codes, by which the run told them apart.

    Raises:
        InputError: if the folder lacks one of the columns.
    """
    spec = row_blocks.spec_of(folder, names)
    with row_blocks.whole(folder.files, spec):
        blocks = list(map(row_blocks.coded, row_blocks.in_order(folder.files, spec)))
        return row_blocks.coded(row_blocks.stacked(blocks, spec))


def batches(folder: DataFolder, names: Sequence[str], size: int, seed: int, shuffled: int) -> tf.data.Dataset:
    """One epoch of shuffled batches of `size` rows, as `columns` lays them out; see `ShuffledRows`.

    Args:
        folder: the rows; TFRecord or Parquet.
        names: the columns to parse; others are skipped.
        size: rows per batch.
        seed: of the order.
        shuffled: rows that are held in memory, among which the next is drawn.
    """
    return ShuffledRows(folder, names, shuffled).epoch(size, seed)


def token_counts(folder: DataFolder, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """For each named column of tokens [size] int64, how often each token occurs; 0 is also the padding of lists."""
    counts = {name: np.zeros(size, np.int64) for name, size in sizes.items()}
    spec = row_blocks.spec_of(folder, list(sizes))
    with row_blocks.whole(folder.files, spec):
        for block in row_blocks.in_order(folder.files, spec):
            for name, tokens in block.items():
                counts[name] += np.bincount(tokens.ravel(), minlength=sizes[name])
    return counts


def categories(folder: DataFolder) -> dict[str, int]:
    """How many values each categorical column may have, 0 for missing included, by the folder's schema."""
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
        raise InputError(f"{path}: nothing has been written there yet; run the main job first (recsys-tft run).")
    return DataFolder(str(path))
