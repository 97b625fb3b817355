"""Shuffled batches of rows: from memory if all rows fit, otherwise through a shuffle buffer."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_tft.reading.columns import Column
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.training import row_blocks
from recsys_tft.training.row_blocks import Block
from recsys_tft.training.stopwatch import Stopwatch

_AHEAD = 4  # batches


class ShuffledRows:
    """Batches of the rows of a folder, each epoch in another order.

    Up to `held` rows are read once and stay in memory; an epoch is then a permutation of them. More rows go through a
    pool of `held`: each block that is read replaces rows drawn from the pool, which go into batches. Files are read in
    an order drawn for the epoch, several in turn.

    Args:
        folder: TFRecord or Parquet.
        names: the columns to read.
        held: rows in memory, at least 1.
        reading: counts the time that reading takes.
        change: maps each block that is read; it may replace columns by integers.

    Raises:
        InputError: if the folder lacks one of the columns.
    """

    def __init__(
        self,
        folder: DataFolder,
        names: Sequence[str],
        held: int,
        reading: Stopwatch | None = None,
        change: Callable[[Block], Block] = lambda block: block,
    ):
        self._folder, self._held, self._reading = folder, held, reading or Stopwatch()
        self._read, self._change = row_blocks.spec_of(folder, names), change
        changed = change(row_blocks.stacked([], self._read))
        self._spec = {name: self._read.get(name) or Column(name, pa.int64()) for name in changed}

    def epoch(self, size: int, seed: int) -> tf.data.Dataset:
        """floor(rows / size) batches of `size` rows, [size, ...] by column; lists padded with 0.

        The same seed gives the same batches.
        """
        if self._resident is not None:
            return self._permuted(self._resident, size, seed)
        signature = {name: _signature(column, size) for name, column in self._spec.items()}
        return tf.data.Dataset.from_generator(lambda: self._pooled(size, seed), output_signature=signature)

    def batches(self, size: int, seed: int) -> Iterator[dict[str, tf.Tensor]]:
        """The same batches, for a Python loop; rows in memory need no other threads."""
        if self._resident is None:
            yield from self.epoch(size, seed).prefetch(_AHEAD)
            return
        for chosen in self._order(self._resident, size, seed):
            yield {name: tf.gather(values, chosen) for name, values in self._resident.items()}

    @functools.cached_property
    def _resident(self) -> dict[str, tf.Tensor] | None:
        """All rows; None if there are too many."""
        blocks, rows = [], 0
        with self._reading:
            for block in row_blocks.in_order(self._folder.files, self._read):
                blocks.append(self._change(block))
                rows += _rows(block)
                if rows > self._held:
                    return None
            return {name: tf.constant(values) for name, values in row_blocks.stacked(blocks, self._spec).items()}

    def _permuted(self, rows: dict[str, tf.Tensor], size: int, seed: int) -> tf.data.Dataset:
        batches = tf.data.Dataset.from_tensor_slices(self._order(rows, size, seed))
        return batches.map(
            lambda chosen: {name: tf.gather(values, chosen) for name, values in rows.items()},
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    def _order(self, rows: dict[str, tf.Tensor], size: int, seed: int) -> np.ndarray:
        """[batches, size] rows."""
        total = len(next(iter(rows.values())))
        return np.random.default_rng(seed).permutation(total)[: total - total % size].reshape(-1, size)

    def _pooled(self, size: int, seed: int) -> Iterator[Block]:
        rng = np.random.default_rng(seed)
        files = [self._folder.files[i] for i in rng.permutation(len(self._folder.files))]
        # A block is at most as large as the pool.
        blocks = self._timed(row_blocks.alternating(files, self._read, min(row_blocks.ROWS, self._held)))
        waiting = None
        for drawn in self._drawn(blocks, rng):
            waiting = drawn if waiting is None else row_blocks.stacked([waiting, drawn], self._spec)
            full = _rows(waiting) - _rows(waiting) % size
            for start in range(0, full, size):
                yield {name: values[start : start + size] for name, values in waiting.items()}
            waiting = {name: values[full:] for name, values in waiting.items()}

    def _timed(self, blocks: Iterator[Block]) -> Iterator[Block]:
        while True:
            with self._reading:
                block = next(blocks, None)
            if block is None:
                return
            yield self._change(block)

    def _drawn(self, blocks: Iterator[Block], rng: np.random.Generator) -> Iterator[Block]:
        """All rows of the blocks in drawn order: as many as come in, at the end the rest of the pool."""
        first: list[Block] = []
        while sum(map(_rows, first)) < self._held:
            first.append(next(blocks))
        pool = row_blocks.stacked(first, self._spec)
        for block in blocks:
            places = rng.choice(_rows(pool), _rows(block), replace=False)
            yield {name: values[places] for name, values in pool.items()}
            for name, values in block.items():
                width = max(values.shape[-1], pool[name].shape[-1])
                pool[name] = row_blocks.widened(pool[name], width)
                pool[name][places] = row_blocks.widened(values, width)
        order = rng.permutation(_rows(pool))
        yield {name: values[order] for name, values in pool.items()}


def _rows(block: Block) -> int:
    return len(next(iter(block.values())))


def _signature(column: Column, size: int) -> tf.TensorSpec:
    dtype = tf.string if column.dtype == object else tf.as_dtype(column.dtype)
    return tf.TensorSpec([size, *((None,) if column.shape is None else column.shape)], dtype)
