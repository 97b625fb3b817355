"""Blocks of rows from the files of the main job, as arrays by column: lists padded with 0, text as bytes."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError
from recsys_tft.reading.batches import alternating as in_turn
from recsys_tft.reading.columns import Column
from recsys_tft.reading.rows import Rows
from recsys_tft.run_layout.data_folders import DataFolder

Spec = dict[str, Column]
Block = dict[str, np.ndarray]

ROWS = 1 << 14  # of a block, at most
_FILES_AT_ONCE = 8


def spec_of(folder: DataFolder, names: Sequence[str]) -> Spec:
    """The feature specs of some columns.

    Raises:
        InputError: if the folder lacks one of them.
    """
    columns = folder.columns()
    for name in names:
        if name not in columns:
            raise InputError(
                f"{folder.path}: the rows have no column '{name}'; run the job again with this feature table."
            )
    return {name: columns[name] for name in names}


def in_order(files: Sequence[str], spec: Spec, rows: int = ROWS, threads: int = 2) -> Iterator[Block]:
    """All rows of TFRecord or Parquet files; a block may span files.

    Raises:
        InputError: naming a damaged file.
    """
    read = Rows(tuple(files), tuple(spec.values()), batch_size=rows, threads=threads)
    return ({name: dense(batch.column(name)) for name in spec} for batch in read.arrow())


def alternating(files: Sequence[str], spec: Spec, rows: int = ROWS) -> Iterator[Block]:
    """All rows, in blocks from several files in turn; a finished file is replaced by the next one."""
    return in_turn([in_order([file], spec, rows, threads=1) for file in files], _FILES_AT_ONCE)


def dense(values: pa.Array) -> np.ndarray:
    """[n, ...] values; lists padded with 0 to the longest."""
    if pa.types.is_fixed_size_list(values.type):
        return values.flatten().to_numpy().reshape(len(values), values.type.list_size)
    if not pa.types.is_list(values.type):
        return values.to_numpy(zero_copy_only=False)
    flat, lengths = values.flatten().to_numpy(), np.diff(values.offsets.to_numpy())
    padded = np.zeros((len(values), int(lengths.max(initial=0))), flat.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded


def stacked(blocks: Sequence[Block], spec: Spec) -> Block:
    """Concatenate blocks, [n, ...] by column; lists are as wide as the longest."""
    return {name: _stacked([block[name] for block in blocks], column) for name, column in spec.items()}


def widened(lists: np.ndarray, width: int) -> np.ndarray:
    """Pad [n, at most `width`] lists with 0 to [n, width]; [n] scalars stay."""
    missing = width - lists.shape[1] if lists.ndim == 2 else 0
    return np.pad(lists, ((0, 0), (0, missing))) if missing > 0 else lists


def _stacked(parts: list[np.ndarray], column: Column) -> np.ndarray:
    if not parts:
        return np.zeros((0, 0) if column.shape is None else (0, *column.shape), column.dtype)
    width = max(part.shape[-1] for part in parts)
    return np.concatenate([widened(part, width) for part in parts])
