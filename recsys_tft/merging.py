"""Merges partial results several at a time, where each merge costs as much as its result."""

from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam

_AT_A_TIME = 16  # parts of a merge


class MergeSome(beam.CombineFn):
    """Merges parts, some at a time; an accumulator is a list of parts.

    Args:
        merge: merges one or more parts.
        nothing: the part of no values, the result without any other.
    """

    def __init__(self, merge: Callable[[list[Any]], Any], nothing: Any):
        self._merge = merge
        self._nothing = nothing

    def create_accumulator(self) -> list[Any]:
        return []

    def add_input(self, accumulator: list[Any], part: Any) -> list[Any]:
        parts = [*accumulator, part]
        return parts if len(parts) <= _AT_A_TIME else self.compact(parts)

    def merge_accumulators(self, accumulators: Iterable[list[Any]]) -> list[Any]:
        return self.compact([part for accumulator in accumulators for part in accumulator])

    def compact(self, accumulator: list[Any]) -> list[Any]:
        return [self._merge(accumulator)] if len(accumulator) > 1 else accumulator

    def extract_output(self, accumulator: list[Any]) -> Any:
        return self._merge(accumulator or [self._nothing])
