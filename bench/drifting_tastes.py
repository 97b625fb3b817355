"""Synthetic days: users whose tastes drift, and new videos every day, in the four raw tables."""

import datetime
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

USERS, VIDEOS, NEW_VIDEOS, EVENTS = 400, 300, 10, 2000  # videos at the beginning and a day, events a day
FIRST_DAYS = 14
_WIDTH, _DRIFT = 6, 0.12  # of tastes; how far they move in a day
_SHARP, _LIKING = 1.0, 1.5
_CATEGORIES = ("music", "news", "sport", "games", "films", "cooking")
_BEGIN = np.datetime64("2025-02-01T00:00:00", "us")


def write_days(folder: pathlib.Path, periods: int) -> list[pathlib.Path]:
    """A folder of the first fortnight, and one of each of the days after it."""
    rng = np.random.default_rng(0)
    days = FIRST_DAYS + periods
    videos = rng.normal(size=(VIDEOS + NEW_VIDEOS * days, _WIDTH))
    popularity = rng.normal(0, 0.7, len(videos))
    born = np.maximum(np.arange(len(videos)) - VIDEOS, -1) // NEW_VIDEOS + 1  # 0: there from the beginning
    tastes, parts = rng.normal(size=(USERS, _WIDTH)), []
    for day in range(days):
        tastes = np.sqrt(1 - _DRIFT**2) * tastes + _DRIFT * rng.normal(size=tastes.shape)
        there = np.flatnonzero(born <= day)
        age = day - born[there]
        parts.append(_events(rng, tastes, videos[there], popularity[there] + np.exp(-age / 3.0), there, day))
    raw = folder / "raw"
    raw.mkdir(parents=True)
    pq.write_table(pa.concat_tables(parts), raw / "interactions.parquet")
    pq.write_table(_videos(videos, born), raw / "videos.parquet")
    pq.write_table(pa.table({"user_id": np.arange(1, USERS + 1)}), raw / "users.parquet")
    pq.write_table(pa.table({"channel_id": np.arange(1, 41)}), raw / "channels.parquet")
    return cut(raw, folder / "days", periods, 1)


def _events(
    rng: np.random.Generator, tastes: np.ndarray, videos: np.ndarray, bias: np.ndarray, ids: np.ndarray, day: int
) -> pa.Table:
    """Exposures of a day: shown by half of the taste, watched by all of it."""
    users = np.sort(rng.integers(0, USERS, EVENTS))
    affinity = tastes[users] @ videos.T / np.sqrt(_WIDTH)
    noise = rng.gumbel(size=affinity.shape)
    shown = np.argmax(_SHARP * affinity + bias + noise, axis=1)
    liked = rng.random(EVENTS) < 1 / (1 + np.exp(-_LIKING * affinity[np.arange(EVENTS), shown]))
    seconds = rng.integers(0, 86_400 * 10**6, EVENTS)
    return pa.table(
        {
            "user_id": users + 1,
            "video_id": ids[shown] + 1,
            "interaction_time": pa.array(_BEGIN + (day * 86_400 * 10**6 + seconds).astype("timedelta64[us]")),
            "interaction_type": np.where(liked, "like", "impression"),
        }
    )


def _videos(videos: np.ndarray, born: np.ndarray) -> pa.Table:
    return pa.table(
        {
            "video_id": np.arange(1, len(videos) + 1),
            "channel_id": np.arange(len(videos)) % 40 + 1,
            "category": np.array(_CATEGORIES)[np.argmax(videos, axis=1)],
            "published_at": pa.array(_BEGIN + (born * 86_400 * 10**6).astype("timedelta64[us]")),
        }
    )


def cut(raw: pathlib.Path, root: pathlib.Path, periods: int, length: int) -> list[pathlib.Path]:
    """A folder of all but the last periods of so many days, with all tables, and one of each of these.

    Of videos that are published later, a folder has those that are published by its end.
    """
    tables = {name: pq.read_table(raw / f"{name}.parquet") for name in ("interactions", "videos", "users", "channels")}
    times = tables["interactions"]["interaction_time"].cast(pa.timestamp("us"))
    last = pc.max(times).as_py()
    begins = [last - datetime.timedelta(days=length * (periods - number)) for number in range(periods)]
    published, found = tables["videos"]["published_at"].cast(pa.timestamp("us")), []
    for since, until in zip([None, *begins], [*begins, None], strict=True):
        folder = root / f"{(since or begins[0] - datetime.timedelta(days=1)).date()}"
        folder.mkdir(parents=True)
        inside = _between(times, since, until)
        pq.write_table(tables["interactions"].filter(inside), folder / "interactions.parquet")
        events = pc.unique(tables["interactions"].filter(inside)["video_id"])
        there = pc.or_(_between(published, since, until), pc.is_in(tables["videos"]["video_id"], events))
        pq.write_table(tables["videos"].filter(there), folder / "videos.parquet")
        for name in ("users", "channels") if since is None else ():
            shutil.copy(raw / f"{name}.parquet", folder)
        found.append(folder)
    return found


def _between(times: pa.ChunkedArray, since: datetime.datetime | None, until: datetime.datetime | None) -> pa.Array:
    inside = pc.is_valid(times)
    if since is not None:
        inside = pc.and_(inside, pc.greater_equal(times, pa.scalar(since, times.type)))
    return pc.fill_null(
        inside if until is None else pc.and_(inside, pc.less(times, pa.scalar(until, times.type))), False
    )
