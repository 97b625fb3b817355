"""Turns blocks of rows into batches of one size, in order or shuffled."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

Item = TypeVar("Item")


def of_size(blocks: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `size`; the last may have fewer."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for block in blocks:
        if not rows and len(block) == size:
            yield block
            continue
        waiting.append(block)
        rows += len(block)
        if rows >= size:
            whole = pa.concat_batches(waiting) if len(waiting) > 1 else block
            full = rows - rows % size
            for begin in range(0, full, size):
                yield whole.slice(begin, size)
            rows -= full
            waiting = [whole.slice(full)] if rows else []
    if rows:
        yield pa.concat_batches(waiting)


def shuffled(blocks: Iterable[pa.RecordBatch], rows: int, rng: np.random.Generator) -> Iterator[pa.RecordBatch]:
    """Shuffle the rows, `rows` or a few more at a time."""
    for window in _windows(blocks, rows):
        whole = pa.concat_batches(window)
        yield whole.take(pa.array(rng.permutation(len(whole))))


def _windows(blocks: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    window: list[pa.RecordBatch] = []
    for block in blocks:
        window.append(block)
        if sum(map(len, window)) >= rows:
            yield window
            window = []
    if window:
        yield window


def part(blocks: Iterable[pa.RecordBatch], index: int, count: int) -> Iterator[pa.RecordBatch]:
    """Keep every `count`-th row, starting with row `index`."""
    passed = 0
    for block in blocks:
        chosen = np.arange((index - passed) % count, len(block), count)
        passed += len(block)
        if len(chosen):
            yield block.take(pa.array(chosen))


def alternating(sources: Sequence[Iterable[Item]], at_once: int) -> Iterator[Item]:
    """Items of several sources in turn; a finished source is replaced by the next one."""
    waiting = [iter(source) for source in reversed(sources)]
    opened = [waiting.pop() for _ in sources[:at_once]]
    while opened:
        for source in tuple(opened):
            item = next(source, None)
            if item is not None:
                yield item
                continue
            opened.remove(source)
            if waiting:
                opened.append(waiting.pop())
