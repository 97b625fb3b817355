"""The ranker: its columns, its training, and what stands beside the model."""

import csv
import dataclasses
import json
import math
import pathlib

import catboost
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import Ran
from ranker_outputs import COLUMNS, QUICK, metrics_of, output_of, rows_of, rows_on_disk

from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import RANKER, FeatureTable
from recsys_tft.ids import codes_of
from recsys_tft.ranking import (
    catboost_ranker,
    logistic,
    ranker_rows,
    ranker_training,
    ranking_metrics,
    tastes,
    trained_ranker,
)
from recsys_tft.ranking.boosted_logistic import started
from recsys_tft.ranking.catboost_ranker import pool
from recsys_tft.ranking.logistic import Logistic
from recsys_tft.ranking.ranker_rows import RankerRows
from recsys_tft.ranking.ranker_training import train
from recsys_tft.training.model_folders import settings_for


def calibrated(described: dict, raw: np.ndarray) -> list[float]:
    """What calibration.json says of raw scores, in plain Python."""
    scores, logits, slopes = (described[name] for name in ("scores", "logits", "slopes"))
    found = []
    for value in raw:
        knot = max((place for place, score in enumerate(scores) if score <= value), default=None)
        near, slope = (0, slopes[0]) if knot is None else (knot, slopes[knot + 1])
        found.append(1 / (1 + math.exp(-(logits[near] + slope * (value - scores[near])))))
    return found


