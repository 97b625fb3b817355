"""The exported SavedModels: what they compute, how they are asked, and what they carry."""

import json
import pathlib
import shutil
import subprocess
import sys

import catboost
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from odd_ids import text
from tensorflow.python.tools import saved_model_cli

from recsys_tft import ids
from recsys_tft.columns import STRING, Column, IdKind
from recsys_tft.configuration import settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.examples import examples
from recsys_tft.features import CANDIDATE, QUERY, RANKER, Entity, raw_columns
from recsys_tft.point_in_time import outcomes, recent
from recsys_tft.ranking import logistic, trained_ranker
from recsys_tft.raw_replay import raw_counters, raw_rows
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.retrieval import two_tower
from recsys_tft.run_layout import run_folders
from recsys_tft.serving import saved_graphs, serving_inputs, serving_models
from recsys_tft.serving.serving_folders import NAMES
from recsys_tft.serving.serving_rows import tensors
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.time_lookups import rows_at
from recsys_tft.training.training_rows import columns, folder_of

WORDS = [b"", b"US", b"music", b"en", b"no such value", b"\xff\xfe", "weiß|é".encode(), b"a\nb", b"mobile", b"HIGH"]
INTEGERS = [0, 1, 2, 7, 50, -3, 10**6, 2**62, -(2**62), 1_740_000_000_000_000]
FLOATS = [0.0, 0.25, 59.9, 60.0, 1e30, np.nan, 240.5]  # none that a run rejects, as of counts and times below


@pytest.fixture(scope="module")
def raw(served: pathlib.Path) -> RawRows:
    return raw_rows.read(str(served / "raw"), settings_of(served))


@pytest.fixture(scope="module")
def models(served: pathlib.Path) -> dict[str, object]:
    return {name: tf.saved_model.load(str(served / "serving" / name / "1")) for name in NAMES}


@pytest.fixture(scope="module")
def whole(served: pathlib.Path) -> saved_graphs.Transform:
    return saved_graphs.load_transform(str(served))


def settings_of(served: pathlib.Path) -> settings.Settings:
    return settings.parse(json.loads((served / "artifacts/manifest.json").read_text())["settings"], "manifest")


def specs(model: object, signature: str = "serving_default") -> dict[str, tf.TensorSpec]:
    return model.signatures[signature].structured_input_signature[1]


def wild(rows: int, seed: int = 0) -> pa.Table:
    """Raw rows of any values that a run takes, a third of them missing."""
    random = np.random.default_rng(seed)

    def values(wanted: Column, size: int) -> list:
        kind, (low, high) = wanted.graph_type, wanted.limits or (-np.inf, np.inf)
        integers = [number for number in INTEGERS if low <= number < high]
        known = WORDS if pa.types.is_string(kind) else FLOATS if pa.types.is_floating(kind) else integers
        return [None if random.random() < 0.3 else known[random.integers(len(known))] for _ in range(size)]

    def column(wanted: Column) -> pa.Array:
        stored = pa.binary() if pa.types.is_string(wanted.graph_type) else wanted.graph_type
        if wanted.is_list:
            lists = [values(wanted, random.integers(4)) if random.random() < 0.8 else None for _ in range(rows)]
            return pa.array([row and [value for value in row if value is not None] for row in lists], pa.list_(stored))
        return pa.array(values(wanted, rows), stored)

    return pa.table({c.name: column(c) for c in raw_columns(DEFAULT.features)})


# --- Features


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_the_table_computes_what_the_whole_graph_does_to_the_last_bit(
    served: pathlib.Path, whole: saved_graphs.Transform, name: str
) -> None:
    part = saved_graphs.Serving(name, str(served / "serving" / name / "1"))
    rows = wild(400)
    for entity in Entity:
        features = [feature for feature in DEFAULT.select(entity=entity) if part.has(feature)]
        if features:
            expected, found = (saved_graphs.compute(graph, rows, features) for graph in (whole, part))
            for feature in features:
                if feature.op.is_large:
                    np.testing.assert_allclose(found[feature.name], expected[feature.name], rtol=0, atol=1e-6)
                else:
                    np.testing.assert_array_equal(found[feature.name], expected[feature.name], feature.name)


