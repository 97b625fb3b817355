"""Reads the rows that the main job wrote: shuffled batches for tf.data, or whole columns as arrays."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from recsys_tft.data_folders import DataFolder
from recsys_tft.errors import InputError

_ROWS_PER_READ = 1 << 14
_FILES_AT_ONCE = 8


def columns(folder: DataFolder, names: Sequence[str]) -> dict[str, np.ndarray]:
    """All rows of a folder in their order: [n, ...] by column; lists padded with 0 to the longest.

    Raises:
        InputError: if the folder lacks one of the columns.
    """
    spec = _spec(folder, names)
    parts = [{name: np.asarray(values) for name, values in batch.items()} for batch in _in_order(folder, spec)]
    return {name: _stacked([part[name] for part in parts], spec[name]) for name in spec}


def batches(folder: DataFolder, names: Sequence[str], size: int, seed: int, shuffled: int) -> tf.data.Dataset:
    """Endless epochs of shuffled batches of `size` rows, as `columns` lays them out; each epoch in another order.

    An epoch has floor(rows / size) batches. All epochs are drawn from `seed`, so that a run can be repeated.

    Args:
        folder: the rows; TFRecord or Parquet.
        names: the columns to parse; others are skipped.
        size: rows per batch.
        seed: of the order.
        shuffled: rows among which the next is drawn.
    """
    spec = _spec(folder, names)
    if _is_parquet(folder):
        rows = tf.data.Dataset.from_generator(
            lambda: _parquet(folder, spec), output_signature={name: _signature(s) for name, s in spec.items()}
        )
        return rows.unbatch().shuffle(shuffled, seed=seed).padded_batch(size, drop_remainder=True)
    files = tf.data.Dataset.from_tensor_slices(folder.files).shuffle(len(folder.files), seed=seed)
    records = files.interleave(
        lambda file: tf.data.TFRecordDataset(file, buffer_size=1 << 20), cycle_length=_FILES_AT_ONCE, block_length=64
    )
    records = records.shuffle(shuffled, seed=seed).batch(size, drop_remainder=True)
    return records.map(lambda batch: _parsed(batch, spec), num_parallel_calls=tf.data.AUTOTUNE)


def token_counts(folder: DataFolder, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """For each named column of tokens [size] int64, how often each token occurs; 0 is also the padding of lists."""
    counts = {name: np.zeros(size, np.int64) for name, size in sizes.items()}
    for batch in _in_order(folder, _spec(folder, list(sizes))):
        for name, tokens in batch.items():
            counts[name] += np.bincount(np.asarray(tokens).ravel(), minlength=sizes[name])
    return counts


def count(folder: DataFolder) -> int:
    """How many rows a folder has."""
    if _is_parquet(folder):
        return sum(pq.read_metadata(file).num_rows for file in folder.files)
    records = tf.data.TFRecordDataset(folder.files, num_parallel_reads=None).batch(_ROWS_PER_READ)
    return sum(int(batch.shape[0]) for batch in records)


def categories(folder: DataFolder) -> dict[str, int]:
    """How many values each categorical column may have, 0 for missing included, by the folder's schema."""
    return {
        feature.name: feature.int_domain.max + 1
        for feature in folder.schema().feature
        if feature.HasField("int_domain")
    }


def _spec(folder: DataFolder, names: Sequence[str]) -> dict[str, Any]:
    spec = folder.feature_spec()
    for name in names:
        if name not in spec:
            raise InputError(
                f"{folder.path}: the rows have no column '{name}'; run the job again with this feature table."
            )
    return {name: spec[name] for name in names}


def _is_parquet(folder: DataFolder) -> bool:
    return bool(folder.files) and folder.files[0].endswith(".parquet")


def _in_order(folder: DataFolder, spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if _is_parquet(folder):
        return _parquet(folder, spec)
    records = tf.data.TFRecordDataset(folder.files, num_parallel_reads=None, buffer_size=1 << 22).batch(_ROWS_PER_READ)
    parsed = records.map(lambda batch: _parsed(batch, spec), num_parallel_calls=tf.data.AUTOTUNE)
    return parsed.prefetch(2).as_numpy_iterator()


def _parsed(batch: tf.Tensor, spec: dict[str, Any]) -> dict[str, tf.Tensor]:
    parsed = tf.io.parse_example(batch, spec)
    return {
        name: tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
        for name, value in parsed.items()
    }


def _parquet(folder: DataFolder, spec: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    for file in folder.files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_ROWS_PER_READ, columns=list(spec)):
                yield {name: _dense(batch.column(name)) for name in spec}


def _dense(values: pa.Array) -> np.ndarray:
    """Arrow values as an array; lists padded with 0."""
    if not pa.types.is_list(values.type) and not pa.types.is_fixed_size_list(values.type):
        return values.to_numpy(zero_copy_only=False)
    flat = values.flatten().to_numpy()
    if pa.types.is_fixed_size_list(values.type):
        return flat.reshape(len(values), -1)
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    padded = np.zeros((len(values), int(lengths.max(initial=0))), flat.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded


def _signature(spec: Any) -> tf.TensorSpec:
    shape = [None] if isinstance(spec, tf.io.VarLenFeature) else list(spec.shape)
    return tf.TensorSpec([None, *shape], spec.dtype)


def _stacked(parts: list[np.ndarray], spec: Any) -> np.ndarray:
    if not parts:
        shape = (0, 0) if isinstance(spec, tf.io.VarLenFeature) else (0, *spec.shape)
        return np.zeros(shape, spec.dtype.as_numpy_dtype)
    if isinstance(spec, tf.io.VarLenFeature):
        width = max(part.shape[1] for part in parts)
        parts = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
    return np.concatenate(parts)


def folder_of(root: str | pathlib.Path, *below: str) -> DataFolder:
    """A data folder under OUTPUT_DIR/processed_data.

    Raises:
        InputError: if the main job has not written it.
    """
    path = pathlib.Path(root, "processed_data", *below)
    if not (path / "schema.pbtxt").is_file():
        raise InputError(f"{path}: nothing has been written there yet; run the main job first (recsys-tft run).")
    return DataFolder(str(path))
