"""Encoders of the ordered history: what they compute, what padding and order do to it, and how they are served."""

import math
import pathlib

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from tower_models import ROUNDING, model_of, rows_of

from recsys_tft.columns import HISTORY
from recsys_tft.configuration import settings
from recsys_tft.raw_replay import raw_rows
from recsys_tft.retrieval.history_encoders import ENCODERS, HEADS
from recsys_tft.retrieval.two_tower import TwoTower, load
from recsys_tft.run_layout import run_folders
from recsys_tft.serving import c_library, saved_signatures, serving_models
from recsys_tft.serving.fitted_features import fitted_graph
from recsys_tft.serving.serving_rows import tensors

KINDS = tuple(ENCODERS)
# What training does to it: an encoder as it is drawn weights all places alike, and a GRU hardly anything.
ROUGH = keras.initializers.RandomNormal(stddev=0.7, seed=3)


def roughened(variables: list[keras.Variable]) -> None:
    for variable in variables:
        variable.assign(ROUGH(variable.shape))


def encoder_of(kind: str, length: int = 6, width: int = 8) -> keras.layers.Layer:
    encoder = ENCODERS[kind](length, name="encoder")
    encoder(tf.zeros((1, 2, width)), tf.ones((1, 2), tf.bool))
    roughened(encoder.trainable_variables)
    return encoder


def lists(rows: int, places: int, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, places + 1, rows)
    sizes[:2] = 0, places
    return rng.normal(size=(rows, places, width)).astype(np.float32), np.arange(places) < sizes[:, None]


def softmax(logits: list[float]) -> list[float]:
    total = sum(map(math.exp, logits))
    return [math.exp(logit) / total for logit in logits]


# --- What each computes, in plain Python


def weighted(vectors: list[np.ndarray], places: np.ndarray) -> np.ndarray:
    return sum(share * vector for share, vector in zip(softmax(places[: len(vectors)]), vectors, strict=True))


def attention(vectors: list[np.ndarray], own: dict[str, np.ndarray]) -> np.ndarray:
    size, found = own["query/kernel"].shape[1] // HEADS, []
    made = {n: [v @ own[f"{n}/kernel"] + own[f"{n}/bias"] for v in vectors] for n in ("query", "key", "value")}
    for head in range(HEADS):
        part = slice(head * size, head * size + size)
        logits = [
            float(made["query"][0][part] @ key[part]) / math.sqrt(size) + float(own["places"][head][place])
            for place, key in enumerate(made["key"])
        ]
        found.append(sum(s * v[part] for s, v in zip(softmax(logits), made["value"], strict=True)))
    hidden = np.concatenate(found) @ own["hidden/kernel"] + own["hidden/bias"]
    return np.concatenate([*found, np.maximum(hidden, 0)])


def gru(vectors: list[np.ndarray], own: dict[str, np.ndarray]) -> np.ndarray:
    """Cho et al., 2014, with the reset gate after the product, as Keras has it: gates are update, reset, new."""
    width = len(vectors[0])
    state = np.zeros(width)
    kernel, recurrent, (bias, inner_bias) = own["kernel"], own["recurrent_kernel"], own["bias"]
    parts = [slice(gate * width, gate * width + width) for gate in range(3)]
    for vector in reversed(vectors):
        outer, inner = vector @ kernel + bias, state @ recurrent + inner_bias
        update, reset = (1 / (1 + np.exp(-(outer[part] + inner[part]))) for part in parts[:2])
        state = update * state + (1 - update) * np.tanh(outer[parts[2]] + reset * inner[parts[2]])
    return state


def oracle(kind: str, encoder: keras.layers.Layer, vectors: list[np.ndarray]) -> np.ndarray:
    if not vectors:
        return np.zeros(len(encoder(tf.zeros((1, 2, 8)), tf.zeros((1, 2), tf.bool))[0]))
    own = {v.path.split("encoder/")[-1].removeprefix("gru/gru_cell/"): np.array(v) for v in encoder.weights}
    if kind == "weighted":
        return weighted(vectors, own["places"])
    return attention(vectors, own) if kind == "attention" else gru(vectors, own)


