"""The oracle of negatives: what may be drawn, how often, and whether the ranker's rows are right."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from oracle import Exposure, Row, _up_to

# --- Negatives


def catalogue(exposures: Iterable[Exposure]) -> dict[int, int]:
    """How many training exposures (contradicted ones are exposures too) each video of the catalogue has."""
    return dict(Counter(e.video_id for e in exposures if e.split == "train"))


def log_q(catalogue: Mapping[int, int], alpha: float) -> dict[int, float]:
    """The log of the probability with which each video is drawn; alpha 0 is uniform."""
    total = math.fsum(count**alpha for count in catalogue.values())
    return {video_id: math.log(count**alpha / total) for video_id, count in catalogue.items()}


def legal(exposures: Iterable[Exposure], user_id: int, split: str) -> Callable[[int], bool]:
    """Whether a video may be a sampled negative of the user in the split (if the catalogue has it)."""
    own = {e.video_id for e in exposures if e.user_id == user_id and e.label == 1 and e.split in _up_to(split)}
    return lambda video_id: video_id not in own


def sampled_per_positive(exposures: Iterable[Exposure], ratio: int) -> dict[tuple[int, int, int, str], int]:
    """(user_id, video_id, time, split) of each positive -> slots left for sampled negatives, however few are legal."""
    positives: dict[tuple[int, str], list[Exposure]] = defaultdict(list)
    exposed: Counter[tuple[int, str]] = Counter()
    for e in exposures:
        if e.label == 1:
            positives[e.user_id, e.split].append(e)
        elif e.label == 0:
            exposed[e.user_id, e.split] += 1
    wanted: dict[tuple[int, int, int, str], int] = {}
    for (user_id, split), own in positives.items():
        each, more = divmod(exposed[user_id, split], len(own))
        for rank, e in enumerate(sorted(own, key=lambda e: (e.interaction_time, e.video_id))):
            taken = each + (1 if rank < more else 0)
            wanted[user_id, e.video_id, e.interaction_time, split] = max(0, ratio - taken)
    return wanted


def drawn_per_positive(
    exposures: Sequence[Exposure], ratio: int, catalogue: Mapping[int, int]
) -> dict[tuple[int, int, int, str], int]:
    """As sampled_per_positive, but no more than the catalogue has legal videos; the difference is the shortage."""
    drawn: dict[tuple[int, int, int, str], int] = {}
    for (user_id, video_id, time, split), slots in sampled_per_positive(exposures, ratio).items():
        is_legal = legal(exposures, user_id, split)
        drawn[user_id, video_id, time, split] = min(slots, sum(1 for video in catalogue if is_legal(video)))
    return drawn


# --- The ranker's rows


def check_ranker(
    rows: Iterable[Row],
    exposures: Sequence[Exposure],
    ratio: int,
    catalogue: Mapping[int, int],
    alpha: float,
    *,
    split: str,
) -> None:
    """Raises AssertionError unless `rows` are what the rules allow for the split; `exposures` are of all splits.

    Rows have user_id, video_id, interaction_time, label, weight, source and log_q, and are compared in their context
    and previously_watched_category where they have these keys. Their order does not matter.
    """
    rows = list(rows)
    _check_log_q(rows, log_q(catalogue, alpha))
    by_source: dict[str, list[Row]] = {"positive": [], "disliked": [], "exposed": [], "sampled": []}
    for row in rows:
        assert row["source"] in by_source, f"unknown source: {row}"
        by_source[row["source"]].append(row)
    _check_own(by_source["positive"], [e for e in exposures if e.split == split and e.label == 1], "positive")
    negative = [e for e in exposures if e.split == split and e.label == 0]
    _check_own(by_source["disliked"], [e for e in negative if e.disliked], "disliked one")
    _check_own(by_source["exposed"], [e for e in negative if not e.disliked], "exposed negative")
    _check_sampled(by_source["sampled"], exposures, ratio, catalogue, split)


def _check_log_q(rows: list[Row], expected: Mapping[int, float]) -> None:
    for row in rows:
        right = expected.get(row["video_id"], -math.inf)
        assert row["log_q"] == right or abs(row["log_q"] - right) <= 1e-5, f"log_q is to be {right}: {row}"


def _check_own(rows: list[Row], expected: list[Exposure], what: str) -> None:
    """Each expected exposure has one row, with its values, and there is no other row."""
    of_key = {(e.user_id, e.video_id, e.interaction_time): e for e in expected}
    keys = Counter((row["user_id"], row["video_id"], row["interaction_time"]) for row in rows)
    for key in keys:
        assert key in of_key, f"a row (user, video, time) = {key} that is no {what} of this split"
    for key in of_key:
        assert keys[key] == 1, f"{keys[key]} rows instead of 1 for the {what} (user, video, time) = {key}"
    for row in rows:
        e = of_key[row["user_id"], row["video_id"], row["interaction_time"]]
        assert row["label"] == e.label, f"label is to be {e.label}: {row}"
        assert abs(row["weight"] - e.weight) <= 1e-6 * max(1.0, abs(e.weight)), f"weight is to be {e.weight}: {row}"
        known = {**e.context, "previously_watched_category": e.previously_watched_category}
        for name, value in known.items():
            assert name not in row or row[name] == value, f"{name} is to be {value!r}: {row}"


def _check_sampled(
    rows: list[Row], exposures: Sequence[Exposure], ratio: int, catalogue: Mapping[int, int], split: str
) -> None:
    for row in rows:
        assert row["label"] == 0, f"label of a sampled row is to be 0: {row}"
        assert row["weight"] == 1, f"weight of a sampled row is to be 1: {row}"
        assert row["video_id"] in catalogue, f"a sampled video outside the catalogue: {row}"
    legal_for = {user_id: legal(exposures, user_id, split) for user_id in {row["user_id"] for row in rows}}
    for row in rows:
        assert legal_for[row["user_id"]](row["video_id"]), f"a sampled video the user has a positive with: {row}"
    # A sampled row does not say which positive it belongs to, only that one's context.
    context = [n for n in ("device", "previously_watched_category") if rows and all(n in row for row in rows)]
    drawn = drawn_per_positive(exposures, ratio, catalogue)
    sizes: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for e in exposures:
        if e.split == split and e.label == 1:
            key = (e.user_id, e.interaction_time, *(getattr(e, name) for name in context))
            sizes[key].append(drawn[e.user_id, e.video_id, e.interaction_time, split])
    videos: dict[tuple[Any, ...], Counter[int]] = defaultdict(Counter)
    for row in rows:
        key = (row["user_id"], row["interaction_time"], *(row[name] for name in context))
        assert key in sizes, f"a sampled row with the context of no positive: {row}"
        videos[key][row["video_id"]] += 1
    for key, expected in sizes.items():
        found = videos[key].total()
        assert found == sum(expected), f"{found} sampled rows instead of {sum(expected)} for the context {key}"
        assert _splits_into_sets(videos[key], expected), f"a positive with a repeated sampled video, context {key}"


def _splits_into_sets(counts: Counter[int], sizes: list[int]) -> bool:
    """Whether the multiset is a union of sets of these sizes (Gale-Ryser); its size is the sum of theirs."""
    most = sorted(counts.values(), reverse=True)
    return all(sum(most[:k]) <= sum(min(size, k) for size in sizes) for k in range(1, len(most) + 1))
