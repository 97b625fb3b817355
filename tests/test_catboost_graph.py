"""A CatBoost model as a TensorFlow graph against CatBoost's own predictions."""

import json
import pathlib

import catboost
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tree_rows import CATEGORICAL, CATEGORIES, COLUMNS, NUMERIC, ROWS, labels, table

from recsys_tft.errors import InputError
from recsys_tft.serving import c_library, served_models
from recsys_tft.tree_graphs import catboost_lookups, catboost_model
from recsys_tft.tree_graphs.catboost_graph import TreeEnsemble
from recsys_tft.tree_graphs.catboost_statistics import StatisticsTables

ALL_CTRS = ["Borders:Prior=0.5/1", "Buckets", "BinarizedTargetMeanValue", "Counter"]
EVERY_CTR = {"simple_ctr": ALL_CTRS, "combinations_ctr": ALL_CTRS}


TRAINING, WILD = table(3000, 0), table(ROWS, 1, wild=True)
# What the trainer can ask of CatBoost, and what its users may turn on.
CASES = {
    "defaults": {},
    "shallow": {"depth": 1},
    "deep": {"depth": 10, "iterations": 10},
    "one tree": {"iterations": 1},
    "NaN above": {"nan_mode": "Max"},
    "all one-hot": {"one_hot_max_size": 255},
    "no one-hot": {"one_hot_max_size": 1},
    "every statistic": {**EVERY_CTR, "max_ctr_complexity": 4, "border_count": 32},
    "statistics alone": {**EVERY_CTR, "one_hot_max_size": 1, "max_ctr_complexity": 1},
    "counters of all rows": {**EVERY_CTR, "counter_calc_method": "Full"},
    "ordered": {"boosting_type": "Ordered", "max_ctr_complexity": 2},
    "cross entropy": {"loss_function": "CrossEntropy"},
    "yetirank": {"loss_function": "YetiRank"},
    "categories alone": {"columns": CATEGORICAL},
    "numbers alone": {"columns": NUMERIC},
}


def pool(rows: pd.DataFrame, y: np.ndarray | None = None, columns: tuple[str, ...] = COLUMNS) -> catboost.Pool:
    groups = None if y is None else np.arange(len(rows)) // 10
    categorical = [name for name in CATEGORICAL if name in columns]
    return catboost.Pool(rows[list(columns)], y, cat_features=categorical, group_id=groups)


def fit(options: dict, columns: tuple[str, ...] = COLUMNS) -> catboost.CatBoost:
    defaults = {
        "iterations": 40,
        "loss_function": "Logloss",
        "random_seed": 0,
        "thread_count": 2,
        "verbose": 0,
        "allow_writing_files": False,
    }
    return catboost.CatBoost({**defaults, **options}).fit(pool(TRAINING, labels(TRAINING), columns))


def exported(model: catboost.CatBoost, folder: pathlib.Path, columns: tuple[str, ...] = COLUMNS) -> dict:
    path = str(folder / "model.json")
    model.save_model(path, format="json", pool=pool(TRAINING, labels(TRAINING), columns))
    return json.loads(pathlib.Path(path).read_text())


def sizes_of(parsed: catboost_model.CatBoostModel, names: list[str]) -> list[int]:
    """What a vocabulary would say; one value more than training has had."""
    return [CATEGORIES[CATEGORICAL.index(names[number])] + 1 for number in parsed.categorical]


def graph_scores(parsed: catboost_model.CatBoostModel, rows: pd.DataFrame, limit: int = 1 << 16) -> np.ndarray:
    ensemble = TreeEnsemble(parsed, sizes_of(parsed, list(rows.columns)), limit)
    call = tf.function(ensemble.__call__, reduce_retracing=True)
    names = list(rows.columns)
    numeric = rows[[names[i] for i in parsed.numeric]].to_numpy(np.float32)
    categorical = rows[[names[i] for i in parsed.categorical]].to_numpy(np.int64)
    starts = range(0, len(rows), 10_000)
    parts = [call(numeric[i : i + 10_000].T.copy(), categorical[i : i + 10_000].T.copy()) for i in starts]
    return np.concatenate([part.numpy() for part in parts])


