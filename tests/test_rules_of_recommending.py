"""Stages 2 and 4: each rule by itself, against plain Python; where ids matter, with ids of every kind."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_ids import text

from recsys_tft.columns import IdKind
from recsys_tft.configuration import settings
from recsys_tft.configuration.recommender_settings import BlockSettings, FilterSettings, OrderSettings
from recsys_tft.errors import InputError
from recsys_tft.recommending import filtering, ordering
from recsys_tft.recommending.catalogue import Candidates, codes
from recsys_tft.recommending.filtering import DAY
from recsys_tft.recommending.ordering import arrange

KINDS = (IdKind.INTEGER, IdKind.UINT64, IdKind.STRING, IdKind.UUID)
Ids = Callable[[int], int | str]
NOW = 1_740_000_000_000_000
OFF = OrderSettings(per_channel=None, per_category=None, freshness_boost=0, exploration_share=0)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> IdKind:
    return request.param


@pytest.fixture
def an_id(kind: IdKind) -> Ids:
    """Makes an id of this kind of a small number."""
    return (lambda number: text(number, kind)) if kind.is_text else (lambda number: number)


def ids(values: list, kind: IdKind) -> pa.Array:
    return pa.array(values, pa.binary() if kind.is_text else pa.int64())


def videos(kind: IdKind = IdKind.INTEGER, **columns: list) -> pa.Table:
    """Rows of the store; what is not given is missing."""
    (size,) = {len(values) for values in columns.values()}
    key = pa.binary() if kind.is_text else pa.int64()
    kinds = {
        "video_id": key, "title": pa.binary(), "category": pa.binary(),
        "child_categories": pa.list_(pa.binary()), "channel_id": key,
        "published_at": pa.int64(), "events": pa.int64(),
    }  # fmt: skip
    defaults = {"video_id": list(range(size)), "events": [100] * size}
    return pa.table({n: pa.array(columns.get(n, defaults.get(n, [None] * size)), kind) for n, kind in kinds.items()})


# --- Filtering


def test_what_the_user_has_seen_is_left_out(kind: IdKind, an_id: Ids) -> None:
    some = ids([an_id(number) for number in (10, 11, 16, 2, 3)], kind)  # of strings 10 and 0010, 16 and 16 with a NUL
    assert filtering.seen(some, ids([an_id(11), an_id(16), an_id(9)], kind)).tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert filtering.seen(some[:1], ids([], kind)).tolist() == [False]


def test_only_what_is_older_than_the_limit_is_too_old() -> None:
    ages = np.array([0, 30, 30.01, np.nan, -5])
    assert filtering.too_old(NOW - ages * DAY, NOW, 30).tolist() == [False, False, True, False, False]
    assert not filtering.too_old(NOW - ages * DAY, NOW, None).any()


def test_videos_categories_children_and_channels_can_be_blocked(kind: IdKind, an_id: Ids) -> None:
    rows = videos(
        kind,
        video_id=[an_id(number) for number in (1, 2, 3, 4, 5, 6)],
        category=[b"News", b"Music", None, b"news", b"Music", None],
        child_categories=[[], [b"Pop", b"News"], None, None, [b"Pop"], [b"x"]],
        channel_id=[number and an_id(number) for number in (None, 7, 7, 8, 9, None)],
    )
    kinds = {"video_id": kind, "channel_id": kind}
    given = str.upper if kind is IdKind.UUID else lambda value: value
    rules = BlockSettings(videos=(given(an_id(6)),), categories=("News",), channels=(given(an_id(9)),)).as_rows(kinds)
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
    found = filtering.removed(Candidates.of_rows(rows), pa.array([2]), b"DE", NOW, chosen)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "seen": [False, True, False],
        "too old": [False, True, False],
        "unavailable": [True, False, False],
        "blocked": [False, False, True],
    }
    again = filtering.removed(Candidates.of_rows(rows), pa.array([2]), None, NOW, FilterSettings(seen=False))
    assert not any(mask.any() for mask in again.values())


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (IdKind.INTEGER, "a", "an integer"),
        (IdKind.INTEGER, 2**63, "an integer"),
        (IdKind.UINT64, "007", "an integer of 64 bits"),
        (IdKind.STRING, 7, "a string, in quotes"),
        (IdKind.STRING, "", "a string, in quotes"),
        (IdKind.UUID, "c0ffee00", "a UUID such as 123e4567-e89b-12d3-a456-426614174000"),
    ],
)
def test_ids_of_another_kind_are_refused_by_name(kind: IdKind, value: object, wanted: str) -> None:
    lists = {"blocked": {"videos": [value]}, "unavailable": {"DE": {"channels": [value]}}}
    given = {"ids": {"video_id": kind, "channel_id": kind}, "recommender": {"filters": lists}}
    with pytest.raises(InputError) as error:
        settings.parse(given, "c.yaml")
    for place, key in (("blocked.videos", "video_id"), ("unavailable.DE.channels", "channel_id")):
        told = f"recommender.filters.{place} holds {value!r}; expected {wanted}, as the tables have as {key}."
        assert told in str(error.value)
    assert settings.parse({"recommender": {"filters": lists}}, "c.yaml").recommender.filters.blocked.videos == (value,)


# --- Ordering


def test_the_boost_halves_with_each_half_life_and_unknown_age_has_none() -> None:
    ages = np.array([0, 7, 14, np.nan, -3])
    found = ordering.boosted(np.zeros(5), NOW - ages * DAY, NOW, 0.4, 7)
    np.testing.assert_allclose(found, [0.4, 0.2, 0.1, 0, 0.4])


def test_equal_scores_are_in_the_order_of_retrieval_and_then_of_ids() -> None:
    scores, retrieval, ids = np.array([1.0, 2, 1, 1]), np.array([0.5, -1, 0.5, 0.7]), np.array([9, 5, 3, 11])
    assert ordering.best_first(scores, retrieval, ids).tolist() == [1, 3, 2, 0]


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


def arranged(rows: pa.Table, scores: list[float], chosen: OrderSettings, kind: IdKind = IdKind.INTEGER) -> list:
    return arrange(
        Candidates.of_rows(rows, kind),
        np.zeros(len(rows), np.float32),
        np.array(scores, np.float32),
        1,
        NOW,
        chosen,
    )


def test_equal_scores_are_in_the_order_of_ids_as_they_are_given(kind: IdKind, an_id: Ids) -> None:
    given = [an_id(number) for number in (5, 63, 11, 10, 2, 3, 9, 100)]
    given += [str(number) for number in (5, 70, 2**64 - 1)] if kind is IdKind.UINT64 else []
    found = arranged(videos(kind, video_id=given), [0.5] * len(given), OFF, kind)
    keys = {IdKind.INTEGER: int, IdKind.UINT64: int}
    assert [item.video_id for item in found] == sorted(given, key=keys.get(kind, str.encode))


def test_videos_that_the_ranker_cannot_tell_apart_stay_as_retrieval_had_them() -> None:
    retrieval = np.array([0.1, 0.4, 0.3, 0.4], np.float32)
    rows = videos(IdKind.INTEGER, video_id=[5, 6, 7, 8])
    found = arrange(Candidates.of_rows(rows), retrieval, np.zeros(4, np.float32), 1, NOW, OFF)
    assert [(item.video_id, item.rank) for item in found] == [(6, 1), (8, 2), (7, 3), (5, 4)]


def test_every_kind_of_ids_has_its_own_draws_of_cold_videos(kind: IdKind, an_id: Ids) -> None:
    given = [an_id(number) for number in range(40)]
    rows = Candidates.of_rows(videos(kind, video_id=given, events=[9] * 20 + [0] * 20), kind)
    chosen = OrderSettings(first=10, per_channel=None, per_category=None, freshness_boost=0, exploration_share=0.1)
    draws = set()
    for user in range(60):
        found = arrange(rows, np.zeros(40, np.float32), -np.arange(40, dtype=np.float32), user, NOW, chosen)
        draws |= {item.video_id for item in found if "explored" in item.rules}
    assert draws <= set(given[20:])
    assert len(draws) > 12


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
    removed = filtering.removed(
        Candidates.of_rows(rows), pa.nulls(0, pa.int64()), None, NOW, FilterSettings(max_age_days=30)
    )
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
