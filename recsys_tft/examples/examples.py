"""From the events of some users to their labelled examples: the rules of docs/examples.md, one partition at a time."""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids, time_lookups
from recsys_tft.columns import HISTORY, UPDATED
from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import odd_data
from recsys_tft.features import context_columns
from recsys_tft.labelling import labels, split_times
from recsys_tft.labelling.exposures import CHUNK, KEY, chunk_bounds, exposure_starts, exposures, sort_events
from recsys_tft.point_in_time import carried, history, outcomes, recent
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.point_in_time.user_context import COUNTED_VIDEO, UserContext
from recsys_tft.storage.sorting import lexsort
from recsys_tft.tables.entities import VideoLookup, drop_duplicates, early
from recsys_tft.time_lookups import are_among, find_sorted, rows_at, take_or_null

DISLIKED = "disliked"  # bool; without it no exposure is
WATCH_SHARE = "watch_share"  # as `labels.watch_shares`, with `ranker.watch_share`


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
    check_histories(users, videos)
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


def check_histories(users: pa.Table, videos: VideoLookup) -> None:
    """Checks that the videos of histories that the users table tells can be told apart, and from known ones.

    Raises:
        InputError: naming two that cannot.
    """
    if ids.GIVEN + HISTORY[0] in users.column_names:
        codes, told = _history_codes(users)
        same = told.take(pc.index_in(codes, codes))
        ids.check_same("video_id", told, pc.coalesce(videos.given(codes.to_numpy()), same))


