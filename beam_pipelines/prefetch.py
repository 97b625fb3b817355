"""Prefetch: runs a step on background threads before Beam's in-process runner reaches its stage.

That runner finishes one stage before it starts the next, and there are seconds in which one stage keeps just one core
busy: while the pipeline is built, and while the graph is fitted. Steps that need neither run then on threads that
belong to no stage; the stage that follows takes their results.
"""

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam

from recsys_tft.beam_pipelines.pairs import Timed, step_time, timed
from recsys_tft.beam_pipelines.staging import stage

_OPEN: dict[str, "Prefetch"] = {}  # by name, as Beam pickles references to them, in this process too


class Prefetch:
    """Background threads of a run.

    Args:
        threads: their number.
        staging_folder: where larger tables wait to be taken.
    """

    def __init__(self, threads: int, staging_folder: str):
        self._name = uuid.uuid4().hex
        self._staging_folder = staging_folder
        self._pool = ThreadPoolExecutor(threads)
        self._begun: dict[int, Future[Timed]] = {}

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return _opened, (self._name,)

    def begin(self, function: Callable[..., Iterator[Any]], *arguments: Any) -> int:
        """Runs a generator function on one of the threads, and returns the number for `take`."""
        number = len(self._begun)
        self._begun[number] = self._pool.submit(timed, stage(function(*arguments), self._staging_folder))
        return number

    def take(self, number: int) -> Timed:
        """Waits for its end, and returns its results and the microseconds that it took; raises its error."""
        return self._begun[number].result()

    @contextlib.contextmanager
    def open(self) -> Iterator["Prefetch"]:
        """Makes it available to DoFns; functions that have not begun at the end are cancelled."""
        _OPEN[self._name] = self
        try:
            yield self
        finally:
            self._pool.shutdown(cancel_futures=True)
            del _OPEN[self._name]


def _opened(name: str) -> Prefetch:
    return _OPEN[name]


class BeginPairs(beam.DoFn):
    """Begins a step over (key, value) pairs on background threads, and yields the numbers for TakeResults."""

    def __init__(self, prefetch: Prefetch, function: Callable[..., Iterator[Any]], **options: Any):
        super().__init__()
        self._prefetch = prefetch
        self._function = functools.partial(function, **options)

    def process(self, pair: tuple[Any, Any], *sides: Any) -> Iterator[int]:
        yield self._prefetch.begin(self._function, *pair, *sides)


class TakeResults(beam.DoFn):
    """Yields the results of BeginPairs, as ForEachPair would have."""

    def __init__(self, prefetch: Prefetch, name: str):
        super().__init__()
        self._prefetch = prefetch
        self._name = name

    def setup(self) -> None:
        self._time = step_time(self._name)

    def process(self, number: int, *_: Any) -> list[Any]:
        results, microseconds = self._prefetch.take(number)
        self._time.inc(microseconds)
        return results
