"""Sketches of the values of a column: of bounded size, and independent of how rows are divided.

They consist of integers and extremes; merging adds these, so that order and division do not matter.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.describing import cells
from recsys_tft.storage.hashing import keyed_hash, text_hash

_TEXTS = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
KEPT = 4096  # most values of a column to keep, those with the least hashes
_SHIFT = 32  # a key is the number of a split, and a cell
_SPARSE = 32  # cells per value above which values are sorted instead of counted in a table


@dataclasses.dataclass(frozen=True)
class Rows:
    """Counts of rows by entity of some table, for each split.

    Attributes:
        places: [m] int64 rows of the table.
        counts: [m] int64, how many rows refer to each; None: one.
        bounds: [splits + 1] int64: split s is from bounds[s] to bounds[s + 1].
    """

    places: np.ndarray
    counts: np.ndarray | None
    bounds: np.ndarray

    @classmethod
    def of(cls, codes: Sequence[np.ndarray], size: int) -> "Rows":
        """From the table row, of `size`, of each row in each split."""
        counted = [np.bincount(each, minlength=size) for each in codes]
        places = [np.flatnonzero(each) for each in counted]
        counts = np.concatenate([each[own] for each, own in zip(counted, places, strict=True)])
        bounds = np.cumsum([0, *map(len, places)])
        is_plain = not len(counts) or counts.max() == 1
        return cls(np.concatenate(places), None if is_plain else counts, bounds)

    @classmethod
    def every(cls, size: int) -> "Rows":
        """Each of `size` rows once, in one split."""
        return cls(np.arange(size), None, np.array([0, size]))

    @property
    def splits(self) -> int:
        """The number of splits."""
        return len(self.bounds) - 1

    @property
    def split(self) -> np.ndarray:
        """[m] int64: the split of each."""
        return np.repeat(np.arange(self.splits), np.diff(self.bounds))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """[splits] int64: the sum of [m] integers or bools over the rows of each split."""
        weighed = values.astype(np.int64) if self.counts is None else values * self.counts
        return np.array([weighed[a:b].sum() for a, b in itertools.pairwise(self.bounds)], np.int64)

    def chosen(self, kept: np.ndarray) -> "Rows":
        """Keep the entities where [m] bool holds."""
        before = np.append(0, np.cumsum(kept))
        counts = None if self.counts is None else self.counts[kept]
        return Rows(self.places[kept], counts, before[self.bounds])

    def elements(self, offsets: np.ndarray) -> "Rows":
        """The elements of the lists in the rows, given the `offsets` of the lists."""
        lengths = np.diff(offsets)
        own = lengths[self.places]
        ends = np.append(0, np.cumsum(own))
        if self._is_divided(len(lengths)):
            owner = np.full(len(lengths), -1, np.int8)
            owner[self.places] = self.split
            of_elements = np.repeat(owner, lengths)
            of_splits = [np.flatnonzero(of_elements == split) for split in range(self.splits)]
            return Rows(np.concatenate(of_splits), None, ends[self.bounds])
        places = np.repeat(offsets[:-1][self.places] - ends[:-1], own) + np.arange(ends[-1])
        counts = None if self.counts is None else np.repeat(self.counts, own)
        return Rows(places, counts, ends[self.bounds])

    def _is_divided(self, size: int) -> bool:
        """Whether each of `size` rows is in one split at most, once, and in order."""
        if self.counts is not None:
            return False
        used = np.zeros(size, bool)
        used[self.places] = True
        return int(used.sum()) == len(self.places) and all(
            (np.diff(self.places[a:b]) > 0).all() for a, b in itertools.pairwise(self.bounds)
        )


@dataclasses.dataclass(frozen=True)
class Sums:
    """[splits, n] integers that are added."""

    values: np.ndarray

    @staticmethod
    def merge(parts: Sequence["Sums"]) -> "Sums":
        return Sums(np.sum([part.values for part in parts], axis=0))


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Counts of numbers in each cell.

    Attributes:
        keys: [k] int64, increasing: a split and a cell.
        sums: [3, k] int64: of values, of their rest, and of the squares of its upper 14 bits; [1, k] for tokens.
        extremes: [2, splits] float64: the least and the largest value; infinities without values.
    """

    keys: np.ndarray
    sums: np.ndarray
    extremes: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, rows: Rows) -> "Numbers":
        """Count [m] finite numbers, one for each of `rows`."""
        values = np.ascontiguousarray(values, np.float32)
        bits = values.view(np.uint32)
        rest = bits & cells.REST
        quarter = rest >> np.uint32(2)
        squares = quarter * quarter  # below 2^28
        in_cells = (bits >> np.uint32(cells.REST_BITS)).astype(np.intp)
        return cls._of_splits(in_cells, (rest, squares), cells.CELLS, values, rows)

    @classmethod
    def of_tokens(cls, tokens: np.ndarray, rows: Rows) -> "Numbers":
        """Count [m] int64 tokens >= 0."""
        return cls.of_steps(cells.of_tokens(tokens), rows, tokens)

    @classmethod
    def of_steps(cls, steps: np.ndarray, rows: Rows, values: np.ndarray | None = None) -> "Numbers":
        """Count [m] int64 integers >= 0 with a cell each, such as days; or values in such cells."""
        return cls._of_splits(steps, (), int(steps.max(initial=0)) + 1, steps if values is None else values, rows)

    @classmethod
    def _of_splits(
        cls, in_cells: np.ndarray, beside: tuple[np.ndarray, ...], size: int, values: np.ndarray, rows: Rows
    ) -> "Numbers":
        """Count [m] cells below a size, with further sums."""
        keys, sums = [], []
        for split, (a, b) in enumerate(itertools.pairwise(rows.bounds)):
            counts = None if rows.counts is None else rows.counts[a:b]
            found, own = _summed(in_cells[a:b], [each[a:b] for each in beside], counts, size)
            if beside:
                found, own = cells.without_smallest(found, own)
            keys.append(found | split << _SHIFT)
            sums.append(own)
        return cls(np.concatenate(keys), np.concatenate(sums, axis=1), _extremes(values, rows))

    def of_split(self, split: int) -> tuple[np.ndarray, np.ndarray]:
        """The cells of one split, and their sums."""
        own = slice(*np.searchsorted(self.keys, [split << _SHIFT, (split + 1) << _SHIFT]))
        return self.keys[own] & ((1 << _SHIFT) - 1), self.sums[:, own]

    @staticmethod
    def merge(parts: Sequence["Numbers"]) -> "Numbers":
        every_key = np.concatenate([part.keys for part in parts])
        order = np.argsort(every_key, kind="stable")
        ordered = every_key[order]
        first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
        keys, sums = ordered[first], np.concatenate([part.sums for part in parts], axis=1)[:, order]
        sums = np.add.reduceat(sums, first, axis=1) if len(first) else sums
        every = np.stack([part.extremes for part in parts])
        return Numbers(keys, sums, np.stack([every[:, 0].min(0), every[:, 1].max(0)]))