def _history_codes(users: pa.Table) -> tuple[pa.Array, pa.Array]:
    """[n] int64 codes of the videos of histories that users have been given, and [n] binary what they stand for."""
    codes, told = (users[prefix + HISTORY[0]].combine_chunks().flatten() for prefix in ("", ids.GIVEN))
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
        keys: user_id, video_id, interaction_time, split and label (bool) of the exposures, by user, time and video;
            without the contradicted ones.
        training_users: increasing ids of the users with an exposure in the training split; of later events in any.
        training_videos: how many exposures in the training split each video has.
        counts: of exposures by split, of positives by rule, of contradicted ones.
        odd: what is odd about their watch times, as `odd_data.of_watch_times` counts it.
        outcomes: of `outcomes.SCHEMA`, of all exposures formed without cuts; none where the run has no use for them.
        period: what is there to be carried into a later period.
        number: for each exposure, how many earlier ones its user has, contradicted ones included.
        context: makes the exposures of the rows of `keys` in each of some parts, as `history.Histories.of_parts` does.
    """

    keys: pa.Table
    training_users: np.ndarray
    training_videos: split_times.Histogram
    counts: Counter[str]
    odd: Counter[str]
    outcomes: pa.Table
    period: carried.Period
    number: np.ndarray
    context: Callable[[Iterable[np.ndarray]], Iterator[pa.Table]]

    @functools.cached_property
    def exposures(self) -> pa.Table:
        """All of them: user_id, video_id, interaction_time, the context, previously_watched_category, split, label,
        weight, WATCH_SHARE where it is wanted, DISLIKED where there are negative signals, and HISTORY,
        recent.USER_COLUMNS, outcomes.USER_COLUMNS and COUNTED_VIDEO unless they are turned off."""
        return next(self.context([np.arange(len(self.keys))]))


def splits_of(events: pa.Table, cuts: split_times.Cuts | None, settings: Settings) -> np.ndarray:
    """The number of the split of each of [n] sorted events, as [n] int8; without `cuts` the split is per user, and
    without the first of them that of the events before the others, if there are any."""
    time = events["interaction_time"].to_numpy()
    if cuts is None:
        return _splits_per_user(events, settings)
    splits, end = split_times.split_of(time, cuts), split_times.end_of_training(cuts)
    if cuts[0] is None and end is not None:
        is_first = time < end
        splits += len(split_times.SPLITS) - 1
        splits[is_first] = _splits_per_user(events.filter(pa.array(is_first)), settings)
    return splits


def _splits_per_user(events: pa.Table, settings: Settings) -> np.ndarray:
    user, video, time = (events[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    begins = exposure_starts(events, settings.labels.exposure_gap, None)
    return split_times.per_user(user, video, time, begins, settings.split, settings.seed)


def label_exposures(
    events: pa.Table,
    users: pa.Table,
    videos: VideoLookup,
    cuts: split_times.Cuts | None,
    settings: Settings,
    before: Carried | None = None,
) -> Labelled:
    """Exposures with their label, weight, split and history.

    Args:
        events: sorted as by `exposures.sort_events`.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        cuts: where the splits end; None where the split is per user.
        settings: of the run.
        before: what is known of the users at the beginning, where the events are later ones, with those of
            exposures that they may belong to (`Carried.with_events`). Only exposures after it are labelled.
    """
    others = None
    if before:  # most users do nothing in a period
        before, others = before.divided(time_lookups.distinct(events["user_id"].to_numpy()))
    found, became, counts, odd = weighted_exposures(events, videos, cuts, settings, before)
    steps = outcomes.step_table(became, before.until if before else None)
    if before:
        found = found.filter(pa.array(found["split"].to_numpy() > 0))
        steps = pa.concat_tables([before.steps, steps])
    user, training = found["user_id"].to_numpy(), found["split"].to_numpy() == (1 if before else 0)
    fitting = user[training]  # in order
    training_users = fitting[time_lookups.begins(fitting)]
    training_videos = split_times.histogram(found["video_id"].to_numpy()[training])
    number = np.arange(len(user)) - np.repeat(first := time_lookups.begins(user), np.diff(np.append(first, len(user))))
    if found["left_out"].to_numpy().any():
        number = number[~found["left_out"].to_numpy()]
        found = found.filter(pc.invert(found["left_out"]))
    positives = positives_of(found, before)
    found = found.drop_columns([name for name in ("since", "until", "left_out") if name in found.column_names])
    counts.update(_count_early(found, users, videos))
    context = functools.cache(lambda: UserContext(found, events, positives, steps, users, videos, settings, before))
    keys = found.select([*KEY, "split", "label"])
    period = carried.Period(events, keys, positives, steps, training_users, before, others)
    known = keys, training_users, training_videos, counts, odd, became, period, number
    return Labelled(*known, lambda parts: context().of_parts(parts))


def with_given_ids(exposures: pa.Table, users: pa.Table, videos: VideoLookup) -> pa.Table:
    """Exposures whose histories, and COUNTED_VIDEO, hold ids as the tables have them, in the place of codes.

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
        assert found is not None  # as ids are texts
        if found.null_count:
            of_told, told = _history_codes(users)
            found = pc.coalesce(found, told.take(pc.index_in(encoded.dictionary, of_told)))
        return pa.DictionaryArray.from_arrays(encoded.indices, found)

    for name in (HISTORY[0], COUNTED_VIDEO):
        if name in exposures.column_names:
            column = exposures[name].combine_chunks()
            values = given(column) if name == COUNTED_VIDEO else ids.in_lists(column, given)
            exposures = exposures.set_column(exposures.column_names.index(name), name, values)
    return exposures


def outcomes_of(events: pa.Table, videos: VideoLookup, cuts: split_times.Cuts | None, settings: Settings) -> pa.Table:
    """What became of exposures, of `outcomes.SCHEMA`, as `label_exposures` finds it."""
    if not settings.positive_rates.enabled:
        return outcomes.empty_outcomes()
    return weighted_exposures(events, videos, cuts, settings)[1]


def positives_of(found: pa.Table, before: Carried | None) -> history.Positives:
    """Those of exposures, and those of histories that were there before."""
    has_ends = "until" in found.column_names
    names = ("user_id", "video_id", "since", *(("until",) if has_ends else ()))
    was_positive = found["since"].to_numpy() < found["until"].to_numpy() if has_ends else found["label"].to_numpy()
    own = [found[name].to_numpy()[was_positive] for name in names]
    if before:
        earlier = [column.to_numpy() for column in before.positives.columns]
        earlier += [np.full(len(before.positives), recent.NEVER)] if has_ends else []
        own = [np.concatenate(both) for both in zip(own, earlier, strict=True)]
    return history.Positives(*own)