@pytest.mark.parametrize("case", CASES)
def test_the_graph_scores_as_catboost_does(case: str, tmp_path: pathlib.Path) -> None:
    options = dict(CASES[case])
    columns = options.pop("columns", COLUMNS)
    model = fit(options, columns)
    parsed = catboost_model.parse(exported(model, tmp_path, columns))
    raw = graph_scores(parsed, WILD[list(columns)])
    expected = model.predict(pool(WILD, columns=columns), prediction_type="RawFormulaVal")
    assert np.std(expected) > 0.01  # the model tells rows apart
    np.testing.assert_allclose(raw, expected, rtol=0, atol=1e-9)
    for limit in (0, 1000) if parsed.statistics.elements else ():  # by hash alone, and in both ways
        few = graph_scores(parsed, WILD.loc[:5000, list(columns)], limit)
        np.testing.assert_allclose(few, raw[:5001], rtol=0, atol=1e-9)
    assert parsed.is_probability == (case != "yetirank")
    if parsed.is_probability:
        probability = model.predict(pool(WILD, columns=columns), prediction_type="Probability")[:, 1]
        np.testing.assert_allclose(tf.sigmoid(raw), probability, rtol=0, atol=1e-12)


def test_the_cases_meet_every_kind_of_split_and_of_element(tmp_path: pathlib.Path) -> None:
    found = exported(fit(CASES["every statistic"]), tmp_path)
    assert {s["split_type"] for t in found["oblivious_trees"] for s in t["splits"] or []} == {
        "FloatFeature", "OneHotFeature", "OnlineCtr",
    }  # fmt: skip
    ctrs = found["features_info"]["ctrs"]
    assert {e["combination_element"] for c in ctrs for e in c["elements"]} == {
        "cat_feature_value", "float_feature", "cat_feature_exact_value",
    }  # fmt: skip
    assert {c["ctr_type"] for c in ctrs} == {"Borders", "Buckets", "BinarizedTargetMeanValue", "Counter"}
    assert {len(c["elements"]) for c in ctrs} >= {1, 2, 3}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return exported(fit({}), tmp_path_factory.mktemp("plain"))


def test_a_model_without_trees_gives_its_bias(plain: dict) -> None:
    empty = {**plain, "oblivious_trees": [], "scale_and_bias": [1, [0.25]]}
    np.testing.assert_array_equal(graph_scores(catboost_model.parse(empty), WILD[:5]), 0.25)


def test_scale_and_bias_are_applied(plain: dict) -> None:
    scores = graph_scores(catboost_model.parse(plain), WILD[:50])
    changed = graph_scores(catboost_model.parse({**plain, "scale_and_bias": [2, [0.5]]}), WILD[:50])
    np.testing.assert_allclose(changed, 2 * scores + 0.5, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9])
def test_any_number_of_rows_has_that_many_scores(plain: dict, rows: int) -> None:
    parsed = catboost_model.parse(plain)
    expected = graph_scores(parsed, WILD[:10])[:rows]
    np.testing.assert_allclose(_scores_of(parsed, WILD[:rows]), expected, rtol=0, atol=1e-12)


def _scores_of(parsed: catboost_model.CatBoostModel, rows: pd.DataFrame) -> np.ndarray:
    names = list(rows.columns)
    numeric = rows[[names[i] for i in parsed.numeric]].to_numpy(np.float32).T
    ensemble = TreeEnsemble(parsed, sizes_of(parsed, names))
    return ensemble(numeric, rows[[names[i] for i in parsed.categorical]].to_numpy(np.int64).T).numpy()


@pytest.mark.parametrize("policy", ["Depthwise", "Lossguide"])
def test_asymmetric_trees_are_refused(policy: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="asymmetric trees; train it with grow_policy SymmetricTree"):
        catboost_model.check(exported(fit({"grow_policy": policy, "iterations": 3}), tmp_path))


