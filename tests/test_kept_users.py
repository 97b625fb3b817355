"""What is kept of users takes no more memory than it may, and what they have done since is not kept over."""

import types
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recsys_tft.online import kept_users
from recsys_tft.online.kept_users import KeptUser, KeptUsers, Late
from recsys_tft.tables.versions import ALWAYS, NEVER


def found(users: list[int], number: int, size: int = 10) -> dict[int, KeptUser]:
    """What was found out at once of users, which takes some bytes."""
    shared: Any = types.SimpleNamespace(bytes=size)
    return {user: KeptUser(user, number, 100, shared, place) for place, user in enumerate(users)}


def test_what_was_found_out_longest_ago_is_forgotten_first() -> None:
    kept, late = KeptUsers(most=30), Late()
    for users in ([1, 2], [3], [2, 4]):
        kept.add(found(users, 0))
    assert all(kept.get(user, late) for user in (1, 2, 3, 4))
    kept.add(found([5], 0))
    assert [user for user in range(1, 6) if kept.get(user, late)] == [2, 3, 4, 5]  # 2 was found out again
    kept.add(found([6], 0, size=31))
    assert not any(kept.get(user, late) for user in range(1, 7))
    assert kept._bytes == 0


def test_whoever_has_done_something_meanwhile_is_not_kept() -> None:
    kept, late = KeptUsers(), Late()
    begun = found([1, 2, 3], late.number)
    for users in ([1], [7], [3, 8]):
        kept.changed(users, late.number)
        late.add(100, 100)
    kept.add(begun)
    assert [user for user in (1, 2, 3) if kept.get(user, late)] == [2]
    begun = found([4], late.number)
    for _ in range(kept_users._BATCHES + 1):
        kept.changed([9], late.number)
        late.add(100, 100)
    kept.add(begun)
    assert kept.get(4, late) is None  # as it is not remembered who has


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60), st.integers(2, 8))
def test_what_is_late_is_known_or_nothing_is_said_to_hold(batches: list[tuple[int, int]], most: int) -> None:
    late, before = Late(), kept_users._NOTED
    kept_users._NOTED = most
    try:
        for earliest, latest in batches:
            late.add(earliest, latest)
            assert len(late._times) == len(late._numbers) <= most
    finally:
        kept_users._NOTED = before
    for number in range(len(batches) + 1):
        of_late = [earliest for earliest, latest in batches[number:] if earliest < latest]
        assert late.earliest(number) in (min(of_late, default=NEVER), ALWAYS)
    assert late.earliest(late.number) == NEVER


def test_batches_in_order_are_not_noted() -> None:
    late = Late()
    for time in range(1000):
        late.add(time + 1, time)
    assert late._times == []
    assert late.earliest(0) == NEVER
