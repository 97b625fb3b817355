"""What every kind of ranker must do: each of the kinds has to pass, trees and the neural network alike."""

import csv
import json
import pathlib
import shutil
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from conftest import Ran, once
from ranker_outputs import metrics_of, output_of, rows_of

from recsys_tft import Recommender
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.exporting import export
from recsys_tft.ranking import dcn_fit, ranker_kinds, ranking_metrics, trained_ranker, xgboost_ranker
from recsys_tft.ranking.dcn import Dcn, DcnShape
from recsys_tft.ranking.ranker_interface import Task, values_of
from recsys_tft.ranking.ranker_rows import SHOWN, RankerRows
from recsys_tft.ranking.ranker_training import JUDGED, train
from recsys_tft.recommending import explanations
from recsys_tft.recommending.request import Wanted
from recsys_tft.serving.saved_signatures import CONTRIBUTIONS
from recsys_tft.training.model_folders import ModelFolder

KINDS = tuple(ranker_kinds.KINDS)
NEW = tuple(kind for kind in KINDS if kind != "catboost")  # whose training tests/test_ranker.py looks at
QUICK = """
ranker: {model: MODEL, iterations: 12, depth: 3, shap_rows: 60, dcn: {epochs: 6, hidden: [8], learning_rate: 0.01}}
"""


def config_of(kind: str, folder: pathlib.Path) -> str:
    (folder / "kind.yaml").write_text(QUICK.replace("MODEL", kind))
    return str(folder / "kind.yaml")


def output_with(kind: str, ran: Ran, factory: pytest.TempPathFactory) -> pathlib.Path:
    """An output with a ranker of a kind, which is trained once."""

    def make(folder: pathlib.Path) -> pathlib.Path:
        out, _ = output_of(ran, folder, "classifier")
        train(out, config_of(kind, folder))
        return pathlib.Path(out)

    return once(factory, f"ranker-{kind}", make)


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """A kind, and the output with a ranker of it."""
    return request.param, output_with(request.param, synthetic_run, tmp_path_factory)


# --- What is trained


def test_it_is_judged_by_its_scores_of_the_rows_beside_the_baselines(trained: tuple, synthetic_run: Ran) -> None:
    kind, out = trained
    ranker, metrics = trained_ranker.load(str(out)), json.loads((out / "models/ranker/metrics.json").read_text())
    assert metrics["training"]["model"] == kind
    unit = ranker_kinds.of(kind).unit
    assert 1 <= metrics["training"][unit] == ranker.fitted.rounds <= metrics["training"]["iterations"]
    for split in ("val", "test"):
        rows = rows_of(synthetic_run, split)
        scores, labels = ranker.scores(rows), rows.keys["label"]
        assert ((scores > 0) & (scores < 1)).all()
        found = metrics[split]["ranker"]["all"]
        assert found["auc"]["value"] == pytest.approx(ranking_metrics.auc(labels, scores))
        assert found["auc"]["value"] > 0.52
        assert {"popularity", "constant", "likes so far"} < set(metrics[split])
    assert metrics["val"]["ranker"]["all"]["calibration"]["value"] == pytest.approx(1, abs=0.05)
    assert metrics["calibration"]["method"] in ("platt", "isotonic")


def test_it_stands_with_all_that_explains_it(trained: tuple, synthetic_run: Ran) -> None:
    kind, out = trained
    folder, of = out / "models/ranker", ranker_kinds.of(kind)
    described = json.loads((folder / "columns.json").read_text())
    assert described["model"] == kind
    names = [column["name"] for column in described["columns"]]
    file, heading, _ = of.summary
    for name, first in (("feature_importance", "importance"), (file, f"mean_abs_{heading}")):
        with open(folder / f"{name}.csv", newline="") as text:
            headings, *rows = csv.reader(text)
        assert headings[:2] == ["column", first]
        assert sorted(row[0] for row in rows) == sorted(names)
        assert float(rows[0][1]) > 0
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name in (*of.files, "calibration.json", "calibration.csv"):
        assert (folder / name).is_file()
    assert set(of.explained_by) <= set(of.files)
    assert not (folder / JUDGED).exists()


