"""Groups of videos with the same value in a column, or with a common value in a column of lists."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.missing import nulled
from recsys_tft.time_lookups import begins, distinct


@dataclasses.dataclass(frozen=True)
class Groups:
    """The groups of [n] videos, by number.

    Attributes:
        values: [k] of the column, without missing ones.
        bounds: [n + 1] int64 offsets of each video's groups in `codes`.
        codes: [m] int64 numbers of values; a video is in a group once.
    """

    values: pa.Array
    bounds: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "Groups":
        """Groups by [n] values, or lists of them."""
        values = nulled(column.combine_chunks())
        if pa.types.is_list(values.type):
            sizes = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
            owners, encoded = np.repeat(np.arange(len(values)), sizes), values.flatten().dictionary_encode()
            numbers = encoded.indices.to_numpy().astype(np.int64)
            size = max(len(encoded.dictionary), 1)
            owners, numbers = np.divmod(distinct(owners * size + numbers), size)
        else:
            owners, encoded = np.flatnonzero(values.is_valid()), values.dictionary_encode()
            numbers = encoded.indices.drop_null().to_numpy().astype(np.int64)
        return cls(encoded.dictionary, np.searchsorted(owners, np.arange(len(values) + 1)), numbers)

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The concatenated groups of [j] videos: int64 numbers of videos below j, and int64 numbers of groups."""
        sizes = np.diff(self.bounds)[rows]
        owners = np.repeat(np.arange(len(rows)), sizes)
        first = np.cumsum(sizes) - sizes
        return owners, self.codes[np.arange(len(owners)) + (self.bounds[rows] - first)[owners]]


def codes(values: pa.ChunkedArray) -> np.ndarray:
    """[n] int64: equal for equal values; for lists, for equal values in adjacent rows."""
    column = values.combine_chunks()
    if not pa.types.is_list(column.type):
        return pc.fill_null(column.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    sizes = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    lengths = np.maximum(sizes, 0)
    flat = codes(pa.chunked_array([column.flatten()]))
    owners = np.repeat(np.arange(len(sizes)), lengths)
    before = np.arange(len(flat)) - lengths[owners]  # the same position in the row before, if that is as long
    differs = np.zeros(len(sizes), bool)
    differs[owners[flat != flat[np.maximum(before, 0)]]] = True
    first = np.zeros(len(sizes), np.int64)
    first[begins(sizes)] = 1
    return np.cumsum(first | differs)
