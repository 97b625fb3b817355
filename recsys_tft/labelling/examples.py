"""From the events of some users to their labelled examples: the rules of docs/examples.md, one partition at a time."""

import dataclasses
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import UPDATED
from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import asof, history, labels, negatives, recent, splits
from recsys_tft.labelling.exposures import exposure_starts, exposures, is_viewing, sort_events
from recsys_tft.tables.entities import VideoLookup, drop_duplicates, early, find_sorted, rows_at, take_or_null

SOURCES = ("positive", "exposed", "sampled")
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
        return self.events["interaction_time"].to_numpy()[exposure_starts(self.events, gap, None)]


def gather_events(events: pa.Table, users: pa.Table, videos: VideoLookup) -> UserEvents:
    """Events with those of unknown users or videos set apart, and users without duplicates."""
    users, duplicates = drop_duplicates(users, "user_id")
    no_user = find_sorted(users["user_id"].to_numpy(), events["user_id"].to_numpy()) < 0
    no_video = videos.position(*(events[name].to_numpy() for name in ("video_id", "interaction_time"))) < 0
    reasons = np.where(no_user, "user_id is not in users", "video_id is not in videos")
    bad = no_user | no_video
    unknown = events.append_column("reason", pa.array(reasons, pa.string())).filter(pa.array(bad))
    return UserEvents(users, sort_events(events.filter(pa.array(~bad))), duplicates, unknown)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The exposures of one partition.

    Attributes:
        exposures: user_id, video_id, interaction_time, device, previously_watched_category, window, label, weight, and
            history.COLUMNS, recent.USER_COLUMNS and COUNTED unless they are turned off; by user, time, video; without
            the contradicted ones.
        training_users: increasing ids of the users with an exposure in the training window.
        training_videos: how many exposures in the training window each video has.
        counts: of exposures by window, of positives by rule, of contradicted ones.
    """

    exposures: pa.Table
    training_users: np.ndarray
    training_videos: splits.Histogram
    counts: Counter[str]


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
    found = _timed_exposures(events, videos, cuts, settings)
    user, video, window = (found[name].to_numpy() for name in ("user_id", "video_id", "window"))
    rules, weight = _rules_and_weight(found, settings)
    positive = weight > 0
    left_out = labels.contradicted(user, video, window, positive)
    training = window == 0
    labelled = pa.table(
        {
            "user_id": user,
            "video_id": video,
            "interaction_time": found["interaction_time"],
            "device": found["device"],
            "previously_watched_category": _previous_category(events, users, videos, found),
            "window": window,
            "label": positive.astype(np.int64),
            "weight": np.where(positive, weight, np.float32(1)),
            **_history(found, positive, users, videos, settings.history.length),
            **_recent(events, found, settings),
            **_counted(video, positive & (window == 0), settings),
        }
    ).filter(pa.array(~left_out))
    counts = _count_labels(window, positive, left_out, {rule: rules[rule] for rule in settings.labels.positive})
    counts.update(_count_early(labelled, users, videos))
    return Labelled(labelled, np.unique(user[training]), splits.histogram(video[training]), counts)


def _previous_category(events: pa.Table, users: pa.Table, videos: VideoLookup, found: pa.Table) -> pa.ChunkedArray:
    """Category of the user's latest viewing strictly before each exposure, else what the users table says.

    Either is as of the exposure.
    """
    viewings = events.filter(pa.array(is_viewing(events)))
    user, video, time = (viewings[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    of_user, moment = (found[name].to_numpy() for name in ("user_id", "interaction_time"))
    last = asof.last_before(user, time, of_user, moment, tie=video)
    watched = videos.category(np.where(last >= 0, videos.position(video[last], moment), -1) if len(video) else last)
    own = rows_at(users, "user_id", of_user, moment)
    return pc.if_else(pa.array(last >= 0), watched, take_or_null(users["previously_watched_category"], own))


def _history(
    found: pa.Table, positive: np.ndarray, users: pa.Table, videos: VideoLookup, length: int
) -> dict[str, pa.ChunkedArray]:
    """The columns of the watch history; none where it is turned off."""
    if not length:
        return {}
    user, time = found["user_id"].to_numpy(), found["interaction_time"].to_numpy()
    return history.histories(_positives(found, positive), users, videos, user, time, length)


def _recent(events: pa.Table, found: pa.Table, settings: Settings) -> dict[str, np.ndarray]:
    """recent.USER_COLUMNS as a feature store knows them; none where they are turned off."""
    if not settings.recent.enabled:
        return {}
    users, times = (found[name].to_numpy() for name in ("user_id", "interaction_time"))
    return recent.of_users(events, settings.labels.exposure_gap, users, times - settings.counters.delay_microseconds)


def _counted(video: np.ndarray, counted: np.ndarray, settings: Settings) -> dict[str, pa.Array]:
    """The column COUNTED; none where it is turned off."""
    return {COUNTED: pa.array(video, mask=~counted)} if settings.cooccurrence.enabled else {}


def positives(events: pa.Table, videos: VideoLookup, cuts: splits.Cuts | None, settings: Settings) -> history.Positives:
    """When users became positive on videos: what the histories of `label_exposures` are made of."""
    found = _timed_exposures(events, videos, cuts, settings)
    return _positives(found, _rules_and_weight(found, settings)[1] > 0)


def _positives(found: pa.Table, positive: np.ndarray) -> history.Positives:
    return history.Positives(*(found[name].to_numpy()[positive] for name in ("user_id", "video_id", "since")))


def _timed_exposures(events: pa.Table, videos: VideoLookup, cuts: splits.Cuts | None, settings: Settings) -> pa.Table:
    """Exposures by user, time and video, with the `duration` of their video and `since` when they are positive."""
    windows = windows_of(events, cuts, settings)
    found = exposures(events, settings.labels.exposure_gap, windows)
    duration = videos.duration(videos.position(*(found[name].to_numpy() for name in ("video_id", "interaction_time"))))
    starts = exposure_starts(events, settings.labels.exposure_gap, windows)
    since = history.positive_since(events, starts, duration, settings)
    found = found.append_column("duration", pa.array(duration)).append_column("since", pa.array(since))
    return found.sort_by([(name, "ascending") for name in ("user_id", "interaction_time", "video_id")])


def _rules_and_weight(found: pa.Table, settings: Settings) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The rules that hold for exposures, by name, and the weight of the exposures by them; 0 where not positive."""
    signals, watched, duration = (found[name].to_numpy() for name in ("signals", "watch_time", "duration"))
    rules = labels.rules_that_hold(signals, watched, duration, settings.ranker.min_watch_ratio)
    return rules, labels.weights(rules, settings.labels.positive)


