"""Values as of a moment, against looking at every event."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft import time_lookups
from recsys_tft.time_lookups import EventCounts, find_sorted, last_before

KEYS = st.sampled_from((-3, 2, 9, 10, 2**53, 2**53 + 1))
TIMES = st.integers(0, 5) | st.sampled_from((2**53, 2**53 + 1, 2**62))
EVENTS = st.lists(st.tuples(KEYS, TIMES, st.integers(-2, 2)), max_size=25)
ASKED = st.lists(st.tuples(KEYS, TIMES), max_size=25)
quick = settings(deadline=None, derandomize=True, max_examples=150)


def columns(rows: list[tuple[int, ...]], width: int) -> list[np.ndarray]:
    """The columns of rows, also of none."""
    return list(np.array(rows, np.int64).reshape(-1, width).T)


def found(events: list[tuple[int, int, int]], asked: list[tuple[int, int]]) -> list[tuple[int, int, int] | None]:
    """The event that `last_before` names for each pair asked for."""
    keys, times, ties = columns(events, 3)
    rows = last_before(keys, times, *columns(asked, 2), tie=ties).tolist()
    return [events[row] if row >= 0 else None for row in rows]


@quick
@given(EVENTS, ASKED)
def test_the_last_event_strictly_before_is_found(
    events: list[tuple[int, int, int]], asked: list[tuple[int, int]]
) -> None:
    expected = [
        max((event for event in events if event[0] == key and event[1] < time), key=lambda e: e[1:], default=None)
        for key, time in asked
    ]
    assert found(events, asked) == expected


@quick
@given(EVENTS, ASKED, EVENTS, st.integers(0, 5))
def test_later_events_change_nothing_before_them(
    events: list[tuple[int, int, int]],
    asked: list[tuple[int, int]],
    others: list[tuple[int, int, int]],
    moment: int,
) -> None:
    later = [event for event in others if event[1] >= moment]
    until = [pair for pair in asked if pair[1] <= moment]
    assert found(events + later, until) == found(events, until)


@quick
@given(EVENTS, ASKED, st.randoms(use_true_random=False))
def test_the_order_of_events_is_nothing(events: list, asked: list, chance) -> None:
    shuffled = list(events)
    chance.shuffle(shuffled)
    assert found(shuffled, asked) == found(events, asked)


def test_an_event_at_the_moment_itself_does_not_count() -> None:
    assert found([(1, 5, 0)], [(1, 5), (1, 6), (2, 6)]) == [None, (1, 5, 0), None]


@pytest.mark.parametrize("many", [0, time_lookups._MANY])
def test_events_between_moments_are_counted_by_compiled_code_and_without(many: int, monkeypatch):
    monkeypatch.setattr(time_lookups, "_MANY", many)

    @quick
    @given(EVENTS, st.lists(st.tuples(KEYS, TIMES, TIMES), max_size=25))
    def check(events: list[tuple[int, int, int]], asked: list[tuple[int, int, int]]) -> None:
        keys, times, numbers = columns(events, 3)
        of, *ends = columns(asked, 3)
        since, until = np.minimum(*ends), np.maximum(*ends)
        spans = list(zip(of.tolist(), since.tolist(), until.tolist(), strict=True))
        expected = [sum(n for k, t, n in events if k == key and begin <= t < end) for key, begin, end in spans]
        assert EventCounts(keys, times, numbers).between(of, since, until).tolist() == expected
        expected = [sum(k == key and t < end for k, t, _ in events) for key, _, end in spans]
        assert EventCounts(keys, times).between(of, None, until).tolist() == expected

    check()


@quick
@given(st.lists(st.integers(-20, 20) | KEYS, max_size=20), st.lists(st.integers(-40, 40) | KEYS, max_size=80))
def test_wanted_keys_are_found_at_their_first_position_however_far_apart_keys_are(keys: list[int], wanted: list[int]):
    keys.sort()
    positions = find_sorted(np.array(keys, np.int64), np.array(wanted, np.int64)).tolist()
    assert positions == [keys.index(key) if key in keys else -1 for key in wanted]