@pytest.fixture(scope="module")
def trained(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a classifier."""
    out, config = output_of(synthetic_run, tmp_path_factory.mktemp("ranker"), "classifier")
    train(out, config)
    return pathlib.Path(out, "models/ranker")


RANKER_FEATURES = tuple(feature for feature in DEFAULT.select(RANKER) if feature.is_active(Settings()))


CATEGORIES = [f.name for f in RANKER_FEATURES if f.is_categorical and not {*f.sources} & {*tastes.KEYS}]


# --- Rows


def test_columns_are_the_features_of_the_table_and_rows_those_on_disk(of_any_ids: Ran) -> None:
    rows = rows_on_disk(of_any_ids, "train")
    assert list(rows.data) == [feature.name for feature in RANKER_FEATURES]
    frame = of_any_ids.result["ranker_train"].pandas()
    users = frame.user_id.nunique()
    for name in ("user_id", "video_id"):
        frame[name] = codes_of(pa.array(frame[name])).to_numpy()
    assert rows.owners()[1] == users
    frame = frame.sort_values(["user_id", "interaction_time", "video_id"], kind="stable").reset_index(drop=True)
    for feature in RANKER_FEATURES:
        assert isinstance(rows.data[feature.name].dtype, pd.CategoricalDtype) == feature.is_categorical
        np.testing.assert_array_equal(rows.data[feature.name].to_numpy(), frame[feature.name].to_numpy())
    for name in ("label", "weight"):
        np.testing.assert_array_equal(rows.keys[name], frame[name].to_numpy())


def test_a_ranker_of_ids_that_are_text_is_judged_as_one_of_integers(
    trained: pathlib.Path, texts_run: Ran, tmp_path: pathlib.Path
) -> None:
    out, config = output_of(texts_run, tmp_path, "classifier")
    found, expected = train(out, config).metrics, json.loads((trained / "metrics.json").read_text())
    for split in ("val", "test"):
        for name, of_slice in expected[split]["constant"].items():
            users = {metric: value["users"] for metric, value in of_slice.items() if metric != "auc per user"}
            assert {metric: found[split]["constant"][name][metric]["users"] for metric in users} == users
        auc, own = (metrics[split]["ranker"]["all"]["auc"] for metrics in (expected, found))
        assert auc["low"] <= own["value"] <= auc["high"]


def test_the_pool_holds_categories_as_their_tokens(synthetic_run: Ran) -> None:
    rows = rows_of(synthetic_run, "val")
    own = pool(rows)
    assert own.get_feature_names() == list(rows.data)
    expected = [list(rows.data).index(name) for name in CATEGORIES]
    assert own.get_cat_feature_indices() == expected
    np.testing.assert_array_equal(own.get_weight(), rows.keys["weight"])
    as_text = catboost.Pool(
        rows.data.astype(dict.fromkeys(CATEGORIES, str)),
        label=rows.keys["label"],
        cat_features=expected,
    )
    options = {"iterations": 10, "logging_level": "Silent", "allow_writing_files": False}
    one, other = (catboost.CatBoost(options | {"loss_function": "Logloss"}).fit(p) for p in (own, as_text))
    del other
    np.testing.assert_array_equal(one.predict(own), one.predict(as_text))


def test_vectors_are_laid_out_one_component_after_the_other() -> None:
    onehot = next(f for f in DEFAULT.features if f.op.shape(Settings()) not in ((), None) and not f.op.is_large)
    columns = ranker_rows.columns_of((dataclasses.replace(onehot, used_by=(RANKER,)),), Settings())
    assert [column.name for column in columns] == [f"{onehot.name}[{i}]" for i in range(4)]
    assert {(column.feature, column.kind) for column in columns} == {(onehot.name, "numeric")}


@pytest.mark.parametrize("kind", ["list", "vector"])
def test_what_a_served_model_cannot_take_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = next(f for f in DEFAULT.features if (f.op.is_large if kind == "vector" else f.op.shape(Settings()) is None))
    monkeypatch.setattr(FeatureTable, "select", lambda *_: (found,))
    with pytest.raises(InputError, match=f"cannot read the feature '{found.name}'"):
        ranker_rows.features_for(Settings())


def test_groups_are_users_and_none_is_too_large() -> None:
    users = np.repeat([3, 5, 9], [2, 2500, 1])
    found = ranker_rows.groups(users)
    assert np.bincount(found).tolist() == [2, 1000, 1000, 500, 1]
    assert (np.diff(found) >= 0).all()


# --- Training


def started_from(rows: RankerRows, sampled: float) -> tuple[RankerRows, Logistic]:
    """Rows with what their trees start from, and the regression that says it."""
    start = logistic.fit(rows, rows.weights(sampled), 0)
    return started(rows, start), start


def test_the_model_stands_with_all_that_explains_it(trained: pathlib.Path, synthetic_run: Ran) -> None:
    names = [feature.name for feature in RANKER_FEATURES]
    described = json.loads((trained / "columns.json").read_text())
    assert [column["name"] for column in described["columns"]] == names
    for name, headings in (
        ("feature_importance", ["column", "importance"]),
        ("shap_summary", ["column", "mean_abs_shap", "mean_shap"]),
    ):
        with open(trained / f"{name}.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == headings
        assert sorted(row[0] for row in rows[1:]) == sorted(names)
        values = [float(row[1]) for row in rows[1:]]
        assert values == sorted(values, reverse=True)
        assert values[0] > 0
        assert (trained / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    model = catboost.CatBoost()
    model.load_model(str(trained / "model.cbm"))
    assert model.feature_names_ == names
    found = json.loads((trained / "model.json").read_text())
    assert "oblivious_trees" in found
    assert [f["feature_id"] for f in found["features_info"]["categorical_features"]] == CATEGORIES


def test_shap_values_and_scores_are_the_models(trained: pathlib.Path, synthetic_run: Ran) -> None:
    ranker = trained_ranker.load(str(trained.parent.parent))
    rows = rows_of(synthetic_run, "val")
    pd.testing.assert_frame_equal(ranker.rows("val").data, rows.data)
    trees = ranker.model.predict(pool(rows), prediction_type="RawFormulaVal")
    raw = trees + logistic.load(trained, "train again")(rows.data)
    described = json.loads((trained / "calibration.json").read_text())
    assert described["method"] in ("platt", "isotonic")
    assert ranker.scores(rows) == pytest.approx(calibrated(described, raw), rel=1e-12)
    explained = ranker.model.get_feature_importance(pool(rows), type="ShapValues").sum(axis=1)
    assert explained == pytest.approx(trees, abs=1e-6)


def test_shown_rows_are_those_that_were_not_drawn(of_any_ids: Ran) -> None:
    frame = of_any_ids.result["ranker_train"].pandas()
    rows = rows_of(of_any_ids, "train")
    expected = (frame.source != b"sampled").to_numpy()
    assert 0 < expected.sum() < len(frame)
    assert rows.keys["shown"].sum() == expected.sum()
    assert rows.keys["label"][~rows.keys["shown"]].max() == 0
    assert rows.keys["label"].sum() == frame.label.sum()


def test_rows_of_splits_stand_together_by_user_and_time(synthetic_run: Ran) -> None:
    parts = [rows_on_disk(synthetic_run, split) for split in ("train", "val", "test")]
    found = ranker_rows.together(parts)
    assert len(found) == sum(map(len, parts))
    keys = [found.keys[name] for name in ("video_id", "interaction_time", "user_id")]
    assert (np.lexsort(keys) == np.arange(len(found))).all()
    assert (found.data.dtypes == parts[0].data.dtypes).all()
    assert sorted(found.data.iloc[:, 0]) == sorted(value for part in parts for value in part.data.iloc[:, 0])


def test_calibration_is_shown_by_tenths_of_each_split(trained: pathlib.Path, synthetic_run: Ran) -> None:
    found = pd.read_csv(trained / "calibration.csv")
    ranker = trained_ranker.load(str(trained.parent.parent))
    assert set(found.split) == {"val", "test"}
    for split, part in found.groupby("split"):
        rows = rows_of(synthetic_run, str(split))
        scores, weights = ranker.scores(rows), rows.keys["weight"]
        assert part.rows.sum() == len(rows)
        assert part.mean_score.is_monotonic_increasing
        lowest = scores <= np.sort(scores)[part.rows.iloc[0] - 1]
        assert part.rows.iloc[0] == lowest.sum()
        assert part.mean_score.iloc[0] == pytest.approx(np.average(scores[lowest], weights=weights[lowest]))
        labels = rows.keys["label"][lowest]
        assert part.positive_share.iloc[0] == pytest.approx(np.average(labels, weights=weights[lowest]))
    assert (trained / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_it_beats_a_constant_and_its_metrics_are_of_these_rows(trained: pathlib.Path, synthetic_run: Ran) -> None:
    metrics, ranker = metrics_of(trained), trained_ranker.load(str(trained.parent.parent))
    for split in ("val", "test"):
        others = {"item + user means", "likes so far", "recent popularity", "popularity", "constant"}
        assert set(metrics[split]) == {"ranker", *others}
        rows = rows_of(synthetic_run, split)
        scores, labels, shown = ranker.scores(rows), rows.keys["label"], rows.keys["shown"]
        parts = {"all": np.ones(len(rows), bool), "shown": shown, "sampled": ~shown | (labels == 1)}
        for part, chosen in parts.items():
            auc = ranking_metrics.auc(labels[chosen], scores[chosen])
            assert metrics[split]["ranker"][part]["auc"]["value"] == (None if np.isnan(auc) else pytest.approx(auc))
        own, constant = (metrics[split][name]["all"] for name in ("ranker", "constant"))
        assert own["auc"]["value"] > 0.55
        assert constant["auc"]["value"] == 0.5
    val = metrics["val"]
    assert val["ranker"]["all"]["log loss"]["value"] < val["constant"]["all"]["log loss"]["value"]
    rows, training = (synthetic_run.result[f"ranker_{split}"].pandas() for split in ("test", "train"))
    p = np.average(training["label"], weights=training["weight"])
    constant = metrics["test"]["constant"]["all"]
    assert constant["calibration"]["value"] == pytest.approx(p / np.average(rows["label"], weights=rows["weight"]))
    losses = -np.log(np.where(rows["label"] == 1, p, 1 - p))
    assert constant["log loss"]["value"] == pytest.approx(np.average(losses, weights=rows["weight"]))


@pytest.mark.slow
def test_a_ranking_objective_has_no_probabilities(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    out, config = output_of(synthetic_run, tmp_path, "yetirank")
    metrics = train(out, config).metrics
    own = metrics["test"]["ranker"]["all"]
    assert own["log loss"]["value"] is None
    assert own["auc per user"]["value"] > 0.55
    assert metrics["calibration"] == {}
    assert not list(pathlib.Path(out, "models/ranker").glob("calibration*"))
    assert trained_ranker.load(out).scores(rows_of(synthetic_run, "val")).min() < 0
    assert json.loads(pathlib.Path(out, "models/ranker/columns.json").read_text())["objective"] == "yetirank"


def test_the_same_seed_gives_the_same_model_also_when_resumed(
    trained: pathlib.Path, synthetic_run: Ran, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, config = output_of(synthetic_run, tmp_path, "classifier")
    monkeypatch.setattr(catboost_ranker, "_SNAPSHOT_SECONDS", 0)

    def interrupt(text: str) -> None:
        if text.startswith("progress: tree 20"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # which CatBoost wraps where it comes out of a callback
        train(out, config, say=interrupt)
    work = pathlib.Path(out, "models/ranker.training")
    assert (work / "checkpoints/snapshot").is_file()
    (record,) = (path for path in work.iterdir() if path.suffix == ".json" and "start" in path.read_text())
    begun = record.read_text()
    record.write_text(json.dumps({key: value for key, value in json.loads(begun).items() if key != "start"}))
    with pytest.raises(InputError, match="start again without --resume"):  # of a release whose trees start from 0
        train(out, config, resume=True)
    record.write_text(begun)
    assert not pathlib.Path(out, "models/ranker").exists()
    said: list[str] = []
    train(out, config, resume=True, say=said.append)
    trees = [int(text.split()[2].rstrip(",")) for text in said if text.startswith("progress: tree")]
    assert min(trees) > 10
    assert metrics_of(pathlib.Path(out, "models/ranker")) == metrics_of(trained)


@pytest.mark.slow
def test_a_refit_is_of_all_rows_and_keeps_the_figures_and_the_probability(
    trained: pathlib.Path, synthetic_run: Ran, tmp_path: pathlib.Path
) -> None:
    out, config = output_of(synthetic_run, tmp_path, "classifier")

    def interrupt(text: str) -> None:
        if texts and text.startswith("progress: tree 5"):
            raise KeyboardInterrupt
        texts.extend([text] if text == "Training again on all splits" else [])

    texts: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(out, config, say=interrupt, refit=True)
    with pytest.raises(InputError, match="other settings"):
        train(out, config, resume=True)
    said: list[str] = []
    found = train(out, config, resume=True, say=said.append, refit=True)
    begun = said.index("Training again on all splits")
    assert not [text for text in said[:begun] if text.startswith("progress")]  # the judged model is not trained again
    folder = pathlib.Path(out, "models/ranker")
    refit, before = metrics_of(folder), metrics_of(trained)
    parts = [rows_on_disk(synthetic_run, split) for split in ("train", "val", "test")]
    hidden = tastes.new_in(parts[1], parts[0], COLUMNS)
    _, rows = tastes.learned(ranker_rows.together(parts), COLUMNS, 0, hidden)
    trees = json.loads((trained / "metrics.json").read_text())["training"]["trees"]
    assert refit.pop("refit") == {"rows": len(rows), "splits": ["train", "val", "test"], "trees": trees}
    assert before.pop("refit") == {}
    assert refit == before
    assert (folder / "calibration.json").read_text() == (trained / "calibration.json").read_text()
    options = catboost_ranker.parameters(settings_for(out, config, None).ranker) | {"iterations": trees}
    alone = catboost.CatBoost(options | {"random_seed": 0, "logging_level": "Silent", "allow_writing_files": False})
    sampled = settings_for(out, config, None).ranker.sampled_weight
    started, _ = started_from(rows, sampled)
    expected = alone.fit(pool(started, sampled=sampled)).predict(pool(rows), prediction_type="RawFormulaVal")
    model = trained_ranker.load(out).model
    np.testing.assert_array_equal(model.predict(pool(rows), prediction_type="RawFormulaVal"), expected)
    assert any("Refitted on all" in str(line) for line in found.report())
    assert not (folder / ranker_training.JUDGED).exists()


def test_sampled_negatives_weigh_less_where_others_were_shown(synthetic_run: Ran) -> None:
    rows = rows_of(synthetic_run, "train")
    shown, weights = rows.keys["shown"], rows.keys["weight"]
    found = np.array(pool(rows, sampled=0.25).get_weight())
    np.testing.assert_array_equal(found[shown], weights[shown])
    np.testing.assert_array_equal(found[~shown], weights[~shown] * np.float32(0.25))
    assert (~shown).sum() > 10
    alone = rows.take(~shown | (rows.keys["label"] == 1))
    np.testing.assert_array_equal(pool(alone, sampled=0.25).get_weight(), alone.keys["weight"])


def test_the_fewer_negatives_were_shown_the_more_sampled_ones_weigh() -> None:
    labels, shown = np.repeat([1, 0, 0], [40, 2, 10]), np.repeat([True, True, False], [40, 2, 10])
    keys = {"label": labels, "weight": np.full(52, 2, np.float32), "shown": shown}
    found = ranker_rows.RankerRows(keys, pd.DataFrame(index=range(52))).weights(0.2)
    np.testing.assert_allclose(found, np.where(shown, 2, 2 * 0.6), rtol=1e-6)  # 2 of the 4 that would be enough


@pytest.mark.slow
def test_the_weight_of_sampled_negatives_is_of_training_and_not_of_the_probability(
    synthetic_run: Ran, tmp_path: pathlib.Path
) -> None:
    out, config = output_of(synthetic_run, tmp_path, "classifier")
    pathlib.Path(config).write_text(QUICK.replace("OBJECTIVE", "classifier, sampled_weight: 0.1"))
    metrics = train(out, config).metrics
    assert metrics["val"]["ranker"]["all"]["calibration"]["value"] == pytest.approx(1, abs=0.05)
    options = catboost_ranker.parameters(settings_for(out, config, None).ranker)
    alone = catboost.CatBoost(options | {"random_seed": 0, "logging_level": "Silent", "allow_writing_files": False})
    parts = {split: rows_of(synthetic_run, split) for split in ("train", "val")}
    _, start = started_from(parts["train"], 0.1)
    pools = {split: pool(started(part, start), sampled=0.1) for split, part in parts.items()}
    alone.fit(pools["train"], eval_set=pools["val"], use_best_model=True, early_stopping_rounds=30)
    expected = alone.predict(pool(parts["val"]), prediction_type="RawFormulaVal") + start(parts["val"].data)
    found = trained_ranker.load(out).fitted.raw_scores(parts["val"])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_split_without_rows_or_of_one_label_is_an_error(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    out, config = output_of(synthetic_run, tmp_path, "classifier")
    for file in pathlib.Path(out, "processed_data/ranker/val").glob("part-*"):
        file.unlink()
    with pytest.raises(InputError, match="ranker/val: the val split is empty"):
        train(out, config)
    assert not pathlib.Path(out, "models").exists()


def test_one_label_alone_is_an_error() -> None:
    rows = ranker_rows.RankerRows({"label": np.ones(5, np.int64)}, pd.DataFrame({"x": range(5)}))
    with pytest.raises(InputError, match="all 5 rows of the train split have the label 1"):
        ranker_training._check(rows, "out", "train")
