"""Steps over (key, value) pairs that are written as plain generator functions."""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam

METRICS = "recsys_tft_microseconds"  # counters: the time spent in each step's function
_END = object()


class ForEachPair(beam.DoFn):
    """Yields what a generator function yields for each pair.

    Args:
        function: takes key, value, the side inputs in order, and the options.
        options: the same for all pairs.
    """

    def __init__(self, function: Callable[..., Iterator[Any]], **options: Any):
        super().__init__()
        self._function = functools.partial(function, **options)
        self._name = function.__name__

    def setup(self) -> None:
        self._time = beam.metrics.Metrics.counter(METRICS, self._name)

    def process(self, pair: tuple[Any, Any], *sides: Any) -> Iterator[Any]:
        results = self._function(*pair, *sides)
        while True:
            began = time.perf_counter_ns()
            result = next(results, _END)
            self._time.inc((time.perf_counter_ns() - began) // 1000)
            if result is _END:
                return
            yield result
