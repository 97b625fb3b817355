"""Scores of shown rows without this library: means, counts, and CatBoost on point-in-time target means.

Nothing here uses its features. `rows` are all shown rows of a run: user_id, video_id, time (microseconds), label, and
split; whatever is as of a row is counted from rows strictly before it, of all splits.
"""

from collections.abc import Sequence

import catboost
import numpy as np
import pandas as pd

SMOOTHING = 5  # rows of the mean of all that are added to those of a user, a video or a category
_OF_USERS = ("country", "user_language", "age")
_OF_VIDEOS = ("category", "tags", "video_language", "video_duration", "published_at")
_CATEGORIES = ("user_id", "video_id", "category", "country", "user_language", "video_language")
_NUMBERS = ("age", "video_duration")
_DAY = 86_400_000_000  # microseconds


def before(events: pd.DataFrame, rows: pd.DataFrame, by: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """[n] positives and [n] rows among the events strictly before each row that agree with it in some columns."""
    totals = events.groupby([*by, "time"], as_index=False)["label"].agg(["sum", "size"]).sort_values("time")
    totals[["sum", "size"]] = totals.groupby(list(by))[["sum", "size"]].cumsum()
    order = np.argsort(rows["time"].to_numpy(), kind="stable")
    asked = rows[[*by, "time"]].iloc[order]
    found = pd.merge_asof(asked, totals, on="time", by=list(by), allow_exact_matches=False)
    back = np.argsort(order)
    return tuple(found[name].fillna(0).to_numpy()[back] for name in ("sum", "size"))


def smoothed(positives: np.ndarray, counts: np.ndarray, mean: float | np.ndarray) -> np.ndarray:
    """[n] shares, drawn towards the mean where counts are few."""
    return (positives + SMOOTHING * mean) / (counts + SMOOTHING)


def baselines(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """[n] scores of rows by name."""
    training = rows[rows["split"] == "train"]
    mean = training["label"].mean()
    of_training = {}
    for key in ("video_id", "user_id"):
        totals = training.groupby(key)["label"].agg(["sum", "size"]).reindex(rows[key]).fillna(0)
        of_training[key] = (totals["sum"].to_numpy(), totals["size"].to_numpy())
    so_far = {key: before(rows, rows, [key]) for key in ("video_id", "user_id")}
    return {
        "item mean + user mean": sum(smoothed(*found, mean) for found in of_training.values()),
        "as-of item mean + user mean": sum(smoothed(*found, mean) for found in so_far.values()),
        "likes so far": so_far["video_id"][0],
        "popularity": of_training["video_id"][0],
    }


def features(rows: pd.DataFrame, users: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """Raw columns, and target means and counts as of each row: of user, video, category and tags, and of pairs."""
    mean = rows.loc[rows["split"] == "train", "label"].mean()
    known = rows.copy()
    for key, table, wanted in (("user_id", users, _OF_USERS), ("video_id", videos, _OF_VIDEOS)):
        known = known.merge(table[[key, *(name for name in wanted if name in table)]], on=key, how="left")
    known = known.dropna(axis=1, how="all")
    found = known[[name for name in (*_CATEGORIES, *_NUMBERS) if name in known]].copy()
    means: dict[str, pd.Series] = {}
    for by in (["user_id"], ["video_id"], ["category"], ["user_id", "category"]):
        if not set(by) <= set(known):
            continue
        positives, counts = before(known.dropna(subset=by), known, by)
        name = " ".join(by)
        means[name] = smoothed(positives, counts, means["user_id"] if len(by) > 1 else mean)
        found[f"mean {name}"], found[f"count {name}"] = means[name], counts
    if "tags" in known:
        tagged = known[["user_id", "time", "label", "tags"]].explode("tags").dropna(subset="tags")
        positives, counts = before(tagged, tagged, ["user_id", "tags"])
        tagged["mean"] = smoothed(positives, counts, means["user_id"][tagged.index])
        tagged["seen"] = counts
        for name in ("mean", "seen"):
            found[f"{name} user_id tags"] = tagged.groupby(level=0)[name].mean().reindex(known.index)
    moment = pd.to_datetime(known["time"], unit="us")
    found["hour"], found["day"] = moment.dt.hour, moment.dt.dayofweek
    if "published_at" in known:
        found["days since published"] = (known["time"] - known["published_at"]) / _DAY
    for name in set(_CATEGORIES) & set(found):
        found[name] = found[name].astype("string").fillna("").astype(str)
    return found


def catboost_scores(rows: pd.DataFrame, users: pd.DataFrame, videos: pd.DataFrame, seed: int) -> np.ndarray:
    """[n] probabilities of rows, by CatBoost that learned from those of train and stopped by those of val."""
    found = features(rows, users, videos)
    categories = [name for name in _CATEGORIES if name in found]
    parts = {
        split: catboost.Pool(found[own], rows.loc[own, "label"], cat_features=categories)
        for split in ("train", "val")
        for own in [(rows["split"] == split).to_numpy()]
    }
    model = catboost.CatBoostClassifier(
        iterations=1000, learning_rate=0.05, depth=6, random_seed=seed, verbose=False, allow_writing_files=False,
        thread_count=2,
    )  # fmt: skip
    model.fit(parts["train"], eval_set=parts["val"], early_stopping_rounds=50)
    return model.predict_proba(catboost.Pool(found, cat_features=categories))[:, 1]