def weighted_exposures(
    events: pa.Table,
    videos: VideoLookup,
    cuts: split_times.Cuts | None,
    settings: Settings,
    before: Carried | None = None,
) -> tuple[pa.Table, pa.Table, Counter[str], Counter[str]]:
    """Exposures by user, time and video, of `_weighted_chunk`, their outcomes, counts, and what is odd about them."""

    def uncut(some: pa.Table) -> pa.Table:
        return _weighted_chunk(some, np.zeros(len(some), np.int8), videos, settings)[0]

    splits = splits_of(events, cuts, settings)
    counts: Counter[str] = Counter()
    odd: Counter[str] = Counter()
    found, became = [], [outcomes.empty_outcomes()]
    for first, end in itertools.pairwise(chunk_bounds(events, CHUNK)):
        of_chunk = events.slice(first, end - first), splits[first:end]
        chunk, counted, odd_ones = _weighted_chunk(*of_chunk, videos, settings, before)
        if settings.positive_rates.enabled:
            became.append(outcomes.find_outcomes(*of_chunk, chunk, uncut, settings.labels.exposure_gap))
        found.append(chunk)
        counts.update(counted)
        odd.update(odd_ones)
    together = pa.concat_tables(found)
    user, video, time = (together[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    order = pa.array(lexsort((videos.order(video), time, user)))
    columns = dict(zip(together.column_names, together.columns, strict=True))
    del found, chunk, together
    for name in columns:  # one by one, as each of them is there twice meanwhile
        columns[name] = columns[name].take(order).combine_chunks()
    return pa.table(columns), pa.concat_tables(became).combine_chunks(), counts, odd


def _weighted_chunk(
    events: pa.Table, splits: np.ndarray, videos: VideoLookup, settings: Settings, before: Carried | None = None
) -> tuple[pa.Table, Counter[str], odd_data.Counts]:
    """Exposures of whole pairs of user and video, `since` when they are positive, and whether they are `left_out`.

    Where negatives win, those that were positive at any time are so `until` a later time; others from NEVER on.
    """
    found = exposures(events, splits, settings)
    user, video, time = (found[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    split, signals, watched = (found[name].to_numpy() for name in ("split", "signals", "watch_time"))
    duration = videos.duration(videos.position(video, time))
    starts = exposure_starts(events, settings.labels.exposure_gap, splits)
    rules = labels.rules_that_hold(signals, watched, duration, settings)
    weight = labels.weights(rules, settings.labels.positive)
    positive, disliked = labels.outcomes(weight, signals, settings)
    left_out = labels.contradicted(user, video, split, positive) & ~disliked
    if before:
        earlier = (column.to_numpy() for column in before.positive_pairs.columns)
        left_out |= are_among(tuple(earlier), (user, video)) & ~positive & ~disliked
    columns = {
        "user_id": user,
        "video_id": video,
        "interaction_time": time,
        **{column.name: found[column.name] for column in context_columns(settings)},
        "split": split,
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
    counts = _count_labels(split, kinds, rules, first=1 if before else 0)
    return pa.table(columns), counts, odd_data.of_watch_times(watched, duration)


def _count_labels(
    split: np.ndarray, kinds: dict[str, np.ndarray], rules: dict[str, np.ndarray], first: int
) -> Counter[str]:
    """How many exposures of each split are of each kind, `exposed` those of none; and by which rules positive.

    The splits have the names of SPLITS from the one of number `first` on.
    """
    kinds = kinds | {"exposed": ~np.logical_or.reduce(list(kinds.values()))}
    counts: Counter[str] = Counter()
    for number, name in enumerate(split_times.SPLITS, first):
        inside = split == number
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
