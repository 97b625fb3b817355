"""From the events of some users to their labelled examples: the rules of docs/examples.md, one partition at a time."""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids, point_in_time
from recsys_tft.columns import UPDATED
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import context_columns
from recsys_tft.labelling import history, labels, odd_data, outcomes, recent, splits
from recsys_tft.labelling.exposures import KEY, PIECE, exposure_starts, exposures, piece_bounds, sort_events
from recsys_tft.point_in_time import find_sorted, rows_at, take_or_null
from recsys_tft.tables.entities import VideoLookup, drop_duplicates, early
from recsys_tft.tables.event_signals import is_viewing

DISLIKED = "disliked"  # bool; without it no exposure is
WATCH_SHARE = "watch_share"  # as `labels.watch_shares`, with `ranker.watch_share`
COUNTED = "counted_video_id"  # null for an exposure that is not counted in what videos have in common


@dataclasses.dataclass(frozen=True)
class UserEvents:
    """The events of the users of one partition.

    Attributes:
        users: one row per user, by increasing `user_id`, or versions of them.
        events: as `exposures.sort_events` leaves them; of known users and videos only.
        duplicate_users: rows of users that are not the first of their key.
        unknown: the other events, with the `reason` why they cannot be used.
    """

    users: pa.Table
    events: pa.Table
    duplicate_users: pa.Table
    unknown: pa.Table

    def exposure_times(self, gap: int) -> np.ndarray:
        """[n] int64 times of the exposures, formed without cuts."""
        return exposure_times(self.events, gap)


def exposure_times(events: pa.Table, gap: int) -> np.ndarray:
    """[n] int64 times of the exposures of sorted events, formed without cuts."""
    return events["interaction_time"].to_numpy()[exposure_starts(events, gap, None)]


def gather_events(events: pa.Table, users: pa.Table, videos: VideoLookup, settings: Settings) -> UserEvents:
    """Events with those of unknown users or videos set apart, and users without duplicates."""
    users, duplicates = drop_duplicates(users, "user_id")
    check_told(users, videos)
    user, video = first_rows_of(events, users, videos)
    known = pa.array((user >= 0) & (video >= 0))
    unknown = unknown_events(events, user, video)
    return UserEvents(users, sort_events(events.filter(known), settings), duplicates, unknown)


def first_rows_of(events: pa.Table, users: pa.Table, videos: VideoLookup) -> tuple[np.ndarray, np.ndarray]:
    """[n] int64 each: the first row of the user and of the video of [n] events, -1 where there is none.

    Args:
        events: any.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
    """
    tables = {"user_id": users, "video_id": videos.rows}
    user, video = (_first_rows(events, rows, key) for key, rows in tables.items())
    return user, video


def _first_rows(events: pa.Table, rows: pa.Table, key: str) -> np.ndarray:
    found, given = find_sorted(rows[key].to_numpy(), events[key].to_numpy()), ids.GIVEN + key
    if given in rows.column_names:
        ids.check_same(key, events[given], take_or_null(rows[given], found))
    return found


def check_told(users: pa.Table, videos: VideoLookup) -> None:
    """Checks that the videos of histories that the users table tells can be told apart, and from known ones.

    Raises:
        InputError: naming two that cannot.
    """
    if ids.GIVEN + history.COLUMNS[0] in users.column_names:
        codes, told = _told(users)
        same = told.take(pc.index_in(codes, codes))
        ids.check_same("video_id", told, pc.coalesce(videos.given(codes.to_numpy()), same))


def _told(users: pa.Table) -> tuple[pa.Array, pa.Array]:
    """[n] int64 codes of the videos of histories that users have been given, and [n] binary what they stand for."""
    codes, told = (users[prefix + history.COLUMNS[0]].combine_chunks().flatten() for prefix in ("", ids.GIVEN))
    return codes, told


