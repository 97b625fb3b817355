"""Which raw rows the rows on disk were made of."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_tft import counters, examples
from recsys_tft.entities import find_sorted
from recsys_tft.features import Entity
from recsys_tft.raw_rows import RawRows
from recsys_tft.settings import Settings
from recsys_tft.splits import Cuts

VERSION = "version"


@dataclasses.dataclass(frozen=True)
class Matches:
    """Raw rows of one entity, and those that [n] rows on disk may have been made of.

    Attributes:
        raw: distinct raw rows.
        owner: [m] int64 numbers of rows on disk, increasing; one occurs once for each raw row that it may be of.
        row: [m] int64 the raw row.
        missing: [k] int64 numbers of rows on disk that are of no raw row.
    """

    raw: pa.Table
    owner: np.ndarray
    row: np.ndarray
    missing: np.ndarray


def by_key(raw: pa.Table, key: str, wanted: np.ndarray) -> Matches:
    """The rows of users or videos: each key has one.

    Args:
        raw: by increasing key.
        key: its name.
        wanted: [n] int64 keys of rows on disk.
    """
    keys, inverse = np.unique(wanted, return_inverse=True)
    places = find_sorted(raw[key].to_numpy(), keys)
    position = np.cumsum(places >= 0) - 1
    found = places[inverse] >= 0
    rows = raw.take(pa.array(places[places >= 0]))
    return Matches(rows, np.flatnonzero(found), position[inverse][found], np.flatnonzero(~found))


def by_exposure(
    raw: RawRows, user_ids: np.ndarray, times: np.ndarray, cuts: Cuts | None, settings: Settings
) -> Matches:
    """What was known at exposures. Those of one user at one instant may differ, and then each of them may be meant.

    Args:
        raw: the raw tables.
        user_ids: [n] int64 of rows on disk.
        times: [n] int64 of rows on disk.
        cuts: where the run's windows end.
        settings: of the run.
    """
    own = raw.of_users(pa.array(np.unique(user_ids)))
    found = examples.label_exposures(own.events, own.users, raw.video_lookup, cuts, settings).exposures
    # What a user did before is the same at all exposures of one instant.
    keys = ["user_id", "interaction_time", "device"]
    numbered = found.select(keys).append_column("row", pa.array(range(len(found)), pa.int64()))
    distinct = numbered.group_by(keys, use_threads=False).aggregate([("row", "min")])
    distinct = distinct.sort_by([("user_id", "ascending"), ("interaction_time", "ascending")])
    known = found.take(distinct["row_min"])
    users, moments = (known[name].to_numpy() for name in ("user_id", "interaction_time"))
    pairs = np.stack([np.concatenate([users, user_ids]), np.concatenate([moments, times])], axis=1)
    codes = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    stored, wanted = codes[: len(users)], codes[len(users) :]
    first, last = np.searchsorted(stored, wanted), np.searchsorted(stored, wanted, side="right")
    owner = np.repeat(np.arange(len(wanted)), last - first)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    return Matches(known, owner, first[owner] + within, np.flatnonzero(first == last))


def by_version(raw: RawRows, video_ids: np.ndarray, times: np.ndarray, settings: Settings) -> Matches:
    """The counters of videos as of a moment; a video that does not exist is missed by `by_key` too.

    Args:
        raw: with versions.
        video_ids: [n] int64 of rows on disk.
        times: [n] int64 of rows on disk.
        settings: of the run.
    """
    found = np.flatnonzero(find_sorted(raw.videos["video_id"].to_numpy(), video_ids) >= 0)
    moments = times[found] - settings.counters.delay_microseconds
    rows, row = np.unique(counters.last_before(raw.versions, video_ids[found], moments), return_inverse=True)
    return Matches(raw.versions.take(pa.array(rows)), found, row, np.zeros(0, np.int64))


def of_entity(
    entity: Entity | str, raw: RawRows, keys: Mapping[str, np.ndarray], manifest: Mapping[str, Any], settings: Settings
) -> Matches:
    """The raw rows of one entity, or the VERSION of a video, for [n] rows on disk with these keys."""
    if entity == VERSION:
        return by_version(raw, keys["video_id"], keys["interaction_time"], settings)
    if entity is Entity.USER:
        return by_key(raw.users, "user_id", keys["user_id"])
    if entity is Entity.VIDEO:
        return by_key(raw.videos, "video_id", keys["video_id"])
    return by_exposure(raw, keys["user_id"], keys["interaction_time"], cuts_of(manifest), settings)


def cuts_of(manifest: Mapping[str, Any]) -> Cuts | None:
    """Where the windows of a run end, by its manifest; None where each user has ends of their own."""
    windows = manifest["windows"]
    return (_time(windows["val_from"]), windows["test_from"] and _time(windows["test_from"])) if windows else None


def _time(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=datetime.UTC)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
