"""Training the two-tower model: what stands beside it, what it learns, and what a new feature becomes."""

import dataclasses
import itertools
import json
import pathlib
import shutil

import keras
import keras_rs
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Ran
from ordered_ids import number_of

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import CANDIDATE, QUERY
from recsys_tft.retrieval import baseline_choice, retrieval_baselines, retrieval_evaluation, two_tower
from recsys_tft.retrieval.history_encoders import ENCODERS
from recsys_tft.retrieval.two_tower import TwoTower, load
from recsys_tft.retrieval.two_tower_fit import Fit
from recsys_tft.retrieval.two_tower_rows import KEYS, TwoTowerRows
from recsys_tft.retrieval.two_tower_training import train
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.training import training_rows
from recsys_tft.training.model_folders import settings_for

QUICK = "two_tower: {epochs: 3, batch_size: 256, patience: 5, negatives: mixed, uniform_negatives: 64}\n"


def output_of(ran: Ran, folder: pathlib.Path) -> pathlib.Path:
    """The output of a run without its models, at a place of its own."""
    shutil.copytree(ran.root, folder / "out", ignore=shutil.ignore_patterns("raw", "models*"))
    (folder / "config.yaml").write_text(QUICK)
    return folder / "out"


def metrics_of(out: pathlib.Path) -> dict:
    metrics = json.loads((out / "models/two_tower/metrics.json").read_text())
    for fitted in metrics["training"].values():
        for measured in ("seconds", "examples_per_second", "reading_seconds", "reading_share"):
            fitted.pop(measured, None)
    return metrics