def test_each_model_reads_the_features_of_its_use_and_takes_their_raw_columns(models: dict) -> None:
    for name, use in (("query_tower", QUERY), ("candidate_tower", CANDIDATE), ("ranker", RANKER)):
        assert set(models[name].signatures["features"].structured_outputs) == {f.name for f in DEFAULT.select(use)}
        assert set(specs(models[name])) == {column.name for column in raw_columns(DEFAULT.select(use))}
    assert set(specs(models["retrieval"])) - set(specs(models["query_tower"])) == {"k", "exclude"}


# --- Towers and index


def test_query_vectors_are_those_of_the_trained_tower_on_the_rows_on_disk(
    served: pathlib.Path, models: dict, raw: RawRows
) -> None:
    tower = two_tower.load(str(served))
    disk = columns(folder_of(served, "users"), ["user_id", *(f.name for f in tower.query_features)])
    order = np.argsort(disk["user_id"])
    expected = tower.query({name: values[order] for name, values in disk.items()}).numpy()
    users = {name: raw.users[name] for name in raw.users.column_names}
    found = models["query_tower"].signatures["serving_default"](**tensors(users, specs(models["query_tower"])))
    np.testing.assert_allclose(found["vector"], expected, rtol=0, atol=1e-5)


def vectors_of(models: dict, raw: RawRows) -> np.ndarray:
    videos = {name: raw.videos[name] for name in raw.videos.column_names}
    call = models["candidate_tower"].signatures["serving_default"]
    return call(**tensors(videos, specs(models["candidate_tower"])))["vector"].numpy()


def test_candidate_vectors_are_those_of_the_trained_tower(served: pathlib.Path, models: dict, raw: RawRows) -> None:
    tower = two_tower.load(str(served))
    disk = columns(folder_of(served, "videos"), ["video_id", *(f.name for f in tower.candidate_features)])
    order = np.argsort(disk["video_id"])
    expected = tower.candidate({name: values[order] for name, values in disk.items()}).numpy()
    np.testing.assert_allclose(vectors_of(models, raw), expected, rtol=0, atol=1e-5)


def test_retrieval_is_exact_and_leaves_out_what_is_excluded(models: dict, raw: RawRows) -> None:
    candidates, ids = vectors_of(models, raw), raw.videos["video_id"].to_numpy()
    users = {name: raw.users[name].slice(0, 40) for name in raw.users.column_names}
    queries = models["query_tower"].signatures["serving_default"](**tensors(users, specs(models["query_tower"])))
    scores = queries["vector"].numpy() @ candidates.T
    random = np.random.default_rng(0)
    exclude = np.where(random.random((40, 30)) < 0.1, EMPTY_IDS, random.choice(np.append(ids, 10**9), (40, 30)))
    for user in range(40):
        scores[user, np.isin(ids, exclude[user])] = -np.inf
    found = retrieve(models, users, 25, exclude)
    best = np.argsort(-scores, axis=1)[:, :25]
    np.testing.assert_allclose(found["scores"], np.take_along_axis(scores, best, 1), rtol=0, atol=1e-4)
    same = found["video_ids"].numpy() == ids[best]
    assert same.mean() > 0.99  # but for scores that are equal up to rounding
    assert not any(np.isin(found["video_ids"][user], exclude[user]).any() for user in range(40))


def retrieve(models: dict, users: dict, k: int, exclude: np.ndarray) -> dict:
    own = {name: spec for name, spec in specs(models["retrieval"]).items() if name not in ("k", "exclude")}
    call = models["retrieval"].signatures["serving_default"]
    return call(**tensors(users, own), k=tf.constant(k), exclude=tf.constant(exclude, tf.int64))


def test_of_more_videos_than_there_are_the_rest_has_no_id(models: dict, raw: RawRows) -> None:
    users = {name: raw.users[name].slice(0, 2) for name in raw.users.column_names}
    ids = raw.videos["video_id"].to_numpy()
    found = retrieve(models, users, 10_000, ids[None, :-3])
    assert found["video_ids"].shape == (2, len(ids))
    for row_ids, scores in zip(found["video_ids"].numpy(), found["scores"].numpy(), strict=True):
        assert set(row_ids[:3]) == set(ids[-3:])
        assert (row_ids[3:] == EMPTY_IDS).all()
        assert np.isneginf(scores[3:]).all()


