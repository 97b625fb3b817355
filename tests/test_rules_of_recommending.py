"""Stages 2 and 4: each rule by itself, against plain Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_tft.configuration.recommender_settings import BlockSettings, FilterSettings, OrderSettings
from recsys_tft.recommending import filtering, ordering
from recsys_tft.recommending.arrangement import arrange, codes
from recsys_tft.recommending.filtering import DAY

NOW = 1_740_000_000_000_000
OFF = OrderSettings(per_channel=None, per_category=None, freshness_boost=0, exploration_share=0)


def videos(**columns: list) -> pa.Table:
    """Rows of the store; what is not given is missing."""
    (size,) = {len(values) for values in columns.values()}
    kinds = {
        "video_id": pa.int64(), "title": pa.binary(), "category": pa.binary(),
        "child_categories": pa.list_(pa.binary()), "channel_id": pa.int64(),
        "published_at": pa.int64(), "events": pa.int64(),
    }  # fmt: skip
    defaults = {"video_id": list(range(size)), "events": [100] * size}
    return pa.table({n: pa.array(columns.get(n, defaults.get(n, [None] * size)), kind) for n, kind in kinds.items()})


# --- Filtering


def test_what_the_user_has_seen_is_left_out() -> None:
    assert filtering.seen(np.array([3, 1, 2]), np.array([2, 9])).tolist() == [False, False, True]
    assert filtering.seen(np.array([3]), np.array([], np.int64)).tolist() == [False]


def test_only_what_is_older_than_the_limit_is_too_old() -> None:
    ages = np.array([0, 30, 30.01, np.nan, -5])
    assert filtering.too_old(NOW - ages * DAY, NOW, 30).tolist() == [False, False, True, False, False]
    assert not filtering.too_old(NOW - ages * DAY, NOW, None).any()


def test_videos_categories_children_and_channels_can_be_blocked() -> None:
    rows = videos(
        video_id=[1, 2, 3, 4, 5, 6],
        category=[b"News", b"Music", None, b"news", b"Music", None],
        child_categories=[[], [b"Pop", b"News"], None, None, [b"Pop"], [b"x"]],
        channel_id=[None, 7, 7, 8, 9, None],
    )
    rules = BlockSettings(videos=(6,), categories=("News",), channels=(9,))
    assert filtering.blocked(rows, rules).tolist() == [True, True, False, False, True, True]
    assert not filtering.blocked(rows, BlockSettings()).any()


def test_a_list_of_a_country_is_for_users_of_that_country() -> None:
    rows, rules = videos(category=[b"News", b"Music"]), {"DE": BlockSettings(categories=("News",))}
    for spelled in (b"DE", b"de", b" De "):
        assert filtering.unavailable(rows, spelled, rules).tolist() == [True, False]
    assert not filtering.unavailable(rows, b"FR", rules).any()
    assert not filtering.unavailable(rows, None, rules).any()


def test_all_filters_are_applied_and_seen_ones_can_be_shown_again() -> None:
    rows = videos(video_id=[1, 2, 3], published_at=[NOW, NOW - 10 * DAY, None], category=[b"a", b"b", b"c"])
    chosen = FilterSettings(max_age_days=5, blocked={"categories": ["c"]}, unavailable={"DE": {"videos": [1]}})
    found = filtering.removed(rows, np.array([2]), b"DE", NOW, chosen)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "seen": [False, True, False],
        "too old": [False, True, False],
        "unavailable": [True, False, False],
        "blocked": [False, False, True],
    }
    again = filtering.removed(rows, np.array([2]), None, NOW, FilterSettings(seen=False))
    assert not any(mask.any() for mask in again.values())


# --- Ordering


def test_the_boost_halves_with_each_half_life_and_unknown_age_has_none() -> None:
    ages = np.array([0, 7, 14, np.nan, -3])
    found = ordering.boosted(np.zeros(5), NOW - ages * DAY, NOW, 0.4, 7)
    np.testing.assert_allclose(found, [0.4, 0.2, 0.1, 0, 0.4])


def test_equal_scores_are_in_the_order_of_ids() -> None:
    assert ordering.best_first(np.array([1.0, 2.0, 1.0]), np.array([9, 5, 3])).tolist() == [1, 2, 0]


def test_a_share_of_the_first_places_goes_to_cold_videos_at_even_distances() -> None:
    order, ids = np.arange(50), np.arange(50) * 3
    found = ordering.explored(order, order >= 20, ids, 0.2, 10, (1, 2))
    assert sorted(found) == [4, 9]
    assert all(row >= 20 for row in found.values())
    assert found == ordering.explored(order, order >= 20, ids, 0.2, 10, (1, 2))
    draws = [tuple(ordering.explored(order, order >= 20, ids, 0.2, 10, (1, day)).values()) for day in range(200)]
    assert len({row for draw in draws for row in draw}) == 30  # each gets its chance


def test_cold_videos_that_are_among_the_first_already_take_no_place() -> None:
    order = np.arange(10)
    assert ordering.explored(order, order < 5, order, 0.5, 5, (0,)) == {}
    assert ordering.explored(order, order >= 9, order, 0.5, 4, (0,)) == {1: 9}
    assert ordering.explored(order, order >= 0, order, 0.0, 4, (0,)) == {}


def test_no_group_has_more_than_its_share_of_the_first_places() -> None:
    channel = np.array([1, 1, 1, 2, -1, -1, -1])
    found, held = ordering.spread(range(7), {"channel": channel}, {"channel": 1}, 5, {})
    assert found == [0, 3, 4, 5, 6, 1, 2]
    assert held == {1: "channel", 2: "channel"}


def test_if_nothing_fits_the_best_takes_the_place() -> None:
    found, _ = ordering.spread(range(4), {"channel": np.array([1, 1, 1, 1])}, {"channel": 1}, 4, {})
    assert found == [0, 1, 2, 3]


def test_a_fixed_row_counts_for_its_group() -> None:
    channel = np.array([1, 2, 3, 1])
    found, held = ordering.spread(range(4), {"channel": channel}, {"channel": 1}, 3, {1: 3})
    assert found == [1, 3, 2, 0]
    assert held == {0: "channel"}


@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), min_size=1, max_size=25),
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 12),
)  # fmt: skip
def test_spreading_is_a_permutation_that_keeps_its_limits_where_it_can(
    groups: list[tuple[int, int]], per_channel: int, per_category: int, first: int
) -> None:
    columns = {"channel": np.array([g[0] for g in groups]), "category": np.array([g[1] for g in groups])}
    limits = {"channel": per_channel, "category": per_category}
    found, held = ordering.spread(range(len(groups)), columns, limits, first, {})
    assert sorted(found) == list(range(len(groups)))
    assert found[first:] == sorted(found[first:])
    counts: dict = {}
    for place, row in enumerate(found[:first]):
        over = [n for n in limits if columns[n][row] >= 0 and counts.get((n, columns[n][row]), 0) >= limits[n]]
        fits = [other for other in found[place:] if not _over(other, columns, limits, counts)]
        assert not (over and fits)
        assert row == (min(fits) if fits else min(found[place:]))
        for name in limits:
            counts[name, columns[name][row]] = counts.get((name, columns[name][row]), 0) + 1
    assert set(held.values()) <= set(limits)


def _over(row: int, columns: dict, limits: dict, counts: dict) -> bool:
    return any(columns[n][row] >= 0 and counts.get((n, columns[n][row]), 0) >= limits[n] for n in limits)


# --- Stage 4 as a whole


def arranged(rows: pa.Table, scores: list[float], chosen: OrderSettings) -> list:
    return arrange(rows, np.zeros(len(rows), np.float32), np.array(scores, np.float32), 1, NOW, chosen)


def test_without_rules_the_order_is_that_of_the_ranker() -> None:
    found = arranged(videos(video_id=[5, 6, 7], title=[b"a", None, b"\xff"]), [0.1, 0.9, 0.5], OFF)
    assert [(item.video_id, item.rank, item.rules) for item in found] == [(6, 1, ()), (7, 2, ()), (5, 3, ())]
    assert [item.title for item in found] == [None, "\ufffd", "a"]


def test_each_rule_that_moves_a_video_is_named() -> None:
    rows = videos(
        video_id=list(range(6)),
        channel_id=[1, 1, 2, 3, 4, 5],
        published_at=[None, None, None, NOW, None, None],
        events=[9, 9, 9, 9, 9, 0],
    )
    chosen = OrderSettings(
        first=4, per_channel=1, per_category=None, freshness_boost=0.25, exploration_share=0.25, cold_below_events=1
    )
    found = arranged(rows, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], chosen)
    assert [item.video_id for item in found] == [0, 3, 2, 5, 1, 4]
    rules = {item.video_id: item.rules for item in found}
    assert rules == {0: (), 3: ("fresh",), 2: (), 5: ("explored",), 1: ("at most 1 per channel",), 4: ()}
    assert [item.score for item in found if item.video_id == 3] == pytest.approx([0.85])


def test_a_video_of_the_far_future_has_age_0_and_one_of_the_year_1_is_old() -> None:
    far, ancient = 253_402_214_400_000_000, -62_135_596_800_000_000  # microseconds that a float64 does not hold exactly
    rows = videos(video_id=[1, 2, 3], published_at=[far, ancient, None], category=[b"a", b"b", b"c"])
    removed = filtering.removed(rows, np.zeros(0, np.int64), None, NOW, FilterSettings(max_age_days=30))
    assert removed["too old"].tolist() == [False, True, False]
    found = arranged(rows, [0.1, 0.2, 0.3], OrderSettings(freshness_boost=1.0))
    assert [item.video_id for item in found] == [1, 3, 2]
    assert found[0].score == pytest.approx(1.1)


def test_no_videos_are_arranged_to_none() -> None:
    assert arranged(videos(video_id=[]), [], OrderSettings()) == []


def test_equal_values_have_equal_codes_and_null_has_none() -> None:
    found = codes(pa.chunked_array([[b"x", None], [b"y", b"x"]]))
    assert found[0] == found[3] != found[2]
    assert found[1] == -1
