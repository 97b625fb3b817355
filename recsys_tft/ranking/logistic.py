"""A logistic regression on the ranker's numbers: what trees start from, so that they learn only what it misses."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from recsys_tft.errors import readable
from recsys_tft.ranking.ranker_interface import is_categorical, values_of
from recsys_tft.ranking.ranker_rows import RankerRows
from recsys_tft.storage.json_files import to_json

FILE = "logistic.json"
LARGEST = 5.0  # standard deviations from the mean, to which numbers are clipped
_PRIOR = 10.0  # the penalty of a squared weight, in rows of the usual weight
_ROWS = 500_000  # that are learned from, at most
_STEPS, _TOLERANCE = 50, 1e-8


@dataclasses.dataclass(frozen=True)
class Logistic:
    """The logit bias + sum of weights[i] * z[i] + missing[i], where z is standardized and clipped.

    A number that is missing (NaN) has z = 0 and adds missing[i]; any other adds no missing[i].

    Attributes:
        bias: float.
        columns: [k] int64 numbers of the ranker's columns that it reads.
        means: [k] float64.
        scales: [k] float64, of which z is the number less its mean, times the scale.
        weights: [k] float64.
        missing: [k] float64.
    """

    bias: float
    columns: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    weights: np.ndarray
    missing: np.ndarray

    def __call__(self, data: pd.DataFrame) -> np.ndarray:
        """[n] float64 logits of [n] rows of `RankerRows.data`."""
        logits = np.full(len(data), self.bias)
        for _, terms in self._terms(data):
            logits += terms
        return logits

    def contributions(self, data: pd.DataFrame) -> np.ndarray:
        """[n, columns of data] float64: what each column adds to the logit; 0 of an average number."""
        values = np.zeros(data.shape)
        for column, terms in self._terms(data):
            values[:, column] = terms
        return values

    def _terms(self, data: pd.DataFrame) -> Iterator[tuple[int, np.ndarray]]:
        """By number of a column what it adds to each row, one after the other for the sake of memory."""
        for place, column in enumerate(self.columns):
            numbers = values_of(data.iloc[:, column]).astype(np.float64)
            terms = self.weights[place] * _standardized(numbers, self.means[place], self.scales[place])
            yield column, np.where(np.isnan(numbers), self.missing[place], terms)

    def save(self, folder: pathlib.Path) -> None:
        """Write FILE."""
        described = {name: np.asarray(value).tolist() for name, value in dataclasses.asdict(self).items()}
        (folder / FILE).write_text(to_json(described))


def nothing() -> Logistic:
    """A regression on no column, whose logit is always 0."""
    return Logistic(0.0, np.zeros(0, np.int64), *np.zeros((4, 0)))


def load(folder: pathlib.Path, remedy: str) -> Logistic:
    """What a folder holds; `nothing()` for a ranking, and for a ranker of an earlier version.

    Raises:
        InputError: if the file is damaged; `remedy` says what to do.
    """
    path = folder / FILE
    if not path.exists():
        return nothing()
    with readable(path, remedy):
        described: dict[str, Any] = json.loads(path.read_text())
        arrays = (np.array(described[name], np.float64) for name in ("means", "scales", "weights", "missing"))
        return Logistic(float(described["bias"]), np.array(described["columns"], np.int64), *arrays)


def fit(rows: RankerRows, weights: np.ndarray, seed: int) -> Logistic:
    """The regression of the least weighted log loss plus a ridge penalty, by Newton's method.

    Args:
        rows: to learn from; of more than half a million rows, as many are drawn.
        weights: [n] of the rows.
        seed: of the draw.

    Returns:
        A regression on the numeric columns that vary.
    """
    rows = RankerRows(rows.keys | {"weight": weights}, rows.data).sample(_ROWS, seed)
    weights, labels = (rows.keys[name].astype(np.float64) for name in ("weight", "label"))
    columns = np.flatnonzero(~is_categorical(rows.data))
    numbers = np.empty((len(rows), len(columns)))
    for place, column in enumerate(columns):
        numbers[:, place] = values_of(rows.data.iloc[:, column])
    finite = np.isfinite(numbers)
    counted = weights[:, None] * finite
    total = np.maximum(counted.sum(axis=0), 1e-300)
    means = (counted * np.where(finite, numbers, 0)).sum(axis=0) / total
    variances = (counted * np.where(finite, numbers - means, 0) ** 2).sum(axis=0) / total
    vary = variances > 1e-12 * (1 + means**2)
    columns, numbers, means = columns[vary], numbers[:, vary], means[vary]
    scales = 1 / np.sqrt(variances[vary])
    absent = np.isnan(numbers)
    inputs = np.where(absent, 0, _standardized(numbers, means, scales))
    incomplete = np.flatnonzero(absent.any(axis=0))
    design = np.column_stack([np.ones(len(rows)), inputs, absent[:, incomplete]])
    found = _minimum(design, labels, weights)
    missing = np.zeros(len(columns))
    missing[incomplete] = found[1 + len(columns) :]
    return Logistic(float(found[0]), columns, means, scales, found[1 : 1 + len(columns)], missing)


def _minimum(design: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[inputs] coefficients; the first, of the constant, is almost free."""
    penalty = np.full(design.shape[1], _PRIOR)
    penalty[0] = 1e-3

    def loss(coefficients: np.ndarray) -> float:
        logits = design @ coefficients
        return float(weights @ (np.logaddexp(0, logits) - labels * logits) + penalty @ coefficients**2 / 2)

    found = np.zeros(design.shape[1])
    least = loss(found)
    for _ in range(_STEPS):
        shares = special.expit(design @ found)
        slope = design.T @ (weights * (shares - labels)) + penalty * found
        curvature = (design * (weights * shares * (1 - shares))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        while (tried := loss(found - step)) > least and np.abs(step).max() > _TOLERANCE:
            step = step / 2
        if tried <= least:
            found, least = found - step, tried
        if np.abs(step).max() <= _TOLERANCE:
            break
    return found


def _standardized(numbers: np.ndarray, means: np.ndarray | float, scales: np.ndarray | float) -> np.ndarray:
    return np.clip((numbers - means) * scales, -LARGEST, LARGEST)
