"""Raw tables and the rows of a run, read and joined with pandas, and the graph as a user opens it."""

import bisect
import collections
import functools
import json
import math
import pathlib
from collections.abc import Sized
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
from conftest import Ran

from recsys_tft.columns import TABLES
from recsys_tft.run_layout.data_folders import DataFolder

SPLITS = ("train", "val", "test")
FOLDERS = (*(f"{name}_{split}" for name in ("two_tower", "ranker") for split in SPLITS), "users", "videos")
HALF_HOUR = 30 * 60 * 10**6
HOUR_AND_A_HALF = 3 * HALF_HOUR
Tensors = dict[str, tf.Tensor | tf.SparseTensor]


# --- Raw tables, read and joined with pandas


@functools.cache
def raw_frames(folder: pathlib.Path) -> dict[str, pd.DataFrame]:
    """The raw tables; times in microseconds, integers with nulls as objects, videos with their channels' columns."""
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
    times = tables["interactions"]["interaction_time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    frames = {name: table.to_pandas(integer_object_nulls=True) for name, table in tables.items()}
    frames["interactions"]["interaction_time"] = times.to_numpy()
    if "channel_id" in frames["videos"]:
        channels = frames["channels"].astype({"channel_id": object})
        frames["videos"] = frames["videos"].merge(channels, on="channel_id", how="left")
    return frames


def cuts_of(manifest: dict[str, Any]) -> list[int]:
    """val_from and test_from in microseconds."""
    splits = manifest["splits"]
    return [pd.Timestamp(splits[name].removesuffix(" UTC")).value // 1000 for name in ("val_from", "test_from")]


def exposures(ran: Ran) -> pd.DataFrame:
    """user_id, video_id, interaction_time and device of each exposure."""
    events = raw_frames(ran.raw)["interactions"].sort_values(["user_id", "video_id", "interaction_time"])
    if "device" not in events:
        events["device"] = None
    gaps = events.groupby(["user_id", "video_id"])["interaction_time"].diff()
    split = np.searchsorted(cuts_of(ran.result.manifest), events["interaction_time"], side="right")
    events["number"] = (gaps.isna() | (gaps >= HALF_HOUR) | (np.diff(split, prepend=-1) != 0)).cumsum()
    devices = events.dropna(subset="device").sort_values(["number", "interaction_time", "device"])
    first = events.drop_duplicates("number").drop(columns="device")
    return first.merge(devices.drop_duplicates("number")[["number", "device"]], on="number", how="left")


def category_before(ran: Ran, rows: pd.DataFrame) -> pd.Series:
    """The category that the user of each row watched last before it, else what the users table says."""
    frames = raw_frames(ran.raw)
    events = frames["interactions"]
    viewings = events[(events["interaction_type"] != "impression") | (events["watch_time"] > 0)]
    viewings = viewings.merge(frames["videos"][["video_id", "category"]], on="video_id")
    viewings = viewings.sort_values(["interaction_time", "video_id"])[["user_id", "interaction_time", "category"]]
    ordered = rows.sort_values("interaction_time", kind="stable")
    key = {"on": "interaction_time", "by": "user_id", "allow_exact_matches": False}
    found = pd.merge_asof(ordered, viewings.assign(viewed=True), **key).set_index(ordered.index).sort_index()
    users = frames["users"].set_index("user_id")
    own = rows["user_id"].map(users["previously_watched_category"]) if "previously_watched_category" in users else None
    return found["category"].where(found["viewed"].notna(), own)


# --- Counters, which MovieLens lacks, counted with pandas: nobody rated a movie twice, so each rating is an exposure


def counting(ran: Ran) -> pd.DataFrame:
    """What each event adds to the counters of its video; no rows where the videos table has them."""
    frames = raw_frames(ran.raw)
    events = frames["interactions"] if "view_count" not in frames["videos"] else frames["interactions"].iloc[:0]
    kinds = {"view_count": "like|watch", "like_count": "like", "comment_count": "comment"}
    added = {name: events["interaction_type"].str.fullmatch(kind).astype(int) for name, kind in kinds.items()}
    return events[["video_id", "interaction_time"]].assign(**added)


def with_training_counters(ran: Ran, videos: pd.DataFrame) -> pd.DataFrame:
    """The videos with the counters that events before val_from make, where they are counted."""
    events = counting(ran)
    if events.empty:
        return videos
    training = events[events["interaction_time"] < cuts_of(ran.result.manifest)[0]].drop(columns="interaction_time")
    sums = training.groupby("video_id").sum().reindex(videos["video_id"], fill_value=0)
    return videos.assign(**{name: sums[name].to_numpy() for name in sums})


def with_counters(ran: Ran, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the counters of their video as of an hour and a half before them, where they are counted."""
    events = counting(ran).sort_values("interaction_time")
    if events.empty:
        return rows
    names = list(events.columns[2:])
    events[names] = events.groupby("video_id")[names].cumsum()
    moments = rows[["video_id", "interaction_time"]].assign(interaction_time=rows["interaction_time"] - HOUR_AND_A_HALF)
    key = {"on": "interaction_time", "by": "video_id", "allow_exact_matches": False}
    ordered = moments.sort_values("interaction_time", kind="stable")
    # Of events at one instant the last has the sums of all.
    found = pd.merge_asof(ordered, events.drop_duplicates(["video_id", "interaction_time"], keep="last"), **key)
    found = found.set_index(ordered.index).sort_index()[names].fillna(0).astype(np.int64)
    return rows.assign(**found)


# --- What became of earlier exposures


def outcomes(ran: Ran) -> pd.DataFrame:
    """All exposures, formed without cuts, with category, channel and tags of their videos: on MovieLens all ratings."""
    frames = raw_frames(ran.raw)
    if frames["channels"].empty:
        events = frames["interactions"]
        since = events["interaction_time"].where(events["interaction_type"] == "like")
        found = events[["user_id", "video_id", "interaction_time"]].assign(since=since)
    else:
        every = oracles_exposures(ran.raw, ran.root, uncut=True)
        rows = [(e.user_id, e.video_id, e.interaction_time, e.positive_since) for e in every]
        found = pd.DataFrame(rows, columns=["user_id", "video_id", "interaction_time", "since"])
    groups = frames["videos"].reindex(columns=["video_id", "category", "channel_id", "tags"])
    return found.merge(groups, on="video_id", how="left")


def with_outcomes(ran: Ran, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with what became of exposures before them; of videos where counts are not thinned, as on MovieLens."""
    every, is_exact = outcomes(ran), raw_frames(ran.raw)["channels"].empty
    moments = rows["interaction_time"] - (HOUR_AND_A_HALF if is_exact else 0)
    keys = {"": ["video_id"]} if is_exact else {}
    keys |= {
        "user_": ["user_id"],
        "user_category_": ["user_id", "category"],
        "user_channel_": ["user_id", "channel_id"],
    }
    for name, by in keys.items():
        for what, time in (("shown", "interaction_time"), ("positive", "since")):
            events = every[every[time].notna()]
            rows[f"{name}{what}_count"] = _before(events[by], events[time], rows.reindex(columns=by), moments)
    for what, time in (("shown", "interaction_time"), ("positive", "since")):
        rows[f"user_tags_{what}_count"] = _by_tags(every[every[time].notna()], time, rows, moments)
    if is_exact:
        rows["user_expected_count"] = _expected(every, rows["user_id"], moments)
    return rows


def _expected(every: pd.DataFrame, users: pd.Series, moments: pd.Series) -> list[float]:
    """How many exposures of each user before each moment would be positive, were users all alike."""
    known, video = every["interaction_time"] - HOUR_AND_A_HALF, every[["video_id"]]
    liked = every[every["since"].notna()]
    shown = np.array(_before(video, every["interaction_time"], video, known))
    positive = np.array(_before(liked[["video_id"]], liked["since"], video, known))
    seen = collections.defaultdict(list)
    for user, *values in sorted(zip(every["user_id"], every["interaction_time"], positive, shown, strict=True)):
        seen[user].append(values)
    sums = {user: np.cumsum([(p / (s + 10), 10 / (s + 10), p, s) for _, p, s in own], 0) for user, own in seen.items()}
    found = []
    for user, moment in zip(users, moments, strict=True):
        count = bisect.bisect_left(seen[user], moment, key=lambda values: values[0])
        own, prior, all_positive, all_shown = sums[user][count - 1] if count else (0.0, 0.0, 0, 0)
        found.append(own + prior * (all_positive + 1) / (all_shown + 2))
    return found


def _by_tags(events: pd.DataFrame, time: str, rows: pd.DataFrame, moments: pd.Series) -> pd.Series:
    """How many events of each row's user and each of its tags are strictly before its moment, added up over tags."""
    own, asked = (
        table.assign(tags=[sorted({tag for tag in tags if tag}) if isinstance(tags, Sized) else [] for tags in column])
        .explode("tags")
        .dropna(subset="tags")
        for table in (events, rows.reindex(columns=["user_id", "tags"]).assign(moment=moments))
        for column in [table["tags"]]
    )
    by = ["user_id", "tags"]
    counts = pd.Series(_before(own[by], own[time], asked[by], asked["moment"]), asked.index, float)
    return counts.groupby(level=0).sum().reindex(rows.index)


def _before(events: pd.DataFrame, times: pd.Series, rows: pd.DataFrame, moments: pd.Series) -> list[int | None]:
    """How many events of each row's keys are strictly before its moment; None where a key is missing."""
    known = collections.defaultdict(list)
    for key, time in zip(events.itertuples(index=False, name=None), times.astype(np.int64), strict=True):
        known[key].append(int(time))
    ordered = {key: sorted(found) for key, found in known.items()}
    asked = zip(rows.itertuples(index=False, name=None), moments.tolist(), strict=True)
    return [
        None if any(pd.isna(value) for value in key) else bisect.bisect_left(ordered.get(key, []), moment)
        for key, moment in asked
    ]


# --- Histories


def history_before(ran: Ran, rows: pd.DataFrame) -> list[list[int]]:
    """The last 20 videos that the user of each row was positive on before it, most recent first."""
    found: dict[int, list[tuple[int, int]]] = collections.defaultdict(list)
    for user, time, video in sorted(positives(ran)):
        found[user].append((time, video))
    keys = zip(rows["user_id"], rows["interaction_time"], strict=True)
    return [_last(found[user][: bisect.bisect_left(found[user], (time, -math.inf))]) for user, time in keys]


def _last(watched: list[tuple[int, int]]) -> list[int]:
    return list(dict.fromkeys(video for _, video in reversed(watched)))[:20]


def positives(ran: Ran) -> list[tuple[int, int, int]]:
    """(user, time of becoming positive, video): on MovieLens of each like, else as the oracle has it."""
    events = raw_frames(ran.raw)["interactions"]
    if raw_frames(ran.raw)["channels"].empty:
        liked = events[events["interaction_type"] == "like"]
        return list(liked[["user_id", "interaction_time", "video_id"]].itertuples(index=False, name=None))
    expected = oracles_exposures(ran.raw, ran.root)
    return [(e.user_id, e.positive_since, e.video_id) for e in expected if e.positive_since is not None]


def joined_rows(ran: Ran, name: str) -> pd.DataFrame:
    """The raw row of each row of a data folder."""
    frames = raw_frames(ran.raw)
    keys = ("user_id", "video_id", "interaction_time", "source")
    read = {key: values.numpy() for key, values in all_rows(ran.result[name]).items() if key in keys}
    rows = pd.DataFrame(read)
    if name in ("users", "videos"):
        whole = with_training_counters(ran, frames[name]) if name == "videos" else frames[name]
        return rows.merge(whole, on=f"{name[:-1]}_id", how="left", validate="1:1")
    shown = rows["video_id"]
    if "source" in rows:  # what is drawn for a positive follows it, and has its context
        shown = shown.where(rows["source"] != b"sampled").ffill().astype(np.int64)
    context = exposures(ran)[["user_id", "video_id", "interaction_time", "device"]]
    context = context.rename(columns={"video_id": "shown"})
    rows = rows.assign(shown=shown).merge(context, how="left", validate="m:1", indicator="found")
    assert (rows["found"] == "both").all()
    rows["previously_watched_category"] = category_before(ran, rows[["user_id", "interaction_time"]])
    rows["history_video_ids"] = history_before(ran, rows)
    categories = frames["videos"].set_index("video_id")["category"].to_dict()
    rows["history_categories"] = rows["history_video_ids"].map(lambda ids: [categories[video] for video in ids])
    users = frames["users"].drop(columns="previously_watched_category", errors="ignore")
    whole = rows.merge(users, on="user_id", how="left").merge(frames["videos"], on="video_id", how="left")
    return with_outcomes(ran, with_counters(ran, whole))


# --- The graph as a user opens it, and rows as a user reads them


@functools.cache
def opened(root: pathlib.Path) -> tuple[tft.TFTransformOutput, tf.keras.layers.Layer]:
    output = tft.TFTransformOutput(str(root / "artifacts" / "transform_graph"))
    return output, output.transform_features_layer()


def engineered(root: pathlib.Path, columns: dict[str, Any]) -> Tensors:
    """What the graph makes of raw columns; those that it does not get leave out what needs them."""
    output, layer = opened(root)
    spec = output.raw_feature_spec()
    return layer({name: sparse(pd.Series(values), spec[name].dtype) for name, values in columns.items()})


def sparse(values: pd.Series, dtype: tf.DType) -> tf.SparseTensor:
    """[n] values or lists, None or NaN for missing ones."""
    values = values.reset_index(drop=True)
    present = (values.explode() if values.dtype == object else values).dropna()
    owners = present.index.to_numpy()
    places = present.groupby(owners).cumcount().to_numpy()
    flat = tf.constant(present.to_numpy(object if dtype == tf.string else dtype.as_numpy_dtype), dtype)
    width = int(places.max(initial=0)) + 1
    return tf.SparseTensor(np.stack([owners, places], 1).astype(np.int64), flat, [len(values), width])


def all_rows(folder: DataFolder) -> Tensors:
    """All rows of a folder in one batch."""
    return next(iter(folder.dataset(batch_size=1 << 30)))


def flat(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """(how many values each row has, all values)."""
    if isinstance(values, tf.SparseTensor):
        values = tf.RaggedTensor.from_sparse(values)
    if isinstance(values, tf.RaggedTensor):
        return values.row_lengths().numpy(), values.flat_values.numpy()
    array = values.numpy()
    return np.full(len(array), array[0].size), array.ravel()


@functools.cache
def oracles_exposures(raw: pathlib.Path, root: pathlib.Path, uncut: bool = False) -> list[oracle.Exposure]:
    manifest = json.loads((root / "artifacts/manifest.json").read_text())
    users, videos, events = (
        raw_frames(raw)[name].astype(object).where(lambda frame: frame.notna(), None).to_dict("records")
        for name in ("users", "videos", "interactions")
    )
    val_from, test_from = oracle.cuts(users, videos, events, "0.8", "0.1")
    assert [val_from, test_from] == cuts_of(manifest)
    return oracle.exposures(
        users,
        videos,
        events,
        val_from=None if uncut else val_from,
        test_from=None if uncut else test_from,
        positive=manifest["settings"]["labels"]["positive"],
    )


def lines_of(ran: Ran, vocabulary: str) -> list[str]:
    return (ran.root / f"artifacts/vocabularies/{vocabulary}.txt").read_text().split("\n")[:-1]
