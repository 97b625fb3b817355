"""Negatives: drawn as often as their distribution says, and never a positive."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.examples.negatives import Catalogue, PositivePairs, sample, slots

quick = settings(deadline=None, derandomize=True, max_examples=80)
Positive = tuple[int, int, int]  # user number, video, split
POSITIVES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from((5, 100, 110, 120, 130, 140)), st.integers(0, 2)), max_size=12
)
EXPOSURES = np.array([1, 2, 3, 5, 8, 13, 21, 34, 55, 89])


def catalogue_of(exposures: np.ndarray, alpha: float) -> Catalogue:
    """Of the videos 100, 110, 120 and so on."""
    return Catalogue(100 + 10 * np.arange(len(exposures)), exposures, alpha)


def drawn_for(
    catalogue: Catalogue, positives: list[Positive], wanted: int, seed: int = 0, times: list[int] | None = None
) -> list[list[int]]:
    """The videos drawn for each positive."""
    users, videos, splits = np.array(positives, np.int64).reshape(-1, 3).T
    pairs = PositivePairs(users, videos, splits, catalogue)
    keys = (users * 7 - 3, videos, np.zeros(len(users), np.int64) if times is None else np.array(times))
    rows, drawn = sample(catalogue, pairs, users, splits, keys, np.full(len(users), wanted), seed)
    assert (np.diff(rows) >= 0).all()
    return [catalogue.video_ids[drawn[rows == row]].tolist() for row in range(len(positives))]


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    expected = shares / shares.sum() * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_videos_are_drawn_as_often_as_their_popularity_says(alpha: float) -> None:
    catalogue = catalogue_of(EXPOSURES, alpha)
    elsewhere = [(user, 7, 0) for user in range(20_000)]  # positives outside the catalogue: all of it is legal
    drawn = np.array(drawn_for(catalogue, elsewhere, 1, seed=1)).ravel()
    counts = np.array([(drawn == video).sum() for video in catalogue.video_ids])
    assert chi_square(counts, EXPOSURES**alpha) < 27.9  # 9 degrees of freedom, 1 in 1,000


def test_what_is_legal_keeps_its_proportions() -> None:
    catalogue = catalogue_of(EXPOSURES, 1.0)
    drawn = drawn_for(catalogue, [(user, 190, 0) for user in range(20_000)], 1, seed=2)
    counts = Counter(itertools.chain(*drawn))
    assert 190 not in counts
    assert chi_square(np.array([counts[v] for v in catalogue.video_ids[:9].tolist()]), EXPOSURES[:9]) < 26.1


def test_draws_are_pinned() -> None:
    """Rows of earlier runs depend on them."""
    drawn = drawn_for(catalogue_of(EXPOSURES, 0.0), [(0, 100, 0), (1, 110, 1)], 3, seed=5)
    assert drawn == [[110, 180, 160], [190, 180, 150]]


@quick
@given(
    POSITIVES,
    st.integers(1, 5),
    st.integers(0, 6),
    st.sampled_from((0.0, 0.75, 2.0)),
    st.integers(0, 2**63 - 1),
)
def test_draws_are_legal_different_and_as_many_as_can_be(
    positives: list[Positive], videos: int, wanted: int, alpha: float, seed: int
) -> None:
    catalogue = catalogue_of(EXPOSURES[:videos], alpha)
    drawn = drawn_for(catalogue, positives, wanted, seed)
    taken = defaultdict(set)
    for user, video, split in positives:
        for later in range(split, 3):
            taken[user, later].add(video)
    for (user, _, split), found in zip(positives, drawn, strict=True):
        legal = set(catalogue.video_ids.tolist()) - taken[user, split]
        assert len(found) == len(set(found)) == min(wanted, len(legal))
        assert set(found) <= legal


@quick
@given(POSITIVES, st.integers(0, 3), st.randoms(use_true_random=False))
def test_draws_do_not_depend_on_other_users_or_on_order(positives: list[Positive], user: int, chance) -> None:
    catalogue = catalogue_of(EXPOSURES, 0.75)
    together = list(zip(positives, drawn_for(catalogue, positives, 3), strict=True))
    own = [positive for positive in positives if positive[0] == user]
    chance.shuffle(own)
    alone = list(zip(own, drawn_for(catalogue, own, 3), strict=True))
    assert sorted(alone) == sorted(pair for pair in together if pair[0][0] == user)


def test_another_seed_time_or_video_draws_others() -> None:
    catalogue = catalogue_of(np.ones(1000, np.int64), 0.0)
    first = drawn_for(catalogue, [(0, 5, 0)], 4)
    assert drawn_for(catalogue, [(0, 5, 0)], 4) == first
    assert drawn_for(catalogue, [(0, 5, 0)], 4, seed=1) != first
    assert drawn_for(catalogue, [(0, 6, 0)], 4) != first
    assert drawn_for(catalogue, [(0, 5, 0)], 4, times=[1]) != first


def test_more_wishes_leave_the_first_draws_as_they_were() -> None:
    positives, catalogue = [(user, 5, 0) for user in range(50)], catalogue_of(EXPOSURES, 1.0)
    few, many = (drawn_for(catalogue, positives, wanted) for wanted in (2, 5))
    assert [found[:2] for found in many] == few


def test_the_last_legal_video_of_a_large_catalogue_is_found() -> None:
    catalogue = catalogue_of(np.append(np.full(999, 10**6), 1), 1.0)
    positives = [(0, int(video), 0) for video in catalogue.video_ids[:999]]
    drawn = drawn_for(catalogue, positives, 3)
    assert drawn == [[int(catalogue.video_ids[999])]] * 999


def test_a_user_who_likes_everything_gets_nothing() -> None:
    catalogue = catalogue_of(EXPOSURES[:2], 0.0)
    assert drawn_for(catalogue, [(0, 100, 0), (0, 110, 1)], 3) == [[110], []]


def test_a_positive_of_a_later_split_may_be_drawn() -> None:
    catalogue = catalogue_of(EXPOSURES[:2], 0.0)
    assert drawn_for(catalogue, [(0, 100, 0), (0, 110, 2)], 3) == [[110], []]
    assert drawn_for(catalogue, [(0, 100, 1), (0, 110, 1)], 3) == [[], []]


def test_no_wishes_and_no_positives_draw_nothing() -> None:
    catalogue = catalogue_of(EXPOSURES, 1.0)
    assert drawn_for(catalogue, [(0, 100, 0)], 0) == [[]]
    assert drawn_for(catalogue, [], 3) == []


@pytest.mark.parametrize("alpha", [0.0, 0.75, 2.0])
def test_log_q_sums_to_one_and_is_minus_infinity_elsewhere(alpha: float) -> None:
    catalogue = catalogue_of(EXPOSURES, alpha)
    logs = catalogue.log_q(catalogue.video_ids)
    assert logs.dtype == np.float32
    assert math.fsum(np.exp(logs.astype(np.float64))) == pytest.approx(1, abs=1e-6)
    assert np.exp(logs) == pytest.approx(EXPOSURES**alpha / (EXPOSURES**alpha).sum(), rel=1e-5)
    assert catalogue.log_q(np.array([5, 105, 900])).tolist() == [-math.inf] * 3


def test_the_ends_of_the_unit_interval_are_the_ends_of_the_catalogue() -> None:
    catalogue = catalogue_of(EXPOSURES, 0.75)
    assert catalogue.draw(np.array([0.0, 1 - 2.0**-53])).tolist() == [0, 9]


def slots_of(kinds: str, ratio: int, users: list[int] | None = None, splits: list[int] | None = None) -> list[int]:
    """Of a letter for each exposure: p positive, e exposed negative."""
    zeros = [0] * len(kinds)
    is_positive = np.array([kind == "p" for kind in kinds], bool)
    return slots(
        np.array(users or zeros, np.int64), np.array(splits or zeros, np.int64), is_positive, ~is_positive, ratio
    ).tolist()


def test_exposed_negatives_take_slots_evenly_and_of_the_earlier_positives_first() -> None:
    assert slots_of("ppp", 3) == [3, 3, 3]
    assert slots_of("peppe", 3) == [2, 0, 2, 3, 0]
    assert slots_of("ppeee", 3) == [1, 2, 0, 0, 0]
    assert slots_of("peeeee", 3) == [0] * 6
    assert slots_of("eee", 3) == [0, 0, 0]
    assert slots_of("", 3) == []


def test_users_and_splits_share_no_slots() -> None:
    assert slots_of("peep", 2, users=[0, 1, 1, 1]) == [2, 0, 0, 0]
    assert slots_of("peep", 2, splits=[0, 1, 1, 1]) == [2, 0, 0, 0]


def test_ratio_0_draws_nothing() -> None:
    assert slots_of("ppep", 0) == [0, 0, 0, 0]


@quick
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=20), st.integers(0, 4))
def test_a_user_gets_as_many_slots_as_exposed_negatives_leave(rows: list[tuple[int, int, bool]], ratio: int) -> None:
    rows = sorted(rows, key=lambda row: row[:2])
    kinds = "".join("p" if positive else "e" for *_, positive in rows)
    found = slots_of(kinds, ratio, [user for user, *_ in rows], [split for _, split, _ in rows])
    totals: Counter[tuple[int, int]] = Counter()
    for (user, split, _), wanted in zip(rows, found, strict=True):
        totals[user, split] += wanted
    for group in totals:
        own = [positive for *key, positive in rows if tuple(key) == group]
        positives, exposed = own.count(True), own.count(False)
        assert totals[group] == max(0, ratio * positives - exposed)