KINDS = (IdKind.INTEGER, IdKind.UINT64, IdKind.STRING, IdKind.UUID)


@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_index_knows_ids_of_every_kind(kind: IdKind) -> None:
    given = [text(number, kind) if kind.is_text else number for number in range(60)]
    stored = pa.array(given, pa.binary() if kind.is_text else pa.int64())
    random = np.random.default_rng(0)
    # Whole numbers, whose products add up to the same in every order and place.
    vectors = random.permutation(np.repeat(random.integers(-99, 100, (20, 4)), 3, axis=0)).astype(np.float32)
    index = serving_models.ExactIndex(stored, vectors, kind)
    query = random.integers(-99, 100, (1, 4)).astype(np.float32)
    left_out = [given[number] for number in (0, 7, 16, 31)]
    ordered = int if kind in (IdKind.INTEGER, IdKind.UINT64) else str.encode
    scores = dict(zip(given, tf.matmul(query, vectors, transpose_b=True).numpy()[0].tolist(), strict=True))
    expected = sorted(set(given) - set(left_out), key=lambda video: (-scores[video], ordered(video)))
    missing = serving_inputs.MISSING_VALUES[index.dtype]
    asked = [
        [*(map(str.upper, left_out) if kind is IdKind.UUID else left_out), missing, "no such" if kind.is_text else 99]
    ]
    found = tf.function(index.best)(tf.constant(query), tf.constant(60), tf.constant(asked, index.dtype))
    shown = [video.decode() if kind.is_text else video for video in found["video_ids"].numpy()[0].tolist()]
    assert shown == [*expected, *[missing] * 4]
    np.testing.assert_array_equal(found["scores"][0, :-4], [scores[video] for video in expected])


def test_ids_whose_hashes_are_equal_get_another_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = tf.strings.to_hash_bucket_strong

    def weak(texts: tf.Tensor, buckets: int, salt: list[int]) -> tf.Tensor:
        return tf.zeros_like(texts, tf.int64) if salt[0] < 3 else hashed(texts, buckets, salt)

    monkeypatch.setattr(tf.strings, "to_hash_bucket_strong", weak)
    stored = pa.array([b"a", b"b"])
    index = serving_models.ExactIndex(stored, np.ones((2, 1), np.float32), IdKind.STRING)
    found = index.best(tf.ones([1, 1]), tf.constant(2), tf.constant([["a"]]))
    assert found["video_ids"].numpy().tolist() == [[b"b", b""]]


# --- Ids that are text


def test_uuids_may_be_in_upper_or_lower_case() -> None:
    known = text(1, IdKind.UUID)
    column = Column("user_id", "users", STRING, key="user_id", kind=IdKind.UUID)
    asked = tf.constant([known.upper(), "", known])
    examples = [example({"user_id": value}, {"user_id": asked}) for value in asked.numpy()]
    named = serving_inputs.from_named({"user_id": asked}, [column])
    for found in (named, serving_inputs.from_examples(tf.constant(examples), [column])):
        assert found["user_id"].values.numpy().tolist() == [known.encode()] * 2


@pytest.fixture(scope="module")
def text_models(served_texts: pathlib.Path) -> dict[str, object]:
    return {name: tf.saved_model.load(str(served_texts / "serving" / name / "1")) for name in NAMES}


