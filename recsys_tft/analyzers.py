"""The one full-pass analyzer: every statistic of the feature table, in one pass.

What is learned of ids is merged in parts by their hashes, and only what remains of each part goes to one worker.
"""

import functools
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tensorflow_transform.beam.experimental import PTransformAnalyzer

from recsys_tft.merging import MergeSome
from recsys_tft.statistics import Frequencies, Statistic


class MergeStates(MergeSome):
    """Merges the states of several statistics."""

    def __init__(self, statistics: tuple[Statistic, ...]):
        # The states of no values keep a pass over no batch at all from being a special case.
        super().__init__(functools.partial(merge_states, statistics=statistics), nothing_of(statistics))


def merge_states(states: list[list[Any]], statistics: tuple[Statistic, ...]) -> list[Any]:
    """The states of the statistics for the values of all `states` together."""
    columns = zip(*states, strict=True)
    return [statistic.merge(column) for statistic, column in zip(statistics, columns, strict=True)]


def states_of(batch: tuple[np.ndarray, ...], statistics: tuple[Statistic, ...]) -> list[Any]:
    """The state of each statistic for its tensor in one batch."""
    return [statistic.of(values.ravel()) for statistic, values in zip(statistics, batch, strict=True)]


def nothing_of(statistics: tuple[Statistic, ...]) -> list[Any]:
    """The state of each statistic for no values."""
    return states_of(tuple(np.zeros(0) for _ in statistics), statistics)


def divided(
    states: list[Any], statistics: tuple[Statistic, ...], nothing: list[Any]
) -> Iterator[tuple[int, list[Any]]]:
    """The states by parts, each with the state of no values for what is not in it."""
    parts = [statistic.divided(state) for statistic, state in zip(statistics, states, strict=True)]
    for number, part in enumerate(itertools.zip_longest(*parts)):
        yield number, [none if state is None else state for state, none in zip(part, nothing, strict=True)]


def trimmed(part: tuple[int, list[Any]], statistics: tuple[Statistic, ...]) -> list[Any]:
    """What the results need of the merged states of a part."""
    return [statistic.trimmed(state) for statistic, state in zip(statistics, part[1], strict=True)]


class FitStatistics(PTransformAnalyzer):
    """From batches of tensors, one for each statistic, to the result of each.

    Args:
        statistics: (name, statistic), in the order of the tensors.
    """

    def __init__(self, statistics: tuple[tuple[str, Statistic], ...]):
        super().__init__()
        self._statistics = statistics

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection, ...]:
        names, statistics = zip(*self._statistics, strict=True)
        nothing = nothing_of(statistics)
        states = batches | "States" >> beam.Map(states_of, statistics=statistics)
        if any(len(statistic.divided(state)) > 1 for statistic, state in zip(statistics, nothing, strict=True)):
            parts = states | "Divide" >> beam.FlatMap(divided, statistics=statistics, nothing=nothing)
            merged = parts | "Merge parts" >> beam.CombinePerKey(MergeStates(statistics))
            states = merged | "Trim" >> beam.Map(trimmed, statistics=statistics)
        whole = states | "Merge" >> beam.CombineGlobally(MergeStates(statistics))
        write = functools.partial(results, statistics=self._statistics, folder=self.base_temp_dir)
        written = whole | "Results" >> beam.FlatMap(write).with_outputs(*names)
        return tuple(written[name] for name in names)


def results(
    states: list[Any], statistics: tuple[tuple[str, Statistic], ...], folder: str
) -> Iterator[beam.pvalue.TaggedOutput]:
    """The result of each statistic, tagged with its name: a vector, or the path of a file in `folder`."""
    tf.io.gfile.makedirs(folder)
    for (name, statistic), state in zip(statistics, states, strict=True):
        if isinstance(statistic, Frequencies):
            path = f"{folder}/{statistic.file_name(name)}"
            beside = f"{folder}/{uuid.uuid4().hex}"  # as two attempts may write at the same time
            statistic.write(state, beside)
            tf.io.gfile.rename(beside, path, overwrite=True)
            yield beam.pvalue.TaggedOutput(name, np.array(path.encode()))
        else:
            yield beam.pvalue.TaggedOutput(name, statistic.result(state))
