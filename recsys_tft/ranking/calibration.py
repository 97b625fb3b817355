"""From the raw score of a classifier to a probability that is true of the rows of val: by Platt's or isotonic scaling.

Both are strictly increasing here, so that the order of scores is kept. Platt, Probabilistic outputs for support vector
machines (1999); Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates
(2002).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import optimize, special

from recsys_tft.ranking import ranking_metrics

FILE = "calibration.json"
_FOLDS = 5  # of users, by which the method is chosen
_BINS = 10
_DIGITS = 9  # of a raw score, by which knots are apart


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A strictly increasing function from raw scores to logits, linear between its knots and beyond them.

    Attributes:
        method: none, platt or isotonic.
        scores: [n] float64 increasing raw scores, the knots; n > 0.
        logits: [n] float64 increasing logits there.
        slopes: [n + 1] float64 > 0: of the logit before the first knot, between knots, and after the last.
    """

    method: str
    scores: np.ndarray
    logits: np.ndarray
    slopes: np.ndarray

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """[n] float64 probabilities of [n] raw scores."""
        segment = np.searchsorted(self.scores, raw, side="right")
        knot = np.maximum(segment - 1, 0)
        return special.expit(self.logits[knot] + self.slopes[segment] * (raw - self.scores[knot]))

    def as_json(self) -> dict[str, Any]:
        """Plain values, of which `from_json` makes it again."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def from_json(found: Mapping[str, Any]) -> Calibration:
    """What `Calibration.as_json` describes."""
    numbers = {name: np.array(found[name], np.float64) for name in ("scores", "logits", "slopes")}
    return Calibration(found["method"], **numbers)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _line(method: str, slope: float, bias: float) -> Calibration:
    return Calibration(method, np.zeros(1), np.array([bias]), np.full(2, slope))


NONE = _line("none", 1.0, 0.0)  # the classifier's own probability


def platt(raw: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Calibration:
    """The logit a raw + b, a > 0, of the least log loss.

    Of few rows it stays near a = 1 and b = 0, which count as much as a row: 1/2 (log(a)^2 + b^2) is added to the loss.
    """

    def loss(log_slope_and_bias: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = np.exp(log_slope_and_bias[0]), log_slope_and_bias[1]
        logits = slope * raw + bias
        missed = weights * (special.expit(logits) - labels)
        value = weights @ (np.logaddexp(0, logits) - labels * logits) + (log_slope_and_bias**2).sum() / 2
        return value, np.array([slope * (missed @ raw), missed.sum()]) + log_slope_and_bias

    found = optimize.minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-10, 10), (-50, 50)]).x
    return _line("platt", float(np.exp(found[0])), float(found[1]))


def isotonic(raw: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Calibration:
    """Linear between the middles of the blocks of isotonic regression; beyond them the logit grows as the raw score.

    The share of a block is drawn towards that of all rows by one row, so that none is 0 or 1. In the end all logits are
    shifted alike, so that the mean probability is the share of positives.
    """
    middles, positives, totals = _blocks(*_by_value(raw, labels, weights))
    rate = (positives.sum() + 0.5) / (totals.sum() + 1)
    middles, positives, totals = _blocks(middles, positives + rate, totals + 1)
    logits = special.logit(positives / totals)
    slopes = np.concatenate([[1.0], np.diff(logits) / np.diff(middles), [1.0]])
    found = Calibration("isotonic", middles, logits, slopes)
    return dataclasses.replace(found, logits=logits + _shift(found(raw), labels, weights))


def _shift(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """What is added to the logits of scores so that their mean is that of the labels; 0 where these are all alike."""
    share, logits = np.average(labels, weights=weights), special.logit(np.clip(scores, 1e-12, 1 - 1e-12))
    if not 0 < share < 1:
        return 0.0
    return optimize.brentq(lambda shift: weights @ special.expit(logits + shift) - weights.sum() * share, -60, 60)


def _by_value(raw: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct raw scores, weights of their positives, and of all; scores that differ by rounding alone are one."""
    values, own = np.unique(np.round(raw, _DIGITS), return_inverse=True)
    totals = np.bincount(own, weights, len(values))
    known = totals > 0
    return values[known], np.bincount(own, weights * labels, len(values))[known], totals[known]


def _blocks(scores: np.ndarray, positives: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks of isotonic regression, whose shares of positives increase: the mean score, positives and all of each."""
    found = optimize.isotonic_regression(positives / totals, weights=totals)
    starts = found.blocks[:-1]
    positives, sums, totals = (np.add.reduceat(values, starts) for values in (positives, scores * totals, totals))
    return sums / totals, positives, totals


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Calibration]] = {"platt": platt, "isotonic": isotonic}


def choose(
    raw: np.ndarray, labels: np.ndarray, weights: np.ndarray, owners: np.ndarray, seed: int
) -> tuple[Calibration, dict[str, float]]:
    """The calibration by the better method, and the cross-validated log loss of each.

    Args:
        raw: [n] scores.
        labels: [n] 0 or 1.
        weights: [n] of the rows.
        owners: [n] int64 user of each row, from 0; all rows of a user are in one fold.
        seed: of the folds.
    """
    users = int(owners.max()) + 1
    folds = np.random.default_rng(seed).permutation(users)[owners] % min(_FOLDS, users)
    losses = dict.fromkeys(METHODS, 0.0)
    for fold in range(min(_FOLDS, users) if users > 1 else 0):
        held = folds == fold
        for name, fit in METHODS.items():
            found = fit(raw[~held], labels[~held], weights[~held])(raw[held])
            losses[name] += float(weights[held] @ ranking_metrics.log_loss(labels[held], found))
    best = min(losses, key=losses.__getitem__)  # the first, Platt's, of equal ones
    total = max(float(weights.sum()), 1e-300)
    return METHODS[best](raw, labels, weights), {name: loss / total for name, loss in losses.items()}


def deciles(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> list[tuple[int, float, float]]:
    """By tenths of the weight of rows in the order of their scores: rows, mean score, and share of positives.

    Rows of one score are in one tenth; one that is empty is left out.
    """
    values, own = np.unique(scores, return_inverse=True)
    totals = np.bincount(own, weights, len(values))
    middles = np.cumsum(totals) - totals / 2
    tenths = np.minimum((_BINS * middles / max(totals.sum(), 1e-300)).astype(np.int64), _BINS - 1)[own]
    rows, weight = np.bincount(tenths, minlength=_BINS), np.bincount(tenths, weights, _BINS)
    sums = (np.bincount(tenths, weights * of, _BINS) for of in (scores, labels))
    mean, share = (np.divide(of, weight, out=np.zeros(_BINS), where=weight > 0) for of in sums)
    return [(int(rows[i]), float(mean[i]), float(share[i])) for i in np.flatnonzero(weight > 0)]
