"""Seeded raw tables with a planted taste, so that a model has something to learn.

`synthetic_world` has the ground truth about users and videos. A session of one user starts at an hour that is usual in
their country and shows some videos in turn. A shown video's category is drawn by the user's taste (a share EXPLORED of
them uniformly); out of CANDIDATES published videos of that category, drawn by popularity, one is shown, by how well its
language is understood. Then, with affinity a:

    impression -> click, probability 0.05 + 0.8 a
               -> watch of a ratio r of the duration, P(r < x) = x ** (0.3 + 3 a), in one or two rows
               -> like 0.6 a r, comment 0.15 a r, share 0.1 a r
"""

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.columns import KEYS, TIMESTAMP, Column, IdKind
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import FeatureTable
from recsys_tft.signals import Signal
from recsys_tft.tables import synthetic_columns, synthetic_ids, synthetic_sizes, synthetic_versions
from recsys_tft.tables import synthetic_words as words
from recsys_tft.tables.synthetic_world import (
    CATEGORIES,
    COUNTRIES,
    DAY,
    LANGUAGES,
    PERIOD,
    START,
    VIDEOS_PER_CHANNEL,
    Array,
    World,
    drawn,
    plant,
)

SECOND, HOUR = 10**6, 3600 * 10**6  # microseconds
ROWS_PER_GROUP = 2**17  # events are drawn, sorted and written one row group at a time
CANDIDATES = 16
EXPLORED = 0.15
# Sessions that start in each hour of the user's day, relative to the busiest.
HOURS = np.array([25, 14, 8, 5, 4, 6, 12, 22, 30, 32, 34, 40, 52, 48, 42, 42, 46, 55, 68, 82, 95, 100, 80, 48]) / 100
LONGEST_WAIT = 900  # seconds; keeps the events of an exposure less than 30 minutes apart
# Possible events of one shown video, as indices into _SIGNALS; a watch (2) may continue after a pause.
EVENT_SLOTS = np.array([0, 1, 2, 2, 3, 4, 5])
_SIGNALS = tuple(signal.name for signal in DEFAULT.signals)

_OFFSETS = np.array([hours for _, hours, _ in words.COUNTRIES.values()]) * HOUR  # local time less UTC


def write_tables(
    directory: str | os.PathLike,
    *,
    users: int,
    videos: int,
    interactions: int,
    seed: int = 0,
    versioned: bool = False,
    features: FeatureTable = DEFAULT,
    ids: IdKind = IdKind.INTEGER,
) -> None:
    """Write users, videos, channels and interactions .parquet; the same arguments give the same bytes.

    Exactly `interactions` events over eight weeks, one row each, all usable; by time, except for sessions that exceed
    the window of their row group. Memory grows with users and videos, not with interactions.

    Args:
        directory: where the files go; created if need be.
        users: rows of users, ids 1 to `users`.
        videos: rows of videos, ids 1 to `videos`; there are a tenth as many channels.
        interactions: rows of interactions.
        seed: 0 or greater.
        versioned: whether users, videos and channels change, and have a row for each time (`synthetic_versions`).
        features: a table with further columns and signals (`synthetic_columns`).
        ids: the kind of ids (`synthetic_ids`).

    Raises:
        InputError: users, videos or interactions is less than 1, or the seed less than 0.
    """
    synthetic_sizes.check(users=users, videos=videos, interactions=interactions, seed=seed)
    (directory := pathlib.Path(directory)).mkdir(parents=True, exist_ok=True)
    world = plant(users=users, videos=videos, seed=seed)
    for stream, (table, draw) in enumerate(_ENTITIES.items(), start=2):
        columns = draw(world, np.random.default_rng([seed, stream]))
        own_columns = synthetic_columns.own_columns(features, table)
        columns |= synthetic_columns.values(own_columns, len(columns[KEYS[table]]), seed)
        if versioned:
            rng = np.random.default_rng([seed, 6, stream])
            columns = synthetic_versions.with_versions(table, columns, world, rng, START, PERIOD)
        rows = pa.table(columns, pa.schema([field for field in _schema(table, own_columns) if field.name in columns]))
        rows = synthetic_ids.with_ids(rows, ids)
        pq.write_table(rows, directory / f"{table}.parquet", row_group_size=ROWS_PER_GROUP)
    own_columns = synthetic_columns.own_columns(features, "interactions")
    schema = synthetic_ids.with_ids(_schema("interactions", own_columns).empty_table(), ids).schema
    with pq.ParquetWriter(directory / "interactions.parquet", schema) as writer:
        for window in _windows(world, interactions, seed, features):
            writer.write_table(synthetic_ids.with_ids(window, ids))


