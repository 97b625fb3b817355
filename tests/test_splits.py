"""Splits: disjoint, ordered, and cut exactly where plain fractions cut them."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsys_tft.configuration.job_settings import SplitSettings
from recsys_tft.errors import InputError
from recsys_tft.labelling import split_times

START = 1_709_251_200_000_000  # 2024-03-01 00:00 UTC
MINUTE = 1 << 26
TIMES = st.integers(0, 3 * MINUTE).map(lambda offset: START + offset) | st.sampled_from(
    (START, START + 1, START + MINUTE, START + 40 * MINUTE)
)
CUTS = st.tuples(TIMES, st.none() | st.integers(0, 2 * MINUTE)).map(
    lambda pair: (pair[0], None if pair[1] is None else pair[0] + pair[1])
)
# Shares of which some have no exact double, and add up to 1 in part.
SPLITS = st.sampled_from(((0.8, 0.1), (0.5, 0.25), (0.55, 0.15), (0.6, 0.4), (0.29, 0.01), (0.7, 0.0), (1.0, 0.0)))
quick = settings(deadline=None, derandomize=True, max_examples=150)


def cuts_of(parts: list[list[int]], split: SplitSettings) -> split_times.Cuts:
    """The cuts of exposures that lie in several partitions, found in two steps as the job finds them."""
    times = [np.array(part, np.int64) for part in parts]
    minutes = split_times.merge(split_times.histogram(split_times.coarse(part)) for part in times)
    near = split_times.minutes_of(minutes, split_times.ranks(int(minutes[1].sum()), split))
    exact = split_times.merge(split_times.histogram(part[np.isin(split_times.coarse(part), near)]) for part in times)
    return split_times.cuts(minutes, exact, split)


@quick
@given(st.lists(st.lists(TIMES, max_size=15), min_size=1, max_size=4), SPLITS)
def test_cuts_are_the_times_of_their_ranks(parts: list[list[int]], shares: tuple[float, float]) -> None:
    train, val = (Fraction(str(share)) for share in shares)
    times = sorted(time for part in parts for time in part)
    first_val, first_test = math.floor(train * len(times)), math.floor((train + val) * len(times))
    assume(times and (first_val >= len(times) or times[first_val] > times[0]))
    val_from, test_from = cuts_of(parts, SplitSettings(train=shares[0], val=shares[1]))
    if first_val < len(times):
        assert val_from == times[first_val]
        assert test_from == (times[first_test] if first_test < len(times) else None)
    else:
        assert val_from > times[-1]
        assert test_from is None


@quick
@given(st.lists(TIMES, max_size=30), CUTS)
def test_splits_are_disjoint_and_in_order_of_time(times: list[int], cuts: split_times.Cuts) -> None:
    val_from, test_from = cuts
    splits = split_times.split_of(np.array(times, np.int64), cuts).tolist()
    for time, split in zip(times, splits, strict=True):
        assert (split == 0) == (time < val_from)
        assert (split == 2) == (test_from is not None and time >= test_from)
    of_splits = [[t for t, w in zip(times, splits, strict=True) if w == number] for number in range(3)]
    bounds = [(min(inside), max(inside)) for inside in of_splits if inside]
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(bounds))


@quick
@given(st.lists(st.lists(st.integers(-3, 3), max_size=8), min_size=1, max_size=5))
def test_histograms_merge_to_the_histogram_of_all(parts: list[list[int]]) -> None:
    keys, counts = split_times.merge(split_times.histogram(np.array(part, np.int64)) for part in parts)
    assert dict(zip(keys.tolist(), counts.tolist(), strict=True)) == Counter(key for part in parts for key in part)
    assert (np.diff(keys) > 0).all()


@pytest.mark.parametrize(
    ("total", "train", "val", "expected"),
    [
        (10, 0.7, 0.2, (7, 9)),
        (10, 0.1, 0.2, (1, 3)),  # 0.1 + 0.2 > 0.3 as doubles
        (100, 0.29, 0.0, (29, 29)),  # 100 * 0.29 < 29 as doubles
        (100, 0.55, 0.02, (55, 57)),  # 100 * 0.57 < 57 as doubles
        (10**15 + 1, 0.8, 0.1, (800_000_000_000_000, 900_000_000_000_000)),
        (0, 0.8, 0.1, (0, 0)),
    ],
)
def test_ranks_are_exact_decimals(total: int, train: float, val: float, expected: tuple[int, int]) -> None:
    assert split_times.ranks(total, SplitSettings(train=train, val=val)) == expected


def test_exposures_at_the_same_instant_stay_together() -> None:
    times = [START, *[START + 5] * 8, START + 9]
    val_from, test_from = cuts_of([times], SplitSettings(train=0.5, val=0.4))
    assert (val_from, test_from) == (START + 5, START + 9)
    assert Counter(split_times.split_of(np.array(times), (val_from, test_from)).tolist()) == {0: 1, 1: 8, 2: 1}


def test_only_the_minutes_of_the_cuts_are_looked_at_closely() -> None:
    minutes = split_times.histogram(np.repeat(np.arange(100, 200), 10))
    assert split_times.minutes_of(minutes, (800, 900)).tolist() == [180, 190]
    assert split_times.minutes_of(minutes, (809, 1000)).tolist() == [180]


def test_one_instant_for_all_of_the_training_split_is_an_error() -> None:
    with pytest.raises(InputError, match=r"first 80% of the 3 exposures share one instant, 2024-03-01 00:00:00 UTC"):
        cuts_of([[START] * 3], SplitSettings())


def test_no_exposures_cannot_be_split() -> None:
    with pytest.raises(InputError, match="nothing to split"):
        cuts_of([[]], SplitSettings())


def test_times_are_described_for_people() -> None:
    assert split_times.describe(START + 1_500_000) == "2024-03-01 00:00:01.500000 UTC"


# --- Splits of each user's exposures


def per_user(rows: list[tuple[int, int, int]], kind: str, seed: int = 0, **shares: float) -> list[int]:
    """Splits of (user, video, time) rows, each an exposure of its own."""
    rows = sorted(rows)
    users, videos, times = np.array(rows, np.int64).reshape(-1, 3).T
    split = SplitSettings(kind=kind, **shares)
    return split_times.per_user(users, videos, times, np.arange(len(rows)), split, seed).tolist()


ROWS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 40), TIMES), max_size=60, unique_by=lambda row: row[:2])


@quick
@given(ROWS, SPLITS, st.integers(0, 5))
def test_random_splits_have_each_users_share_of_exposures(
    rows: list[tuple[int, int, int]], shares: tuple[float, float], seed: int
) -> None:
    found = per_user(rows, "random_per_user", seed, train=shares[0], val=shares[1])
    train, val = (Fraction(str(share)) for share in shares)
    for user in {user for user, *_ in rows}:
        own = [split for row, split in zip(sorted(rows), found, strict=True) if row[0] == user]
        n_val, n_test = math.floor(val * len(own)), math.floor((1 - train - val) * len(own))
        assert Counter(own) == +Counter({0: len(own) - n_val - n_test, 1: n_val, 2: n_test})


@quick
@given(ROWS, st.integers(1, 4))
def test_a_users_random_splits_do_not_depend_on_other_users(rows: list[tuple[int, int, int]], user: int) -> None:
    everyone = dict(zip(sorted(rows), per_user(rows, "random_per_user"), strict=True))
    alone = [row for row in rows if row[0] == user]
    assert per_user(alone, "random_per_user") == [everyone[row] for row in sorted(alone)]


def test_random_splits_follow_the_seed_and_not_time() -> None:
    rows = [(1, video, START + video) for video in range(1000)]
    one, again, other = (per_user(rows, "random_per_user", seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    tested = np.flatnonzero(np.array(one) == 2)
    assert 400 < tested.mean() < 600  # of 100 places out of 1000, were they the last it would be 950


def test_the_last_exposures_of_each_user_are_for_test() -> None:
    rows = [(user, video, START + (7 * video) % 10) for user in (1, 2) for video in range(10)]
    found = dict(zip(sorted(rows), per_user(rows, "time_per_user"), strict=True))
    assert [time - START for (_, _, time), split in found.items() if split == 2] == [9, 9]
    assert [time - START for (_, _, time), split in found.items() if split == 1] == [8, 8]


def test_a_users_exposures_at_one_instant_stay_together_in_the_later_split() -> None:
    rows = [(1, video, START + min(video, 7)) for video in range(10)]
    assert per_user(rows, "time_per_user") == [0] * 7 + [2] * 3


def test_a_user_with_few_exposures_has_them_all_in_training() -> None:
    for kind in ("time_per_user", "random_per_user"):
        assert per_user([(1, video, START + video) for video in range(9)], kind) == [0] * 9


def test_an_exposure_ends_where_its_users_training_ends() -> None:
    events = np.array([[1, 5, START], [1, 5, START + 9], *([1, 6 + n, START + 1 + n] for n in range(9))])
    users, videos, times = events.T
    begins = np.array([0, *range(2, 11)])  # the first two events are one exposure of ten
    found = split_times.per_user(users, videos, times, begins, SplitSettings(kind="time_per_user"), 0)
    assert found.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2]


def test_times_do_not_go_with_splits_per_user() -> None:
    with pytest.raises(ValueError, match="val_from is for kind time"):
        SplitSettings(kind="random_per_user", val_from="2024-03-01")
