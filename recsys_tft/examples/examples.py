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

DISLIKED = "disliked"  # bool; absent if no signal is negative
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
    is_known = pa.array((user >= 0) & (video >= 0))
    unknown = unknown_events(events, user, video)
    return UserEvents(users, sort_events(events.filter(is_known), settings), duplicates, unknown)


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
    rows_of_keys, given_name = find_sorted(rows[key].to_numpy(), events[key].to_numpy()), ids.GIVEN + key
    if given_name in rows.column_names:
        ids.check_same(key, events[given_name], take_or_null(rows[given_name], rows_of_keys))
    return rows_of_keys


def check_histories(users: pa.Table, videos: VideoLookup) -> None:
    """Check that no two ids of videos in the histories of the users table, and in videos, have the same code.

    Raises:
        InputError: naming two that have.
    """
    if ids.GIVEN + HISTORY[0] in users.column_names:
        codes, originals = _history_codes(users)
        first_of_code = originals.take(pc.index_in(codes, codes))
        ids.check_same("video_id", originals, pc.coalesce(videos.given(codes.to_numpy()), first_of_code))


def _history_codes(users: pa.Table) -> tuple[pa.Array, pa.Array]:
    """[n] int64 codes of the videos in the histories of the users table, and [n] binary original ids."""
    codes, originals = (users[prefix + HISTORY[0]].combine_chunks().flatten() for prefix in ("", ids.GIVEN))
    return codes, originals


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
        training_users: increasing ids of the users with an exposure in the training split; in a refresh in any split.
        training_videos: exposures of each video in the training split.
        counts: of exposures by split, of positives by rule, of contradicted ones.
        odd: oddities of watch times, as `odd_data.of_watch_times` counts them.
        outcomes: of `outcomes.SCHEMA`, of all exposures formed without cuts; empty if the run does not use them.
        period: what a later period starts from.
        number: for each exposure, how many earlier ones its user has, contradicted ones included.
        context: makes the exposures of some rows of `keys`, part by part, as `history.Histories.of_parts` does.
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
        weight, WATCH_SHARE with `ranker.watch_share`, DISLIKED if there are negative signals, and HISTORY,
        recent.USER_COLUMNS, outcomes.USER_COLUMNS and COUNTED_VIDEO unless they are turned off."""
        return next(self.context([np.arange(len(self.keys))]))


def splits_of(events: pa.Table, cuts: split_times.Cuts | None, settings: Settings) -> np.ndarray:
    """[n] int8: the split of each sorted event. Without `cuts` the split is per user; if only their first is missing,
    events before the others are split per user."""
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
        before: the state of the users at the beginning of a refresh, whose events include those of exposures that may
            continue (`Carried.with_events`). Only exposures after it are labelled.
    """
    others = None
    if before:  # most users do nothing in a period
        before, others = before.divided(time_lookups.distinct(events["user_id"].to_numpy()))
    rows, became, counts, odd = weighted_exposures(events, videos, cuts, settings, before)
    steps = outcomes.step_table(became, before.until if before else None)
    if before:
        rows = rows.filter(pa.array(rows["split"].to_numpy() > 0))
        steps = pa.concat_tables([before.steps, steps])
    user, training = rows["user_id"].to_numpy(), rows["split"].to_numpy() == (1 if before else 0)
    fitting = user[training]  # in order
    training_users = fitting[time_lookups.begins(fitting)]
    training_videos = split_times.histogram(rows["video_id"].to_numpy()[training])
    number = np.arange(len(user)) - np.repeat(first := time_lookups.begins(user), np.diff(np.append(first, len(user))))
    if rows["left_out"].to_numpy().any():
        number = number[~rows["left_out"].to_numpy()]
        rows = rows.filter(pc.invert(rows["left_out"]))
    positives = positives_of(rows, before)
    rows = rows.drop_columns([name for name in ("since", "until", "left_out") if name in rows.column_names])
    counts.update(_count_early(rows, users, videos))
    context = functools.cache(lambda: UserContext(rows, events, positives, steps, users, videos, settings, before))
    keys = rows.select([*KEY, "split", "label"])
    period = carried.Period(events, keys, positives, steps, training_users, before, others)
    known = keys, training_users, training_videos, counts, odd, became, period, number
    return Labelled(*known, lambda parts: context().of_parts(parts))


