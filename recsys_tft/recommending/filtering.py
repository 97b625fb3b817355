"""Stage 2: filters. Each rule is a function from [n] videos to a mask."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.configuration.recommender_settings import BlockSettings, FilterSettings, country_key
from recsys_tft.default_table import CHILD_CATEGORIES, COUNTRY
from recsys_tft.missing import nulled
from recsys_tft.recommending.catalogue import Candidates

DAY = 86_400_000_000  # microseconds


Ids: TypeAlias = pa.Array | pa.ChunkedArray  # int64, or the bytes of strings and UUIDs


def seen(video_ids: Ids, seen_ids: Ids) -> np.ndarray:
    """[n] bool: whether the user has opened the video."""
    return pc.is_in(video_ids, seen_ids).to_numpy(zero_copy_only=False)


def too_old(published_at: np.ndarray, now: int, max_age_days: float | None) -> np.ndarray:
    """[n] bool: whether a video is older than the limit; False for unknown ages, or without a limit.

    Args:
        published_at: [n] float64 microseconds since 1970, NaN where unknown.
        now: microseconds since 1970.
        max_age_days: the limit.
    """
    if max_age_days is None:
        return np.zeros(len(published_at), bool)
    return now - published_at > max_age_days * DAY


def blocked(videos: pa.Table, rules: BlockSettings) -> np.ndarray:
    """[n] bool: whether a video, its category, one of its child categories or its channel is on a list.

    Args:
        videos: [n] rows with video_id, category, channel_id and, if the feature table has them, child_categories.
        rules: the lists.
    """
    mask = np.zeros(len(videos), bool)
    if rules.videos:
        mask |= seen(videos["video_id"], pa.array(rules.videos, videos["video_id"].type))
    if rules.categories:
        categories = pa.array([name.encode() for name in rules.categories], pa.binary())
        mask |= pc.is_in(nulled(videos["category"]), categories).to_numpy(zero_copy_only=False)
        if CHILD_CATEGORIES in videos.column_names:
            children = nulled(videos[CHILD_CATEGORIES].combine_chunks())
            hit = pc.list_parent_indices(children).filter(pc.is_in(children.flatten(), categories)).to_numpy()
            mask[hit] = True
    if rules.channels:
        channels = nulled(videos["channel_id"])
        mask |= seen(channels, pa.array(rules.channels, channels.type))
    return mask


def unavailable(videos: pa.Table, country: bytes | None, rules: Mapping[str, BlockSettings]) -> np.ndarray:
    """[n] bool: whether a video is on a list of the user's country, which is compared without case."""
    return blocked(videos, _country_rules(country, rules))


def _country_rules(country: bytes | None, rules: Mapping[str, BlockSettings]) -> BlockSettings:
    if not (rules and country):
        return BlockSettings()
    by_key = {country_key(name): of_country for name, of_country in rules.items()}
    return by_key.get(country_key(country.decode(errors="replace")), BlockSettings())


def country_of(known: Mapping[str, pa.Array]) -> bytes | None:
    """The country in [1] raw columns of a user, if it is known."""
    return known[COUNTRY][0].as_py() if COUNTRY in known else None


def removed(
    videos: Candidates, seen_ids: Ids, country: bytes | None, now: int, chosen: FilterSettings
) -> dict[str, np.ndarray]:
    """The videos that each rule removes, [n] bool by name.

    Args:
        videos: [n] candidates.
        seen_ids: videos that the user opened.
        country: of the user.
        now: microseconds since 1970.
        chosen: the rules.
    """

    def listed(rules: BlockSettings) -> np.ndarray:
        return videos.catalogue.mask(rules, lambda rows: blocked(rows, rules))[videos.rows]

    return {
        "seen": seen(videos.ids, seen_ids if chosen.seen else seen_ids[:0]),
        "too old": too_old(videos.catalogue.published[videos.rows], now, chosen.max_age_days),
        "unavailable": listed(_country_rules(country, chosen.unavailable)),
        "blocked": listed(chosen.blocked),
    }