def _count_labels(
    window: np.ndarray, positive: np.ndarray, left_out: np.ndarray, rules: dict[str, np.ndarray]
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number, name in enumerate(splits.WINDOWS):
        inside = window == number
        counts[f"exposures/{name}/positive"] = int((inside & positive).sum())
        counts[f"exposures/{name}/exposed"] = int((inside & ~positive & ~left_out).sum())
        counts[f"exposures/{name}/contradicted"] = int((inside & left_out).sum())
        for rule, holds in rules.items():
            counts[f"positives/{rule}/{name}"] = int((inside & holds).sum())
    return counts


def _count_early(exposures: pa.Table, users: pa.Table, videos: VideoLookup) -> dict[str, int]:
    """By table with versions, how many exposures are before the first one of their user, video or channel."""
    user, video, time = (exposures[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    found = videos.early(video, time)
    if UPDATED in users.column_names:
        found["users"] = early(users[UPDATED], rows_at(users, "user_id", user, time), time)
    return {f"versions/{table}/early": count for table, count in found.items()}


ROW_SCHEMA = pa.schema(
    {
        "exposure": pa.int64(),  # number of the exposure whose user, time and context the row has
        "video_id": pa.int64(),
        "label": pa.int64(),
        "weight": pa.float32(),
        "source": pa.string(),
    }
)


def ranker_rows(exposures: pa.Table, catalogue: negatives.Catalogue, settings: Settings) -> tuple[pa.Table, int]:
    """Labelled rows of ROW_SCHEMA: each exposure, followed by the negatives drawn for it; and how many were missing.

    Args:
        exposures: as `label_exposures` returns them.
        catalogue: what negatives are drawn from.
        settings: of the run.
    """
    user, video, time = (exposures[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    window = exposures["window"].to_numpy().astype(np.int64)
    positive = exposures["label"].to_numpy() == 1
    number = np.unique(user, return_inverse=True)[1]
    wanted = negatives.slots(number, window, positive, ~positive, settings.ranker.negative_sample_ratio)
    pairs = negatives.PositivePairs(number[positive], video[positive], window[positive], catalogue)
    owner, drawn = negatives.sample(catalogue, pairs, number, window, (user, video, time), wanted, settings.seed)
    exposure = np.concatenate([np.arange(len(user)), owner])
    order = np.argsort(exposure, kind="stable")
    source = np.concatenate([np.where(positive, 0, 1), np.full(len(owner), 2)])
    rows = {
        "exposure": exposure[order],
        "video_id": np.concatenate([video, catalogue.video_ids[drawn]])[order],
        "label": (source == 0).astype(np.int64)[order],
        "weight": np.concatenate([exposures["weight"].to_numpy(), np.ones(len(owner), np.float32)])[order],
        "source": pa.array(SOURCES).take(pa.array(source[order])),
    }
    return pa.table(rows, ROW_SCHEMA), int(wanted.sum()) - len(owner)