def with_given_ids(exposures: pa.Table, users: pa.Table, videos: VideoLookup) -> pa.Table:
    """Replace codes by original ids in the histories and COUNTED_VIDEO of exposures.

    Args:
        exposures: as `label_exposures` returns them.
        users: whose histories may contain videos that are not in the videos table.
        videos: the lookup of all videos.
    """
    if not videos.has_text_ids:
        return exposures

    def restored(codes: pa.Array) -> pa.DictionaryArray:
        encoded = codes.dictionary_encode()
        originals = videos.given(encoded.dictionary.to_numpy())
        assert originals is not None  # as ids are texts
        if originals.null_count:
            history_codes, history_ids = _history_codes(users)
            originals = pc.coalesce(originals, history_ids.take(pc.index_in(encoded.dictionary, history_codes)))
        return pa.DictionaryArray.from_arrays(encoded.indices, originals)

    for name in (HISTORY[0], COUNTED_VIDEO):
        if name in exposures.column_names:
            column = exposures[name].combine_chunks()
            values = restored(column) if name == COUNTED_VIDEO else ids.in_lists(column, restored)
            exposures = exposures.set_column(exposures.column_names.index(name), name, values)
    return exposures


def outcomes_of(events: pa.Table, videos: VideoLookup, cuts: split_times.Cuts | None, settings: Settings) -> pa.Table:
    """The outcomes of exposures, of `outcomes.SCHEMA`, as `label_exposures` has them."""
    if not settings.positive_rates.enabled:
        return outcomes.empty_outcomes()
    return weighted_exposures(events, videos, cuts, settings)[1]


def positives_of(rows: pa.Table, before: Carried | None) -> history.Positives:
    """The positives of exposures, and those of earlier histories."""
    has_ends = "until" in rows.column_names
    names = ("user_id", "video_id", "since", *(("until",) if has_ends else ()))
    was_positive = rows["since"].to_numpy() < rows["until"].to_numpy() if has_ends else rows["label"].to_numpy()
    columns = [rows[name].to_numpy()[was_positive] for name in names]
    if before:
        earlier = [column.to_numpy() for column in before.positives.columns]
        earlier += [np.full(len(before.positives), recent.NEVER)] if has_ends else []
        columns = [np.concatenate(both) for both in zip(columns, earlier, strict=True)]
    return history.Positives(*columns)


def weighted_exposures(
    events: pa.Table,
    videos: VideoLookup,
    cuts: split_times.Cuts | None,
    settings: Settings,
    before: Carried | None = None,
) -> tuple[pa.Table, pa.Table, Counter[str], Counter[str]]:
    """Exposures of `_weighted_chunk` by user, time and video; their outcomes, counts and oddities."""

    def uncut(some: pa.Table) -> pa.Table:
        return _weighted_chunk(some, np.zeros(len(some), np.int8), videos, settings)[0]

    splits = splits_of(events, cuts, settings)
    counts: Counter[str] = Counter()
    odd: Counter[str] = Counter()
    chunks, became = [], [outcomes.empty_outcomes()]
    for first, end in itertools.pairwise(chunk_bounds(events, CHUNK)):
        arguments = events.slice(first, end - first), splits[first:end]
        chunk, counted, odd_ones = _weighted_chunk(*arguments, videos, settings, before)
        if settings.positive_rates.enabled:
            became.append(outcomes.find_outcomes(*arguments, chunk, uncut, settings.labels.exposure_gap))
        chunks.append(chunk)
        counts.update(counted)
        odd.update(odd_ones)
    merged = pa.concat_tables(chunks)
    user, video, time = (merged[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    order = pa.array(lexsort((videos.order(video), time, user)))
    columns = dict(zip(merged.column_names, merged.columns, strict=True))
    del chunks, chunk, merged
    for name in columns:  # one by one, as each is in memory twice meanwhile
        columns[name] = columns[name].take(order).combine_chunks()
    return pa.table(columns), pa.concat_tables(became).combine_chunks(), counts, odd


def _weighted_chunk(
    events: pa.Table, splits: np.ndarray, videos: VideoLookup, settings: Settings, before: Carried | None = None
) -> tuple[pa.Table, Counter[str], odd_data.Counts]:
    """Exposures of whole pairs of user and video, the time `since` which they are positive, and whether they are
    `left_out`. Where negatives win, exposures that were ever positive are so `until` a time; others `since` NEVER.
    """
    formed = exposures(events, splits, settings)
    user, video, time = (formed[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    split, signals, watched = (formed[name].to_numpy() for name in ("split", "signals", "watch_time"))
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
        **{column.name: formed[column.name] for column in context_columns(settings)},
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
    """Count exposures by split and kind (`exposed`: of no other kind), and positives by rule and split.

    Splits have the names of SPLITS from number `first` on.
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
    """Count, for each table with versions, the exposures before the first version of their user, video or channel."""
    user, video, time = (exposures[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    counts = videos.early(video, time)
    if UPDATED in users.column_names:
        counts["users"] = early(users[UPDATED], rows_at(users, "user_id", user, time), time)
    return {f"versions/{table}/early": count for table, count in counts.items()}