def test_contributions_add_up_to_the_raw_score(trained: tuple, synthetic_run: Ran) -> None:
    kind, out = trained
    rows = rows_of(synthetic_run, "val").sample(300, 0)
    fitted = trained_ranker.load(str(out)).fitted
    raw, found = fitted.raw_scores(rows), fitted.contributions(rows.data)
    assert found.shape == rows.data.shape
    rest = raw - found.sum(axis=1)  # what a row without contributions has
    assert np.std(raw) > 0.05
    assert np.std(rest) < (0.02 * np.std(raw) if kind == "dcn" else 1e-5)  # gradients are taken at some points alone


def test_a_graph_of_it_scores_as_it_does(trained: tuple, synthetic_run: Ran) -> None:
    kind, out = trained
    rows = rows_of(synthetic_run, "test")
    sizes = [len(c.cat.categories) if hasattr(c, "cat") else None for _, c in rows.data.items()]
    ranker = trained_ranker.load(str(out))
    served = ranker_kinds.of(kind).served(ModelFolder(str(out), "ranker"), sizes)
    numeric, tokens = (
        np.stack([values_of(rows.data.iloc[:, number]) for number in numbers]).astype(dtype)
        for numbers, dtype in ((served.numeric, np.float32), (served.categorical, np.int64))
    )
    assert sorted((*served.numeric, *served.categorical)) == list(range(rows.data.shape[1]))
    found = tf.function(served.scores.__call__)(numeric, tokens)
    np.testing.assert_allclose(found, ranker.fitted.raw_scores(rows), rtol=0, atol=1e-6)
    assert served.is_probability
    if served.contributions is not None:
        few = served.contributions(numeric[:, :50], tokens[:, :50])
        np.testing.assert_allclose(few, ranker.fitted.contributions(rows.data.iloc[:50]), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEW)
def test_the_same_seed_gives_the_same_model_also_when_resumed(
    kind: str, synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xgboost_ranker, "_CHECKPOINT_SECONDS", 0)
    whole, tmp_path = output_with(kind, synthetic_run, tmp_path_factory), tmp_path_factory.mktemp("resumed")
    outs = [str(whole), output_of(synthetic_run, tmp_path, "classifier")[0]]
    config, said = config_of(kind, tmp_path), []

    def interrupt(text: str) -> None:
        if text.startswith(("progress: tree 7", "Epoch 2:")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(outs[1], config, say=interrupt)
    train(outs[1], config, say=said.append, resume=True)
    assert not [text for text in said if text.startswith(("progress: tree 5,", "Epoch 1:"))]
    assert [text for text in said if text.startswith(("progress: tree 9,", "Epoch 3:"))]
    scores = [trained_ranker.load(out).scores(rows_of(synthetic_run, "test")).tolist() for out in outs]
    assert scores[0] == scores[1]
    metrics = [metrics_of(pathlib.Path(out, "models/ranker")) for out in outs]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEW)
def test_a_refit_keeps_the_figures_and_learns_from_all_rows(
    kind: str, synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory, tmp_path: pathlib.Path
) -> None:
    whole = output_with(kind, synthetic_run, tmp_path_factory)
    out = str(shutil.copytree(whole, tmp_path / "out", symlinks=True))
    config, folder = config_of(kind, tmp_path), pathlib.Path(out, "models/ranker")
    before, scores = metrics_of(folder), trained_ranker.load(out).scores(rows_of(synthetic_run, "test"))
    report = train(out, config, refit=True, overwrite=True).report()
    refit, unit = metrics_of(folder), ranker_kinds.of(kind).unit
    rows = sum(len(rows_of(synthetic_run, split)) for split in ("train", "val", "test"))
    rounds = trained_ranker.load(out).fitted.rounds
    assert refit.pop("refit") == {"rows": rows, "splits": ["train", "val", "test"], unit: rounds}
    assert before.pop("refit") == {}
    assert refit == before
    assert not np.allclose(trained_ranker.load(out).scores(rows_of(synthetic_run, "test")), scores)
    assert any("Refitted on all" in str(line) for line in report)
    assert not (folder / JUDGED).exists()


