"""Versions of the synthetic users, videos and channels: their changes over the eight weeks."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import TIMESTAMP, UPDATED
from recsys_tft.tables import synthetic_words as words
from recsys_tft.tables.synthetic_world import DAY, Array, World

# Changes per row: a third of the users move or have a birthday; half of the videos get another title, and some another
# category; channels are counted about once a week.
CHANGES = {"users": 0.3, "videos": 0.5, "channels": 8.0}
MOVED, RECATEGORISED = 0.5, 0.2  # of these changes

Columns = dict[str, pa.Array]


def with_versions(
    table: str, columns: Columns, world: World, rng: np.random.Generator, start: int, period: int
) -> Columns:
    """The rows of a table and their later versions, by key and UPDATED; no two rows share both.

    Each change is relative to the first row. First versions start before the first event, of videos when published.

    Args:
        table: users, videos or channels.
        columns: of the table, [n] each.
        world: the ground truth.
        rng: for the changes.
        start: of the events, in microseconds.
        period: of the events, in microseconds.
    """
    n = len(next(iter(columns.values())))
    first = world.published if table == "videos" else start - rng.integers(1, 200 * DAY, n)
    row = np.sort(rng.integers(n, size=round(CHANGES[table] * n)))
    begins = np.maximum(first[row], start)
    time = begins + 1 + (rng.random(len(row)) * (start + period - begins)).astype(np.int64)
    kept = np.unique(np.stack([row, time]), axis=1, return_index=True)[1]
    row, time = row[kept], time[kept]
    later = {name: values.take(pa.array(row)) for name, values in columns.items()}
    later |= _CHANGES[table](later, row, (time - start) / period, world, rng)
    both = {name: pa.concat_arrays([values, later[name]]) for name, values in columns.items()}
    owner, since = np.concatenate([np.arange(n), row]), np.concatenate([first, time])
    order = pa.array(np.lexsort((since, owner)))
    both[UPDATED] = pa.array(since).cast(TIMESTAMP)
    return {name: values.take(order) for name, values in both.items()}


def _users(later: Columns, row: Array, _: Array, __: World, rng: np.random.Generator) -> Columns:
    """Half of them move to another country, the others get a year older."""
    moves = rng.random(len(row)) < MOVED
    countries = words.named(list(words.COUNTRIES), rng.integers(len(words.COUNTRIES), size=len(row)))
    return {
        "country": pc.if_else(pa.array(moves), countries, later["country"]),
        "age": pc.if_else(pa.array(moves), later["age"], pc.add(later["age"], 1)),
    }


def _videos(later: Columns, row: Array, _: Array, world: World, rng: np.random.Generator) -> Columns:
    """All get another title, some another category, with its tags."""
    other = rng.random(len(row)) < RECATEGORISED
    category = np.where(other, rng.integers(len(words.CATEGORIES), size=len(row)), world.category[row])
    language = world.video_language[row]
    names = words.named(list(words.CATEGORIES), category)
    return {
        "title": words.titles(rng, language, category),
        "category": pc.if_else(pa.array(other), names, later["category"]),
        "tags": words.tags(rng, language, category),
    }


def _channels(later: Columns, row: Array, elapsed: Array, _: World, rng: np.random.Generator) -> Columns:
    """Up to twice as many subscribers at the end."""
    growth = 1 + elapsed * rng.random(row.max(initial=0) + 1)[row]
    subscribers = later["channel_subscriber_count"]
    grown = pc.cast(pc.floor(pc.multiply(pc.cast(subscribers, pa.float64()), pa.array(growth))), pa.int64())
    return {"channel_subscriber_count": grown}


_CHANGES = {"users": _users, "videos": _videos, "channels": _channels}
