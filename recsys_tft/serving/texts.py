"""Strings for a graph without a Python object each, as a request has thousands."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


class Texts:
    """An array of strings in one buffer; `numpy.asarray` converts it to objects of bytes.

    Args:
        data: uint8, with a zero after each string, as StringLower of UTF-8 reads up to it, and one at the end.
        starts: int64, of any shape: offset of each string.
        sizes: int64, of the same shape: bytes of each string.

    Attributes:
        dtype: object.
        shape: of the array.
        size: number of strings.
    """

    dtype = np.dtype(object)

    def __init__(self, data: np.ndarray, starts: np.ndarray, sizes: np.ndarray):
        self.data, self.starts, self.sizes = data, starts, sizes

    @classmethod
    def of_arrow(cls, array: pa.Array) -> "Texts":
        """From [n] binaries or strings; null becomes ''."""
        if not pa.types.is_binary(array.type) and not pa.types.is_string(array.type):
            array = array.cast(pa.binary())
        if not len(array):
            return cls(np.zeros(1, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64))
        if len(array) == 1:  # as most columns of a request are
            text = array[0].as_py() or b""
            text = text.encode() if isinstance(text, str) else text
            return cls(np.frombuffer(text + b"\0\0", np.uint8), np.zeros(1, np.int64), np.array([len(text)]))
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4).astype(np.int64)
        sizes = np.diff(ends)
        if array.null_count:
            sizes = np.where(array.is_valid().to_numpy(zero_copy_only=False), sizes, 0)
        size = int(sizes.sum())
        starts = np.cumsum(sizes + 1) - sizes - 1
        packed = np.zeros(size + len(sizes) + 1, np.uint8)
        if size:
            within = np.arange(size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            source = np.frombuffer(data, np.uint8)
            packed[np.repeat(starts, sizes) + within] = source[np.repeat(ends[:-1], sizes) + within]
        return cls(packed, starts, sizes)

    @classmethod
    def of_objects(cls, values: np.ndarray) -> "Texts":
        """From an array of objects of str or bytes."""
        texts = [text.encode() if isinstance(text, str) else text for text in values.ravel().tolist()]
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        data = np.frombuffer(b"\0".join([*texts, b"\0"]), np.uint8)
        return cls(data, (np.cumsum(sizes + 1) - sizes - 1).reshape(values.shape), sizes.reshape(values.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sizes.shape

    @property
    def size(self) -> int:
        return self.sizes.size

    def padded(self, is_there: np.ndarray) -> "Texts":
        """The strings at the true elements of a bool array, and '' elsewhere."""
        starts, sizes = np.full(is_there.shape, len(self.data) - 1), np.zeros(is_there.shape, np.int64)
        starts[is_there], sizes[is_there] = self.starts, self.sizes
        return Texts(self.data, starts, sizes)

    def taken(self, rows: np.ndarray) -> "Texts":
        """The strings of [m] rows."""
        return Texts(self.data, self.starts[rows], self.sizes[rows])

    def repeated(self, times: Sequence[int]) -> "Texts":
        """Repeat each row by its count."""
        return Texts(self.data, np.repeat(self.starts, times, axis=0), np.repeat(self.sizes, times, axis=0))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        data = self.data.tobytes()
        places = zip(self.starts.ravel().tolist(), self.sizes.ravel().tolist(), strict=True)
        objects = np.empty(self.size, object)
        objects[:] = [data[start : start + size] for start, size in places]
        return objects.reshape(self.shape)

    def tolist(self) -> list:
        """As of an array of objects."""
        return np.asarray(self).tolist()
