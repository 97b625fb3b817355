"""An XGBoost model as a TensorFlow graph against XGBoost itself, and against its file read in plain Python."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_rows import CATEGORICAL, CATEGORIES, COLUMNS, NUMERIC, ROWS, labels, table

from recsys_tft.errors import InputError
from recsys_tft.ranking.xgboost_ranker import matrix
from recsys_tft.tree_graphs import xgboost_model
from recsys_tft.tree_graphs.xgboost_graph import TreeEnsemble
from recsys_tft.tree_graphs.xgboost_model import XGBoostModel

TRAINING = table(3000, 0)
FLOAT32 = np.finfo(np.float32)
FEW = 1000
CASES = {
    "defaults": {"rows": ROWS},
    "shallow": {"max_depth": 1},
    "deep": {"max_depth": 9, "trees": 5},
    "one tree": {"trees": 1},
    "all one-hot": {"max_cat_to_onehot": 300},
    "large sets": {"max_cat_threshold": 1000, "max_cat_to_onehot": 1},
    "leaf by leaf": {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0},
    "pruned": {"gamma": 5.0},
    "a score to begin with": {"base_score": 0.01},
    "categories alone": {"columns": CATEGORICAL},
    "numbers alone": {"columns": NUMERIC},
    "no split": {"gamma": 1e9},
}


def fit(options: dict, columns: tuple[str, ...] = COLUMNS, trees: int = 40) -> xgboost.Booster:
    rows = matrix(TRAINING[list(columns)], label=labels(TRAINING))
    defaults = {"objective": "binary:logistic", "learning_rate": 0.15, "reg_lambda": 3.0, "nthread": 2}
    booster = xgboost.Booster({**defaults, **options}, [rows])
    for number in range(trees):
        booster.update(rows, number)
    return booster


def exported(booster: xgboost.Booster) -> dict:
    return json.loads(booster.save_raw("json").decode())


def graph_of(parsed: XGBoostModel, names: tuple[str, ...] = COLUMNS) -> Callable:
    ensemble = TreeEnsemble(parsed, [CATEGORIES[CATEGORICAL.index(names[i])] + 1 for i in parsed.categorical])
    specs = (tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.int64))
    return tf.function(ensemble.__call__, input_signature=specs, autograph=False)


def graph_scores(parsed: XGBoostModel, rows: pd.DataFrame, call: Callable | None = None) -> np.ndarray:
    names = tuple(rows.columns)
    call = call or graph_of(parsed, names)
    numeric = rows[[names[i] for i in parsed.numeric]].to_numpy(np.float32).T.copy()
    tokens = rows[[names[i] for i in parsed.categorical]].to_numpy(np.int64).T.copy()
    parts = [call(numeric[:, i : i + 10_000], tokens[:, i : i + 10_000]) for i in range(0, max(len(rows), 1), 10_000)]
    return np.concatenate(parts)


def at_splits(parsed: XGBoostModel, rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows, with a third of the numbers at a threshold, and a third right beside one."""
    random, found, names = np.random.default_rng(5), rows.copy(), list(rows.columns)
    inner = (parsed.source >= 0) & ~parsed.is_categorical
    for row, number in enumerate(parsed.numeric):
        own = parsed.threshold[inner & (parsed.source == row)]
        if not len(own):
            continue
        drawn = random.choice(own, len(rows))
        below, above = (np.nextafter(drawn, np.float32(end)) for end in (-np.inf, np.inf))
        kind = random.integers(0, 6, len(rows))
        column = found[names[number]].to_numpy(np.float32).copy()
        found[names[number]] = np.select([kind < 2, kind == 2, kind == 3], [drawn, below, above], column)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_graph_scores_as_xgboost_does_to_the_last_bit(case: str) -> None:
    options = dict(CASES[case])
    columns, rows, trees = (options.pop(*of) for of in (("columns", COLUMNS), ("rows", FEW), ("trees", 15)))
    booster = fit(options, columns, trees)
    parsed = xgboost_model.parse(exported(booster))
    wild = at_splits(parsed, table(rows, 1, wild=True)[list(columns)])
    expected = booster.predict(matrix(wild), output_margin=True)
    assert np.std(expected) > 0.01 or case == "no split"  # the model tells rows apart
    found = graph_scores(parsed, wild)
    np.testing.assert_array_equal(found, expected.astype(np.float64))
    np.testing.assert_allclose(tf.sigmoid(found), booster.predict(matrix(wild)), rtol=0, atol=1e-6)


def test_infinite_numbers_score_as_where_xgboost_takes_them() -> None:
    booster = fit({})
    wild = table(FEW, 2, wild=True)
    assert np.isinf(wild[list(NUMERIC)].to_numpy()).any()
    expected = booster.inplace_predict(wild.to_numpy(np.float32), predict_type="margin", validate_features=False)
    np.testing.assert_array_equal(graph_scores(xgboost_model.parse(exported(booster)), wild), expected)


