"""A compiled loop over the steps of histories, of which each depends on those before it."""

from numba.core import types

from recsys_tft.storage.machine_code import compiled

_NUMBERS, _ROWS = types.int64[::1], types.int32[:, ::1]


@compiled()
def _place_of(entry: int, entries: types.Array, recent: types.Array, owner: int) -> int:
    """Where the entry stands among the recent rows; -1 if it does not."""
    for place in range(recent.shape[1]):
        if recent[owner, place] >= 0 and entries[recent[owner, place]] == entry:
            return place
    return -1


@compiled()
def _step(row: int, place: int, goes: bool, recent: types.Array, owner: int) -> None:
    """Puts a row in front, in the place of the one that has its entry; or takes that away."""
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
def walk(order, rows, owners, begins, entries, goes, done, recent, found):
    """Finds what is recent after the steps `rows`, [m], and moves each of the users on to the last one of theirs.

    Args:
        order: of the steps, [m].
        rows: of steps.
        owners: whose they are, [m].
        begins: the first step of each user, [users].
        entries: of the steps, [steps].
        goes: whether the entry goes, [steps].
        done: how many steps of each user lie behind, [users].
        recent: rows of the last different entries of each user there, [users, length], -1 for none.
        found: what is filled, [m, length].
    """
    for i in order:
        owner = owners[i]
        for row in range(begins[owner] + done[owner], rows[i] + 1):
            _step(row, _place_of(entries[row], entries, recent, owner), goes[row], recent, owner)
        done[owner] = max(done[owner], rows[i] - begins[owner] + 1)
        for k in range(recent.shape[1]):  # one by one, as a slice takes seconds to compile
            found[i, k] = recent[owner, k]
