"""Batches of new rows mixed with older ones, so that the model does not forget these."""

from collections.abc import Iterator

import tensorflow as tf

from recsys_tft.training.shuffled_rows import ShuffledRows

Batch = dict[str, tf.Tensor]


class ReplayedRows:
    """Batches of two kinds of rows; an epoch shows each new one once, and as many older ones as go with them.

    Args:
        new: what an epoch is of.
        old: what is drawn from, none twice before all others were drawn.
        share: of a batch that is older, above 0 and below 1.
        most: how many older ones there are, at least 1.
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
    """The rows of both; lists padded with 0 to the longer width."""
    found = {}
    for name, values in one.items():
        pair = [values, other[name]]
        if values.shape.rank == 2:
            width = max(part.shape[1] for part in pair)
            pair = [tf.pad(part, [[0, 0], [0, width - part.shape[1]]]) for part in pair]
        found[name] = tf.concat(pair, 0)
    return found