# --- What is served


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEW)
def test_it_is_exported_recommends_and_explains(kind: str, served: pathlib.Path, tmp_path: pathlib.Path) -> None:
    root = tmp_path / "out"
    shutil.copytree(served, root, symlinks=True)
    train(str(root), config_of(kind, tmp_path), overwrite=True)
    version = export.export(str(root)).version
    recommender = Recommender(str(root))
    assert recommender.version == version
    found = recommender.recommend(3, 5, time=1_740_000_000_000_000).items
    assert len(found) == 5
    wanted = [Wanted(recommender.request(user, 1_740_000_000_000_000), 5) for user in (1, 3, None)]
    together = [each.items for each in recommender.recommend_each(wanted)]
    assert together == [recommender.recommend_each([each])[0].items for each in wanted]  # to the last bit
    assert together[1] == found
    videos = [item.video_id for item in found]
    reasons = recommender.explain(3, videos, 1_740_000_000_000_000)
    assert [len({name for name, _ in of_video}) for of_video in reasons] == [len(reasons[0])] * 5
    ranker, sums = trained_ranker.load(str(root)), np.array([sum(value for _, value in row) for row in reasons])
    grid = np.linspace(-30, 30, 300_001)
    raw = np.interp([item.rank_score for item in found], ranker.calibration(grid), grid)
    assert np.ptp(raw) > 0.01
    assert np.ptp(raw - sums) < 0.1 * np.ptp(raw)  # what contributions leave is the same for every row
    described = json.loads((root / "serving/ranker" / str(version) / "assets.extra/columns.json").read_text())
    assert described["model"] == kind
    signatures = recommender._models["ranker"].signatures
    assert (CONTRIBUTIONS in signatures) == (kind == "dcn")
    kinds = {np.dtype(object): pa.string(), np.dtype(np.float32): pa.float32(), np.dtype(np.int64): pa.int64()}
    asked = signatures["serving_default"].inputs.items()
    wild = {name: pa.nulls(4, kinds[slot.dtype]) for name, slot in asked if slot.rank == 1}
    assert np.isfinite(recommender._ask("ranker", wild)["score"]).all()  # of rows in which everything is missing


# --- What is refused


def test_yetirank_is_catboosts() -> None:
    sentence = r"ranker has the objective yetirank, which is catboost's, and the model dcn"
    with pytest.raises(InputError, match=sentence):
        settings.parse({"ranker": {"model": "dcn", "objective": "yetirank"}}, "the options")


def test_a_kind_that_is_not_known_is_one_sentence() -> None:
    with pytest.raises(InputError, match="of the kind 'lightgbm'; known are catboost, xgboost, dcn"):
        trained_ranker.kind_of({"model": "lightgbm"})
    assert trained_ranker.kind_of({}).files[:2] == ("model.cbm", "model.json")  # of an earlier version


