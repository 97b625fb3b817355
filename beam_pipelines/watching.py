"""Progress of the steps of a job in this process: how many of their pairs are done."""

import collections
import contextlib
from collections.abc import Callable, Iterator

_WATCHERS: list[Callable[[str], None]] = []
_STEPS = {
    "gather_events": "gathering events",
    "label_exposures": "labelling",
    "sample_negatives": "drawing negatives",
    "engineer_examples": "engineering",
    "write_rows": "writing",
}


@contextlib.contextmanager
def watched(watcher: Callable[[str], None]) -> Iterator[None]:
    """Calls `watcher` with the name of a step for each pair that is done, while the block runs."""
    _WATCHERS.append(watcher)
    try:
        yield
    finally:
        _WATCHERS.remove(watcher)


def done(step: str) -> None:
    """Reports that a step is done with a pair."""
    for watcher in _WATCHERS:
        watcher(step)


class Partitions:
    """Progress of the steps over partitions of users, in rows of interactions.

    Args:
        partitions: of users, which share the rows about equally.
        rows: of interactions.
        say: called with each line of progress.
    """

    def __init__(self, partitions: int, rows: int, say: Callable[[str], None]):
        self._partitions, self._rows, self._say = partitions, rows, say
        self._done: collections.Counter[str] = collections.Counter()

    def __call__(self, step: str) -> None:
        if step not in _STEPS:
            return
        self._done[step] = min(self._done[step] + 1, self._partitions)  # parts of heavy users are pairs of their own
        rows = self._rows * self._done[step] // self._partitions
        share = 100 * self._done.total() // (len(_STEPS) * self._partitions)
        self._say(f"progress: {_STEPS[step]}, {rows:,} of {self._rows:,} rows ({share} % of all)")