@dataclasses.dataclass(frozen=True)
class Values:
    """The values of a column with their row counts: all, or those with the KEPT least hashes.

    Attributes:
        hashes: [k] uint64, increasing.
        values: [k] texts; None for ids, which are not listed.
        counts: [k, splits] int64.
        is_whole: whether no value was dropped.
    """

    hashes: np.ndarray
    values: np.ndarray | None
    counts: np.ndarray
    is_whole: bool

    @classmethod
    def of(cls, column: pa.Array, rows: Rows, keep_values: bool = True) -> "Values":
        """Count a column of texts, integers or booleans without nulls in `rows`."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        known = encoded.dictionary
        place = pc.fill_null(encoded.indices, 0).to_numpy()[rows.places]
        counted = [
            np.bincount(place[a:b], None if rows.counts is None else rows.counts[a:b], len(known))
            for a, b in itertools.pairwise(rows.bounds)
        ]
        counts = np.stack(counted, axis=1).astype(np.int64)
        is_text = any(check(known.type) for check in _TEXTS)
        hashes = text_hash(known) if is_text else keyed_hash(known.cast(pa.int64()).to_numpy())
        values = np.array(_texts(known), object) if keep_values else None
        found = _least(hashes, values, counts, True)
        is_twice = (found.hashes[1:] == found.hashes[:-1]).any()  # possible in dictionaries of the input
        return cls.merge([found]) if is_twice else found

    @staticmethod
    def merge(parts: Sequence["Values"]) -> "Values":
        hashes, first, place = np.unique(
            np.concatenate([part.hashes for part in parts]), return_index=True, return_inverse=True
        )
        counts = np.zeros((len(hashes), parts[0].counts.shape[1]), np.int64)
        np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
        of_all = [part.values for part in parts if part.values is not None]
        values = np.concatenate(of_all)[first] if of_all else None
        return _least(hashes, values, counts, all(part.is_whole for part in parts))

    def distinct(self, split: int) -> int:
        """The number of distinct values of a split; if some were dropped, an estimate with error 1 / sqrt(KEPT)."""
        own = int((self.counts[:, split] > 0).sum())
        if self.is_whole or not own:
            return own
        share = float(self.hashes[-1]) / 2.0**64  # of all hashes that are kept
        return max(own, round(own / share))


def _least(hashes: np.ndarray, values: np.ndarray | None, counts: np.ndarray, is_whole: bool) -> Values:
    used = np.flatnonzero(counts.any(1))
    order = used[np.argsort(hashes[used])]
    kept = order[:KEPT]
    return Values(hashes[kept], None if values is None else values[kept], counts[kept], is_whole and len(order) <= KEPT)


def _texts(values: pa.Array) -> list[str]:
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return [value.decode(errors="backslashreplace") for value in values.to_pylist()]
    if pa.types.is_boolean(values.type):
        return ["true" if value else "false" for value in values.to_pylist()]
    return pc.cast(values, pa.string()).to_pylist()


def _summed(
    in_cells: np.ndarray, beside: list[np.ndarray], counts: np.ndarray | None, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones of [m] cells below a size, in order, with their counts and sums of further columns."""
    weights = [counts, *(each if counts is None else each * counts for each in beside)]
    if size > max(len(in_cells) * _SPARSE, cells.HEAD):
        found, place = np.unique(in_cells, return_inverse=True)
        summed = [np.bincount(place, each, len(found)) for each in weights]
    else:
        tables = [np.bincount(in_cells, each, size) for each in weights]
        found = np.flatnonzero(tables[0])
        summed = [table[found] for table in tables]
    return found.astype(np.int64), np.stack(summed).astype(np.int64)


def _extremes(values: np.ndarray, rows: Rows) -> np.ndarray:
    found = np.full((2, rows.splits), np.inf)
    found[1] = -np.inf
    for split, (a, b) in enumerate(itertools.pairwise(rows.bounds)):
        if b > a:
            found[:, split] = values[a:b].min(), values[a:b].max()
    return found