# --- The file read in plain Python


def walked(model: dict, row: list[float | int]) -> np.float32:
    """The raw score of a row, node after node."""
    learner = model["learner"]
    base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
    score = np.float32(-np.log(float(np.float32(1) / base - np.float32(1))))
    for tree in learner["gradient_booster"]["model"]["trees"]:
        node = 0
        while tree["left_children"][node] != -1:
            value, split = row[tree["split_indices"][node]], np.float32(tree["split_conditions"][node])
            if tree["split_type"][node] == 1:
                place = tree["categories_nodes"].index(node)
                first, size = tree["categories_segments"][place], tree["categories_sizes"][place]
                is_left = value not in tree["categories"][first : first + size]
            elif np.isnan(value):
                is_left = bool(tree["default_left"][node])
            else:
                is_left = np.float32(value) < split
            node = tree["left_children" if is_left else "right_children"][node]
        score = score + np.float32(tree["split_conditions"][node])
    return score


SMALL = fit({"max_depth": 4}, trees=8)
SMALL_JSON = exported(SMALL)
SMALL_PARSED = xgboost_model.parse(SMALL_JSON)
SMALL_GRAPH = graph_of(SMALL_PARSED)
THRESHOLDS = SMALL_PARSED.threshold[(SMALL_PARSED.source >= 0) & ~SMALL_PARSED.is_categorical].tolist()
NUMBERS = st.floats(width=32) | st.sampled_from([*THRESHOLDS, -0.0, 1e-45, -1e-45, float(FLOAT32.max)])
TOKENS = st.integers(-3, 210) | st.sampled_from([2**24, 2**31, -(2**63), 2**63 - 1])


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(*(TOKENS if n in CATEGORICAL else NUMBERS for n in COLUMNS)), min_size=1, max_size=20))
def test_any_rows_score_as_the_file_says(rows: list[tuple]) -> None:
    found = graph_scores(SMALL_PARSED, pd.DataFrame(rows, columns=list(COLUMNS)), SMALL_GRAPH)
    assert found.tolist() == [float(walked(SMALL_JSON, list(row))) for row in rows]


def test_a_threshold_of_zero_divides_numbers_that_tensorflow_takes_for_zero() -> None:
    """The smallest numbers lie on their own side of it, in the graph as in XGBoost."""
    values = np.repeat(np.array([-1e-40, -1e-45, 0.0, 1e-45, 1e-40], np.float32), 200)
    rows = pd.DataFrame({"x": values})
    for border in (-1e-45, 0.0, 1e-45, 1e-40):
        data = matrix(rows, label=values >= np.float32(border))
        booster = xgboost.Booster({"objective": "binary:logistic", "min_child_weight": 0, "reg_lambda": 0}, [data])
        booster.update(data, 0)
        expected = booster.predict(data, output_margin=True)
        np.testing.assert_array_equal(graph_scores(xgboost_model.parse(exported(booster)), rows), expected)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_any_number_of_rows_has_that_many_scores(rows: int) -> None:
    wild = table(10, 3)
    found = graph_scores(SMALL_PARSED, wild[:rows])
    np.testing.assert_array_equal(found, graph_scores(SMALL_PARSED, wild)[:rows])


def test_a_model_without_trees_gives_what_it_begins_with() -> None:
    model = exported(fit({"base_score": 0.75}, trees=1))
    model["learner"]["gradient_booster"]["model"]["trees"] = []
    np.testing.assert_allclose(graph_scores(xgboost_model.parse(model), TRAINING[:5]), np.log(3), rtol=1e-7)


# --- Categories


@settings(max_examples=100, deadline=None)
@given(sets=st.lists(st.lists(st.integers(0, 30), unique=True), max_size=6), size=st.integers(0, 25))
def test_classes_are_as_many_as_sets_tell_apart(sets: list[list[int]], size: int) -> None:
    found, members = xgboost_model.classes([np.array(own, np.int64) for own in sets], size)
    assert found.shape == (size + 1,)
    for token in range(size):
        assert members[:, found[token]].tolist() == [token in own for own in sets]
    assert not members[:, found[size]].any()
    told_apart = {tuple(token in own for own in sets) for token in range(size)} | {(False,) * len(sets)}
    assert members.shape == (len(sets), len(told_apart))


# --- What is refused


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"objective": "reg:squarederror"}, "has the objective reg:squarederror; supported: binary:logistic"),
        ({"booster": "dart"}, "is a dart; supported: gbtree"),
    ],
)
def test_other_models_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        xgboost_model.check(exported(fit(options, trees=1)))


def test_categories_that_xgboost_codes_are_refused() -> None:
    rows = pd.DataFrame({"a": pd.Categorical(TRAINING.a)})
    data = xgboost.DMatrix(rows, labels(TRAINING), enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic"}, data, 1)
    with pytest.raises(InputError, match="codes categories itself"):
        xgboost_model.check(exported(booster))
