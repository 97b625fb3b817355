"""Stage 4: from scores to the order that a user sees. Each rule is a small function; none changes its arguments."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from recsys_tft.recommending.filtering import DAY
from recsys_tft.storage.hashing import keyed_hash


def boosted(scores: np.ndarray, published_at: np.ndarray, now: int, boost: float, half_life_days: float) -> np.ndarray:
    """[n] scores with a boost for fresh videos: score + boost * 2^(-age / half life); none where the age is unknown.

    Args:
        scores: [n] of the ranker.
        published_at: [n] float64 microseconds since 1970, NaN where unknown.
        now: microseconds since 1970; what is published later has age 0.
        boost: of a video published now, in units of the score.
        half_life_days: after which half of it is left.
    """
    age = np.maximum(now - published_at, 0) / (half_life_days * DAY)
    return scores + np.nan_to_num(boost * np.exp2(-age))


def best_first(scores: np.ndarray, retrieval_scores: np.ndarray, video_ids: np.ndarray) -> np.ndarray:
    """[n] row numbers by descending score; of equal ones first by the score of retrieval, then the smaller id.

    Args:
        scores: [n].
        retrieval_scores: [n] of stage 1.
        video_ids: [n] int64, or numbers in the order of the ids.
    """
    return np.lexsort((video_ids, -retrieval_scores, -scores))


def explored(
    order: np.ndarray, is_cold: np.ndarray, video_ids: np.ndarray, share: float, first: int, seeds: tuple[int, ...]
) -> dict[int, int]:
    """Which cold videos get a place of their own: row numbers by place, from 0.

    Of the first places, floor(share * first) go to cold videos, at even distances. Which ones is drawn by a keyed hash,
    so that each gets its chance, and the same draw can be repeated. A cold video that is among the first on its own
    merit takes no such place.

    Args:
        order: [n] row numbers, the best first.
        is_cold: [n] bool by row number.
        video_ids: [n] int64 by row number, or what ids are coded as.
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
    """The order in which, within the first places, no group has more rows than its limit.

    Each place goes to the best row that is left and fits; if none fits, to the best that is left. Rows after the first
    places keep their order.

    Args:
        order: [n] row numbers, the best first.
        groups: by the name of the rule, [n] int64 group of each row; -1 for none, which has no limit.
        limits: by the name of the rule, how many rows of a group may be among the first.
        first: how many places count.
        fixed: row numbers that have their place already.

    Returns:
        The row numbers, and for each one that had to wait the name of the rule that it waited for.
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
