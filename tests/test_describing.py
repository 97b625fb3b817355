"""Sketches and figures against plain NumPy over whole columns, and the same however rows are divided and ordered."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import statistics_pb2

from recsys_tft.describing import cells, figures, sketches
from recsys_tft.describing.columns import Kind, count_rows, describe, merge
from recsys_tft.describing.distributions import SHARES, Distribution
from recsys_tft.describing.sketches import Rows, Values
from recsys_tft.describing.statistics_proto import to_proto

SPLITS = ("train", "val", "test")
KINDS = {
    "number": Kind.NUMBER, "whole": Kind.NUMBER, "text": Kind.TEXT, "flag": Kind.TEXT, "id": Kind.ID,
    "token": Kind.TOKEN, "tokens": Kind.TOKEN, "vector": Kind.VECTOR, "onehot": Kind.VECTOR, "time": Kind.TIME,
    "history": Kind.LENGTH,
}  # fmt: skip
COLUMNS = {
    name: figures.Column(
        kind,
        is_list=name in ("tokens", "history"),
        words=[f"word {i}" for i in range(5000)] if kind is Kind.TOKEN else None,
        size=5000 if kind is Kind.TOKEN else None,
        n_oov=2 if kind is Kind.TOKEN else 0,
    )
    for name, kind in KINDS.items()
}


def drawn(rows: int, seed: int = 0) -> pa.Table:
    """Rows of every kind of column, some of which are missing."""
    rng = np.random.default_rng(seed)
    number = (rng.normal(size=rows) * np.exp(rng.normal(size=rows) * 3)).astype(np.float32)
    number[rng.random(rows) < 0.1] = 0
    lengths = rng.integers(0, 6, rows)
    tokens = pa.ListArray.from_arrays(np.append(0, np.cumsum(lengths)), pa.array(rng.zipf(1.3, lengths.sum()) % 5000))
    onehot = np.eye(4, dtype=np.float32)[rng.integers(0, 4, rows)] * (rng.random(rows) < 0.9)[:, None]
    vectors = rng.normal(size=(rows, 8)).astype(np.float32)
    texts = np.array(["fr", "de", "né", "x<y", "long " * 9], object)[rng.integers(0, 5, rows)]
    return pa.table(
        {
            "number": pa.array(number, mask=rng.random(rows) < 0.2),
            "whole": pa.array(rng.integers(-20, 250, rows), mask=rng.random(rows) < 0.3),
            "text": pa.array(texts, pa.string(), mask=rng.random(rows) < 0.1),
            "flag": pa.array(rng.random(rows) < 0.3),
            "id": pa.array(rng.integers(0, 50, rows)),
            "token": pa.array(rng.zipf(1.4, rows) % 5000),
            "tokens": tokens,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8),
            "onehot": pa.FixedSizeListArray.from_arrays(pa.array(onehot.ravel()), 4),
            "time": pa.array(rng.integers(1.6e15, 1.7e15, rows), pa.timestamp("us")),
            "history": tokens,
        }
    )


def figures_of(parts: list[tuple[pa.Table, list[np.ndarray]]]) -> dict:
    """Of several tables, with the rows of each that each split has."""
    described = []
    for table, codes in parts:
        rows = Rows.of(codes, len(table))
        described.append({**describe(table, KINDS, rows, "rows"), **count_rows(rows, "rows", rows, rows)})
    return figures.figures(merge(described), {"rows": SPLITS}, {"rows": COLUMNS})


@pytest.fixture(scope="module")
def whole() -> tuple[pa.Table, list[np.ndarray]]:
    table = drawn(3000)
    rng = np.random.default_rng(1)
    return table, [rng.integers(0, 3000, size) for size in (5000, 400, 60)]  # rows that occur often, or not at all


@pytest.fixture(scope="module")
def found(whole: tuple[pa.Table, list[np.ndarray]]) -> dict:
    return figures_of([whole])["rows"]


@pytest.mark.parametrize("split", range(3))
def test_figures_of_numbers_are_those_of_numpy(whole: tuple, found: dict, split: int) -> None:
    table, codes = whole
    for name in ("number", "whole"):
        column = table[name].take(pa.array(codes[split]))
        values = column.drop_null().to_numpy().astype(np.float64)
        own = found["columns"][name]["splits"][SPLITS[split]]
        assert (own["rows"], own["missing"], own["count"]) == (len(column), column.null_count, len(values))
        assert own["zeros"] == (values == 0).sum()
        assert (own["min"], own["max"]) == (values.min(), values.max())
        assert own["mean"] == pytest.approx(math.fsum(values) / len(values), rel=1e-8, abs=1e-9)
        assert own["deviation"] == pytest.approx(values.std(), rel=1e-6)
        exact = np.sort(values)[[math.ceil(share * len(values)) - 1 for share in SHARES]]
        np.testing.assert_allclose(own["quantiles"], exact, rtol=1 / 128, atol=1e-9)
        assert sum(own["histogram"]["counts"]) == len(values) == sum(own["cells"]["counts"])
    assert found["columns"]["whole"]["splits"]["train"]["quantiles"] == [
        float(q) for q in np.sort(table["whole"].take(pa.array(codes[0])).drop_null().to_numpy())[
            [math.ceil(s * own_count(found)) - 1 for s in SHARES]
        ]
    ]  # whole numbers up to 256 are exact, and others as often as they have a cell alone  # fmt: skip


def own_count(found: dict) -> int:
    return found["columns"]["whole"]["splits"]["train"]["count"]


def test_bins_are_those_of_the_training_split(found: dict) -> None:
    own = found["columns"]["number"]["splits"]
    assert own["train"]["histogram"]["edges"] == own["test"]["histogram"]["edges"]
    counts = np.array(own["train"]["histogram"]["counts"])
    assert len(counts) > 5
    assert counts.min() > 0


def test_values_tokens_lengths_norms_and_times_are_counted(whole: tuple, found: dict) -> None:
    table, codes = whole
    rows = table.take(pa.array(codes[0]))
    own = {name: column["splits"]["train"] for name, column in found["columns"].items()}
    texts = rows["text"].drop_null().value_counts().to_pylist()
    assert own["text"]["top"] == [
        [x["values"], x["counts"]] for x in sorted(texts, key=lambda x: (-x["counts"], x["values"]))
    ]
    assert own["text"]["distinct_is_exact"]
    assert dict(own["flag"]["top"]) == {
        "true": rows["flag"].to_pylist().count(True),
        "false": rows["flag"].to_pylist().count(False),
    }
    assert own["id"]["distinct"] == len(set(rows["id"].to_pylist()))
    assert "top" not in own["id"]
    tokens = rows["token"].to_numpy()
    assert own["token"]["missing"] == (tokens == 0).sum()
    assert own["token"]["oov"] == ((tokens == 1) | (tokens == 2)).sum()
    named = dict(own["token"]["top"])
    assert named["word 0"] == (tokens == 3).sum()
    assert named["[OOV 0]"] == (tokens == 1).sum()
    lists = rows["tokens"].to_pylist()
    assert own["tokens"]["count"] == sum(map(len, lists))
    assert own["tokens"]["missing"] == sum(not each for each in lists)
    assert own["tokens"]["lengths"]["mean"] == pytest.approx(np.mean([len(each) for each in lists]), rel=1e-8)
    assert own["history"]["lengths"] == own["tokens"]["lengths"]
    norms = np.linalg.norm(np.array(rows["vector"].to_pylist()), axis=1)
    assert own["vector"]["norms"]["mean"] == pytest.approx(norms.mean(), rel=1e-6)
    onehot = np.array(rows["onehot"].to_pylist())
    assert own["onehot"]["missing"] == (onehot.sum(1) == 0).sum()
    assert dict(own["onehot"]["top"]) == {str(i): int(n) for i, n in enumerate(onehot.sum(0))}
    days = rows["time"].cast(pa.int64()).to_numpy() // 86_400_000_000
    assert (own["time"]["min"], own["time"]["max"]) == (days.min(), days.max())


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_neither_order_nor_division_changes_a_byte(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    table, codes = drawn(300), [rng.integers(0, 300, size) for size in (500, 80, 1)]
    expected = json.dumps(figures_of([(table, codes)])["rows"]["columns"])
    owner = rng.integers(0, parts, 300)
    divided = []
    for part in rng.permutation(parts):
        order = rng.permutation(np.flatnonzero(owner == part))
        rank = np.full(300, -1)
        rank[order] = np.arange(len(order))
        divided.append((table.take(pa.array(order)), [rng.permutation(rank[c][rank[c] >= 0]) for c in codes]))
    assert json.dumps(figures_of(divided)["rows"]["columns"]) == expected


def test_merging_in_steps_is_merging_at_once(whole: tuple) -> None:
    table, codes = whole
    parts = []
    for number in range(6):
        rows = Rows.of([each[number::6] for each in codes], len(table))
        parts.append({**describe(table, KINDS, rows, "rows"), **count_rows(rows, "rows")})
    at_once = merge(parts)
    in_steps = merge([merge([parts[5], parts[0]]), merge(parts[1:3]), parts[4], parts[3]])
    made = [figures.figures(each, {"rows": SPLITS}, {"rows": COLUMNS}) for each in (at_once, in_steps)]
    assert json.dumps(made[0]) == json.dumps(made[1])


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_cells_hold_their_values_and_give_their_mean(values: list[float]) -> None:
    given_values = np.array(values, np.float32)
    numbers = sketches.Numbers.of(given_values, Rows.every(len(values)))
    found, sums = numbers.of_split(0)
    exact = np.where(np.abs(given_values) < np.finfo(np.float32).tiny, 0, given_values).astype(np.float64)
    lows, highs = cells.edges(found)
    for low, high in zip(lows, highs, strict=True):
        assert low <= high
    assert all(any(low <= value <= high for low, high in zip(lows, highs, strict=True)) for value in exact)
    mean, _ = cells.moments(found, sums)
    scale = np.abs(exact).max()
    assert mean == pytest.approx(math.fsum(exact) / len(exact), rel=1e-9, abs=1e-9 * scale)
    assert sums[0].sum() == len(values)


def test_values_beyond_the_limit_are_estimated() -> None:
    column = pa.array([f"value {i}" for i in range(40_000)])
    found = Values.of(column, Rows.every(len(column)))
    assert not found.is_whole
    assert len(found.values) == sketches.KEPT
    assert found.distinct(0) == pytest.approx(40_000, rel=5 / math.sqrt(sketches.KEPT))


def test_a_dictionary_that_has_a_value_twice_is_one_value() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 1]), pa.array(["a", "b", "a"]))
    found = Values.of(column, Rows.every(4))
    assert dict(zip(found.values, found.counts[:, 0], strict=True)) == {"a": 2, "b": 2}


def test_a_coarser_distribution_keeps_the_total_and_moves_quantiles_by_a_percent_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    values = np.unique(rng.lognormal(size=5000))
    fine = Distribution(values, rng.integers(1, 50, len(values)))
    few = Distribution.of_json(json.loads(json.dumps(fine.to_json())))
    assert len(few.counts) <= 256
    assert few.total == fine.total
    below = [fine.counts[fine.values <= value].sum() / fine.total for value in few.quantiles()]
    np.testing.assert_allclose(below, SHARES, atol=0.0125)  # a cell holds an 85th of all, or is one of before


def test_effective_rows_are_those_of_kish() -> None:
    rows = Rows.every(100)
    users = Rows.of([np.repeat(np.arange(10), 10)], 10)
    videos = Rows.of([np.zeros(100, np.int64)], 1)
    described = count_rows(rows, "rows", users, videos)
    made = figures.figures(described, {"rows": ("train",)}, {"rows": {}})["rows"]["splits"]["train"]
    assert made == {"rows": 100, "effective": {"user": 10, "video": 1}}
    twice = figures.figures(merge([described, described]), {"rows": ("train",)}, {"rows": {}})
    assert twice["rows"]["splits"]["train"] == {"rows": 200, "effective": {"user": 20, "video": 1}}


def test_no_rows_give_no_figures_and_no_error() -> None:
    table = drawn(10)
    nothing = figures_of([(table, [np.zeros(0, np.int64)] * 3)])["rows"]
    assert nothing["splits"]["train"] == {"rows": 0, "effective": {"user": 0, "video": 0}}
    assert to_proto({"data_sets": {"rows": nothing}}).datasets[0].num_examples == 0
    empty = figures_of([(table.slice(0, 0), [np.zeros(0, np.int64)] * 3)])["rows"]
    assert empty["columns"]["number"]["splits"]["train"]["count"] == 0


def test_the_proto_says_what_its_comments_ask(whole: tuple, found: dict) -> None:
    table, codes = whole
    made = to_proto({"data_sets": {"rows": found}})
    read = statistics_pb2.DatasetFeatureStatisticsList.FromString(made.SerializeToString(deterministic=True))
    assert [data_set.name for data_set in read.datasets] == ["rows/train", "rows/val", "rows/test"]
    assert len({tuple(f.name for f in data_set.features) for data_set in read.datasets}) == 1
    train = {feature.name: feature for feature in read.datasets[0].features}
    rows = table.take(pa.array(codes[0]))
    number = train["number"].num_stats
    values = rows["number"].drop_null().to_numpy().astype(np.float64)
    common = number.common_stats
    assert read.datasets[0].num_examples == len(rows) == common.num_missing + common.num_non_missing
    assert common.num_missing == rows["number"].null_count
    assert (common.min_num_values, common.max_num_values, common.tot_num_values) == (1, 1, len(values))
    assert number.mean == pytest.approx(values.mean(), rel=1e-6)
    standard, quantiles = number.histograms
    assert standard.type == statistics_pb2.Histogram.STANDARD
    widths = [bucket.high_value - bucket.low_value for bucket in standard.buckets]
    np.testing.assert_allclose(widths, widths[0], rtol=1e-6)
    assert sum(bucket.sample_count for bucket in standard.buckets) == len(values)
    assert quantiles.type == statistics_pb2.Histogram.QUANTILES
    for histogram in (standard, quantiles):
        assert (histogram.buckets[0].low_value, histogram.buckets[-1].high_value) == (values.min(), values.max())
        assert all(a.high_value == b.low_value for a, b in zip(histogram.buckets, histogram.buckets[1:], strict=False))
    texts = train["text"].string_stats
    assert train["text"].type == statistics_pb2.FeatureNameStatistics.STRING
    assert texts.unique == 5
    frequencies = [value.frequency for value in texts.top_values]
    assert frequencies == sorted(frequencies, reverse=True)
    assert [b.label for b in texts.rank_histogram.buckets] == [value.value for value in texts.top_values]
    tokens = train["tokens"].string_stats.common_stats
    lists = [each for each in rows["tokens"].to_pylist() if each]
    assert (tokens.num_non_missing, tokens.tot_num_values) == (len(lists), sum(map(len, lists)))
    assert (tokens.min_num_values, tokens.max_num_values) == (1, 5)
    assert tokens.avg_num_values == pytest.approx(sum(map(len, lists)) / len(lists))
    assert {stat.name for stat in train["token"].custom_stats} == {"oov_rate", "vocabulary_coverage"}
    times = train["time"].num_stats
    assert 1.6e15 - 1e11 < times.min <= times.median <= times.max < 1.7e15


def test_integers_that_no_float_holds_are_described_beside_missing_ones() -> None:
    table = drawn(4)
    large = pa.array([2**63 - 1, None, 2**53 + 1, 1])
    table = table.set_column(table.column_names.index("whole"), "whole", large)
    every = [np.arange(4), np.zeros(0, np.int64), np.zeros(0, np.int64)]
    told = figures_of([(table, every)])["rows"]["columns"]["whole"]["splits"]["train"]
    assert told["count"] == 3
    assert told["max"] == pytest.approx(2**63)
