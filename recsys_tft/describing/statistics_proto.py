"""The figures of a run as protos of TensorFlow Metadata for TFDV, one data set for each split.

By the proto's comments, an example without a value is missing; a standard histogram has buckets of equal width, a
quantiles histogram of equal counts; a bucket has low <= value < high, the last one also its high; ranks begin at 0 in
histograms of TFDV; the most frequent top values come first.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from recsys_tft.describing.distributions import Distribution

Feature = statistics_pb2.FeatureNameStatistics
_BUCKETS = 10
_STEPS = {"day": 86_400_000_000, "hour": 3_600_000_000}  # microseconds, in which times are given
_TOKENS, _TEXTS = ("token",), ("text", "id")


def to_proto(found: Mapping[str, Any]) -> statistics_pb2.DatasetFeatureStatisticsList:
    """All data sets by split, with names such as `ranker/train`, or `users` for a single split."""
    every = statistics_pb2.DatasetFeatureStatisticsList()
    for data_set, own in found["data_sets"].items():
        for split, rows in own["splits"].items():
            added = every.datasets.add(name=name_of(data_set, split), num_examples=rows["rows"])
            for name, column in own["columns"].items():
                _add(added, name, column, column["splits"][split])
    return every


def name_of(data_set: str, split: str) -> str:
    """The name of a split of a data set."""
    return data_set if split == "all" else f"{data_set}/{split}"


def _add(data_set: statistics_pb2.DatasetFeatureStatistics, name: str, column: Any, own: Any) -> None:
    kind = column["kind"]
    added = data_set.features.add(name=name)
    if kind in (*_TEXTS, "length"):
        added.type = Feature.STRING
        _strings(added.string_stats, own)
        _common(added.string_stats.common_stats, column, own)
    elif kind in _TOKENS:
        added.type = Feature.INT  # categories
        _strings(added.string_stats, own)
        _common(added.string_stats.common_stats, column, own)
        if "vocabulary" in column and own["count"]:
            added.custom_stats.add(name="oov_rate", num=own["oov"] / own["count"])
            size = column["vocabulary"]["size"]
            added.custom_stats.add(name="vocabulary_coverage", num=own["seen"] / size if size else 0.0)
    elif kind == "vector":
        added.type = Feature.FLOAT
        _common(added.num_stats.common_stats, column, own)
        norms = own.get("norms", {})
        if norms.get("count"):
            added.custom_stats.add(name="norm_mean", num=norms["mean"])
            added.custom_stats.add(name="norm_std_dev", num=norms["deviation"])
    else:
        added.type = Feature.INT if kind in ("time", "moment") else Feature.FLOAT
        _numbers(added.num_stats, own, _STEPS.get(own.get("step"), 1))
        _common(added.num_stats.common_stats, column, own)


def _common(stats: statistics_pb2.CommonStatistics, column: Any, own: Any) -> None:
    is_token = column["kind"] == "token"
    # Token 0 of a scalar is a value, as the example has it.
    missing = own["missing"] if column.get("list") or not is_token else 0
    stats.num_missing, stats.num_non_missing = missing, own["rows"] - missing
    lengths = own.get("lengths")
    if not stats.num_non_missing:
        return
    if lengths is None or not lengths["count"]:
        stats.min_num_values = stats.max_num_values = 1
        stats.avg_num_values, stats.tot_num_values = 1, stats.num_non_missing
        return
    cells = Distribution.of_json(lengths["cells"])
    present = cells.values > 0
    longer = Distribution(cells.values[present], cells.counts[present])
    stats.min_num_values, stats.max_num_values = int(longer.values[0]), int(lengths["max"])
    total = own.get("count") or round(lengths["mean"] * lengths["count"])
    stats.tot_num_values, stats.avg_num_values = total, total / stats.num_non_missing
    _quantiles(stats.num_values_histogram, longer, longer.values[0], lengths["max"])


def _strings(stats: statistics_pb2.StringStatistics, own: Any) -> None:
    stats.unique = own.get("distinct", own.get("seen", 0))
    for rank, (value, count) in enumerate(own.get("top", [])):
        stats.top_values.add(value=value, frequency=count)
        stats.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=value, sample_count=count)


def _numbers(stats: statistics_pb2.NumericStatistics, own: Any, unit: float) -> None:
    if not own.get("count"):
        return
    stats.mean, stats.std_dev, stats.num_zeros = own["mean"] * unit, own["deviation"] * unit, own["zeros"]
    low, high, cells = own["min"] * unit, own["max"] * unit, Distribution.of_json(own["cells"])
    stats.min, stats.median, stats.max = low, own["quantiles"][3] * unit, high
    scaled = Distribution(cells.values * unit, cells.counts)
    standard = stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    edges = np.linspace(low, high, _BUCKETS + 1)
    counts = scaled.binned(edges[1:-1].tolist()) if high > low else [scaled.total]
    edges = edges if high > low else np.array([low, high])
    for number, count in enumerate(counts):
        standard.buckets.add(low_value=edges[number], high_value=edges[number + 1], sample_count=count)
    _quantiles(stats.histograms.add(), scaled, low, high)


def _quantiles(histogram: statistics_pb2.Histogram, cells: Distribution, low: float, high: float) -> None:
    histogram.type = statistics_pb2.Histogram.QUANTILES
    inner = cells.quantiles(tuple(part / _BUCKETS for part in range(1, _BUCKETS)))
    edges = [low, *(min(max(edge, low), high) for edge in inner), high]
    for number in range(_BUCKETS):
        histogram.buckets.add(
            low_value=edges[number], high_value=edges[number + 1], sample_count=cells.total / _BUCKETS
        )