def from_json(body: str, wanted: dict[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """What TensorFlow Serving makes of the `inputs` of a request to its REST interface."""
    given = json.loads(body)["inputs"]
    return {name: tf.constant(given.get(name, []), spec.dtype) for name, spec in wanted.items()}


def test_rest_takes_and_returns_ids_as_json_strings(text_models: dict[str, object]) -> None:
    kinds = {name: spec.dtype for model in text_models.values() for name, spec in specs(model).items()}
    for name in ("user_id", "video_id", "history_video_ids", "exclude"):
        assert kinds[name] == tf.string
    call, wanted = text_models["retrieval"].signatures["serving_default"], specs(text_models["retrieval"])
    known = {"user_id": [text(3)], "history_video_ids": [[text(10), text(16)]], "k": 300}
    every = call(**from_json(json.dumps({"inputs": {**known, "exclude": []}}), wanted))["video_ids"].numpy()[0]
    assert {video.decode() for video in every} == {text(number) for number in range(1, 301)}
    left_out = [text(number) for number in (6, 7, 16, 17, 100, 111, 248)]
    body = json.dumps({"inputs": {**known, "k": 293, "exclude": [[*left_out, "", "no such"]]}})
    rest = call(**from_json(body, wanted))["video_ids"].numpy()[0]
    assert rest.tolist() == [video for video in every.tolist() if video.decode() not in left_out]


def test_text_ids_have_the_tokens_of_the_whole_graph_which_tell_them_apart(served_texts: pathlib.Path) -> None:
    """Among them 10 and 0010 of 11, 16 with a NUL and 17 without."""
    whole = saved_graphs.load_transform(str(served_texts))
    part = saved_graphs.Serving("query_tower", str(served_texts / "serving/query_tower/1"))
    users = ids.shown(raw_rows.read(str(served_texts / "raw"), settings_of(served_texts)).users)
    features = [
        feature
        for feature in settings_of(served_texts).table.select(QUERY)
        if part.has(feature) and any(column.key for column in feature.columns)
    ]
    assert {feature.sources for feature in features} == {("user_id",), ("history_video_ids",)}
    expected, found = (saved_graphs.compute(graph, users, features) for graph in (whole, part))
    for feature in features:
        np.testing.assert_array_equal(found[feature.name], expected[feature.name], feature.name)
    (tokens,) = (found[feature.name] for feature in features if feature.sources == ("user_id",))
    assert len(np.unique(tokens)) > 100


# --- Ranker


def test_the_ranker_scores_raw_rows_as_catboost_scores_the_rows_on_disk(
    served: pathlib.Path, models: dict, raw: RawRows
) -> None:
    described = json.loads((served / "models/ranker/columns.json").read_text())["columns"]
    keys = ["user_id", "video_id", "interaction_time"]
    disk = columns(folder_of(served, "ranker", "train"), [*keys, *(c["feature"] for c in described)])
    # Those whose moment tells the device: a user's only exposure then.
    contexts = raw.events.select(["user_id", "interaction_time", "device"])
    contexts = contexts.group_by(["user_id", "interaction_time"]).aggregate(
        [("device", "min"), ("device", "count_distinct")]
    )
    known = {(u, t): d for u, t, d, n in zip(*(c.to_pylist() for c in contexts.columns), strict=True) if n == 1}
    pairs = list(zip(disk["user_id"].tolist(), disk["interaction_time"].tolist(), strict=True))
    rows = [row for row, pair in enumerate(pairs) if pair in known]
    assert len(rows) > 500
    users = raw.users.take(pa.array(np.searchsorted(raw.users["user_id"].to_numpy(), disk["user_id"][rows])))
    ids, times = disk["video_id"][rows], disk["interaction_time"][rows]
    of_run, cuts = settings_of(served), raw_rows.cuts_of(run_folders.manifest(str(served)))
    dated, delay = raw_counters.dated_videos(raw, cuts, of_run), of_run.counters.delay_microseconds
    videos = dated.take(dated.rows_at(ids, times))
    given = {name: table[name] for table in (users, videos) for name in table.column_names}
    since = recent.published(dated.videos, rows_at(dated.videos, "video_id", ids, times), times, delay)
    lately = recent.user_counts(recent.counts_of(raw.events, of_run), disk["user_id"][rows], times - delay)
    became = examples.outcomes_of(raw.events, raw.lookup, cuts, of_run)
    steps = outcomes.step_table(became)
    lately |= outcomes.user_counts(steps, disk["user_id"][rows], times - delay)
    worth = outcomes.worth(outcomes.started_exposures(steps), dated.counts)
    lately[outcomes.EXPECTED] = outcomes.expected(worth, disk["user_id"][rows], times - delay).astype(np.float32)
    given |= {name: pa.array(values) for name, values in lately.items()}
    tallies = outcomes.Tallies(steps, raw.lookup, disk["user_id"][rows], ids, times, delay)
    given |= {column.name: tallies.of(column.of_group) for column in outcomes.group_columns(of_run)}
    given |= {
        "published_at": pa.array(since, mask=since == recent.NEVER),
        "interaction_time": pa.array(disk["interaction_time"][rows]),
        "device": pa.array([known[pairs[row]] for row in rows], pa.binary()),
    }
    found = models["ranker"].signatures["serving_default"](**tensors(given, specs(models["ranker"])))["score"]
    model = catboost.CatBoost().load_model(str(served / "models/ranker/model.cbm"))
    frame = pd.DataFrame({c["name"]: disk[c["feature"]][rows] for c in described})
    frame["history_cooccurrence"] = 0.0  # as no history is given; `verify` compares it with one
    trained = trained_ranker.load(str(served))
    categorical = [
        c["name"] for c in described if c["kind"] == "categorical" and c["name"] not in trained.tastes.columns
    ]
    frame = trained.tastes(frame)
    trees = model.predict(catboost.Pool(frame, cat_features=categorical), prediction_type="RawFormulaVal")
    calibrated = trained.calibration
    assert calibrated.method != "none"
    expected = calibrated(trees + logistic.load(served / "models/ranker", "train again")(frame))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.std(expected) > 0.01


# --- How they are asked


def some(models: dict, model: str, rows: int) -> dict[str, tf.Tensor]:
    table = wild(rows, seed=1)
    return tensors({name: table[name] for name in table.column_names}, specs(models[model]))


@pytest.mark.parametrize("name", ["query_tower", "candidate_tower", "ranker"])
def test_examples_are_answered_as_named_inputs(models: dict, name: str) -> None:
    table = wild(50, seed=2)
    named = tensors({column: table[column] for column in table.column_names}, specs(models[name]))
    expected = models[name].signatures["serving_default"](**named)
    examples = [example(row, specs(models[name])) for row in table.to_pylist()]
    found = models[name].signatures["examples"](examples=tf.constant(examples))
    for output in expected:
        np.testing.assert_allclose(found[output], expected[output], rtol=0, atol=1e-6)


def example(row: dict, wanted: dict[str, tf.TensorSpec]) -> bytes:
    kinds = {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}
    found = tf.train.Example()
    for name, spec in wanted.items():
        values = row[name] if isinstance(row[name], list) else [row[name]]
        if row[name] is not None:
            getattr(found.features.feature[name], kinds[spec.dtype]).value.extend(values)
    return found.SerializeToString()


@pytest.mark.parametrize("name", ["query_tower", "candidate_tower", "ranker"])
def test_an_empty_list_is_a_missing_column(models: dict, name: str) -> None:
    call, wanted = models[name].signatures["serving_default"], specs(models[name])
    given = some(models, name, 6)
    for left_out, spec in wanted.items():
        rows = [6] if spec.shape.rank == 1 else [6, 1]
        missing = {**given, left_out: tf.fill(rows, tf.constant(serving_inputs.MISSING_VALUES[spec.dtype], spec.dtype))}
        empty = {**given, left_out: tf.zeros([0] * spec.shape.rank, spec.dtype)}
        for output, expected in call(**missing).items():
            np.testing.assert_allclose(call(**empty)[output], expected, rtol=0, atol=1e-6)


def test_one_row_of_a_column_holds_for_every_row(models: dict) -> None:
    call = models["ranker"].signatures["serving_default"]
    given = some(models, "ranker", 8)
    users = [name for name in given if name in DEFAULT.columns_of("users")]
    one = {name: value[:1] if name in users else value for name, value in given.items()}
    all_ = {name: tf.repeat(value[:1], 8, axis=0) if name in users else value for name, value in given.items()}
    np.testing.assert_allclose(call(**one)["score"], call(**all_)["score"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["query_tower", "candidate_tower", "ranker"])
def test_no_rows_have_no_answers(models: dict, name: str) -> None:
    empty = {n: tf.zeros([0] * spec.shape.rank, spec.dtype) for n, spec in specs(models[name]).items()}
    (found,) = models[name].signatures["serving_default"](**empty).values()
    assert found.shape[0] == 0


def test_unknown_inputs_and_columns_of_different_lengths_are_errors(models: dict) -> None:
    call = models["query_tower"].signatures["serving_default"]
    given = some(models, "query_tower", 3)
    with pytest.raises(TypeError, match="strange"):
        call(**given, strange=tf.constant([1]))
    with pytest.raises(TypeError, match="age"):
        call(**{name: value for name, value in given.items() if name != "age"})
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"needs 0, 1 or the same number of rows; .*\[user_id\] \[3\].*\[age\] \[2\]",
    ):
        call(**{**given, "age": tf.constant([1, 2], tf.int64)})


# --- What they carry


# Of ids, which a vocabulary file holds; the user's own, and those of the videos in the history.
VOCABULARIES = {feature.vocabulary for feature in DEFAULT.select(QUERY) if feature.vocabulary}


def test_the_query_tower_carries_no_encoder_and_is_small(served: pathlib.Path) -> None:
    folder = served / "serving/query_tower/1"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1e6
    files = {own.name if own.integers else f"{own.name}.tfrecord.gz" for own in VOCABULARIES}
    assert {path.name for path in (folder / "assets").iterdir()} == files
    graph = (folder / "saved_model.pb").read_bytes()
    assert b"NormalizeUTF8" not in graph
    assert b"NormalizeUTF8" in (served / "serving/candidate_tower/1/saved_model.pb").read_bytes()


FRESH = """
import json, sys, tensorflow as tf
known = ("recsys_tft", "catboost", "keras", "tensorflow_transform", "tensorflow_text")
for name in sys.argv[1:]:
    if name == "candidate_tower":
        import tensorflow_text
    model = tf.saved_model.load(f"{name}/7")
    signature = model.signatures["serving_default"]
    inputs = {}
    for key, spec in signature.structured_input_signature[1].items():
        if key in ("k", "exclude"):
            inputs[key] = tf.constant(3) if key == "k" else tf.constant([[1]], tf.int64)
        else:
            inputs[key] = tf.zeros([2] if spec.shape.rank == 1 else [2, 1], spec.dtype)
    assert all(len(value) == 2 for value in signature(**inputs).values())
    print(json.dumps([name, [module for module in known if module in sys.modules]]))
"""


@pytest.fixture(scope="module")
def strangers(served: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """By model what a process has loaded once it has served it, and those before it, from a moved folder.

    One process for all models, as what takes long is to load TensorFlow; the one that needs another library is last.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    names = sorted(NAMES, key=lambda name: name == "candidate_tower")
    for name in names:
        shutil.copytree(served / "serving" / name / "1", folder / name / "7")
    command = [sys.executable, "-I", "-c", FRESH, *names]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert found.returncode == 0, found.stderr[-2000:]
    return dict(map(json.loads, found.stdout.strip().splitlines()[-len(names) :]))


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_process_serves_a_moved_folder_with_tensorflow_alone(
    strangers: dict[str, list[str]], name: str
) -> None:
    assert set(strangers[name]) <= ({"tensorflow_text", "keras"} if name == "candidate_tower" else {"keras"})


def test_saved_model_cli_shows_the_signatures(
    served: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["saved_model_cli", "show", "--all", "--dir", str(served / "serving/ranker/1")])
    with pytest.raises(SystemExit) as ended:
        saved_model_cli.main()
    assert not ended.value.code
    found = capsys.readouterr().out
    assert all(f"signature_def['{name}']" in found for name in ("serving_default", "examples", "features"))
    assert all(f"inputs['{column.name}']" in found for column in raw_columns(DEFAULT.select(RANKER)))


def test_every_feature_of_the_table_is_served(models: dict) -> None:
    served = {name for model in models.values() for name in model.signatures["features"].structured_outputs}
    assert served == set(DEFAULT.by_name)
