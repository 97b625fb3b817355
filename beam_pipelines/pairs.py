"""Steps over (key, value) pairs, written as plain generator functions."""

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from recsys_tft.beam_pipelines.staging import stage
from recsys_tft.beam_pipelines.watching import done

METRICS = "recsys_tft_microseconds"  # counters: the time spent in each step's function
Timed = tuple[list[Any], int]  # the results of a step's function, and the microseconds that they took
_END = object()


class ForEachPair(beam.DoFn):
    """Yields what a generator function yields for each pair, in the order of the pairs.

    Args:
        function: takes key, value, the side inputs in order, and the options.
        threads: how many pairs are processed at a time. More than 1 is for runners in one process: Arrow, NumPy and
            TensorFlow release Python's lock, and nothing has to be sent to another worker.
        staging_folder: where larger tables wait for the next stage; None: they are sent to it.
        options: the same for all pairs.
    """

    def __init__(
        self,
        function: Callable[..., Iterator[Any]],
        threads: int = 1,
        staging_folder: str | None = None,
        **options: Any,
    ):
        super().__init__()
        self._function = functools.partial(function, **options)
        self._name = function.__name__
        self._threads = threads
        self._staging_folder = staging_folder

    def setup(self) -> None:
        self._time = step_time(self._name)

    def start_bundle(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self._started: deque[Future[Timed]] = deque()

    def process(self, pair: tuple[Any, Any], *sides: Any) -> Iterator[Any]:
        results = stage(self._function(*pair, *sides), self._staging_folder)
        if self._pool is None:
            yield from self._counted(results)
            return
        self._started.append(self._pool.submit(timed, results))
        while len(self._started) > self._threads:
            yield from self._finished()

    def finish_bundle(self) -> Iterator[Any]:
        while self._started:
            yield from map(_windowed, self._finished())
        if self._pool is not None:
            self._pool.shutdown()

    def _counted(self, results: Iterator[Any]) -> Iterator[Any]:
        while True:
            began = time.perf_counter_ns()
            result = next(results, _END)
            self._time.inc((time.perf_counter_ns() - began) // 1000)
            if result is _END:
                done(self._name)
                return
            yield result

    def _finished(self) -> list[Any]:
        """The results of the pair that was started first."""
        results, microseconds = self._started.popleft().result()
        done(self._name)
        self._time.inc(microseconds)  # here, as Beam's counters know the thread of the bundle only
        return results


def step_time(name: str) -> Any:
    """The counter of the microseconds spent in a step's function."""
    return beam.metrics.Metrics.counter(METRICS, name)


def timed(results: Iterator[Any]) -> Timed:
    """All results of a step's function, and the microseconds that they took."""
    began = time.perf_counter_ns()
    return list(results), (time.perf_counter_ns() - began) // 1000


def _windowed(result: Any) -> Any:
    """A result as `finish_bundle` has to yield it."""
    if isinstance(result, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(result.tag, GlobalWindows.windowed_value(result.value))
    return GlobalWindows.windowed_value(result)
