"""The one full-pass analyzer: every statistic of the feature table, in one pass.

What is learned of ids is merged in parts by their hashes, and only what remains of each part goes to one worker.
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
class Asked:
    """A statistic that an op asks for.

    Attributes:
        name: of the feature, or of the vocabulary that features share.
        statistic: what is learned.
        dtype: of the values, as NumPy calls it.
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
        """The state of values; an error names the feature."""
        with naming(self.name, self.statistic, "of"):
            return self.statistic.of(values)

    def merged(self, states: Sequence[Any]) -> Any:
        """The state of all values together; an error names the feature."""
        with naming(self.name, self.statistic, "merge"):
            return self.statistic.merge(states)


class MergeStates(MergeSome):
    """Merges the states of several statistics.

    Args:
        asked: whose states they are.
    """

    def __init__(self, asked: tuple[Asked, ...]):
        # The states of no values keep a pass over no batch at all from being a special case.
        super().__init__(functools.partial(merge_states, asked=asked), [one.nothing for one in asked])


def merge_states(states: list[list[Any]], asked: tuple[Asked, ...]) -> list[Any]:
    """The states of the statistics for the values of all `states` together."""
    return [one.merged(column) for one, column in zip(asked, zip(*states, strict=True), strict=True)]


def states_of(batch: tuple[np.ndarray, ...], asked: tuple[Asked, ...]) -> list[Any]:
    """The state of each statistic for its tensor in one batch."""
    return [one.of(values) for one, values in zip(asked, batch, strict=True)]


def divided(states: list[Any], asked: tuple[Asked, ...], nothing: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """The states by parts, each with the state of no values for what is not in it."""
    parts = [one.statistic.divided(state) for one, state in zip(asked, states, strict=True)]
    for number, part in enumerate(itertools.zip_longest(*parts)):
        yield number, [none if state is None else state for state, none in zip(part, nothing, strict=True)]


def trimmed(part: tuple[int, list[Any]], asked: tuple[Asked, ...]) -> list[Any]:
    """The part of the merged states that the results need."""
    return [one.statistic.trimmed(state) for one, state in zip(asked, part[1], strict=True)]


class MergeAll(beam.PTransform):
    """From the states of batches to one element, the states of all values.

    Args:
        asked: whose states they are.
        look: is shown each part of the states, with its number, before it is trimmed; it returns the part.
    """

    def __init__(self, asked: tuple[Asked, ...], look: Callable[[tuple[int, list[Any]]], Any] | None = None):
        super().__init__()
        self._asked, self._look = asked, look

    def expand(self, states: beam.PCollection) -> beam.PCollection:
        asked = self._asked
        nothing = [one.nothing for one in asked]
        if any(len(one.statistic.divided(state)) > 1 for one, state in zip(asked, nothing, strict=True)):
            parts = states | "Divide" >> beam.FlatMap(divided, asked=asked, nothing=nothing)
            merged = parts | "Merge parts" >> beam.CombinePerKey(MergeStates(asked))
            merged = merged | "Look" >> beam.Map(self._look) if self._look else merged
            states = merged | "Trim" >> beam.Map(trimmed, asked=asked)
            return states | "Merge" >> beam.CombineGlobally(MergeStates(asked))
        whole = states | "Merge" >> beam.CombineGlobally(MergeStates(asked))
        if not self._look:
            return whole
        return whole | "One part" >> beam.Map(_as_part) | "Look" >> beam.Map(self._look) | "Whole" >> beam.Map(_of_part)


def _as_part(states: list[Any]) -> tuple[int, list[Any]]:
    return 0, states


def _of_part(part: tuple[int, list[Any]]) -> list[Any]:
    return part[1]


class FitStatistics(PTransformAnalyzer):
    """From batches of tensors, one for each statistic, to the output of each.

    Args:
        asked: in the order of the tensors.
    """

    def __init__(self, asked: tuple[Asked, ...]):
        super().__init__()
        self._asked = asked

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection, ...]:
        states = batches | "States" >> beam.Map(states_of, asked=self._asked)
        whole = states | "All states" >> MergeAll(self._asked)
        tag = functools.partial(_tagged, asked=self._asked, folder=self.base_temp_dir)
        names = [one.name for one in self._asked]
        written = whole | "Results" >> beam.FlatMap(tag).with_outputs(*names)
        return tuple(written[name] for name in names)


def _tagged(states: list[Any], asked: tuple[Asked, ...], folder: str) -> list[beam.pvalue.TaggedOutput]:
    return [beam.pvalue.TaggedOutput(*item) for item in outputs(states, asked, folder).items()]


def outputs(states: list[Any], asked: Sequence[Asked], folder: str) -> dict[str, np.ndarray]:
    """The output of each statistic by name; files are written into `folder`."""
    tf.io.gfile.makedirs(folder)
    found = {}
    for one, state in zip(asked, states, strict=True):
        with naming(one.name, one.statistic, "result"):
            found[one.name] = one.statistic.output(one.name, state, folder)
        check_result(one.name, one.statistic, found[one.name])
    return found
