"""The regression that trees start from: fitted as a plain minimizer has it, and the same in a graph."""

import pathlib

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import optimize

from recsys_tft.errors import InputError
from recsys_tft.ranking import logistic
from recsys_tft.ranking.logistic_graph import Sum
from recsys_tft.ranking.ranker_rows import RankerRows

HOSTILE = np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30, 3.4e38, 1e-40], np.float32)


def rows_of(count: int = 800) -> RankerRows:
    """Labels that a line and what is missing tell; a category, and columns that do not vary."""
    random = np.random.default_rng(3)
    near, far = random.normal(size=(2, count)).astype(np.float32)
    gappy = np.where(random.random(count) < 0.3, np.nan, 100 + 20 * random.normal(size=count)).astype(np.float32)
    logits = 1.5 * near - 0.5 + np.where(np.isnan(gappy), 1.0, (gappy - 100) / 20)
    data = pd.DataFrame(
        {
            "near": near,
            "token": pd.Categorical.from_codes(random.integers(0, 3, count), categories=np.arange(3)),
            "constant": np.full(count, 7, np.float32),
            "gappy": gappy,
            "absent": np.full(count, np.nan, np.float32),
            "far": 1000 * far,
        }
    )
    return RankerRows({"label": (random.random(count) < 1 / (1 + np.exp(-logits))).astype(np.int64)}, data)


def plain_logit(model: logistic.Logistic, row: list[float]) -> float:
    """One row, number by number."""
    logit = model.bias
    for column, mean, scale, weight, missing in zip(
        model.columns, model.means, model.scales, model.weights, model.missing, strict=True
    ):
        number = row[column]
        logit += missing if np.isnan(number) else weight * min(max((number - mean) * scale, -5.0), 5.0)
    return logit


def test_it_is_the_least_of_the_penalized_loss() -> None:
    rows = rows_of()
    weights = 0.5 + np.arange(len(rows)) % 3
    model = logistic.fit(rows, weights, 0)
    assert model.columns.tolist() == [0, 3, 5]
    gappy = rows.data["gappy"].to_numpy().astype(float)
    known = ~np.isnan(gappy)
    assert model.means[1] == pytest.approx(np.average(gappy[known], weights=weights[known]))
    spread = np.average((gappy[known] - model.means[1]) ** 2, weights=weights[known])
    assert model.scales[1] == pytest.approx(spread**-0.5)
    standard = [
        np.nan_to_num((rows.data[name].to_numpy().astype(float) - mean) * scale)
        for name, mean, scale in zip(("near", "gappy", "far"), model.means, model.scales, strict=True)
    ]

    def loss(coefficients: np.ndarray) -> float:
        logits = coefficients[0] + coefficients[1:4] @ standard + coefficients[4] * ~known
        losses = np.where(rows.keys["label"] == 1, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits)))
        return float(weights @ losses + 5.0 * coefficients[1:] @ coefficients[1:])

    expected = optimize.minimize(loss, np.zeros(5), tol=1e-10).x
    found = [model.bias, *model.weights, model.missing[1]]
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert model.missing[[0, 2]].tolist() == [0, 0]


def test_logits_are_those_of_a_plain_sum_also_of_hostile_numbers() -> None:
    rows = rows_of()
    model = logistic.fit(rows, np.ones(len(rows)), 0)
    hostile = rows.data.iloc[: len(HOSTILE)].assign(near=HOSTILE, gappy=HOSTILE[::-1], far=np.roll(HOSTILE, 3))
    data = pd.concat([rows.data, hostile], ignore_index=True)
    expected = [plain_logit(model, list(row)) for row in data.itertuples(index=False)]
    np.testing.assert_allclose(model(data), expected, rtol=1e-12)
    contributions = model.contributions(data)
    assert (contributions[:, [1, 2, 4]] == 0).all()
    np.testing.assert_allclose(model.bias + contributions.sum(axis=1), expected, rtol=1e-12)


def test_a_graph_adds_the_same_to_what_trees_say() -> None:
    rows = rows_of()
    model = logistic.fit(rows, np.ones(len(rows)), 0)
    data = rows.data.iloc[: len(HOSTILE)].assign(near=HOSTILE, gappy=HOSTILE[::-1], far=np.roll(HOSTILE, 3))
    numeric = (5, 0, 2, 3, 4)  # in an order of the trees' own

    class Trees(tf.Module):
        def __call__(self, numeric: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
            return tf.cast(categorical[0], tf.float64)

    values = np.stack([data.iloc[:, column].to_numpy(np.float32) for column in numeric])
    tokens = np.arange(len(data), dtype=np.int64)[None]
    found = tf.function(Sum(Trees(), model, numeric).__call__)(tf.constant(values), tf.constant(tokens))
    np.testing.assert_allclose(found, model(data) + np.arange(len(data)), rtol=1e-12)


def test_labels_that_a_number_separates_give_finite_weights() -> None:
    rows = rows_of()
    rows.keys["label"] = (rows.data["near"] > 0).to_numpy().astype(np.int64)
    model = logistic.fit(rows, np.full(len(rows), 1e4), 0)
    assert np.isfinite(model.weights).all()
    assert ((model(rows.data) > 0) == (rows.keys["label"] == 1)).mean() > 0.98


def test_rows_without_a_number_that_varies_start_from_their_share() -> None:
    rows = rows_of()
    constant = RankerRows(rows.keys, rows.data[["token", "constant", "absent"]])
    model = logistic.fit(constant, np.ones(len(rows)), 0)
    assert not len(model.columns)
    np.testing.assert_allclose(1 / (1 + np.exp(-model(constant.data))), rows.keys["label"].mean(), atol=1e-4)
    assert (logistic.nothing()(rows.data) == 0).all()


def test_of_many_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of()
    weights = np.ones(len(rows))
    every = logistic.fit(rows, weights, 0)
    monkeypatch.setattr(logistic, "_ROWS", 300)
    some, again, other = (logistic.fit(rows, weights, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(some.weights, again.weights)
    assert (some.weights != other.weights).all()
    np.testing.assert_allclose(some.weights, every.weights, atol=0.5)


def test_it_is_read_as_it_was_written_and_damage_is_named(tmp_path: pathlib.Path) -> None:
    rows = rows_of()
    model = logistic.fit(rows, np.ones(len(rows)), 0)
    assert not len(logistic.load(tmp_path, "train again").columns)
    model.save(tmp_path)
    np.testing.assert_array_equal(logistic.load(tmp_path, "train again")(rows.data), model(rows.data))
    path = tmp_path / logistic.FILE
    for text in (path.read_text()[:50], "{}", "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"logistic\.json: damaged or not readable .* train again"):
            logistic.load(tmp_path, "train again")