def test_without_xgboost_a_sentence_says_how_to_install_it(
    synthetic_run: Ran, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = output_of(synthetic_run, tmp_path, "classifier")
    monkeypatch.setitem(sys.modules, "xgboost", None)
    said: list[str] = []
    with pytest.raises(InputError, match=r"^xgboost is not installed: run `pip install 'recsys_tft\[xgboost\]'`\.$"):
        train(out, config_of("xgboost", tmp_path), say=said.append)
    assert said == []


def test_without_xgboost_an_export_of_it_does_not_explain(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    (tmp_path / "columns.json").write_text('{"model": "xgboost", "columns": []}')
    with pytest.raises(InputError, match=r"xgboost is not installed: run `pip install 'recsys_tft\[xgboost\]'`"):
        explanations.Explainer(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_model_is_one_sentence(kind: str, tmp_path: pathlib.Path) -> None:
    of = ranker_kinds.of(kind)
    for data in (b"", b"[1]", b"\xff\xfe\x00"):
        for name in of.files:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=r"damaged|misses|lacks|expected") as caught:
            of.load(tmp_path, "train it again")
        assert "train it again" in str(caught.value)


# --- The neural network


def random_rows(rows: int, seed: int = 0, **keys: np.ndarray) -> RankerRows:
    random = np.random.default_rng(seed)
    a, x = random.integers(0, 5, rows), random.normal(size=rows).astype(np.float32)
    label = ((a % 2 == 0) ^ (x > 0)).astype(np.int64)
    data = {"a": pd.Categorical.from_codes(a, np.arange(8)), "x": x, "same": np.ones(rows, np.float32)}
    found = {"user_id": np.arange(rows) // 9, "label": label, "weight": np.ones(rows, np.float32)}
    return RankerRows(found | {SHOWN: np.ones(rows, bool)} | keys, pd.DataFrame(data))


def network(**options: object) -> Dcn:
    chosen = Settings().ranker.dcn.model_copy(update=options)
    return Dcn(DcnShape((8, None, None), ("label",), chosen, 0))


def task(train: RankerRows, val: RankerRows | None, folder: pathlib.Path, **options: object) -> Task:
    chosen = Settings().replace({"ranker": {"model": "dcn", "dcn": options}})
    place = ModelFolder(str(folder), "ranker")
    place.begin(False, {})
    return Task(train, val, 30, chosen, place, lambda _: None)


@pytest.mark.slow
def test_crossed_columns_are_learned(tmp_path: pathlib.Path) -> None:
    """An exclusive or, of which neither column alone says anything."""
    fit = dcn_fit.Fit(task(random_rows(4000), random_rows(1000, 1), tmp_path, learning_rate=0.01, patience=30))
    fit.run()
    test = random_rows(1000, 2)
    assert ranking_metrics.auc(test.keys["label"], dcn_fit.raw_scores(fit.network, test.data)) > 0.95


@pytest.mark.slow
def test_the_kept_weights_are_those_of_the_best_epoch(tmp_path: pathlib.Path) -> None:
    given = task(random_rows(300), random_rows(200, 1), tmp_path, learning_rate=0.3, patience=4)
    said: list[str] = []
    fit = dcn_fit.Fit(Task(given.train, given.val, 30, given.settings, given.folder, said.append))
    state = fit.run()
    losses = [float(text.split()[-1]) for text in said]
    assert state.best_epoch == 1 + int(np.argmin(losses))
    assert fit._loss(given.val) == pytest.approx(min(losses), abs=1e-4)
    assert len(losses) == min(30, state.best_epoch + 4)


@pytest.mark.slow
def test_tokens_that_no_row_has_shown_say_nothing(tmp_path: pathlib.Path) -> None:
    fit = dcn_fit.Fit(task(random_rows(600), None, tmp_path))
    fit.run()
    tokens = (0, 5, 7, 8, -1, 2**40)
    known, *unseen = (fit.network(tf.zeros([1, 2]), tf.constant([[token]], tf.int64))[0, 0] for token in tokens)
    assert all(score == unseen[0] != known for score in unseen)


def test_hostile_numbers_have_finite_scores_and_a_missing_one_is_the_mean() -> None:
    model = network()
    model.prepare(np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, np.inf]], np.float32), 0.25)
    scores = {x: float(model(tf.constant([[x, 5.0]]), tf.constant([[1]]))[0, 0])
              for x in (np.nan, 2.0, np.inf, -np.inf, 3.4e38, 1e-45, -0.0)}  # fmt: skip
    assert np.isfinite(list(scores.values())).all()
    assert scores[np.nan] == scores[2.0]
    assert scores[np.inf] == scores[3.4e38] != scores[-np.inf]


@pytest.mark.slow
@pytest.mark.parametrize("names", [["a"], ["x", "same"]])
def test_columns_may_be_of_one_sort_alone(names: list[str], tmp_path: pathlib.Path) -> None:
    rows = random_rows(200)
    fit = dcn_fit.Fit(task(RankerRows(rows.keys, rows.data[names]), None, tmp_path))
    fit._epoch()
    assert np.isfinite(dcn_fit.raw_scores(fit.network, rows.data[names])).all()
    assert dcn_fit.contributions(fit.network, rows.data[names]).shape == (200, len(names))
    assert dcn_fit.raw_scores(fit.network, rows.data[names][:0]).shape == (0,)


@pytest.mark.slow
def test_the_second_head_learns_the_watch_share_where_rows_have_it(tmp_path: pathlib.Path) -> None:
    rows = random_rows(3000)
    shares = np.clip(rows.data["x"].to_numpy() / 4 + 0.5, 0, 1)
    shares[::3] = -1  # not known
    watched = random_rows(3000, watch_share=shares.astype(np.float32))
    fit = dcn_fit.Fit(task(watched, None, tmp_path, learning_rate=0.01))
    fit.run()
    assert fit.network.shape.heads == ("label", "watch_share")
    test = random_rows(500, 4)
    logits = fit.network(*dcn_fit.inputs_of(test.data)).numpy()
    assert logits.shape == (500, 2)
    assert np.corrcoef(logits[:, 1], test.data["x"])[0, 1] > 0.95
    assert ranking_metrics.auc(test.keys["label"], logits[:, 0]) > 0.9
    nothing = random_rows(300, watch_share=np.full(300, -1, np.float32))
    assert dcn_fit.Fit(task(nothing, None, tmp_path / "other")).network.shape.heads == ("label",)
