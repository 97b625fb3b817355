"""A compiled loop over what users did, which keeps count of it by group."""

from numba.core import types

from recsys_tft.storage.machine_code import compiled

_NUMBERS, _FEW = types.int64[::1], types.int32[::1]


@compiled(types.void(*[_NUMBERS] * 6, *[_FEW] * 2, *[_NUMBERS] * 4, types.int64[:, ::1], *[_NUMBERS] * 3))
def tally(
    users, times, videos, step_users, step_times, step_videos, exposures, positives, order, bounds, groups, owners,
    counts, shown, positive, last,
):  # fmt: skip
    """Counts, for each row, the steps of its user in the groups of its video strictly before its time.

    Args:
        users: of rows, numbers from 0, [n].
        times: of rows, [n].
        videos: of rows, places in `bounds`, [n].
        step_users: of steps, numbers as those of rows, [m]; steps are by user and time.
        step_times: [m].
        step_videos: places in `bounds`, [m].
        exposures: how many a step shows, [m].
        positives: how many of them more, or fewer, are positive, [m].
        order: of rows by user and time, [n].
        bounds: where the groups of each video begin and end in `groups`.
        groups: numbers from 0.
        owners: -1 for each group; whose its counts are.
        counts: room for three numbers of each group.
        shown: what is filled, [n]; -1 for a row of no group, of several groups the sum.
        positive: the same.
        last: the time of the last exposure, of several groups the latest; filled where there is one.
    """
    step = 0
    for row in order:
        user, time, video = users[row], times[row], videos[row]
        while step < len(step_users) and (
            step_users[step] < user or (step_users[step] == user and step_times[step] < time)
        ):
            for own in groups[bounds[step_videos[step]] : bounds[step_videos[step] + 1]]:
                if owners[own] != step_users[step]:
                    owners[own], counts[own, 0], counts[own, 1] = step_users[step], 0, 0
                if exposures[step] > 0:
                    counts[own, 0] += exposures[step]
                    counts[own, 2] = step_times[step]
                counts[own, 1] += positives[step]
            step += 1
        begin, end = bounds[video], bounds[video + 1]
        shown[row] = positive[row] = 0 if begin < end else -1
        for own in groups[begin:end]:
            if owners[own] == user:
                shown[row] += counts[own, 0]
                positive[row] += counts[own, 1]
                if counts[own, 0]:
                    last[row] = max(last[row], counts[own, 2])