def unknown_events(events: pa.Table, user: np.ndarray, video: np.ndarray) -> pa.Table:
    """The events that cannot be used, with the `reason`, by their `first_rows_of`."""
    unknown = (user < 0) | (video < 0)
    reasons = np.where(user[unknown] < 0, "user_id is not in users", "video_id is not in videos")
    return events.filter(pa.array(unknown)).append_column("reason", pa.array(reasons, pa.string()))


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The exposures of one partition; the wider columns are made when they are asked for.

    Attributes:
        keys: user_id, video_id, interaction_time, window and label (bool) of the exposures, by user, time and video;
            without the contradicted ones.
        training_users: increasing ids of the users with an exposure in the training window.
        training_videos: how many exposures in the training window each video has.
        counts: of exposures by window, of positives by rule, of contradicted ones.
        odd: what is odd about their watch times, as `odd_data.of_watch_times` counts it.
        outcomes: of `outcomes.SCHEMA`, of all exposures formed without cuts; none where the run has no use for them.
        number: for each exposure, how many earlier ones its user has, contradicted ones included.
        context: makes the exposures of the rows of `keys` in each of some parts, as `history.Histories.of_parts` does.
    """

    keys: pa.Table
    training_users: np.ndarray
    training_videos: splits.Histogram
    counts: Counter[str]
    odd: Counter[str]
    outcomes: pa.Table
    number: np.ndarray
    context: Callable[[Iterable[np.ndarray]], Iterator[pa.Table]]

    @functools.cached_property
    def exposures(self) -> pa.Table:
        """All of them: user_id, video_id, interaction_time, the context, previously_watched_category, window, label,
        weight, WATCH_SHARE where it is wanted, DISLIKED where there are negative signals, and history.COLUMNS,
        recent.USER_COLUMNS, outcomes.USER_COLUMNS and COUNTED unless they are turned off."""
        return next(self.context([np.arange(len(self.keys))]))


def windows_of(events: pa.Table, cuts: splits.Cuts | None, settings: Settings) -> np.ndarray:
    """The number of the window of each of [n] sorted events, as [n] int8; without `cuts` the split is per user."""
    user, video, time = (events[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    if cuts is not None:
        return splits.window_of(time, cuts)
    begins = exposure_starts(events, settings.labels.exposure_gap, None)
    return splits.per_user(user, video, time, begins, settings.split, settings.seed)


def label_exposures(
    events: pa.Table, users: pa.Table, videos: VideoLookup, cuts: splits.Cuts | None, settings: Settings
) -> Labelled:
    """Exposures with their label, weight, window and history; `cuts` is None where the split is per user."""
    found, became, counts, odd = _weighted_exposures(events, videos, cuts, settings)
    user, training = found["user_id"].to_numpy(), found["window"].to_numpy() == 0
    fitting = user[training]  # in order
    training_users = fitting[point_in_time.begins(fitting)]
    training_videos = splits.histogram(found["video_id"].to_numpy()[training])
    number = np.arange(len(user)) - np.repeat(first := point_in_time.begins(user), np.diff(np.append(first, len(user))))
    if found["left_out"].to_numpy().any():
        number = number[~found["left_out"].to_numpy()]
        found = found.filter(pc.invert(found["left_out"]))
    positives = _positives(found)
    found = found.drop_columns([name for name in ("since", "until", "left_out") if name in found.column_names])
    counts.update(_count_early(found, users, videos))
    context = _Context(found, events, positives, became, users, videos, settings)
    keys = found.select([*KEY, "window", "label"])
    return Labelled(keys, training_users, training_videos, counts, odd, became, number, context.of_parts)


class _Context:
    """What was known of the users of [m] exposures at their times.

    Args:
        exposures: by user, time and video, with all that is not of the past.
        events: of their users, sorted as by `exposures.sort_events`.
        positives: of their users.
        became: the outcomes of their users.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        settings: of the run.
    """

    def __init__(
        self,
        exposures: pa.Table,
        events: pa.Table,
        positives: history.Positives,
        became: pa.Table,
        users: pa.Table,
        videos: VideoLookup,
        settings: Settings,
    ):
        self._exposures, self._users, self._videos = exposures, users, videos
        user, time = (exposures[name].to_numpy() for name in ("user_id", "interaction_time"))
        self._before = (*KEY, *(column.name for column in context_columns(settings)))
        self._viewed, self._has_viewed = _last_viewed(events, user, time, videos, settings)
        length = settings.history.length
        self._histories = history.Histories(positives, users, videos, user, time, length) if length else None
        self._counts = _recent(events, exposures, settings) | _outcomes(became, exposures, settings)
        self._counts_pairs = settings.cooccurrence.enabled

    def of_parts(self, parts: Iterable[np.ndarray]) -> Iterator[pa.Table]:
        """The exposures in each part, with their context.

        Args:
            parts: row numbers, as `history.Histories.of_parts` takes them.
        """
        parts, of_histories = itertools.tee(parts)
        histories = self._histories.of_parts(of_histories) if self._histories else itertools.repeat({})
        yield from map(self._of, parts, histories)

    def _of(self, part: np.ndarray, histories: dict[str, pa.ChunkedArray]) -> pa.Table:
        known = self._exposures.take(pa.array(part))
        columns = dict(zip(known.column_names, known.columns, strict=True))
        columns["label"] = columns["label"].cast(pa.int64())
        before = {name: columns.pop(name) for name in self._before}
        category = {"previously_watched_category": self._category(known, part)}
        counts = {name: values[part] for name, values in self._counts.items()}
        counted = _counted(known) if self._counts_pairs else {}
        return pa.table({**before, **category, **columns, **histories, **counts, **counted})

    def _category(self, known: pa.Table, part: np.ndarray) -> pa.ChunkedArray:
        """Category of the user's latest viewing before each exposure, else what the users table says; as of then."""
        user, moment = (known[name].to_numpy() for name in ("user_id", "interaction_time"))
        has_viewed = self._has_viewed[part]
        positions = np.where(has_viewed, self._videos.position(self._viewed[part], moment), -1)
        own = take_or_null(self._users["previously_watched_category"], rows_at(self._users, "user_id", user, moment))
        return pc.if_else(pa.array(has_viewed), self._videos.category(positions), own)