@pytest.fixture(scope="module")
def trained(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An output with a model."""
    folder = tmp_path_factory.mktemp("two-tower")
    out = output_of(synthetic_run, folder)
    train(str(out), str(folder / "config.yaml"))
    return out


# --- Reading


def test_parquet_and_tfrecords_are_read_alike(of_any_ids: Ran, tmp_path: pathlib.Path) -> None:
    folder = of_any_ids.result["two_tower_train"]
    names = list(folder.feature_spec())
    expected = training_rows.columns(folder, names)
    types = {f.name: f.op.shape(Settings()) for f in DEFAULT.select(QUERY, CANDIDATE)}
    columns = {}
    for name, values in folder.pandas().items():
        kind = pa.array(np.zeros(0, expected[name].dtype)).type if expected[name].dtype != object else pa.binary()
        shape = types.get(name, ())
        nested = kind if shape == () else pa.list_(kind) if shape is None else pa.list_(kind, shape[0])
        nested = pa.string() if name == "user_id" and kind == pa.binary() else nested
        columns[name] = pa.array(list(values), nested)
    pq.write_table(pa.table(columns), tmp_path / "part-00000-of-00001.parquet")
    shutil.copy(pathlib.Path(folder.path) / "schema.pbtxt", tmp_path)
    found = training_rows.columns(DataFolder(str(tmp_path)), names)
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    coded = [training_rows.coded_columns(f, KEYS) for f in (folder, DataFolder(str(tmp_path)))]
    for name in KEYS:
        assert coded[0][name].dtype == np.int64
        np.testing.assert_array_equal(coded[0][name], coded[1][name], err_msg=name)
    pd.testing.assert_series_equal(folder.pandas()["user_id"], DataFolder(str(tmp_path)).pandas()["user_id"])
    for source in (folder, DataFolder(str(tmp_path))):
        keys = ["user_id", "interaction_time", "candidate_row"]
        batches = list(training_rows.batches(source, [*keys, "tags_tokens"], 100, 0, 10**6).as_numpy_iterator())
        assert {len(batch["user_id"]) for batch in batches} == {100}
        assert len(batches) == len(expected["user_id"]) // 100
        drawn = [tuple(row) for batch in batches for row in zip(*(batch[name] for name in keys), strict=True)]
        assert not set(drawn) - set(zip(*(expected[name] for name in keys), strict=True))
        assert drawn[:50] != list(zip(*(expected[name][:50] for name in keys), strict=True))


def test_ids_of_text_are_judged_as_the_integers_that_they_stand_for(synthetic_run: Ran, texts_run: Ran) -> None:
    found = []
    for ran in (synthetic_run, texts_run):
        rows = TwoTowerRows(str(ran.root), *two_tower.features_for(settings_for(str(ran.root), None, None)))
        video_ids = np.array([number_of(video) if ran is texts_run else video for video in rows.video_ids])
        counts = dict(zip(video_ids.tolist(), rows.counts.tolist(), strict=True))
        judged = rows.judgements("test", 10**6, 0)
        scores = rows.counts + video_ids / 1e6  # without ties
        ranked = retrieval_evaluation.rank(lambda users, s=scores: np.broadcast_to(s, (len(users), len(s))), judged, 0)
        relevant = sorted(np.diff(judged.relevant.indptr).tolist())
        found.append((counts, relevant, sorted(ranked.ranks.tolist()), int(judged.cold_users.sum())))
    assert found[0] == found[1]
    assert sum(found[0][1]) > len(found[0][1]) > 0


# --- Baselines


def test_baselines_have_the_options_that_are_best_on_val(synthetic_run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings_for(str(synthetic_run.root), None, None)
    rows = TwoTowerRows(str(synthetic_run.root), *two_tower.features_for(chosen))
    judged = rows.judgements("val", 10**6, 0)
    assert len(judged) > 10
    events = synthetic_run.result["two_tower_train"].pandas(), synthetic_run.result["two_tower_val"].pandas()
    first = events[1].groupby("user_id")["interaction_time"].min().reindex(judged.users).to_numpy()
    frame = pd.concat(events)
    moments = rows.moments("val", judged.users)
    np.testing.assert_array_equal(moments, first)

    def ndcg(scorer: retrieval_baselines.Scorer) -> float:
        return retrieval_evaluation.ndcg(retrieval_evaluation.rank(scorer, judged, 0), judged)

    past = frame["candidate_row"].to_numpy(), frame["interaction_time"].to_numpy()
    by_days = {
        days: ndcg(retrieval_baselines.recent_popularity(*past, first, rows.counts, days))
        for days in retrieval_baselines.RECENT_DAYS
    }
    by_l2 = {
        l2: ndcg(
            retrieval_baselines.ease(retrieval_baselines.ease_weights(rows.history(), l2), judged.seen, rows.counts)
        )
        for l2 in baseline_choice.L2
    }
    assert len(set(by_days.values())) > 1
    baselines = baseline_choice.Baselines(rows, 10**6, 0)
    best = {"recent popularity": {"days": max(by_days, key=by_days.get)}, "EASE": {"l2": max(by_l2, key=by_l2.get)}}
    assert baselines.described() == best
    scorers = baselines.scorers("val", judged)
    assert ndcg(scorers["recent popularity"]) == pytest.approx(max(by_days.values()))
    assert ndcg(scorers["EASE"]) == pytest.approx(max(by_l2.values()))
    monkeypatch.setattr(baseline_choice, "EASE_VIDEOS", rows.candidates)
    assert "EASE" not in baselines.scorers("val", judged)
    assert baselines.described().keys() == {"recent popularity"}


# --- Training


def test_a_model_of_ids_that_are_text_beats_chance(texts_run: Ran, tmp_path: pathlib.Path) -> None:
    out = output_of(texts_run, tmp_path)
    train(str(out), str(tmp_path / "config.yaml"))
    model = two_tower.load(str(out))
    assert number_of(two_tower_rows(out, model).video_ids[0]) > 0
    of_test = {name: values["all"]["recall@100"]["value"] for name, values in metrics_of(out)["test"].items()}
    assert of_test["two_tower"] > 1.5 * of_test["random"]


def test_the_loaded_model_scores_as_the_trained_one_did(trained: pathlib.Path) -> None:
    model = two_tower.load(str(trained))
    described = json.loads((trained / "models/two_tower/model.json").read_text())
    assert described["categories"] == {
        name: size
        for name, size in json.loads((trained / "artifacts/manifest.json").read_text())["categories"].items()
        if name in described["categories"]
    }
    rows = two_tower_rows(trained, model)
    judged = rows.judgements("test", 10_000, 0)
    queries = rows.queries("test", judged.users)
    query = model.query({name: tf.constant(values) for name, values in queries.items()}).numpy()
    candidate = model.candidate({name: tf.constant(values) for name, values in rows.videos.items()}).numpy()
    scores = query @ candidate.T
    # A processor may sum in another order: a video that is as good as tied with another may then be the better one.
    apart = 4 * np.finfo(np.float32).eps * (np.abs(query) @ np.abs(candidate).T) * judged.relevant.toarray()
    least, most = (
        retrieval_evaluation.ndcg(retrieval_evaluation.rank(lambda users, s=moved: s[users], judged, 0), judged)
        for moved in (scores - apart, scores + apart)
    )
    expected = metrics_of(trained)["test"]["two_tower"]["all"]["ndcg@10"]["value"]
    assert least - 1e-6 <= expected <= most + 1e-6
    assert most - least < 1e-3


def test_the_loaded_model_has_the_weights_of_the_best_epoch(trained: pathlib.Path) -> None:
    with np.load(trained / "models/two_tower/checkpoints/best.npz") as best:
        for number, variable in enumerate(two_tower.load(str(trained)).variables()):
            np.testing.assert_array_equal(best[f"v{number}"], np.asarray(variable))


def two_tower_rows(out: pathlib.Path, model: TwoTower) -> TwoTowerRows:
    return TwoTowerRows(str(out), model.query_features, model.candidate_features)


def test_a_trained_model_has_no_vector_as_it_was_drawn(trained: pathlib.Path, synthetic_run: Ran) -> None:
    model, mended = load(str(trained)), 0
    frame = synthetic_run.result["two_tower_train"].pandas()
    for name, table in model.tables().items():
        own = [f for f in (*model.query_features, *model.candidate_features) if f.embedding_table == name]
        if own[0].vocabulary is None:
            continue
        first = 1 + model.settings.vocabulary(name).n_oov  # of the vocabulary; before it 0, missing, and unseen values
        shown = {int(token) for f in own for value in frame[f.name] for token in np.atleast_1d(value)}
        vectors = np.array(table.embeddings)
        for token in set(range(first, len(vectors))) - shown:
            np.testing.assert_allclose(vectors[token], vectors[1:first].mean(axis=0), atol=1e-6, err_msg=name)
            mended += 1
    assert mended > 0


def test_metrics_stand_beside_their_baselines(trained: pathlib.Path) -> None:
    metrics = metrics_of(trained)
    for split in ("val", "test"):
        baselines = {"item-kNN", "EASE", "recent popularity", "popularity", "random"}
        assert set(metrics[split]) == {"two_tower", *baselines}  # this run has no titles
        for values in metrics[split].values():
            slices = {"all", "warm users", "cold users", "cold videos", "warm alone"}
            groups = {"by history length", "by popularity"}
            assert slices | groups | {"coverage"} == set(values)
    assert metrics["baselines"].keys() == {"EASE", "recent popularity"}
    assert list((trained / "models/two_tower/logs").glob("events.out.tfevents.*"))
    assert not (trained / "models/two_tower.training").exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_metrics_also_when_resumed(
    trained: pathlib.Path, synthetic_run: Ran, tmp_path: pathlib.Path
) -> None:
    out = output_of(synthetic_run, tmp_path)

    def interrupt(text: str) -> None:
        if text.startswith("Epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(str(out), str(tmp_path / "config.yaml"), say=interrupt)
    assert not (out / "models/two_tower").exists()
    with pytest.raises(InputError, match="had other settings or rows"):
        train(str(out), str(tmp_path / "config.yaml"), seed=5, resume=True)
    said: list[str] = []
    train(str(out), str(tmp_path / "config.yaml"), resume=True, say=said.append)
    assert "Resuming after epoch 1" in said
    assert metrics_of(out) == metrics_of(trained)


def test_a_model_is_replaced_only_with_overwrite(trained: pathlib.Path) -> None:
    with pytest.raises(InputError, match="--overwrite"):
        train(str(trained))


def test_nothing_to_resume_is_an_error(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="no interrupted training to resume"):
        train(str(output_of(synthetic_run, tmp_path)), resume=True)


def test_settings_that_the_rows_were_made_by_cannot_change(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "other.yaml"
    config.write_text("labels: {positive: {like: 1.0}}\n")
    with pytest.raises(InputError, match=r"labels.positive is .* the rows were made with"):
        train(str(trained), str(config), overwrite=True)
    config.write_text("ranker: {negative_sample_ratio: 9}\n")
    with pytest.raises(InputError, match=r"ranker.negative_sample_ratio is 9"):
        train(str(trained), str(config), overwrite=True)


def test_without_a_run_there_is_nothing_to_train_on(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="run the main job first"):
        train(str(tmp_path))
    with pytest.raises(InputError, match="train it first"):
        two_tower.load(str(tmp_path))


# --- Known answers


def tables_of(rows: list[tuple[int, int, int]], folder: pathlib.Path) -> None:
    """Raw tables of (user, video, day) likes."""
    users, videos, days = map(list, zip(*rows, strict=True))
    folder.mkdir()
    pq.write_table(pa.table({"user_id": pa.array(sorted(set(users)), pa.int64())}), folder / "users.parquet")
    pq.write_table(pa.table({"video_id": pa.array(sorted(set(videos)), pa.int64())}), folder / "videos.parquet")
    pq.write_table(pa.table({"channel_id": pa.array([], pa.int64())}), folder / "channels.parquet")
    times = pa.array([1_700_000_000_000_000 + day * 86_400_000_000 for day in days], pa.timestamp("us", "UTC"))
    events = {
        "user_id": pa.array(users, pa.int64()),
        "video_id": pa.array(videos, pa.int64()),
        "interaction_time": times,
        "interaction_type": ["like"] * len(rows),
    }
    pq.write_table(pa.table(events), folder / "interactions.parquet")


def run_on(rows: list[tuple[int, int, int]], folder: pathlib.Path, config: str) -> pathlib.Path:
    tables_of(rows, folder / "raw")
    (folder / "config.yaml").write_text(f"title_encoder: none\n{config}")
    pipeline = ProcessingPipeline(PipelineConfig(output_dir=str(folder / "out"), config=str(folder / "config.yaml")))
    pipeline.run(str(folder / "raw"))
    return folder / "out"


@pytest.mark.slow
def test_on_a_checkerboard_the_held_out_half_is_ranked_first(tmp_path: pathlib.Path) -> None:
    rng, rows, held_out = np.random.default_rng(0), [], 10
    for user in range(1, 81):
        liked = rng.permutation([video for video in range(1, 41) if (user + video) % 2 == 0])
        days = itertools.chain(range(8), range(20, 22), range(30, 30 + held_out))
        rows += [(user, int(video), day) for video, day in zip(liked, days, strict=True)]
    cuts = "split: {val_from: 2023-12-01, test_from: 2023-12-12}\n"
    options = "two_tower: {batch_size: 64, epochs: 30, patience: 8, dim: 16, learning_rate: 0.01}\n"
    out = run_on(rows, tmp_path, cuts + options)
    train(str(out))
    model = two_tower.load(str(out))
    data = two_tower_rows(out, model)
    judged = data.judgements("test", 1000, 0)
    assert np.diff(judged.relevant.indptr).tolist() == [held_out] * 80
    queries = data.queries("test", judged.users)
    query = model.query({name: tf.constant(values) for name, values in queries.items()}).numpy()
    candidate = model.candidate({name: tf.constant(values) for name, values in data.videos.items()}).numpy()
    scores = np.where(judged.seen.toarray() > 0, -np.inf, query @ candidate.T)
    first = np.argsort(-scores, axis=1)[:, :held_out]
    recall = np.take_along_axis(judged.relevant.toarray(), first, axis=1).sum() / judged.relevant.sum()
    assert recall >= 0.95


def first_hits(out: pathlib.Path, kind: str, patience: int) -> float:
    """Of test users, the share to whom a video of the class that comes next is shown first."""
    options = {"history_encoder": kind, "patience": patience}
    chosen = settings_for(str(out), None, None).replace({"two_tower": options})
    rows = TwoTowerRows(str(out), *two_tower.features_for(chosen))
    keras.utils.set_random_seed(0)
    fit = Fit(TwoTower(rows.query, rows.candidate, rows.categories, {}, chosen), rows, out / kind, lambda _: None)
    fit.run()
    judged = rows.judgements("test", 1000, 0)
    assert len(judged) == 120
    scores = np.where(
        judged.seen.toarray() > 0, -np.inf, fit.scorer(rows.queries("test", judged.users))(np.arange(120))
    )
    shown = rows.video_ids[scores.argmax(axis=1)]
    return float((shown % 4 == judged.users % 4).mean())


@pytest.mark.slow
def test_what_follows_from_the_last_video_is_found_by_all_but_the_bag(tmp_path: pathlib.Path) -> None:
    """Classes of videos follow each other in a ring, so that after whole rounds only the last one tells the next."""
    rng, rows = np.random.default_rng(0), []
    for user in range(1, 121):
        own = [rng.permutation(np.arange(1, 41)[np.arange(1, 41) % 4 == place]) for place in range(4)]
        steps = [(user + step) % 4 for step in range(24)]
        videos = [int(own[place][step // 4]) for step, place in enumerate(steps)]
        rows += [(user, video, step) for step, video in enumerate(videos[:21])]
    cuts = "split: {val_from: 2023-11-30T22:13:20, test_from: 2023-12-04T22:13:20}\n"
    # Two whole rounds are remembered. What takes longest stops when it has learned it; the bag is given all epochs.
    options = "history: {length: 8}\ntwo_tower: {batch_size: 64, epochs: 40, history_dropout: 0.0}\n"
    out = run_on(rows, tmp_path, cuts + options)
    patience = {"bag": 40, "weighted": 40}
    found = {kind: first_hits(out, kind, patience.get(kind, 6)) for kind in ("bag", *ENCODERS)}
    assert found.pop("bag") < 0.6
    assert min(found.values()) > 0.9, found


def test_too_few_videos_or_an_empty_split_are_errors(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    out = output_of(synthetic_run, tmp_path)
    train_folder = out / "processed_data/two_tower/train"
    column = training_rows.columns(DataFolder(str(train_folder)), ["candidate_row"])["candidate_row"]
    records = np.array(list(tf.data.TFRecordDataset(DataFolder(str(train_folder)).files).as_numpy_iterator()), object)
    kept = records[column == np.bincount(column).argmax()]
    first, *others = train_folder.glob("part-*")
    for file in others:
        file.unlink()
    with tf.io.TFRecordWriter(str(first)) as writer:
        for record in kept:
            writer.write(record)
    message = f"vocabulary of videos is too small: all {len(kept)} training rows are of one video"
    with pytest.raises(InputError, match=message):
        train(str(out))
    for file in (out / "processed_data/two_tower/val").glob("part-*"):
        file.unlink()
    with pytest.raises(InputError, match="two_tower/val: the val split is empty"):
        train(str(out))
    assert not (out / "models").exists()


def test_keras_runs_on_tensorflow() -> None:
    assert keras.backend.backend() == "tensorflow"


def test_the_layer_of_keras_rs_still_masks_nothing() -> None:
    """Should this fail after an upgrade: use the layer, and delete docs/decisions/0004."""
    logits = keras_rs.layers.RemoveAccidentalHits()(
        tf.zeros([1, 3]), tf.constant([[1.0, 0, 0]]), tf.constant([7, 7, 9])
    )
    assert logits.numpy().tolist() == [[0, 0, 0]]


@pytest.mark.slow
def test_a_refit_is_of_all_rows_for_as_many_epochs_and_keeps_the_figures(
    trained: pathlib.Path, synthetic_run: Ran, tmp_path: pathlib.Path
) -> None:
    out, config = output_of(synthetic_run, tmp_path), str(tmp_path / "config.yaml")
    texts: list[str] = []

    def interrupt(text: str) -> None:
        texts.append(text)
        if "Training again on all splits" in texts and text.startswith("Epoch 1 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(str(out), config, say=interrupt, refit=True)
    said: list[str] = []
    found = train(str(out), config, resume=True, say=said.append, refit=True)
    begun = said.index("Training again on all splits")
    assert not [text for text in said[:begun] if text.startswith("Epoch")]
    before, after = metrics_of(trained), metrics_of(out)
    epochs = before["training"]["two_tower"]["best_epoch"]
    frames = [synthetic_run.result[f"two_tower_{split}"].pandas() for split in ("train", "val", "test")]
    expected = {"rows": sum(map(len, frames)), "splits": ["train", "val", "test"], "epochs": epochs}
    assert after.pop("refit") == expected
    assert before.pop("refit") == {}
    of_both = {name: after["test"].pop(f"{name} of train and val") for name in ("two_tower", "item-kNN", "EASE")}
    assert after == before
    assert all(values["all"] != after["test"][name]["all"] for name, values in of_both.items())
    assert any("'of train and val'" in str(line) for line in found.report())
    weights = [load(str(folder)).query_tower.get_weights() for folder in (trained, out)]
    assert any((one != other).any() for one, other in zip(*weights, strict=True))
    assert any("Refitted on all" in str(line) for line in found.report())
    model = load(str(out))
    rows = dataclasses.replace(two_tower_rows(out, model), fitted=("train", "val", "test"))
    every = np.concatenate([frame["candidate_row"] for frame in frames])
    np.testing.assert_array_equal(rows.counts, np.bincount(every, minlength=rows.candidates))
    batches = rows.shuffled(10**6).batches(1, 0)
    assert sorted(int(batch["candidate_row"][0]) for batch in batches) == sorted(every)
