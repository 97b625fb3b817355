"""What became of exposures, as of a moment: how many there were, and how many of them were positive.

Of a user, of a user and the videos of one group (such as a category), and of a video by all users. Turned on by the
setting `positive_rates`; docs/examples.md has the rules.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.columns import Column, OfGroup, Tally
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import raw_columns
from recsys_tft.labelling.exposures import exposure_starts
from recsys_tft.labelling.recent import NEVER
from recsys_tft.point_in_time import EventCounts, EventSums, Timeline, distinct, find_sorted
from recsys_tft.tables.entities import VideoLookup

USER_COLUMNS = ("user_shown_count", "user_positive_count")
VIDEO_COLUMNS = ("shown_count", "positive_count")
EXPECTED = "user_expected_count"
_WEIGHT = 10  # exposures that count for what is usual, beside those of a video
_UNIT = 2**20  # parts of an exposure; sums of whole numbers are the same in any order
SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "video_id": pa.int64(),
        "time": pa.int64(),  # of the first event
        "since": pa.int64(),  # when it became positive; NEVER if it did not
        "until": pa.int64(),  # when a negative signal ended that; NEVER if none did
        "window": pa.int8(),  # of the first event
    }
)


def group_columns(settings: Settings) -> tuple[Column, ...]:
    """The columns that tell of a user and the videos of a group, and that any feature reads."""
    read = raw_columns(settings.table.active(settings))
    return tuple(column for column in read if column.of_group)


def groups(settings: Settings) -> tuple[str, ...]:
    """The columns of videos by which exposures are grouped."""
    return tuple(dict.fromkeys(column.of_group.column for column in group_columns(settings)))


def none() -> pa.Table:
    """Outcomes of no exposures."""
    return SCHEMA.empty_table()


def of_events(
    events: pa.Table, windows: np.ndarray, labelled: pa.Table, label: Callable[[pa.Table], pa.Table], gap: int
) -> pa.Table:
    """The outcomes of exposures that are formed without cuts, so that they depend on no window.

    Args:
        events: of whole pairs of user and video, sorted as by `exposures.sort_events`.
        windows: [n] int8 number of the window of each event.
        labelled: the exposures that lie in one window each, as `examples` labels them.
        label: labels the exposures of some events, formed without cuts, in the same way.
        gap: microseconds without an event after which a new exposure begins.
    """
    starts, cut = (exposure_starts(events, gap, each) for each in (None, windows))
    whole = np.searchsorted(starts, cut, side="right") - 1  # the uncut exposure that each is a part of
    alone = np.bincount(whole, minlength=len(starts)) <= 1
    first = np.searchsorted(cut, starts[alone])
    found = _became(labelled.take(pa.array(first)), windows[starts[alone]])
    if alone.all():
        return found
    divided = events.filter(pa.array(np.repeat(~alone, np.diff(np.append(starts, len(events))))))
    return pa.concat_tables([found, _became(label(divided), windows[starts[~alone]])]).combine_chunks()


def _became(labelled: pa.Table, windows: np.ndarray) -> pa.Table:
    """The outcomes of labelled exposures, of which the first events are in [n] int8 windows."""
    user, video, time, since = (
        labelled[name].to_numpy() for name in ("user_id", "video_id", "interaction_time", "since")
    )
    if "until" in labelled.column_names:
        until = labelled["until"].to_numpy()
    else:
        since, until = np.where(labelled["label"].to_numpy(), since, NEVER), np.full(len(since), NEVER)
    return pa.table([user, video, time, since, until, windows], SCHEMA)


def steps(outcomes: pa.Table) -> list[tuple[np.ndarray, np.ndarray]]:
    """What happens to exposures: they are shown, become positive, and turn negative after that.

    Returns:
        For each of these in turn, which exposures, [k] int64 rows, and when, [k] int64.
    """
    shown, since, until = (outcomes[name].to_numpy() for name in ("time", "since", "until"))
    positive = np.flatnonzero(since < until)
    turned = positive[until[positive] != NEVER]
    return [(np.arange(len(shown)), shown), (positive, since[positive]), (turned, until[turned])]


def of_users(outcomes: pa.Table, users: np.ndarray, moments: np.ndarray) -> dict[str, np.ndarray]:
    """USER_COLUMNS, [n] int64 each: what became of the exposures of users strictly before moments.

    Args:
        outcomes: of these users.
        users: [n] int64 ids.
        moments: [n] int64.
    """
    owners = outcomes["user_id"].to_numpy()
    shown, positive, turned = (
        EventCounts(owners[rows], times).between(users, None, moments) for rows, times in steps(outcomes)
    )
    return dict(zip(USER_COLUMNS, (shown, positive - turned), strict=True))


def reads_expected(settings: Settings) -> bool:
    """Whether any feature reads EXPECTED."""
    return any(column.name == EXPECTED for column in raw_columns(settings.table.active(settings)))


def with_counts(outcomes: pa.Table, versions: pa.Table, names: Sequence[str] = VIDEO_COLUMNS) -> pa.Table:
    """Outcomes with VIDEO_COLUMNS of their videos as of their exposures.

    Args:
        outcomes: of SCHEMA.
        versions: of what is counted of these videos, as `counters.versions`.
        names: what VIDEO_COLUMNS are called there.
    """
    video, shown = (outcomes[name].to_numpy() for name in ("video_id", "time"))
    rows = pa.array(Timeline(versions, "video_id").last_before(video, shown))
    for name, own in zip(VIDEO_COLUMNS, names, strict=True):
        outcomes = outcomes.append_column(name, versions[own].take(rows))
    return outcomes


def expected(outcomes: pa.Table, users: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """EXPECTED, [n] float64: how many of users' exposures before moments would be positive, were users all alike.

    An exposure counts for the share of its video's exposures before it that were positive, drawn towards the share in
    all exposures of all videos that the user was shown, by _WEIGHT exposures.

    Args:
        outcomes: of these users, with VIDEO_COLUMNS.
        users: [n] int64 ids.
        moments: [n] int64.
    """
    owners, times, shown, positive = (outcomes[name].to_numpy() for name in ("user_id", "time", *VIDEO_COLUMNS))
    parts = (np.rint(_UNIT * each / (shown + _WEIGHT)).astype(np.int64) for each in (positive, _WEIGHT))
    sums = EventSums(owners, times, np.stack([*parts, positive, shown], axis=1)).before(users, moments)
    own, prior, positives, all_shown = sums.T
    return (own + prior * ((positives + 1) / (all_shown + 2))) / _UNIT


class Tallies:
    """What became of exposures of a user to the videos of a group, as of [n] moments; all that any column tells.

    Args:
        outcomes: of SCHEMA, of all these users.
        videos: the lookup of all videos, with the columns by which they are grouped.
        users: [n] int64 ids.
        video_ids: [n] int64 ids of known videos, whose groups are meant.
        times: [n] int64, when they are shown.
        delay: microseconds until an event is known.
    """

    def __init__(
        self,
        outcomes: pa.Table,
        videos: VideoLookup,
        users: np.ndarray,
        video_ids: np.ndarray,
        times: np.ndarray,
        delay: int,
    ):
        self._videos, self._steps = videos, _Steps.of(outcomes, videos)
        self._position = videos.position(video_ids, times)
        place = find_sorted(self._steps.users, users)
        self._users, self._times = np.where(place >= 0, place, len(self._steps.users)), times - delay
        self._order = np.lexsort((times, self._users))
        self._found: dict[str, Mapping[Tally, pa.Array]] = {}

    def of(self, group: OfGroup) -> pa.Array:
        """[n] int64; missing for a video of no group, and as the last time where there was none."""
        if group.column not in self._found:
            self._found[group.column] = self._tallied(group.column)
        return self._found[group.column][group.tally]

    def _tallied(self, column: str) -> Mapping[Tally, pa.Array]:
        from recsys_tft.labelling.tally_kernel import tally  # loads numba

        codes, values = self._videos.groups(column)
        steps, rows = self._steps, len(self._times)
        of_steps = codes[steps.position]
        inside = of_steps >= 0
        own = [each[inside] for each in (steps.user, steps.time, of_steps, steps.kind)]
        shown, positive, last = np.empty(rows, np.int64), np.empty(rows, np.int64), np.full(rows, NEVER)
        owners, counts = np.full(len(values), -1), np.zeros((len(values), 3), np.int64)
        tally(self._users, self._times, codes[self._position], *own, self._order, owners, counts, shown, positive, last)
        found = {
            Tally.SHOWN: (shown, shown < 0),
            Tally.POSITIVE: (positive, shown < 0),
            Tally.LAST: (last, last == NEVER),
        }
        return {name: pa.array(values, mask=mask if mask.any() else None) for name, (values, mask) in found.items()}


@dataclasses.dataclass(frozen=True)
class _Steps:
    """What happens to exposures, by user and time.

    Attributes:
        users: [k] int64 increasing ids.
        user: [m] int64 numbers of users.
        time: [m] int64.
        position: [m] int64 rows of the lookup: the video as of its exposure.
        kind: [m] int8, as the kernel counts them.
    """

    users: np.ndarray
    user: np.ndarray
    time: np.ndarray
    position: np.ndarray
    kind: np.ndarray

    @classmethod
    def of(cls, outcomes: pa.Table, videos: VideoLookup) -> "_Steps":
        """Of SCHEMA."""
        user, video, shown = (outcomes[name].to_numpy() for name in ("user_id", "video_id", "time"))
        position = videos.position(video, shown)
        found = steps(outcomes)
        row, time = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kind = np.repeat(np.arange(3, dtype=np.int8), [len(rows) for rows, _ in found])
        order = np.lexsort((time, user[row]))
        users = distinct(user)
        return cls(users, np.searchsorted(users, user[row[order]]), time[order], position[row[order]], kind[order])
