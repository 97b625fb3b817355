"""Stage 4 as a whole: the rules of `ordering` applied to ranked videos, and which of them moved each."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.recommender_settings import OrderSettings
from recsys_tft.default_table import TITLE
from recsys_tft.recommending import ordering
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.recommending.filtering import DAY

FRESHNESS, EXPLORATION = "fresh", "explored"
_DURATION = "video_duration"
_GROUPS = {"channel": "channel_id", "category": "category"}  # what a limit is about: the raw column


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """One recommended video.

    Attributes:
        video_id: its id.
        title: as in the raw table; None where there is no such column.
        category: as in the raw table.
        video_duration: seconds; None where it is missing.
        retrieval_score: of stage 1.
        rank_score: of stage 3.
        score: of stage 4, with what freshness adds.
        rank: its place by rank_score, of equal ones by retrieval_score, from 1.
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
        videos: [n] of them.
        retrieval_scores: [n] float32.
        rank_scores: [n] float32.
        user: the id, or its code, whose exploration is drawn; it is the same for a user on one day.
        now: microseconds since 1970.
        chosen: the rules.
        k: how many to return; by default all.
    """
    ranks, published = (of_all[videos.rows] for of_all in (videos.catalogue.ranks, videos.catalogue.published))
    boost = chosen.freshness_boost, chosen.freshness_half_life_days
    scores = ordering.boosted(rank_scores.astype(np.float64), published, now, *boost)
    order, by_rank = (ordering.best_first(given, retrieval_scores, ranks) for given in (scores, rank_scores))
    cold, coded = videos.events < chosen.cold_below_events, videos.catalogue.codes[videos.rows]
    draw = user, now // DAY
    fixed = ordering.explored(order, cold, coded, chosen.exploration_share, chosen.first, draw)
    given = {"channel": chosen.per_channel, "category": chosen.per_category}
    limits = {name: limit for name, limit in given.items() if limit is not None}
    groups = {name: videos.catalogue.groups(_GROUPS[name])[videos.rows] for name in limits}
    final, held = ordering.spread(order.tolist(), groups, limits, chosen.first, fixed)
    rank, place = np.empty(len(videos), np.int64), np.empty(len(videos), np.int64)
    rank[by_rank], place[order] = np.arange(len(videos)), np.arange(len(videos))
    explored = set(fixed.values())

    def rules(row: int) -> tuple[str, ...]:
        limit = f"at most {limits[held[row]]} per {held[row]}" if row in held else None
        found = (FRESHNESS if place[row] < rank[row] else None, limit, EXPLORATION if row in explored else None)
        return tuple(rule for rule in found if rule)

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