def _last_viewed(
    events: pa.Table, users: np.ndarray, times: np.ndarray, videos: VideoLookup, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """The video of each user's latest viewing strictly before each time, [m] int64; and [m] bool, if there is any."""
    viewing = is_viewing(events, settings.table.bits)
    user, video, time = (events[name].to_numpy()[viewing] for name in ("user_id", "video_id", "interaction_time"))
    last = point_in_time.last_before(user, time, users, times, tie=videos.order(video))
    return (video[last] if len(video) else last), last >= 0


def _recent(events: pa.Table, found: pa.Table, settings: Settings) -> dict[str, np.ndarray]:
    """recent.USER_COLUMNS as a feature store knows them; none where they are turned off."""
    if not settings.recent.enabled:
        return {}
    users, times = (found[name].to_numpy() for name in ("user_id", "interaction_time"))
    return recent.of_users(events, users, times - settings.counters.delay_microseconds, settings)


def _outcomes(became: pa.Table, found: pa.Table, settings: Settings) -> dict[str, np.ndarray]:
    """outcomes.USER_COLUMNS as a feature store knows them; none where they are turned off."""
    if not settings.positive_rates.enabled:
        return {}
    users, times = (found[name].to_numpy() for name in ("user_id", "interaction_time"))
    return outcomes.of_users(became, users, times - settings.counters.delay_microseconds)


def _counted(exposures: pa.Table) -> dict[str, pa.Array]:
    """The column COUNTED: the videos of the training window's positives."""
    counts = exposures["label"].to_numpy() & (exposures["window"].to_numpy() == 0)
    return {COUNTED: pa.array(exposures["video_id"].to_numpy(), mask=~counts)}


def with_given_ids(exposures: pa.Table, users: pa.Table, videos: VideoLookup) -> pa.Table:
    """Exposures whose histories, and COUNTED, hold ids as the tables have them, in the place of codes.

    Args:
        exposures: as `label_exposures` returns them.
        users: whose tables may tell of histories, of videos that nobody knows besides.
        videos: the lookup of all videos.
    """
    if not videos.has_text_ids:
        return exposures

    def given(codes: pa.Array) -> pa.DictionaryArray:
        encoded = codes.dictionary_encode()
        found = videos.given(encoded.dictionary.to_numpy())
        if found.null_count:
            of_told, told = _told(users)
            found = pc.coalesce(found, told.take(pc.index_in(encoded.dictionary, of_told)))
        return pa.DictionaryArray.from_arrays(encoded.indices, found)

    for name in (history.COLUMNS[0], COUNTED):
        if name in exposures.column_names:
            column = exposures[name].combine_chunks()
            values = given(column) if name == COUNTED else ids.in_lists(column, given)
            exposures = exposures.set_column(exposures.column_names.index(name), name, values)
    return exposures


def positives(events: pa.Table, videos: VideoLookup, cuts: splits.Cuts | None, settings: Settings) -> history.Positives:
    """When users became positive on videos: what the histories of `label_exposures` are made of."""
    return _positives(_weighted_exposures(events, videos, cuts, settings)[0])


def outcomes_of(events: pa.Table, videos: VideoLookup, cuts: splits.Cuts | None, settings: Settings) -> pa.Table:
    """What became of exposures, of `outcomes.SCHEMA`, as `label_exposures` finds it."""
    if not settings.positive_rates.enabled:
        return outcomes.none()
    return _weighted_exposures(events, videos, cuts, settings)[1]


def _positives(found: pa.Table) -> history.Positives:
    if "until" not in found.column_names:
        positive = found["label"].to_numpy()
        return history.Positives(*(found[name].to_numpy()[positive] for name in ("user_id", "video_id", "since")))
    was_positive = found["since"].to_numpy() < found["until"].to_numpy()
    names = ("user_id", "video_id", "since", "until")
    return history.Positives(*(found[name].to_numpy()[was_positive] for name in names))


def _weighted_exposures(
    events: pa.Table, videos: VideoLookup, cuts: splits.Cuts | None, settings: Settings
) -> tuple[pa.Table, pa.Table, Counter[str], Counter[str]]:
    """Exposures by user, time and video, of `_weighted_piece`, their outcomes, counts, and what is odd about them."""

    def uncut(some: pa.Table) -> pa.Table:
        return _weighted_piece(some, np.zeros(len(some), np.int8), videos, settings)[0]

    windows = windows_of(events, cuts, settings)
    found, became, counts, odd = [], [outcomes.none()], Counter(), Counter()
    for first, end in itertools.pairwise(piece_bounds(events, PIECE)):
        of_piece = events.slice(first, end - first), windows[first:end]
        piece, counted, odd_ones = _weighted_piece(*of_piece, videos, settings)
        if settings.positive_rates.enabled:
            became.append(outcomes.of_events(*of_piece, piece, uncut, settings.labels.exposure_gap))
        found.append(piece)
        counts.update(counted)
        odd.update(odd_ones)
    together = pa.concat_tables(found)
    user, video, time = (together[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    order = pa.array(np.lexsort((videos.order(video), time, user)))
    columns = dict(zip(together.column_names, together.columns, strict=True))
    del found, piece, together
    for name in columns:  # one by one, as each of them is there twice meanwhile
        columns[name] = columns[name].take(order).combine_chunks()
    return pa.table(columns), pa.concat_tables(became).combine_chunks(), counts, odd


def _weighted_piece(
    events: pa.Table, windows: np.ndarray, videos: VideoLookup, settings: Settings
) -> tuple[pa.Table, Counter[str], odd_data.Counts]:
    """Exposures of whole pairs of user and video, `since` when they are positive, and whether they are `left_out`.

    Where negatives win, those that were positive at any time are so `until` a later time; others from NEVER on.
    """
    found = exposures(events, windows, settings)
    user, video, time = (found[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    window, signals, watched = (found[name].to_numpy() for name in ("window", "signals", "watch_time"))
    duration = videos.duration(videos.position(video, time))
    starts = exposure_starts(events, settings.labels.exposure_gap, windows)
    rules = labels.rules_that_hold(signals, watched, duration, settings)
    weight = labels.weights(rules, settings.labels.positive)
    positive, disliked = labels.outcomes(weight, signals, settings)
    left_out = labels.contradicted(user, video, window, positive) & ~disliked
    columns = {
        "user_id": user,
        "video_id": video,
        "interaction_time": time,
        **{column.name: found[column.name] for column in context_columns(settings)},
        "window": window,
        "label": positive,
        "weight": np.where(positive, weight, np.float32(1)),
        "since": history.positive_since(events, starts, duration, settings),
        "left_out": left_out,
    }
    if settings.ranker.watch_share:
        columns[WATCH_SHARE] = labels.watch_shares(watched, duration)
    if settings.table.bits.negative:
        columns[DISLIKED] = disliked
    if labels.negatives_win(settings):
        columns["since"] = np.where(weight > 0, columns["since"], history.NEVER)
        columns["until"] = history.negative_since(events, starts, settings)
    kinds = {"positive": positive, "contradicted": left_out}
    kinds |= {"disliked": disliked} if settings.table.bits.negative else {}
    counts = _count_labels(window, kinds, rules)
    return pa.table(columns), counts, odd_data.of_watch_times(watched, duration)


def _count_labels(window: np.ndarray, kinds: dict[str, np.ndarray], rules: dict[str, np.ndarray]) -> Counter[str]:
    """How many exposures of each window are of each kind, `exposed` those of none; and by which rules positive."""
    kinds = kinds | {"exposed": ~np.logical_or.reduce(list(kinds.values()))}
    counts: Counter[str] = Counter()
    for number, name in enumerate(splits.WINDOWS):
        inside = window == number
        for kind, are in kinds.items():
            counts[f"exposures/{name}/{kind}"] = int((inside & are).sum())
        for rule, holds in rules.items():
            counts[f"positives/{rule}/{name}"] = int((inside & holds & kinds["positive"]).sum())
    return counts


def _count_early(exposures: pa.Table, users: pa.Table, videos: VideoLookup) -> dict[str, int]:
    """By table with versions, how many exposures are before the first one of their user, video or channel."""
    user, video, time = (exposures[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    found = videos.early(video, time)
    if UPDATED in users.column_names:
        found["users"] = early(users[UPDATED], rows_at(users, "user_id", user, time), time)
    return {f"versions/{table}/early": count for table, count in found.items()}
