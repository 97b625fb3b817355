"""Full-pass analyzers whose results do not depend on the order in which a runner merges them."""

import collections
import functools
from collections.abc import Iterable

import apache_beam as beam
import numpy as np

from recsys_tft import exact


class MergeMoments(beam.CombineFn):
    """Merges exact.Moments."""

    def create_accumulator(self) -> exact.Moments:
        return exact.NO_MOMENTS

    def add_input(self, accumulator: exact.Moments, batch: exact.Moments) -> exact.Moments:
        return exact.merge_moments([accumulator, batch])

    def merge_accumulators(self, accumulators: Iterable[exact.Moments]) -> exact.Moments:
        return exact.merge_moments(accumulators)

    def extract_output(self, accumulator: exact.Moments) -> np.ndarray:
        return np.array(exact.mean_and_deviation(accumulator), np.float32)


class MergeCells(beam.CombineFn):
    """Merges the cells of exact.cells into quantiles."""

    def __init__(self, shares: tuple[float, ...]):
        self._shares = shares

    def create_accumulator(self) -> exact.Cells:
        return collections.Counter()

    def add_input(self, accumulator: exact.Cells, batch: exact.Cells) -> exact.Cells:
        return self.merge_accumulators([accumulator, batch])

    def merge_accumulators(self, accumulators: Iterable[exact.Cells]) -> exact.Cells:
        return functools.reduce(lambda a, b: a + b, accumulators, collections.Counter())

    def extract_output(self, accumulator: exact.Cells) -> np.ndarray:
        return np.array(exact.quantiles(accumulator, self._shares), np.float32)


class ExactMoments(beam.PTransform):
    """From batches of one [n] float32 tensor to its mean and population standard deviation, [2] float32."""

    def expand(self, batches: beam.PCollection[tuple[np.ndarray]]) -> beam.PCollection[np.ndarray]:
        parts = batches | "Moments" >> beam.MapTuple(exact.moments)
        return parts | "Merge" >> beam.CombineGlobally(MergeMoments())


class ExactQuantiles(beam.PTransform):
    """From batches of one [n] float32 tensor >= 0 to its quantiles at `shares`, [len(shares)] float32."""

    def __init__(self, shares: tuple[float, ...]):
        super().__init__()
        self._shares = shares

    def expand(self, batches: beam.PCollection[tuple[np.ndarray]]) -> beam.PCollection[np.ndarray]:
        parts = batches | "Cells" >> beam.MapTuple(exact.cells)
        return parts | "Merge" >> beam.CombineGlobally(MergeCells(self._shares))
