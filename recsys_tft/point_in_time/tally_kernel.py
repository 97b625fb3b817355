"""A compiled loop over what users did, which keeps count of it by group."""

from numba.core import types

from recsys_tft.storage.machine_code import compiled

_NUMBERS, _FEW = types.int64[::1], types.int32[::1]


@compiled(types.void(*[_NUMBERS] * 6, *[_FEW] * 2, *[_NUMBERS] * 2, types.int64[:, ::1], *[_NUMBERS] * 3))
def tally(
    users, times, groups, step_users, step_times, step_groups, exposures, positives, order, owners, counts, shown,
    positive, last,
):  # fmt: skip
    """Counts, for each row, the steps of its user in its group strictly before its time.

    Args:
        users: of rows, numbers from 0, [n].
        times: of rows, [n].
        groups: of rows, numbers from 0, -1 for none, [n].
        step_users: of steps, numbers as those of rows, [m]; steps are by user and time.
        step_times: [m].
        step_groups: numbers from 0, [m].
        exposures: how many a step shows, [m].
        positives: how many of them more, or fewer, are positive, [m].
        order: of rows by user and time, [n].
        owners: -1 for each group; whose its counts are.
        counts: room for three numbers of each group.
        shown: what is filled, [n]; -1 for a row of no group.
        positive: the same.
        last: the time of the last exposure, filled where there is one.
    """
    step = 0
    for row in order:
        user, time, group = users[row], times[row], groups[row]
        while step < len(step_users) and (
            step_users[step] < user or (step_users[step] == user and step_times[step] < time)
        ):
            own = step_groups[step]
            if owners[own] != step_users[step]:
                owners[own], counts[own, 0], counts[own, 1] = step_users[step], 0, 0
            if exposures[step] > 0:
                counts[own, 0] += exposures[step]
                counts[own, 2] = step_times[step]
            counts[own, 1] += positives[step]
            step += 1
        if group < 0:
            shown[row], positive[row] = -1, -1
        elif owners[group] == user:
            shown[row], positive[row] = counts[group, 0], counts[group, 1]
            if counts[group, 0]:
                last[row] = counts[group, 2]
        else:
            shown[row], positive[row] = 0, 0