def _schema(table: str, own_columns: Sequence[Column]) -> pa.Schema:
    """The table's columns in the long layout, the default ones and then the user's."""
    ours = [column for name, column in DEFAULT.columns_of(table).items() if name not in DEFAULT.flags]
    return pa.schema([(column.name, column.type) for column in (*ours, *own_columns)])


def _users(world: World, rng: np.random.Generator) -> dict[str, pa.Array]:
    users, watched = len(world.country), _by_taste(rng, world.taste)
    return {
        "user_id": pa.array(np.arange(1, users + 1)),
        "country": words.some_missing(rng, words.named(COUNTRIES, world.country), 0.03),
        "user_language": words.some_missing(rng, words.named(LANGUAGES, world.language), 0.05),
        "age": words.some_missing(rng, pa.array(rng.normal(32, 12, users).clip(13, 95).astype(np.int64)), 0.1),
        "previously_watched_category": words.some_missing(rng, words.named(CATEGORIES, watched), 0.3),
    }


def _videos(world: World, rng: np.random.Generator) -> dict[str, pa.Array]:
    views, likes, comments = _counts(world, rng)
    return {
        "video_id": pa.array(np.arange(1, len(views) + 1)),
        "channel_id": words.some_missing(rng, pa.array(world.channel + 1), 0.02),
        "title": words.some_missing(rng, words.titles(rng, world.video_language, world.category), 0.02),
        "category": words.some_missing(rng, words.named(CATEGORIES, world.category), 0.03),
        "child_categories": words.some_missing(rng, words.child_categories(rng, world.category), 0.05),
        "video_duration": words.some_missing(rng, pa.array(world.duration), 0.02),
        "popularity": words.some_missing(rng, _popularity(views), 0.4),
        "video_language": words.some_missing(rng, words.named(LANGUAGES, world.video_language), 0.04),
        "tags": words.some_missing(rng, words.tags(rng, world.video_language, world.category), 0.05),
        "view_count": words.some_missing(rng, pa.array(views), 0.03),
        "like_count": words.some_missing(rng, pa.array(likes), 0.03),
        "comment_count": words.some_missing(rng, pa.array(comments), 0.03),
        "published_at": words.some_missing(rng, pa.array(world.published).cast(TIMESTAMP), 0.03),
    }


