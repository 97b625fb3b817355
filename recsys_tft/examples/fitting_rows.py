"""The rows of users and videos that take part in fitting: those with an exposure in the training split, each once.

With versions it is the one that a training exposure took last, so that nothing is fitted on later values, and no key
counts more for having changed. In vocabularies earlier values count too, once for each key.
With `retire_after`, rows that were not seen lately are marked, and vocabularies do not count their values.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft import ids, time_lookups
from recsys_tft.columns import HISTORY
from recsys_tft.configuration import durations
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.examples.negatives import Catalogue, Lately
from recsys_tft.features import Entity, Feature, FeatureTable
from recsys_tft.labelling.split_times import Cuts, describe, end_of_training
from recsys_tft.point_in_time.user_context import COUNTED_VIDEO
from recsys_tft.tables import versions

RETIRED = "retired"  # bool column of rows whose values vocabularies do not count


def of_users(
    users: pa.Table, fitted: np.ndarray, training: pa.Table, table: FeatureTable, lately: Lately | None = None
) -> Iterator[pa.Table]:
    """The users of a partition.

    Args:
        users: by increasing `user_id`, or versions of them.
        fitted: [n] int64 ids of those with an exposure in the training split.
        training: exposures in the training split.
        table: which columns have vocabularies.
        lately: the part of the training split that vocabularies are made of; None: all of it.
    """
    if not time_lookups.is_versioned(users):
        yield _marked(users.filter(pa.array(np.isin(users["user_id"].to_numpy(), fitted))), "user_id", lately)
        return
    training = training.filter(pa.array(np.isin(training["user_id"].to_numpy(), fitted)))
    user, time = (training[name].to_numpy() for name in ("user_id", "interaction_time"))
    last = time_lookups.ends(user)  # exposures are sorted by user and time
    yield from _fitted(users, "user_id", user[last], time[last], table.select(entity=Entity.USER), lately)


def of_videos(videos: pa.Table, catalogue: Catalogue, until: int, table: FeatureTable) -> Iterator[pa.Table]:
    """The videos of a partition; `until` is the time of the last exposure of the training split."""
    inside = videos.filter(pa.array(catalogue.position(videos["video_id"].to_numpy()) >= 0))
    if not time_lookups.is_versioned(videos):
        yield _marked(inside, "video_id", catalogue.lately)
        return
    keys = time_lookups.distinct(inside["video_id"].to_numpy())
    moments = np.full(len(keys), until)
    yield from _fitted(inside, "video_id", keys, moments, table.select(entity=Entity.VIDEO), catalogue.lately)


def of_pairs(exposures: pa.Table) -> pa.Table:
    """The histories of exposures, for co-occurrence counts."""
    return exposures.select([HISTORY[0], COUNTED_VIDEO]).filter(exposures[COUNTED_VIDEO].is_valid())


def of_exposures(exposures: pa.Table, since: int | None) -> pa.Table:
    """Exposures in the training split, those before `since` marked."""
    if since is None:
        return exposures
    return exposures.append_column(RETIRED, pa.array(exposures["interaction_time"].to_numpy() < since))


def seen_from(cuts: Cuts | None, settings: Settings) -> int | None:
    """The start of the part of the training split that vocabularies are made of; None: all of it."""
    end = end_of_training(cuts)
    if settings.retire_after is None or end is None:
        return None
    return end - durations.microseconds(settings.retire_after)


def check_seen(is_seen: bool, since: int, settings: Settings) -> None:
    """Refuse empty vocabularies.

    Args:
        is_seen: whether an exposure of the training split is from `since` on.
        since: of `seen_from`.
        settings: of the run.

    Raises:
        InputError: if there is none.
    """
    if not is_seen:
        raise InputError(
            f"retire_after is {settings.retire_after}, and no exposure is between {describe(since)} and the end of the "
            "training split, so vocabularies would be empty; set it longer, or set another split.val_from."
        )


def seen_lately(training: pa.Table, key: str, since: int) -> np.ndarray:
    """[n] int64: the keys that have an exposure from `since` on among those in the training split."""
    return training[key].to_numpy()[training["interaction_time"].to_numpy() >= since]


def _marked(rows: pa.Table, key: str, lately: Lately | None) -> pa.Table:
    if lately is None:
        return rows
    return rows.append_column(RETIRED, pa.array(~np.isin(rows[key].to_numpy(), lately.keys)))


def _fitted(
    table: pa.Table,
    key: str,
    keys: np.ndarray,
    moments: np.ndarray,
    features: tuple[Feature, ...],
    lately: Lately | None,
) -> Iterator[pa.Table]:
    """The versions of [k] keys at [k] moments; then their earlier values for each column with a vocabulary."""
    versions_of = time_lookups.Timeline(table, key)
    owner, rows = versions_of.between(keys, np.full(len(keys), versions.ALWAYS + 1), moments)
    last = time_lookups.ends(owner)
    table = table if lately is None else _marked_versions(table, versions_of, keys, moments, lately)
    beside = [RETIRED] if lately else []
    yield table.take(pa.array(rows[last]))
    is_earlier = np.ones(len(rows), bool)
    is_earlier[last] = False
    of_rows = pl.DataFrame({"key": owner, "row": rows, "is_earlier": is_earlier})
    sources = (source for f in features if f.vocabulary for source in f.sources)
    for name in dict.fromkeys(source for source in sources if source != key and source in table.column_names):
        values = of_rows.with_columns(value=pl.Series(values=table[name].take(pa.array(rows))))
        other = values.unique(["key", "value"], keep="last", maintain_order=True).filter("is_earlier")
        yield table.select([*ids.beside([name], table), *beside]).take(pa.array(other["row"].to_numpy()))


def _marked_versions(
    table: pa.Table, versions_of: time_lookups.Timeline, keys: np.ndarray, moments: np.ndarray, lately: Lately
) -> pa.Table:
    """Versions; those that no recent exposure can have taken are marked."""
    seen = np.isin(keys, lately.keys)
    _, rows = versions_of.between(keys[seen], np.full(seen.sum(), lately.since), moments[seen])
    is_retired = np.ones(len(table), bool)
    is_retired[rows] = False
    return table.append_column(RETIRED, pa.array(is_retired))
