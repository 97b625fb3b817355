"""Scores that become probabilities: monotone, true of the rows that they are fitted on, the same when read again."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.ranking import calibration
from recsys_tft.serving import serving_models

quick = settings(deadline=None, derandomize=True, max_examples=60)
ROWS = st.lists(
    st.tuples(st.integers(-20, 20), st.integers(0, 1), st.sampled_from([0.1, 0.5, 1.0])), min_size=1, max_size=60
)


def drawn(rows: int, distort, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Raw scores, labels of the probability that they are distorted into, weights, and owners."""
    random = np.random.default_rng(seed)
    raw = random.normal(-1, 1.5, rows)
    labels = (random.random(rows) < distort(raw)).astype(np.int64)
    return raw, labels, random.choice([0.5, 1.0], rows), random.integers(0, 50, rows)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def steps(raw: np.ndarray) -> np.ndarray:
    return np.where(raw < -1, 0.1, np.where(raw < 0.5, 0.4, 0.45))


@quick
@given(ROWS, st.sampled_from(sorted(calibration.METHODS)))
def test_the_order_of_scores_is_kept_whatever_the_labels(rows: list[tuple[int, int, float]], method: str) -> None:
    raw, labels, weights = np.array(rows).T
    found = calibration.METHODS[method](raw / 4, labels, weights)
    values = np.linspace(-6, 6, 500)
    probabilities = found(values)
    assert (np.diff(probabilities) > 0).all()
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert (found.slopes > 0).all()
    assert len(found.slopes) == len(found.scores) + 1 == len(found.logits) + 1


@pytest.mark.parametrize("distort", [lambda raw: sigmoid(0.5 * raw - 1), steps])
@pytest.mark.parametrize("method", sorted(calibration.METHODS))
def test_probabilities_are_true_of_the_rows_on_average(distort, method: str) -> None:
    raw, labels, weights, _ = drawn(20_000, distort)
    found = calibration.METHODS[method](raw, labels, weights)(raw)
    assert weights @ found == pytest.approx(weights @ labels, rel=0.01)
    before = calibration.NONE(raw)
    assert abs(weights @ before / (weights @ labels) - 1) > 0.05


def test_few_rows_of_many_steps_have_the_mean_of_their_labels() -> None:
    random = np.random.default_rng(4)
    raw = np.sort(random.normal(-4, 1, 200))
    labels, weights = (random.random(200) < sigmoid(2 * raw + 5)).astype(np.int64), 1 + np.arange(200) % 2
    found = calibration.isotonic(raw, labels, weights)
    assert np.average(found(raw), weights=weights) == pytest.approx(np.average(labels, weights=weights), rel=1e-9)
    assert (np.diff(found(raw)) > 0).all()
    for label in (0, 1):
        assert np.isfinite(calibration.isotonic(raw, np.full(200, label), weights).logits).all()


def test_platt_finds_the_line_and_isotonic_what_is_none() -> None:
    raw, labels, weights, _ = drawn(50_000, lambda raw: sigmoid(0.5 * raw - 1))
    found = calibration.platt(raw, labels, weights)
    assert found.slopes == pytest.approx([0.5, 0.5], rel=0.05)
    assert found.logits == pytest.approx([-1], rel=0.05)
    raw, labels, weights, _ = drawn(50_000, steps)
    found = calibration.isotonic(raw, labels, weights)(np.array([-2.0, -0.3, 1.5]))
    assert found == pytest.approx([0.1, 0.4, 0.45], abs=0.03)


@pytest.mark.parametrize(("distort", "method"), [(lambda raw: sigmoid(0.5 * raw - 1), "platt"), (steps, "isotonic")])
def test_the_method_is_that_of_the_less_log_loss_on_other_users(distort, method: str) -> None:
    raw, labels, weights, owners = drawn(20_000, distort)
    found, losses = calibration.choose(raw, labels, weights, owners, 0)
    assert found.method == method == min(losses, key=losses.__getitem__)
    again, _ = calibration.choose(raw, labels, weights, owners, 0)
    assert again.as_json() == found.as_json()


@pytest.mark.parametrize("users", [1, 2, 3])
def test_few_users_and_rows_are_enough(users: int) -> None:
    owners = np.arange(6) % users
    found, _ = calibration.choose(np.arange(6.0), np.array([0, 0, 1, 0, 1, 1]), np.ones(6), owners, 0)
    assert (np.diff(found(np.arange(6.0))) > 0).all()


def test_scores_that_differ_by_rounding_alone_are_one_knot() -> None:
    raw = np.array([1.0, np.nextafter(1.0, 2), 1.0, np.nextafter(1.0, 2)])
    found = calibration.isotonic(raw, np.array([0, 1, 0, 1]), np.ones(4))
    assert found.scores.tolist() == [1.0]
    assert found(raw) == pytest.approx([0.5] * 4)


def test_it_is_the_same_when_it_is_read_again() -> None:
    raw, labels, weights, _ = drawn(500, steps)
    found = calibration.isotonic(raw, labels, weights)
    again = calibration.from_json(json.loads(json.dumps(found.as_json())))
    np.testing.assert_array_equal(again(raw), found(raw))
    assert again.method == "isotonic"


@pytest.mark.parametrize("method", [*sorted(calibration.METHODS), "none"])
def test_the_serving_graph_computes_the_same(method: str) -> None:
    raw, labels, weights, _ = drawn(500, steps)
    fitted = {name: fit(raw, labels, weights) for name, fit in calibration.METHODS.items()} | {"none": calibration.NONE}
    values = np.concatenate([raw, fitted[method].scores, [-40.0, 40.0]])
    found = serving_models._probability(tf.constant(values), fitted[method]).numpy()
    np.testing.assert_allclose(found, fitted[method](values), rtol=1e-12)
    if method == "none":
        np.testing.assert_allclose(found, sigmoid(values), rtol=1e-12)
    assert len(fitted["isotonic"].scores) > 5


def test_deciles_are_tenths_of_the_weight_and_equal_scores_stand_together() -> None:
    scores = np.arange(1000) / 1000
    labels = (np.arange(1000) % 2).astype(np.int64)
    found = calibration.deciles(scores, labels, np.ones(1000))
    assert [rows for rows, _, _ in found] == [100] * 10
    assert [score for _, score, _ in found] == pytest.approx([0.0495 + i / 10 for i in range(10)])
    assert [rate for _, _, rate in found] == pytest.approx([0.5] * 10)
    found = calibration.deciles(np.full(30, 0.3), np.arange(30) % 3 == 0, np.where(np.arange(30) % 3 == 0, 0.5, 1))
    assert found == [(30, pytest.approx(0.3), pytest.approx(0.2))]
