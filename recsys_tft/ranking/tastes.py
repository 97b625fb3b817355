"""Matrix factorisation of labels by user and video ids: biases and factors of each.

The label of a row is predicted as mean + b(user) + b(video) + p(user) . q(video), by alternating least squares (Koren,
Bell, Volinsky: Matrix factorization techniques for recommender systems, IEEE Computer 2009). Models read b(user) in
place of the user's token, and b(video) + p(user) . q(video) in place of the video's. Training rows are scored out of
fold. Users and videos without rows are missing (NaN); in training rows some are hidden on purpose, as many as are new
in the validation rows.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from recsys_tft.errors import readable
from recsys_tft.ranking.ranker_interface import values_of
from recsys_tft.ranking.ranker_rows import SHOWN, Column, RankerRows

FILE = "tastes.npz"
KEYS = ("user_id", "video_id")
_FACTORS, _ROUNDS, _FOLDS = 4, 8, 5
_PRIOR = 5.0  # rows with the average label that are added to those of a user or a video
_HIDDEN = (0.2, 0.05)  # shares of users and videos that are hidden in training rows if there are no validation rows
_BOUNDS = (0.05, 0.9)  # of that share: some are always hidden, and never all


@dataclasses.dataclass(frozen=True)
class Tastes:
    """The fitted factorisation.

    Attributes:
        columns: the names of the columns of the users' and the videos' tokens; none if a ranker reads no ids.
        users: [tokens + 1, 1 + factors] float32: b and p of each token; NaN and zeros if it is unknown. The last row is
            for tokens beyond.
        videos: the same for videos: b and q.
    """

    columns: tuple[str, ...]
    users: np.ndarray
    videos: np.ndarray

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """Columns of rows, with two float32 columns in place of the tokens."""
        if not self.columns:
            return data
        return _replaced(data, self.columns, self.of(*(values_of(data[name]) for name in self.columns)))

    def of(self, users: np.ndarray, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For [n] tokens of users and videos, [n] float32 each: b(user), and b(video) + p(user) . q(video)."""
        parts = ((self.users, users), (self.videos, videos))
        user, video = (table[_inside(tokens, len(table) - 1)] for table, tokens in parts)
        return user[:, 0], _worth(user, video)

    def applied(self, rows: RankerRows) -> RankerRows:
        """Rows as models read them."""
        return RankerRows(rows.keys, self(rows.data))

    def save(self, folder: pathlib.Path) -> None:
        """Writes FILE, if there is anything to write."""
        if self.columns:
            np.savez(folder / FILE, columns=np.array(self.columns), users=self.users, videos=self.videos)


NONE = Tastes((), np.full((1, 1), np.nan, np.float32), np.full((1, 1), np.nan, np.float32))


def load(folder: pathlib.Path, remedy: str) -> Tastes:
    """The tastes in a folder; NONE if the ranker reads no ids, or is of an earlier version.

    Raises:
        InputError: if the file is damaged; `remedy` says what to do.
    """
    path = folder / FILE
    if not path.exists():
        return NONE
    with readable(path, remedy), np.load(path, allow_pickle=False) as found:
        return Tastes(tuple(found["columns"].tolist()), found["users"], found["videos"])


def columns_of(columns: Sequence[Column]) -> tuple[str, ...]:
    """The columns of tokens of users and videos if the ranker reads both, else none."""
    found = {c.sources: c.name for c in columns if c.kind == "categorical" and c.index is None}
    return tuple(found[(key,)] for key in KEYS) if all((key,) in found for key in KEYS) else ()


def learned(
    rows: RankerRows, columns: Sequence[Column], seed: int, hidden: Sequence[float] = _HIDDEN
) -> tuple[Tastes, RankerRows]:
    """Tastes fitted on training rows, and the rows as models train on them; unchanged if the ranker reads no ids.

    Sampled negatives are left out if some shown rows are negatives: a video that was not shown says nothing of taste.

    Args:
        rows: of the training split.
        columns: of the rows.
        seed: of the folds, and of which users and videos are hidden.
        hidden: the shares of users and of videos that are hidden.
    """
    names = columns_of(columns)
    if not names:
        return NONE, rows
    tokens = tuple(values_of(rows.data[name]).astype(np.int64) for name in names)
    sizes = tuple(len(rows.data[name].cat.categories) for name in names)
    weights = rows.weights(0.0).astype(np.float64)
    random = np.random.default_rng(seed)

    def fitted(chosen: np.ndarray) -> Tastes:
        users, videos = (each[chosen] for each in tokens)
        own = rows.keys["label"][chosen], weights[chosen]
        return Tastes(names, *_factorized(users, videos, *own, sizes, seed))

    folds = random.integers(0, _FOLDS, len(rows))
    asked = []
    for each, size, share in zip(tokens, sizes, hidden, strict=True):
        known = random.permutation(np.unique(each))  # at least one is hidden: CatBoost has to see a NaN
        asked.append(np.where(np.isin(each, known[: math.ceil(share * len(known))]), size, each))
    values = np.empty((2, len(rows)), np.float32)
    for fold in range(_FOLDS):
        inside = folds == fold
        values[:, inside] = fitted(~inside & (weights > 0)).of(*(each[inside] for each in asked))
    return fitted(weights > 0), RankerRows(rows.keys, _replaced(rows.data, names, list(values)))


