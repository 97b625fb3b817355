"""What videos have in common by whom they were liked, against plain Python."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import oracle_counters
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from labelled_cases import CASES, Case, gather, oracles_cuts, quick, settings_of
from oracle_counters import Exposure

from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.cooccurrence import Cooccurrence, PairCounts
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.examples import examples, fitting_rows
from recsys_tft.ops import Fitting

ID = st.sampled_from((1, 2, 3, -5, 2**62, -(2**62), 0))
EXPOSURES = st.lists(st.tuples(st.lists(ID, max_size=5, unique=True), st.none() | ID, st.none() | ID), max_size=25)
OP = Cooccurrence()


def column(rows: Sequence[Sequence[int]]) -> tf.SparseTensor:
    indices = [(row, place) for row, values in enumerate(rows) for place in range(len(values))]
    flat = [value for values in rows for value in values]
    shape = [len(rows), max([1, *map(len, rows)])]
    return tf.SparseTensor(np.array(indices, np.int64).reshape(-1, 2), tf.constant(flat, tf.int64), shape)


def columns(exposures: Sequence[Exposure]) -> list[tf.SparseTensor]:
    alone = ([[] if e[place] is None else [e[place]] for e in exposures] for place in (1, 2))
    return [column([e[0] for e in exposures]), *map(column, alone)]


def fitted(batches: Iterable[Sequence[Exposure]], max_pairs: int = 1000) -> np.ndarray:
    """[pairs + 1, 2] of exposures that come in batches."""
    chosen = Settings(cooccurrence={"enabled": True, "max_pairs": max_pairs})
    asked = [OP.statistic(columns(batch), chosen) for batch in batches]
    statistic = asked[0][1]
    return statistic.result(statistic.merge([statistic.of(values.numpy()) for values, _ in asked]))


def applied(exposures: Sequence[Exposure], table: np.ndarray) -> list[float]:
    return OP.apply("x", columns(exposures), Fitting(Settings(), {"x": tf.constant(table)})).numpy().tolist()


@quick
@given(EXPOSURES, EXPOSURES, st.integers(0, 25))
def test_values_are_those_of_the_oracle(counted: list[Exposure], asked: list[Exposure], cut: int) -> None:
    table = fitted([counted[:cut], counted[cut:]])
    expected = oracle_counters.cooccurrences(counted, [*asked, *counted])
    assert applied([*asked, *counted], table) == pytest.approx(expected, abs=1e-7)


@quick
@given(EXPOSURES, st.permutations(range(25)), st.integers(0, 25))
def test_the_order_and_the_batches_of_exposures_change_nothing(
    counted: list[Exposure], order: list[int], cut: int
) -> None:
    other = [counted[place] for place in order if place < len(counted)]
    np.testing.assert_array_equal(fitted([counted], 3), fitted([other[:cut], other[cut:]], 3))


@quick
@given(EXPOSURES, st.integers(1, 4))
def test_the_most_frequent_pairs_are_kept(counted: list[Exposure], most: int) -> None:
    pairs = Counter(
        tuple(sorted((other, own)))
        for history, _, own in counted
        if own is not None
        for other in history
        if other != own
    )
    alone = Counter(own for _, _, own in counted if own is not None)
    kept = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:most]
    found = fitted([counted], most)
    assert sorted(found[:-1, 1].tolist()) == sorted([*alone.values(), *(count for _, count in kept)])
    assert found[-1].tolist() == [2**63 - 1, 0]
    assert (np.diff(found[:, 0].astype(object)) > 0).all()


@quick
@given(EXPOSURES, ID, st.lists(ID, max_size=5, unique=True))
def test_a_row_does_not_know_that_its_own_exposure_was_counted(
    counted: list[Exposure], video: int, history: list[int]
) -> None:
    own = (history, video, video)
    without = [other for other in history if other != video]  # an exposure makes no pair of a video with itself
    asked = (without, video, None)
    (with_it,) = applied([(without, video, video)], fitted([[*counted, own]]))
    (never,) = applied([asked], fitted([counted]))
    assert with_it == pytest.approx(never, abs=1e-7)


def test_nothing_counted_is_nothing_in_common() -> None:
    assert applied([([1, 2], 3, None), ([], 3, None), ([1], None, None), ([3], 3, 3)], fitted([[]])) == [0, 0, 0, 0]
    assert applied([], fitted([[]])) == []


@pytest.mark.slow
def test_a_pair_is_one_number_in_either_order() -> None:
    many = np.arange(1, 200)
    ids = np.concatenate([many, many << 40, -(many << 52), np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 200)])
    pairs = np.stack(np.triu_indices(len(ids)), axis=1)
    values = ids[pairs].ravel()
    keys = PairCounts(len(pairs)).result(PairCounts(len(pairs)).of(values))[:-1, 0]
    assert len(np.unique(keys)) == len(pairs)


@quick
@given(CASES, st.sampled_from((1, 3)))
def test_positive_exposures_of_the_training_split_are_counted(case: Case, partitions: int) -> None:
    raw, chosen = case
    own = settings_of(chosen).replace({"history": {"length": 2}, "cooccurrence": {"enabled": True}})
    gathered = gather(raw, partitions=partitions)
    for part in gathered.partitions:
        rows = examples.label_exposures(part.events, part.users, gathered.lookup, oracles_cuts(raw, chosen), own)
        table = rows.exposures
        expected = [row["video_id"] if row["label"] == 1 and row["split"] == 0 else None for row in table.to_pylist()]
        assert table[examples.COUNTED_VIDEO].to_pylist() == expected
        pairs = fitting_rows.of_pairs(table)
        assert pairs[examples.COUNTED_VIDEO].to_pylist() == [video for video in expected if video is not None]
        histories = zip(table["history_video_ids"].to_pylist(), expected, strict=True)
        assert pairs["history_video_ids"].to_pylist() == [h for h, video in histories if video is not None]


# --- The option


def test_without_the_option_nothing_of_it_is_asked_for_or_made() -> None:
    feature = DEFAULT.by_name["history_cooccurrence"]
    assert feature.is_active(Settings(cooccurrence={"enabled": True}))
    assert not feature.is_on(Settings())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cooccurrence": {"max_pairs": 0}}, "cooccurrence.max_pairs is 0"),
        ({"cooccurrence": {"enabled": True}, "history": {"length": 0}}, "cooccurrence.enabled needs a history"),
    ],
)
def test_wrong_settings_are_explained(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(values, "the test")


def test_the_cosine_is_that_of_the_formula() -> None:
    counted = [([1], 2, 2), ([2], 1, 1), ([], 1, 1), ([3], 1, 1)]  # n(1) = 3, n(2) = 1; 1 and 2 twice together
    assert applied([([2, 9], 1, None)], fitted([counted])) == pytest.approx([2 / math.sqrt(3) / 2])
