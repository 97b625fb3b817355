"""A compiled loop over the steps of users, which counts them by group."""

from numba.core import types

from recsys_tft.storage.machine_code import compiled

_NUMBERS, _FEW = types.int64[::1], types.int32[::1]


@compiled(types.void(*[_NUMBERS] * 6, *[_FEW] * 2, *[_NUMBERS] * 4, types.int64[:, ::1], *[_NUMBERS] * 3))
def tally(
    users, times, videos, step_users, step_times, step_videos, exposures, positives, order, bounds, groups, owners,
    counts, shown, positive, last,
):  # fmt: skip
    """Count, for each row, the steps of its user in the groups of its video strictly before its time.

    Args:
        users: of rows, numbers from 0, [n].
        times: of rows, [n].
        videos: of rows, positions in `bounds`, [n].
        step_users: of steps, numbered as rows, [m]; steps are by user and time.
        step_times: [m].
        step_videos: positions in `bounds`, [m].
        exposures: how many a step shows, [m].
        positives: change in the number of positives, [m].
        order: of rows by user and time, [n].
        bounds: where the groups of each video begin and end in `groups`.
        groups: numbers from 0.
        owners: work space, the user of each group's counts; initially -1.
        counts: work space, [groups, 3].
        shown: filled, [n]; the sum over groups, -1 for a row without a group.
        positive: filled, [n], likewise.
        last: filled, [n], with the latest time of an exposure, if there is one.
    """
    step = 0
    for row in order:
        user, time, video = users[row], times[row], videos[row]
        while step < len(step_users) and (
            step_users[step] < user or (step_users[step] == user and step_times[step] < time)
        ):
            for group in groups[bounds[step_videos[step]] : bounds[step_videos[step] + 1]]:
                if owners[group] != step_users[step]:
                    owners[group], counts[group, 0], counts[group, 1] = step_users[step], 0, 0
                if exposures[step] > 0:
                    counts[group, 0] += exposures[step]
                    counts[group, 2] = step_times[step]
                counts[group, 1] += positives[step]
            step += 1
        begin, end = bounds[video], bounds[video + 1]
        shown[row] = positive[row] = 0 if begin < end else -1
        for group in groups[begin:end]:
            if owners[group] == user:
                shown[row] += counts[group, 0]
                positive[row] += counts[group, 1]
                if counts[group, 0]:
                    last[row] = max(last[row], counts[group, 2])
