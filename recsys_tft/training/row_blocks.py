"""Blocks of rows out of the files that the main job wrote, as arrays by column: lists padded with 0, text as bytes."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from recsys_tft import ids
from recsys_tft.errors import DAMAGE, InputError, reason
from recsys_tft.run_layout.data_folders import DataFolder

Spec = dict[str, Any]
Block = dict[str, np.ndarray]

ROWS = 1 << 14  # of a block, at most
_FILES_AT_ONCE = 8
_DAMAGE = (tf.errors.OpError, *DAMAGE)


def spec_of(folder: DataFolder, names: Sequence[str]) -> Spec:
    """How some columns are parsed.

    Raises:
        InputError: if the folder lacks one of them.
    """
    spec = folder.feature_spec()
    for name in names:
        if name not in spec:
            raise InputError(
                f"{folder.path}: the rows have no column '{name}'; run the job again with this feature table."
            )
    return {name: spec[name] for name in names}


@contextlib.contextmanager
def whole(files: Sequence[str], spec: Spec) -> Iterator[None]:
    """Names the file among those that the block reads that turns out to be damaged.

    Raises:
        InputError: if there is one.
    """
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        file = next((file for file in files if not _is_whole(file, spec)), ", ".join(files))
        remedy = "run the main job again, with --overwrite"
        raise InputError(f"{file}: the rows cannot be read ({reason(error)}); {remedy}.") from error


def _is_whole(file: str, spec: Spec) -> bool:
    try:
        for _ in in_order([file], spec):
            pass
    except _DAMAGE:
        return False
    return True


def in_order(files: Sequence[str], spec: Spec, rows: int = ROWS) -> Iterator[Block]:
    """All rows of TFRecord or of Parquet files; a block of the former may reach into the next file."""
    if files and files[0].endswith(".parquet"):
        return _parquet(files, spec, rows)
    records = tf.data.TFRecordDataset(files, num_parallel_reads=None, buffer_size=1 << 22).batch(rows)
    parsed = records.map(lambda batch: _parsed(batch, spec), num_parallel_calls=tf.data.AUTOTUNE)
    return parsed.prefetch(2).as_numpy_iterator()


def alternating(files: Sequence[str], spec: Spec, rows: int = ROWS) -> Iterator[Block]:
    """The same rows, a block of each of some files in turn; the next file begins where one ends."""
    waiting = list(reversed(files))
    opened = [in_order([waiting.pop()], spec, rows) for _ in files[:_FILES_AT_ONCE]]
    while opened:
        for file in tuple(opened):
            block = next(file, None)
            if block is not None:
                yield block
                continue
            opened.remove(file)
            if waiting:
                opened.append(in_order([waiting.pop()], spec, rows))


def coded(block: Block) -> Block:
    """The block with the int64 codes of ids in the place of columns of text."""
    return {name: _codes(values) if values.dtype == object else values for name, values in block.items()}


def _codes(texts: np.ndarray) -> np.ndarray:
    """[n] int64 of [n] bytes."""
    return ids.codes_of(pa.array(texts, pa.binary())).to_numpy()


def stacked(blocks: Sequence[Block], spec: Spec) -> Block:
    """All rows of some blocks, [n, ...] by column; lists as wide as the longest."""
    return {name: _stacked([block[name] for block in blocks], kind) for name, kind in spec.items()}


def widened(lists: np.ndarray, width: int) -> np.ndarray:
    """[n, at most `width`] lists, padded with 0 to [n, width]; scalars [n] as they are."""
    missing = width - lists.shape[1] if lists.ndim == 2 else 0
    return np.pad(lists, ((0, 0), (0, missing))) if missing > 0 else lists


def _parsed(batch: tf.Tensor, spec: Spec) -> dict[str, tf.Tensor]:
    parsed = tf.io.parse_example(batch, spec)
    return {
        name: tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
        for name, value in parsed.items()
    }


def _parquet(files: Sequence[str], spec: Spec, rows: int) -> Iterator[Block]:
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(rows, columns=list(spec)):
                yield {name: _dense(batch.column(name)) for name in spec}


def _dense(values: pa.Array) -> np.ndarray:
    """Arrow values as an array; lists padded with 0."""
    if not pa.types.is_list(values.type) and not pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.binary()) if pa.types.is_string(values.type) else values
        return values.to_numpy(zero_copy_only=False)
    flat = values.flatten().to_numpy()
    if pa.types.is_fixed_size_list(values.type):
        return flat.reshape(len(values), -1)
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    padded = np.zeros((len(values), int(lengths.max(initial=0))), flat.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded


def _stacked(parts: list[np.ndarray], kind: Any) -> np.ndarray:
    if not parts:
        shape = (0, 0) if isinstance(kind, tf.io.VarLenFeature) else (0, *kind.shape)
        return np.zeros(shape, kind.dtype.as_numpy_dtype)
    width = max(part.shape[-1] for part in parts)
    return np.concatenate([widened(part, width) for part in parts])