def new_in(rows: RankerRows, training: RankerRows, columns: Sequence[Column]) -> tuple[float, float]:
    """The shares of shown rows whose user, and whose video, is in no shown training row, within _BOUNDS.

    Args:
        rows: for validation; without any, the shares are _HIDDEN.
        training: the training rows.
        columns: of the rows.
    """
    parts = [part.data[part.keys[SHOWN]] for part in (rows, training)]
    if not len(parts[0]):
        return _HIDDEN
    shares = []
    for name in columns_of(columns):
        asked, known = (values_of(part[name]) for part in parts)
        shares.append(float(np.clip(np.mean(~np.isin(asked, known)), *_BOUNDS)))
    return (shares[0], shares[1]) if shares else _HIDDEN


def of_splits(
    rows: Mapping[str, RankerRows], columns: Sequence[Column], seed: int
) -> tuple[Tastes, dict[str, RankerRows]]:
    """Tastes fitted on the split "train", and the rows of all splits as models train on them, or read them."""
    known, train = learned(rows["train"], columns, seed, new_in(rows["val"], rows["train"], columns))
    return known, {split: train if split == "train" else known.applied(part) for split, part in rows.items()}


def _factorized(
    users: np.ndarray, videos: np.ndarray, labels: np.ndarray, weights: np.ndarray, sizes: Sequence[int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """`Tastes.users` and `Tastes.videos`."""
    target = labels - (np.average(labels, weights=weights) if len(labels) else 0.0)
    user = np.zeros((sizes[0] + 1, 1 + _FACTORS))
    video = np.random.default_rng(seed).normal(0, 0.1, (sizes[1] + 1, 1 + _FACTORS))
    video[:, 0] = 0
    for _ in range(_ROUNDS):
        user = _solved(users, video[videos], target, weights, len(user))
        video = _solved(videos, user[users], target, weights, len(video))
    for table, owners in ((user, users), (video, videos)):
        table[np.bincount(owners, minlength=len(table)) == 0, 0] = np.nan
    return user.astype(np.float32), video.astype(np.float32)


def _solved(owners: np.ndarray, others: np.ndarray, target: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """[size, 1 + factors]: each owner's regression of targets, minus the biases of others, on the factors of others."""
    inputs = np.column_stack([np.ones(len(others)), others[:, 1:]])
    rest = weights * (target - others[:, 0])
    moments = np.empty((size, inputs.shape[1], inputs.shape[1]))
    for i, j in zip(*np.triu_indices(inputs.shape[1]), strict=True):
        moments[:, i, j] = moments[:, j, i] = np.bincount(owners, weights * inputs[:, i] * inputs[:, j], size)
    moments += _PRIOR * np.eye(inputs.shape[1])
    sums = np.stack([np.bincount(owners, rest * column, size) for column in inputs.T], axis=1)
    return np.linalg.solve(moments, sums[..., None])[..., 0]


def _worth(user: np.ndarray, video: np.ndarray) -> np.ndarray:
    """[n] float32 b(video) + p(user) . q(video), added up in float64 in the same order as in a graph."""
    found = video[:, 0].astype(np.float64)
    for number in range(1, user.shape[1]):
        found = found + user[:, number].astype(np.float64) * video[:, number]
    return found.astype(np.float32)


def _inside(tokens: np.ndarray, size: int) -> np.ndarray:
    return np.where((tokens >= 0) & (tokens < size), tokens, size)


def _replaced(data: pd.DataFrame, names: Sequence[str], values: Sequence[np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame({name: data[name] for name in data} | dict(zip(names, values, strict=True)), copy=False)
