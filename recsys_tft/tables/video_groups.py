"""Groups of videos: those that have the same value in a column or, of a column of lists, that have it among others."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.missing import nulled
from recsys_tft.time_lookups import begins


@dataclasses.dataclass(frozen=True)
class Groups:
    """The groups of [n] videos, by number.

    Attributes:
        values: [k] of the column, none of them missing.
        bounds: [n + 1] int64: where the groups of each video begin and end.
        codes: [m] int64 numbers of values; a video is in a group once.
    """

    values: pa.Array
    bounds: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "Groups":
        """By [n] values, or lists of them."""
        found = nulled(column.combine_chunks())
        if pa.types.is_list(found.type):
            sizes = pc.fill_null(pc.list_value_length(found), 0).to_numpy(zero_copy_only=False)
            owners, encoded = np.repeat(np.arange(len(found)), sizes), found.flatten().dictionary_encode()
            numbers = encoded.indices.to_numpy().astype(np.int64)
            size = max(len(encoded.dictionary), 1)
            owners, numbers = np.divmod(np.unique(owners * size + numbers), size)
        else:
            owners, encoded = np.flatnonzero(found.is_valid()), found.dictionary_encode()
            numbers = encoded.indices.drop_null().to_numpy().astype(np.int64)
        return cls(encoded.dictionary, np.searchsorted(owners, np.arange(len(found) + 1)), numbers)

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The groups of [j] videos, one after the other: whose each is, from 0 to j, and its number, int64 both."""
        sizes = np.diff(self.bounds)[rows]
        owners = np.repeat(np.arange(len(rows)), sizes)
        first = np.cumsum(sizes) - sizes
        return owners, self.codes[np.arange(len(owners)) + (self.bounds[rows] - first)[owners]]


def codes(values: pa.ChunkedArray) -> np.ndarray:
    """[n] int64: equal where the values are; of lists, where those of rows that follow one another are."""
    column = values.combine_chunks()
    if not pa.types.is_list(column.type):
        return pc.fill_null(column.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    sizes = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    lengths = np.maximum(sizes, 0)
    flat = codes(pa.chunked_array([column.flatten()]))
    owners = np.repeat(np.arange(len(sizes)), lengths)
    before = np.arange(len(flat)) - lengths[owners]  # the same place in the row before, if that is as long
    differs = np.zeros(len(sizes), bool)
    differs[owners[flat != flat[np.maximum(before, 0)]]] = True
    first = np.zeros(len(sizes), np.int64)
    first[begins(sizes)] = 1
    return np.cumsum(first | differs)
