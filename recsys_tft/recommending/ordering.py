"""Stage 4: from scores to the order that a user sees. Each rule is a small function; `arrange` applies them all."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.recommender_settings import OrderSettings
from recsys_tft.default_table import TITLE
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.recommending.filtering import DAY
from recsys_tft.storage.hashing import keyed_hash

FRESHNESS, EXPLORATION = "fresh", "explored"
_DURATION = "video_duration"
_GROUPS = {"channel": "channel_id", "category": "category"}  # the raw column of a limit


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """One recommended video.

    Attributes:
        video_id: its id.
        title: as in the raw table; None if there is no such column.
        category: as in the raw table.
        video_duration: seconds; None if missing.
        retrieval_score: of stage 1.
        rank_score: of stage 3.
        score: of stage 4, including freshness.
        rank: its position by rank_score, then by retrieval_score, from 1.
        rules: names of the rules that moved it.
    """

    video_id: int | str
    title: str | None
    category: str | None
    video_duration: float | None
    retrieval_score: float
    rank_score: float
    score: float
    rank: int
    rules: tuple[str, ...]


def arrange(
    videos: Candidates,
    retrieval_scores: np.ndarray,
    rank_scores: np.ndarray,
    user: int,
    now: int,
    chosen: OrderSettings,
    k: int | None = None,
) -> list[Recommendation]:
    """The videos in their final order.

    Args:
        videos: [n] candidates.
        retrieval_scores: [n] float32.
        rank_scores: [n] float32.
        user: the id or its code; exploration is the same for a user during a day.
        now: microseconds since 1970.
        chosen: the rules.
        k: how many to return; by default all.
    """
    ranks, published = (all_values[videos.rows] for all_values in (videos.catalogue.ranks, videos.catalogue.published))
    boost = chosen.freshness_boost, chosen.freshness_half_life_days
    scores = boosted(rank_scores.astype(np.float64), published, now, *boost)
    order, by_rank = (best_first(limits_or_none, retrieval_scores, ranks) for limits_or_none in (scores, rank_scores))
    cold, coded = videos.events < chosen.cold_below_events, videos.catalogue.codes[videos.rows]
    draw = user, now // DAY
    fixed = explored(order, cold, coded, chosen.exploration_share, chosen.first, draw)
    limits_or_none = {"channel": chosen.per_channel, "category": chosen.per_category}
    limits = {name: limit for name, limit in limits_or_none.items() if limit is not None}
    groups = {name: videos.catalogue.groups(_GROUPS[name])[videos.rows] for name in limits}
    final, blocking = spread(order.tolist(), groups, limits, chosen.first, fixed)
    rank, place = np.empty(len(videos), np.int64), np.empty(len(videos), np.int64)
    rank[by_rank], place[order] = np.arange(len(videos)), np.arange(len(videos))
    drawn = set(fixed.values())

    def rules(row: int) -> tuple[str, ...]:
        limit = f"at most {limits[blocking[row]]} per {blocking[row]}" if row in blocking else None
        names_of_rules = (FRESHNESS if place[row] < rank[row] else None, limit, EXPLORATION if row in drawn else None)
        return tuple(rule for rule in names_of_rules if rule)

    first = final[:k]
    rows = videos.catalogue.rows
    names = [name for name in ("video_id", TITLE, "category", _DURATION) if name in rows.column_names]
    texts = dict(zip(names, map(_texts, rows.select(names).take(videos.rows[first]).columns), strict=True))
    nothing: list[Any] = [None] * len(first)
    columns = texts["video_id"], texts.get(TITLE, nothing), texts["category"], texts.get(_DURATION, nothing)
    return [
        Recommendation(
            video_id=video_id,
            title=title,
            category=category,
            video_duration=duration,
            retrieval_score=float(retrieval_scores[row]),
            rank_score=float(rank_scores[row]),
            score=float(scores[row]),
            rank=int(rank[row]) + 1,
            rules=rules(row),
        )
        for row, video_id, title, category, duration in zip(first, *columns, strict=True)
    ]


def _texts(column: pa.ChunkedArray) -> list[Any]:
    """The values, bytes as text."""
    return [value.decode(errors="replace") if isinstance(value, bytes) else value for value in column.to_pylist()]


def boosted(scores: np.ndarray, published_at: np.ndarray, now: int, boost: float, half_life_days: float) -> np.ndarray:
    """[n] scores with a boost for fresh videos: score + boost * 2^(-age / half life); no boost for unknown ages.

    Args:
        scores: [n] of the ranker.
        published_at: [n] float64 microseconds since 1970, NaN where unknown.
        now: microseconds since 1970; videos published later have age 0.
        boost: of a video published now, in units of the score.
        half_life_days: of the boost.
    """
    age = np.maximum(now - published_at, 0) / (half_life_days * DAY)
    return scores + np.nan_to_num(boost * np.exp2(-age))


def best_first(scores: np.ndarray, retrieval_scores: np.ndarray, video_ids: np.ndarray) -> np.ndarray:
    """[n] row numbers by descending score, then by descending score of retrieval, then by id.

    Args:
        scores: [n].
        retrieval_scores: [n] of stage 1.
        video_ids: [n] int64, or numbers in the order of the ids.
    """
    return np.lexsort((video_ids, -retrieval_scores, -scores))


def explored(
    order: np.ndarray, is_cold: np.ndarray, video_ids: np.ndarray, share: float, first: int, seeds: tuple[int, ...]
) -> dict[int, int]:
    """The cold videos that get a reserved place: row numbers by place, from 0.

    Of the first places, floor(share * first) go to cold videos, evenly spaced. They are drawn by a keyed hash, so each
    gets its chance and the draw is reproducible. Cold videos that are among the first anyway are not drawn.

    Args:
        order: [n] row numbers, the best first.
        is_cold: [n] bool by row number.
        video_ids: [n] int64 ids or their codes, by row number.
        share: of the first places, 0 to 1.
        first: how many places count.
        seeds: of the draw, such as (seed, user, day).
    """
    places = math.floor(share * first + 1e-9)
    later = order[first:][is_cold[order[first:]]]
    drawn = later[np.argsort(keyed_hash(*seeds, video_ids[later]), kind="stable")][:places] if len(later) else later
    step = first / places if places else 0
    return {math.ceil((number + 1) * step) - 1: int(row) for number, row in enumerate(drawn)}


def spread(
    order: Sequence[int],
    groups: Mapping[str, np.ndarray],
    limits: Mapping[str, int],
    first: int,
    fixed: Mapping[int, int],
) -> tuple[list[int], dict[int, str]]:
    """Reorder rows so that no group has more rows than its limit among the first places.

    Each place goes to the best remaining row that fits, or if none does to the best remaining one. Rows after the first
    places keep their order.

    Args:
        order: [n] row numbers, the best first.
        groups: by the name of the rule, [n] int64 group of each row; -1 for none, which has no limit.
        limits: by the name of the rule, how many rows of a group may be among the first.
        first: how many places count.
        fixed: row numbers with a reserved place, by place.

    Returns:
        The row numbers, and for each row that was delayed the name of the rule.
    """
    is_fixed = set(fixed.values())
    waiting = [row for row in order if row not in is_fixed]
    groups_of = {name: groups[name].tolist() for name in limits}
    counts: dict[tuple[str, int], int] = {}
    for row in fixed.values():
        _count(row, groups_of, limits, counts)
    held: dict[int, str] = {}
    placed = []
    for place in range(min(first, len(order))):
        if place in fixed:
            placed.append(fixed[place])
            continue
        if not waiting:
            break
        blocking: dict[int, str] = {}
        chosen = next((row for row in waiting if not _full(row, groups_of, limits, counts, blocking)), waiting[0])
        held |= {row: rule for row, rule in blocking.items() if row != chosen}
        waiting.remove(chosen)
        placed.append(chosen)
        _count(chosen, groups_of, limits, counts)
    placed += [row for place, row in sorted(fixed.items()) if row not in placed]
    return placed + waiting, held


def _count(
    row: int, groups: Mapping[str, list[int]], limits: Mapping[str, int], counts: dict[tuple[str, int], int]
) -> None:
    for rule in limits:
        key = (rule, groups[rule][row])
        counts[key] = counts.get(key, 0) + 1


def _full(
    row: int,
    groups: Mapping[str, list[int]],
    limits: Mapping[str, int],
    counts: Mapping[tuple[str, int], int],
    blocking: dict[int, str],
) -> bool:
    """Whether one of the row's groups has as many rows as it may have; notes the rule in `blocking`."""
    for rule, limit in limits.items():
        group = groups[rule][row]
        if group >= 0 and counts.get((rule, group), 0) >= limit:
            blocking[row] = rule
            return True
    return False
