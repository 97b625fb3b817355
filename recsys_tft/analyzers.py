"""The full-pass analyzer: all statistics of the feature table in one pass.

Statistics of ids are merged in parts by their hashes; only the trimmed parts go to one worker.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tensorflow_transform.beam.experimental import PTransformAnalyzer

from recsys_tft.merging import MergeSome
from recsys_tft.output_checks import check_result, naming
from recsys_tft.statistics import Statistic


@dataclasses.dataclass(frozen=True)
class StatisticRequest:
    """A statistic that an op requests.

    Attributes:
        name: of the feature, or of the vocabulary that features share.
        statistic: to learn.
        dtype: of the values, by NumPy's name.
        shape: of one value; () for a number or a text.
    """

    name: str
    statistic: Statistic
    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def nothing(self) -> Any:
        """The state of no values."""
        return self.of(np.zeros((0, *self.shape), self.dtype))

    def of(self, values: np.ndarray) -> Any:
        """The state of values; errors name the feature."""
        with naming(self.name, self.statistic, "of"):
            return self.statistic.of(values)

    def merged(self, states: Sequence[Any]) -> Any:
        """The state of all values together; errors name the feature."""
        with naming(self.name, self.statistic, "merge"):
            return self.statistic.merge(states)


class MergeStates(MergeSome):
    """Merges the states of several statistics.

    Args:
        requests: of the states.
    """

    def __init__(self, requests: tuple[StatisticRequest, ...]):
        # With the states of no values, a pass without any batch needs no special case.
        super().__init__(functools.partial(merge_states, requests=requests), [request.nothing for request in requests])


def merge_states(states: list[list[Any]], requests: tuple[StatisticRequest, ...]) -> list[Any]:
    """The states of the statistics for the values of all `states` together."""
    return [request.merged(column) for request, column in zip(requests, zip(*states, strict=True), strict=True)]


def states_of(batch: tuple[np.ndarray, ...], requests: tuple[StatisticRequest, ...]) -> list[Any]:
    """The state of each statistic for its tensor in one batch."""
    return [request.of(values) for request, values in zip(requests, batch, strict=True)]


def divided(
    states: list[Any], requests: tuple[StatisticRequest, ...], nothing: list[Any]
) -> Iterator[tuple[int, list[Any]]]:
    """The states by parts, completed by states of no values."""
    parts = [request.statistic.divided(state) for request, state in zip(requests, states, strict=True)]
    for number, part in enumerate(itertools.zip_longest(*parts)):
        yield number, [none if state is None else state for state, none in zip(part, nothing, strict=True)]


def trimmed(part: tuple[int, list[Any]], requests: tuple[StatisticRequest, ...]) -> list[Any]:
    """The part of the merged states that the results need."""
    return [request.statistic.trimmed(state) for request, state in zip(requests, part[1], strict=True)]


class MergeAll(beam.PTransform):
    """From the states of batches to one element, the states of all values.

    Args:
        requests: of the states.
        look: called with each part of the states and its number, before it is trimmed; returns the part.
    """

    def __init__(
        self, requests: tuple[StatisticRequest, ...], look: Callable[[tuple[int, list[Any]]], Any] | None = None
    ):
        super().__init__()
        self._requests, self._look = requests, look

    def expand(self, states: beam.PCollection) -> beam.PCollection:
        requests = self._requests
        nothing = [request.nothing for request in requests]
        if any(len(request.statistic.divided(state)) > 1 for request, state in zip(requests, nothing, strict=True)):
            parts = states | "Divide" >> beam.FlatMap(divided, requests=requests, nothing=nothing)
            merged = parts | "Merge parts" >> beam.CombinePerKey(MergeStates(requests))
            merged = merged | "Look" >> beam.Map(self._look) if self._look else merged
            states = merged | "Trim" >> beam.Map(trimmed, requests=requests)
            return states | "Merge" >> beam.CombineGlobally(MergeStates(requests))
        merged_states = states | "Merge" >> beam.CombineGlobally(MergeStates(requests))
        if not self._look:
            return merged_states
        return (
            merged_states
            | "One part" >> beam.Map(_as_part)
            | "Look" >> beam.Map(self._look)
            | "Whole" >> beam.Map(_as_states)
        )


def _as_part(states: list[Any]) -> tuple[int, list[Any]]:
    return 0, states


def _as_states(part: tuple[int, list[Any]]) -> list[Any]:
    return part[1]


class FitStatistics(PTransformAnalyzer):
    """From batches of tensors, one for each statistic, to the output of each.

    Args:
        requests: in the order of the tensors.
    """

    def __init__(self, requests: tuple[StatisticRequest, ...]):
        super().__init__()
        self._requests = requests

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection, ...]:
        states = batches | "States" >> beam.Map(states_of, requests=self._requests)
        whole = states | "All states" >> MergeAll(self._requests)
        tag = functools.partial(_tagged, requests=self._requests, folder=self.base_temp_dir)
        names = [one.name for one in self._requests]
        written = whole | "Results" >> beam.FlatMap(tag).with_outputs(*names)
        return tuple(written[name] for name in names)


def _tagged(states: list[Any], requests: tuple[StatisticRequest, ...], folder: str) -> list[beam.pvalue.TaggedOutput]:
    return [beam.pvalue.TaggedOutput(*item) for item in outputs(states, requests, folder).items()]


def outputs(states: list[Any], requests: Sequence[StatisticRequest], folder: str) -> dict[str, np.ndarray]:
    """The output of each statistic by name; files are written into `folder`."""
    tf.io.gfile.makedirs(folder)
    results = {}
    for request, state in zip(requests, states, strict=True):
        with naming(request.name, request.statistic, "result"):
            results[request.name] = request.statistic.output(request.name, state, folder)
        check_result(request.name, request.statistic, results[request.name])
    return results
