"""A compiled loop over the steps of histories, each of which depends on the one before."""

from numba.core import types

from recsys_tft.storage.machine_code import compiled

_NUMBERS, _ROWS = types.int64[::1], types.int32[:, ::1]


@compiled()
def _position_of(entry: int, entries: types.Array, recent: types.Array, owner: int) -> int:
    """The position of the entry among the recent rows; -1 if it is not there."""
    for place in range(recent.shape[1]):
        if recent[owner, place] >= 0 and entries[recent[owner, place]] == entry:
            return place
    return -1


@compiled()
def _step(row: int, place: int, goes: bool, recent: types.Array, owner: int) -> None:
    """Move a row to the front, replacing the one with its entry; or remove that one."""
    last = recent.shape[1] - 1
    if not goes:
        for k in range(place if place >= 0 else last, 0, -1):
            recent[owner, k] = recent[owner, k - 1]
        recent[owner, 0] = row
    elif place >= 0:
        for k in range(place, last):
            recent[owner, k] = recent[owner, k + 1]
        recent[owner, last] = -1


@compiled(types.void(_NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS, types.boolean[::1], _NUMBERS, _ROWS, _ROWS))
def walk(order, rows, owners, begins, entries, goes, done, recent, filled):
    """Fill in the recent entries after the steps `rows`, [m], and advance each user to the last of these.

    Args:
        order: in which the steps are visited, [m].
        rows: of steps, [m].
        owners: their users, [m].
        begins: the first step of each user, [users].
        entries: of the steps, [steps].
        goes: whether the entry leaves, [steps].
        done: steps of each user that were walked, [users].
        recent: rows of the last distinct entries of each user, [users, length], -1 for none.
        filled: the result, [m, length].
    """
    for i in order:
        owner = owners[i]
        for row in range(begins[owner] + done[owner], rows[i] + 1):
            _step(row, _position_of(entries[row], entries, recent, owner), goes[row], recent, owner)
        done[owner] = max(done[owner], rows[i] - begins[owner] + 1)
        for k in range(recent.shape[1]):  # one by one, as a slice takes seconds to compile
            filled[i, k] = recent[owner, k]
