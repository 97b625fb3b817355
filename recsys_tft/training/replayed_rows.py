"""Batches of new rows mixed with older ones, against forgetting."""

from collections.abc import Iterator

import tensorflow as tf

from recsys_tft.training.shuffled_rows import ShuffledRows

Batch = dict[str, tf.Tensor]


class ReplayedRows:
    """Batches of new and old rows; an epoch has each new row once, and old rows in proportion.

    Args:
        new: the rows of an epoch.
        old: drawn from without replacement, until all were drawn.
        share: of old rows in a batch, above 0 and below 1.
        most: number of old rows, at least 1.
    """

    def __init__(self, new: ShuffledRows, old: ShuffledRows, share: float, most: int):
        self._new, self._old, self._share, self._most = new, old, share, most

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        """Like `ShuffledRows.batches`."""
        older = min(max(round(size * self._share), 1), size - 1, self._most)
        drawn = self._endless(older, seed)
        for new in self._new.batches(size - older, seed):
            yield _joined(new, next(drawn))

    def _endless(self, size: int, seed: int) -> Iterator[Batch]:
        while True:
            yield from self._old.batches(size, seed)
            seed += 1


def _joined(one: Batch, other: Batch) -> Batch:
    """Concatenate batches; lists are padded with 0 to the longer width."""
    joined = {}
    for name, values in one.items():
        pair = [values, other[name]]
        if values.shape.rank == 2:
            width = max(part.shape[1] for part in pair)
            pair = [tf.pad(part, [[0, 0], [0, width - part.shape[1]]]) for part in pair]
        joined[name] = tf.concat(pair, 0)
    return joined
