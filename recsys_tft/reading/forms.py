"""Output formats of rows: NumPy, tf.data and PyTorch, each independent of the others."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys_tft import libraries
from recsys_tft.errors import InputError
from recsys_tft.reading.columns import Column

if TYPE_CHECKING:
    import tensorflow as tf


_SAMPLE = 256  # texts that are checked for repetition


class Lists(NamedTuple):
    """Lists of any length, one per row.

    Attributes:
        values: concatenated over all rows.
        offsets: [rows + 1] int64, of each row's values.
    """

    values: Any
    offsets: Any


def numpy_batch(batch: pa.RecordBatch, columns: Sequence[Column]) -> dict[str, np.ndarray | Lists]:
    """[rows, ...] arrays by column, views of the batch if possible: text as bytes, lists as Lists."""
    return {column.name: _array(batch.column(i), column) for i, column in enumerate(columns)}


def _array(values: pa.Array, column: Column) -> np.ndarray | Lists:
    if column.shape is None:
        offsets = values.offsets.to_numpy().astype(np.int64)
        return Lists(_flat(values.flatten(), column), offsets - offsets[0])
    if column.shape:
        return _flat(values.flatten(), column).reshape(len(values), *column.shape)
    return _flat(values, column)


def _flat(values: pa.Array, column: Column) -> np.ndarray:
    if column.type != pa.binary():
        return values.to_numpy()
    if len(values.slice(0, _SAMPLE).unique()) > _SAMPLE // 8:
        return values.to_numpy(zero_copy_only=False)
    coded = values.dictionary_encode()  # one object per distinct text
    return coded.dictionary.to_numpy(zero_copy_only=False).take(coded.indices.to_numpy())


def torch_batch(batch: pa.RecordBatch, columns: Sequence[Column]) -> dict[str, Any]:
    """[rows, ...] tensors by column, lists as Lists of tensors.

    Raises:
        InputError: if a column is text, which torch does not support.
    """
    import torch

    if texts := [column.name for column in columns if column.type == pa.binary()]:
        raise InputError(f"The column '{texts[0]}' is text, which torch tensors cannot hold; leave it out of columns.")

    def tensor(values: np.ndarray) -> Any:
        return torch.from_numpy(values.copy())  # Arrow's memory is read-only

    arrays = numpy_batch(batch, columns)
    return {
        name: Lists(*map(tensor, values)) if isinstance(values, Lists) else tensor(values)
        for name, values in arrays.items()
    }


def tf_dataset(
    batches: Callable[[], Iterator[pa.RecordBatch]], columns: Sequence[Column], size: int | None
) -> "tf.data.Dataset":
    """A dataset of batches: [size, ...] tensors by column, lists as RaggedTensors.

    Args:
        batches: starts a pass over the rows.
        columns: of the rows.
        size: of every batch, if all are equal.
    """
    with libraries.first_import():
        import tensorflow as tf

    kinds = {pa.int64(): tf.int64, pa.float32(): tf.float32, pa.binary(): tf.string}

    def signature(column: Column) -> "tf.TypeSpec":
        if column.shape is None:
            return tf.RaggedTensorSpec([size, None], kinds[column.type], ragged_rank=1)
        return tf.TensorSpec([size, *column.shape], kinds[column.type])

    def tensor(values: np.ndarray | Lists) -> Any:
        return tf.RaggedTensor.from_row_splits(*values, validate=False) if isinstance(values, Lists) else values

    def generate() -> Iterator[dict[str, Any]]:
        for batch in batches():
            yield {name: tensor(values) for name, values in numpy_batch(batch, columns).items()}

    return tf.data.Dataset.from_generator(
        generate, output_signature={column.name: signature(column) for column in columns}
    )
