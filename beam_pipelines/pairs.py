"""Steps over (key, value) pairs that are written as plain generator functions."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam


class ForEachPair(beam.DoFn):
    """Yields what a generator function yields for each pair.

    Args:
        function: takes key, value, the side inputs in order, and the options.
        options: the same for all pairs.
    """

    def __init__(self, function: Callable[..., Iterator[Any]], **options: Any):
        super().__init__()
        self._function = functools.partial(function, **options)

    def process(self, pair: tuple[Any, Any], *sides: Any) -> Iterator[Any]:
        yield from self._function(*pair, *sides)
