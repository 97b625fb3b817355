"""Negatives for the ranker: drawn from the training-split catalogue, never a video that the user is positive on."""

import dataclasses

import numpy as np

from recsys_tft.storage.hashing import keyed_hash, unit_interval
from recsys_tft.storage.sorting import lexsort
from recsys_tft.time_lookups import find_sorted

_ATTEMPTS = 16  # draws before walking on to the next legal video, which always ends


@dataclasses.dataclass(frozen=True)
class Lately:
    """The last part of the training split.

    Attributes:
        since: its start, microseconds since 1970.
        keys: [n] int64 keys with an exposure in it.
    """

    since: int
    keys: np.ndarray


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The videos with an exposure in the training split, and how they are drawn.

    Attributes:
        video_ids: [n] int64, increasing.
        exposures: [n] int64, training exposures of each.
        alpha: a video is drawn in proportion to exposures^alpha; 0 is uniform.
        lately: the part of the split that vocabularies are made of, with `retire_after`; None: all of it.
    """

    video_ids: np.ndarray
    exposures: np.ndarray
    alpha: float
    lately: "Lately | None" = None
    _cumulative: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)
    _weights: np.ndarray = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weights = self.exposures.astype(np.float64) ** self.alpha
        object.__setattr__(self, "_cumulative", np.cumsum(weights))
        object.__setattr__(self, "_weights", weights)

    def __len__(self) -> int:
        return len(self.video_ids)

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        """From [m] float64 in [0, 1) to [m] int64 positions in the catalogue."""
        if self.alpha == 0:
            return (uniform * len(self)).astype(np.int64)
        drawn = np.searchsorted(self._cumulative, uniform * self._cumulative[-1], side="right")
        return np.minimum(drawn, len(self) - 1)

    def log_q(self, video_ids: np.ndarray) -> np.ndarray:
        """[m] float32: the log of the probability of each video in one draw; minus infinity outside the catalogue."""
        position = self.position(video_ids)
        logs = np.log(self._weights / self._cumulative[-1])
        return np.where(position >= 0, logs[position], -np.inf).astype(np.float32)

    def position(self, video_ids: np.ndarray) -> np.ndarray:
        """[m] int64: the position of each video in the catalogue, -1 if it is not in it."""
        return find_sorted(self.video_ids, video_ids)


class PositivePairs:
    """Which user is positive on which video of the catalogue, and since which split."""

    def __init__(self, users: np.ndarray, videos: np.ndarray, splits: np.ndarray, catalogue: Catalogue):
        """From [n] positives: user numbers from 0, video ids, numbers of splits."""
        position = catalogue.position(videos)
        inside = position >= 0
        self._size = len(catalogue)
        codes = users[inside] * self._size + position[inside]
        order = lexsort((splits[inside], codes))
        self._codes, first = np.unique(codes[order], return_index=True)
        self._since = splits[inside][order][first]

    def hold(self, users: np.ndarray, positions: np.ndarray, splits: np.ndarray) -> np.ndarray:
        """[m] bool: whether the user is positive on the video at this position in that split or an earlier one."""
        if not len(self._codes):
            return np.zeros(len(users), bool)
        codes = users * self._size + positions
        positions_found = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return (self._codes[positions_found] == codes) & (self._since[positions_found] <= splits)

    def legal_videos(self, users: np.ndarray, splits: np.ndarray) -> np.ndarray:
        """[m] int64: how many videos of the catalogue may be drawn for the user in that split."""
        owners = self._codes // self._size
        taken = np.zeros(len(users), np.int64)
        for split in np.unique(splits):
            per_user = np.bincount(owners[self._since <= split], minlength=int(users.max(initial=0)) + 1)
            taken = np.where(splits == split, per_user[users], taken)
        return self._size - taken


def slots(
    users: np.ndarray, splits: np.ndarray, is_positive: np.ndarray, is_exposed: np.ndarray, ratio: int
) -> np.ndarray:
    """How many negatives to draw for each of [n] exposures in order of (user, time, video), as [n] int64.

    A user's exposed negatives in a split fill slots of the positives evenly, the earlier positives first.
    """
    group = users * (int(splits.max(initial=0)) + 1) + splits
    size = int(group.max(initial=-1)) + 1
    exposed = np.bincount(group[is_exposed], minlength=size)
    positives = np.bincount(group[is_positive], minlength=size)
    rank = _rank_within(group[is_positive])
    share, rest = np.divmod(exposed, np.maximum(positives, 1))
    numbers = np.zeros(len(users), np.int64)
    group_of_positives = group[is_positive]
    numbers[is_positive] = np.maximum(ratio - share[group_of_positives] - (rank < rest[group_of_positives]), 0)
    return numbers


def _rank_within(groups: np.ndarray) -> np.ndarray:
    """For each of [n] rows how many earlier rows belong to the same group."""
    order = lexsort([groups])
    ordered = groups[order]
    starts = np.searchsorted(ordered, ordered)
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = np.arange(len(groups)) - starts
    return ranks


def sample(
    catalogue: Catalogue,
    pairs: PositivePairs,
    users: np.ndarray,
    splits: np.ndarray,
    keys: tuple[np.ndarray, np.ndarray, np.ndarray],
    wanted: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `wanted` distinct legal videos for each of [n] positives, or all there are.

    Args:
        catalogue: what is drawn from.
        pairs: what is not legal.
        users: [n] user numbers from 0, as in `pairs`.
        splits: [n] numbers of splits.
        keys: user ids, video ids and times of the positives, each [n] int64; with the seed they decide the draws.
        wanted: [n] int64.
        seed: of the run.

    Returns:
        [m] int64 rows of positives, increasing, and [m] int64 positions in the catalogue.
    """
    possible = np.minimum(wanted, pairs.legal_videos(users, splits))
    drawn = np.full((len(users), int(possible.max(initial=0))), -1)
    for j in range(drawn.shape[1]):
        rows = np.flatnonzero(possible > j)
        drawn[rows, j] = _draw_one(catalogue, pairs, users, splits, keys, seed, j, rows, drawn)
    rows, columns = np.nonzero(drawn >= 0)
    return rows, drawn[rows, columns]


def _draw_one(
    catalogue: Catalogue,
    pairs: PositivePairs,
    users: np.ndarray,
    splits: np.ndarray,
    keys: tuple[np.ndarray, ...],
    seed: int,
    j: int,
    rows: np.ndarray,
    drawn: np.ndarray,
) -> np.ndarray:
    """Draw number j for the positives in `rows`, different from their earlier draws."""

    def bad(at: np.ndarray, positions: np.ndarray) -> np.ndarray:
        repeated = (drawn[at, :j] == positions[:, None]).any(axis=1)
        return repeated | pairs.hold(users[at], positions, splits[at])

    positions_drawn = np.full(len(rows), -1)
    left = np.arange(len(rows))
    for attempt in range(_ATTEMPTS):
        at = rows[left]
        hashes = keyed_hash(seed, *(key[at] for key in keys), j, attempt)
        positions_drawn[left] = catalogue.draw(unit_interval(hashes))
        left = left[bad(at, positions_drawn[left])]
        if not len(left):
            return positions_drawn
    while len(left):
        positions_drawn[left] = (positions_drawn[left] + 1) % len(catalogue)
        left = left[bad(rows[left], positions_drawn[left])]
    return positions_drawn