def _channel_sizes(world: World, rng: np.random.Generator) -> dict[str, pa.Array]:
    channels = max(1, len(world.channel) // VIDEOS_PER_CHANNEL)
    owned = np.bincount(world.channel, minlength=channels)
    subscribers = ((owned + 1) * rng.lognormal(6, 2, channels)).astype(np.int64)
    return {
        "channel_id": pa.array(np.arange(1, channels + 1)),
        "channel_subscriber_count": words.some_missing(rng, pa.array(subscribers), 0.03),
    }


def _counts(world: World, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Views, likes and comments, [V] int64 each: heavy-tailed, likes <= views; one video in fifty was never viewed."""
    views = 2e7 * world.popularity * rng.lognormal(0, 1, len(world.popularity))
    views = np.where(rng.random(len(views)) < 0.02, 0, views).astype(np.int64)
    likes = (views * 0.15 * world.quality * rng.random(len(views))).astype(np.int64)
    return views, likes, (likes * 0.2 * rng.random(len(views))).astype(np.int64)


def _popularity(views: Array) -> pa.Array:
    """The half with the fewest views is low, then 40 % medium, 9 % high, 1 % viral."""
    rank = np.argsort(np.argsort(views, kind="stable"), kind="stable") / len(views)
    return words.named(("low", "medium", "high", "viral"), np.searchsorted([0.5, 0.9, 0.99], rank, side="right"))


_ENTITIES = {"users": _users, "videos": _videos, "channels": _channel_sizes}


def _windows(world: World, interactions: int, seed: int, features: FeatureTable) -> Iterator[pa.Table]:
    """The events, in one table for each of equal time spans, so that a table has at most ROWS_PER_GROUP rows."""
    count = -(-interactions // ROWS_PER_GROUP)
    for i in range(count):
        events = interactions * (i + 1) // count - interactions * i // count
        begins, span = START + PERIOD * i // count, PERIOD // count
        rows = _window(world, np.random.default_rng([seed, 5, i]), begins, span, events, features)
        own_columns = synthetic_columns.own_columns(features, "interactions")
        sessions = pa.array(rows["session"].to_numpy())
        session_values = synthetic_columns.values(own_columns, int(rows["session"].to_numpy().max()) + 1, seed, i)
        columns = _raw(rows, features) | {name: values.take(sessions) for name, values in session_values.items()}
        yield pa.table(columns, _schema("interactions", own_columns))


def _window(
    world: World, rng: np.random.Generator, start: int, span: int, events: int, features: FeatureTable
) -> pl.DataFrame:
    """Generate a number of events, by time, in sessions that start within the span."""
    parts: list[pl.DataFrame] = []
    signals, sessions = synthetic_columns.own_signals(features), 0
    while (missing := events - sum(part.height for part in parts)) > 0:
        user, time = _sessions(world, rng, start, span, missing // 5 + 8)
        part = _events(world, rng, user, time, signals).head(missing)
        parts.append(part.with_columns(pl.col("session") + sessions))
        sessions += len(user)
    return pl.concat(parts).sort("interaction_time", "user_id", "video_id", maintain_order=True)


def _raw(rows: pl.DataFrame, features: FeatureTable) -> dict[str, pa.Array]:
    """The default columns of events, as in the tables."""
    signals = (*_SIGNALS, *(signal.name for signal in synthetic_columns.own_signals(features)))
    return {name: rows[name].to_arrow() for name in ("user_id", "video_id", "watch_time")} | {
        "interaction_time": rows["interaction_time"].to_arrow().cast(TIMESTAMP),
        "interaction_type": words.named(signals, rows["interaction_type"].to_numpy()),
        "device": words.named(tuple(words.DEVICES), rows["device"].to_numpy()),
    }


def _sessions(world: World, rng: np.random.Generator, start: int, span: int, tries: int) -> tuple[Array, Array]:
    """Users (rows) and start times of sessions: by activity, thinned to the usual hours of their country."""
    user = drawn(rng, world.activity, tries)
    time = start + (rng.random(tries) * span).astype(np.int64)
    hour = (time + _OFFSETS[world.country[user]]).astype(np.int64) % DAY // HOUR
    usual = rng.random(tries) < HOURS[hour]
    return user[usual], time[usual]


def _events(
    world: World, rng: np.random.Generator, user: Array, time: Array, signals: Sequence[Signal]
) -> pl.DataFrame:
    """The events of these sessions, session by session, ids and times as int64, type and device as indices."""
    session = np.arange(len(user))
    shown = rng.geometric(1 / 6, len(user)).clip(max=40)
    device = np.repeat(drawn(rng, list(words.DEVICES.values()), len(user)), shown)
    user, time, session = (np.repeat(values, shown) for values in (user, time, session))
    video = _shown_videos(world, rng, user, time)
    happens, watched = _engagement(world, rng, user, video)
    spent = ((watched.sum(axis=1) + rng.gamma(2, 20, len(video))) * SECOND).astype(np.int64)
    before = np.cumsum(spent) - spent  # over all sessions; the next line subtracts earlier sessions
    begins = time + before - np.repeat(before[np.cumsum(shown) - shown], shown)
    delays, reported, slots = _delays(rng, watched), _reported(rng, watched), EVENT_SLOTS
    if signals:
        more = _own_events(world, rng.spawn(1)[0], user, video, happens, signals)
        happens, delays = np.hstack([happens, more[0]]), np.hstack([delays, more[1]])
        reported = np.hstack([reported, np.full(more[0].shape, np.nan)])
        slots = np.append(EVENT_SLOTS, len(_SIGNALS) + np.arange(len(signals)))
    exposure, slot = np.nonzero(happens)
    return pl.DataFrame({
        "user_id": user[exposure] + 1,
        "video_id": video[exposure] + 1,
        "interaction_time": begins[exposure] + (delays[exposure, slot] * SECOND).astype(np.int64),
        "interaction_type": slots[slot],
        "watch_time": pl.Series(reported[exposure, slot].astype(np.float32), nan_to_null=True),
        "device": device[exposure],
        "session": session[exposure],
    })  # fmt: skip


def _own_events(
    world: World, rng: np.random.Generator, user: Array, video: Array, happens: Array, signals: Sequence[Signal]
) -> tuple[Array, Array]:
    """[n, signals] bool and float: which custom signals an exposure has, and after how many seconds."""
    liking = world.affinity(user + 1, video + 1)
    happening_signals = synthetic_columns.happening(signals, happens[:, 1], liking, rng)
    return happening_signals, 1 + rng.gamma(2, 2, happening_signals.shape)


def _by_taste(rng: np.random.Generator, taste: Array) -> Array:
    """[n] indices of categories, one drawn from each row of taste [n, categories]."""
    above: Array = np.cumsum(taste, axis=1)[:, :-1] < rng.random((len(taste), 1))
    return above.sum(axis=1)


def _shown_videos(world: World, rng: np.random.Generator, user: Array, time: Array) -> Array:
    """[n] rows of videos, each published by `time`; the most popular one where no candidate is."""
    explored = rng.random(len(user)) < EXPLORED
    category = np.where(explored, rng.integers(len(CATEGORIES), size=len(user)), _by_taste(rng, world.taste[user]))
    candidates = _from_shelves(world, rng, category)
    # The smallest of exponentials over weights falls on each candidate in proportion to its weight.
    race = rng.exponential(size=candidates.shape) / world.understood(user, candidates)
    race[world.published[candidates] > time] = np.inf
    chosen = race.argmin(axis=0), np.arange(len(user))
    return np.where(np.isfinite(race[chosen]), candidates[chosen], world.popularity.argmax())


def _from_shelves(world: World, rng: np.random.Generator, category: Array) -> Array:
    """[CANDIDATES, n] rows of videos of these categories, by popularity; of any category if these have none."""
    order, running, edges = world.shelves
    low, high = edges[category], edges[category + 1]
    low, high = np.where(low < high, low, 0), np.where(low < high, high, running[-1])
    place = np.searchsorted(running, low + (high - low) * rng.random((CANDIDATES, len(category))), side="right")
    return order[np.minimum(place, len(order) - 1)]


def _engagement(world: World, rng: np.random.Generator, user: Array, video: Array) -> tuple[Array, Array]:
    """The EVENT_SLOTS that happen, [n, slots] bool, and the seconds watched at first and after a pause, [n, 2]."""
    liking = world.affinity(user + 1, video + 1)
    chance = rng.random((6, len(user)))
    clicked = chance[0] < 0.05 + 0.8 * liking
    ratio = np.where(clicked, chance[1] ** (1 / (0.3 + 3 * liking)), 0)
    paused = clicked & (chance[2] < 0.2)
    seconds, first = ratio * world.duration[video], np.where(paused, chance[2] / 0.2, 1)
    reacted = chance[3:] < np.array([[0.6], [0.15], [0.1]]) * liking * ratio
    happens = np.stack([np.full(len(user), True), clicked, clicked, paused, *reacted], axis=1)
    return happens, np.stack([seconds * first, seconds * (1 - first)], axis=1)


def _delays(rng: np.random.Generator, watched: Array) -> Array:
    """[n, slots] seconds from the impression; a watch is reported at its end, or LONGEST_WAIT seconds into it."""
    click = rng.gamma(2, 2, len(watched))
    first, second = np.minimum(watched, LONGEST_WAIT).T
    reactions = click + first * rng.random((3, len(watched)))
    return np.stack([np.zeros(len(watched)), click, click + first, click + first + 30 + second, *reactions], axis=1)


def _reported(rng: np.random.Generator, watched: Array) -> Array:
    """[n, slots] watch_time in seconds, NaN for events other than watches and for one watch in a hundred."""
    seconds = np.full((len(watched), len(EVENT_SLOTS)), np.nan)
    seconds[:, EVENT_SLOTS == 2] = np.where(rng.random(watched.shape) < 0.01, np.nan, watched)
    return seconds