@pytest.mark.parametrize("places", [6, 3, 9])  # as many as are read, fewer, and more, which are cut
@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_computes_what_its_formula_says(kind: str, places: int) -> None:
    encoder = encoder_of(kind)
    vectors, mask = lists(20, places)
    found = encoder(tf.constant(vectors), tf.constant(mask)).numpy()
    for row in range(20):
        expected = oracle(kind, encoder, [vectors[row, place] for place in np.flatnonzero(mask[row]) if place < 6])
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_vector_and_gets_no_gradient(kind: str) -> None:
    encoder = encoder_of(kind, length=20)
    vectors, mask = lists(20, 6)
    padded = np.concatenate([vectors, np.full((20, 5, 8), 7, np.float32)], axis=1)
    other = np.where(np.pad(mask, ((0, 0), (0, 5)))[..., None], padded, -9).astype(np.float32)
    expected = encoder(tf.constant(vectors), tf.constant(mask)).numpy()
    given = tf.constant(other)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = encoder(given, tf.constant(np.pad(mask, ((0, 0), (0, 5)))))
        total = tf.reduce_sum(found**2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    touched = np.abs(tape.gradient(total, given).numpy()).max(axis=2) > 0
    assert not touched[:, 6:].any()
    assert not (touched[:, :6] & ~mask).any()
    assert (touched[:, :6] == mask).mean() > 0.95


# --- In the query tower


def tower_of(kind: str) -> TwoTower:
    model = model_of({"two_tower": {"history_encoder": kind}, "history": {"length": 5}})
    roughened(model.query_tower.trainable_variables)
    return model


def ordered(model: TwoTower) -> list[str]:
    return [feature.name for feature in model.query_features if feature.op.is_ordered]


def difference(model: TwoTower, rows: dict[str, tf.Tensor], name: str, one: list, other: list) -> float:
    vectors = [model.query(rows | {name: tf.constant(tokens, tf.int64)}).numpy() for tokens in (one, other)]
    return float(np.abs(vectors[0] - vectors[1]).max()) / float(np.abs(vectors[0]).max())


@pytest.mark.parametrize("kind", ["bag", *KINDS])
def test_the_order_of_the_history_matters_to_all_but_the_bag(kind: str) -> None:
    model = tower_of(kind)
    rows = rows_of(model, "query", 1)
    assert len(ordered(model)) == 2
    for name in ordered(model):
        changed = difference(model, rows, name, [[2, 3, 4, 5]], [[4, 2, 5, 3]])
        assert (changed > 0.01) == (kind != "bag"), name
        assert difference(model, rows, name, [[2, 3, 4]], [[2, 3, 4, 0, 0, 0, 0]]) < 1e-5
        assert difference(model, rows, name, [[2, 3, 4]], [[2, 3, 5]]) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_list_beside_a_long_one_has_the_vector_that_it_has_alone(kind: str) -> None:
    model = tower_of(kind)
    rows = rows_of(model, "query", 3)
    tokens = tf.ragged.constant([[2, 3, 4, 5, 6], [3], []], dtype=tf.int64)
    together = model.query(rows | dict.fromkeys(ordered(model), tokens)).numpy()
    for row in range(3):
        alone = {name: values[row : row + 1] for name, values in rows.items()}
        found = model.query(alone | dict.fromkeys(ordered(model), tokens[row : row + 1])).numpy()
        np.testing.assert_allclose(found[0], together[row], rtol=0, atol=30 * ROUNDING)


# --- As it is served


@pytest.fixture(scope="module")
def with_histories(served: pathlib.Path) -> dict[str, pa.Array]:
    """Raw columns of users with 0 to 29 videos in their histories, of which 20 are read."""
    of_run = settings.from_manifest(run_folders.manifest(str(served)), "the manifest")
    raw, rng = raw_rows.read(str(served / "raw"), of_run), np.random.default_rng(0)
    users = raw.users.slice(0, 30)
    videos = [rng.permutation(raw.videos["video_id"].to_numpy())[:size] for size in range(30)]
    categories = [rng.permutation(raw.videos["category"].drop_null().to_numpy())[:size] for size in range(30)]
    found = dict(zip(HISTORY, (videos, categories), strict=True))
    return {n: pa.array(found[n], users[n].type) if n in found else users[n] for n in users.column_names}


@pytest.mark.parametrize("kind", KINDS)
def test_a_served_tower_gives_the_vectors_of_the_trained_one(
    kind: str, served: pathlib.Path, with_histories: dict[str, pa.Array], tmp_path: pathlib.Path
) -> None:
    trained, folder = load(str(served)), str(tmp_path / "tower")
    chosen = trained.settings.replace({"two_tower": {"history_encoder": kind}})
    model = TwoTower(trained.query_features, trained.candidate_features, trained.categories, trained.widths, chosen)
    roughened(model.query_tower.trainable_variables)
    serving_models.query_tower(model, fitted_graph(str(served), chosen)).save(folder)
    signatures = tf.saved_model.load(folder).signatures
    given = tensors(with_histories, signatures["serving_default"].structured_input_signature[1])
    features = signatures["features"](**given)
    assert {features[name].shape[1] for name in ordered(model)} == {29}
    expected = model.query(features).numpy()
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(signatures["serving_default"](**given)["vector"], expected, rtol=0, atol=tolerance)
    session = c_library.Session(folder, saved_signatures.read(folder))
    by_c = session.run("serving_default", {name: value.numpy() for name, value in given.items()})["vector"]
    np.testing.assert_allclose(by_c, expected, rtol=0, atol=tolerance)