def test_several_scores_a_row_are_refused(tmp_path: pathlib.Path) -> None:
    model = catboost.CatBoost(
        {"loss_function": "MultiClass", "iterations": 2, "verbose": 0, "allow_writing_files": False}
    )
    model.fit(catboost.Pool(TRAINING[list(NUMERIC)], TRAINING.b))
    model.save_model(str(tmp_path / "m.json"), format="json")
    with pytest.raises(InputError, match=r"gives 8 scores per row \(loss MultiClass\)"):
        catboost_model.check(json.loads((tmp_path / "m.json").read_text()))


def test_categories_that_are_no_tokens_are_refused(tmp_path: pathlib.Path) -> None:
    rows = TRAINING.assign(a="word" + TRAINING.a.astype(str))
    data = catboost.Pool(rows, labels(TRAINING), cat_features=list(CATEGORICAL))
    model = catboost.CatBoost(
        {"loss_function": "Logloss", "iterations": 2, "verbose": 0, "allow_writing_files": False}
    ).fit(data)
    model.save_model(str(tmp_path / "m.json"), format="json", pool=data)
    with pytest.raises(InputError, match="knows the category 'word"):
        catboost_model.check(json.loads((tmp_path / "m.json").read_text()))


def test_unknown_kinds_of_statistics_and_splits_are_refused(plain: dict) -> None:
    info = plain["features_info"]
    strange = {**info, "ctrs": [{**info["ctrs"][0], "ctr_type": "Novel"}]}
    with pytest.raises(InputError, match="statistics of type Novel"):
        catboost_model.check({**plain, "features_info": strange})
    tree = {**plain["oblivious_trees"][0], "splits": [{"split_type": "Oracle"}]}
    with pytest.raises(InputError, match="splits of type Oracle"):
        catboost_model.check({**plain, "oblivious_trees": [tree]})


def test_a_hash_of_another_combination_is_none_of_its_own() -> None:
    random = np.random.default_rng(3)
    pool = random.integers(-(2**63), 2**63, 400)
    of_inputs = [random.choice(pool, size, replace=False) for size in (0, 1, 7, 200, 300)]
    factor = np.int64(catboost_lookups._HASH_FACTOR_SQUARED)
    known = [np.sort(hashes * factor) for hashes in of_inputs]
    values = [np.arange(len(keys) + 1, dtype=np.float32)[None] + 1000 * number for number, keys in enumerate(known)]
    elements = tuple((number,) for number in range(len(known)))
    lookup = catboost_lookups.ByHash(StatisticsTables(elements, tuple(known), tuple(values)))
    found = lookup(tf.constant(np.tile(pool, (len(known), 1)))).numpy()
    for number, keys in enumerate(known):
        places = {key: place for place, key in enumerate(keys.tolist())}
        expected = [1000 * number + places.get(key, len(keys)) for key in (pool * factor).tolist()]
        assert found[number].tolist() == expected


def test_a_saved_graph_finds_statistics_by_hash_without_python(plain: dict, tmp_path: pathlib.Path) -> None:
    parsed = catboost_model.parse(plain)
    ensemble = TreeEnsemble(parsed, sizes_of(parsed, list(COLUMNS)), limit=0)
    module = tf.Module()
    module.ensemble = ensemble
    kinds = {"numeric": tf.float32, "categorical": tf.int64}
    specs = {name: tf.TensorSpec([None, None], kind, name=name) for name, kind in kinds.items()}
    module.call = tf.function(lambda numeric, categorical: {"raw": ensemble(numeric, categorical)})
    signature = module.call.get_concrete_function(**specs)
    tf.saved_model.save(module, str(tmp_path), signatures=signature)
    rows = WILD.iloc[:1000]
    numeric = rows[[COLUMNS[i] for i in parsed.numeric]].to_numpy(np.float32).T.copy()
    categorical = rows[[COLUMNS[i] for i in parsed.categorical]].to_numpy(np.int64).T.copy()
    session = served_models.load(str(tmp_path), "")
    found = session.run("serving_default", {"numeric": numeric, "categorical": categorical})
    assert isinstance(session, c_library.Session)
    assert found["raw"].tolist() == graph_scores(parsed, rows, limit=0).tolist()
