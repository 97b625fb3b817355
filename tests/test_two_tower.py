"""The two-tower model: what it is built of, what it reads, and its loss."""

import math

import numpy as np
import pytest
import tensorflow as tf
from conftest import Ran
from tower_models import ROUNDING, model_of, rows_of, sizes_of

from recsys_tft.columns import Accuracy
from recsys_tft.configuration.settings import parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import CANDIDATE, QUERY
from recsys_tft.retrieval import growth
from recsys_tft.retrieval.cold_embeddings import ColdEmbeddings
from recsys_tft.retrieval.oov_dropout import OovDropout, without_past
from recsys_tft.retrieval.sampled_softmax import Candidates, sampled_softmax
from recsys_tft.retrieval.two_tower import features_for
from recsys_tft.retrieval.two_tower_fit import batch_size
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows, encode

# --- The model


def test_no_rows_are_encoded_as_no_vectors() -> None:
    (feature,) = DEFAULT.select()[:1]
    vectors = encode(
        lambda columns: tf.zeros([tf.size(columns[feature.name]), 5]), {feature.name: np.zeros(0)}, [feature]
    )
    assert vectors.shape == (0, 5)


def test_towers_read_the_features_of_the_table() -> None:
    model = model_of({"title_encoder": "minilm"})
    assert model.query_features == DEFAULT.select(QUERY)
    assert model.candidate_features == DEFAULT.select(CANDIDATE)
    without = model_of({"title_encoder": "minilm", "two_tower": {"title": False}})
    assert without.candidate_features == tuple(f for f in DEFAULT.select(CANDIDATE) if not f.op.is_large)


def test_features_of_one_vocabulary_share_a_table_of_the_configured_width() -> None:
    model = model_of({"embeddings": {"language_dim": 3, "default_dim": 11}})
    by_name: dict[str, set[int]] = {}
    for variable in model.variables():
        if variable.path.endswith("embeddings"):
            by_name.setdefault(variable.path.split("/")[-2], set()).add(variable.shape[1])
    assert by_name["language_table"] == {3}
    vocabularies = {f.vocabulary.name for f in DEFAULT.select(QUERY, CANDIDATE) if f.vocabulary}
    own = {f.name for f in DEFAULT.select(QUERY, CANDIDATE) if f.is_categorical and not f.vocabulary}
    assert set(by_name) == {f"{name}_table" for name in vocabularies | own}
    assert len([v for v in model.variables() if v.path.endswith("embeddings")]) == len(by_name)


def test_a_list_is_averaged_without_its_padding_however_it_is_given() -> None:
    model = model_of({})
    (bag,) = (feature for feature in model.candidate_features if feature.op.shape(model.settings) is None)
    rows = rows_of(model, "candidate", 3)
    lists = [[2, 3, 4], [5], []]
    ragged = tf.ragged.constant(lists, dtype=tf.int64)
    padded = tf.constant([[2, 3, 4, 0, 0], [5, 0, 0, 0, 0], [0, 0, 0, 0, 0]], tf.int64)
    given = (ragged, ragged.to_sparse(), padded, tf.constant([[4, 2, 3], [0, 5, 0], [0, 0, 0]], tf.int64))
    vectors = [model.candidate(rows | {bag.name: value}).numpy() for value in given]
    for other in vectors[1:]:
        np.testing.assert_allclose(other, vectors[0], rtol=0, atol=ROUNDING)
    twice = model.candidate(rows | {bag.name: tf.constant([[2, 3, 4, 2, 3, 4], [5, 5, 0, 0, 0, 0], [0] * 6], tf.int64)})
    np.testing.assert_allclose(twice.numpy(), vectors[0], rtol=0, atol=ROUNDING)
    changed = model.candidate(rows | {bag.name: tf.constant([[2, 3, 5]] + [[0, 0, 0]] * 2, tf.int64)}).numpy()
    assert (np.abs(changed - vectors[0]).max(axis=1) > 1e-4).tolist() == [True, True, False]


def test_every_feature_matters() -> None:
    model = model_of({"title_encoder": "minilm"})
    for side in ("query", "candidate"):
        rows = rows_of(model, side, 2)
        before = getattr(model, side)(rows).numpy()
        for name, values in rows.items():
            other = {name: tf.ones_like(values) + tf.cast(values == 1, values.dtype)}
            assert np.abs(getattr(model, side)(rows | other).numpy() - before).max() > 1e-5, name


def test_normalized_vectors_have_length_one() -> None:
    model = model_of({"two_tower": {"normalize": True}})
    lengths = np.linalg.norm(model.query(rows_of(model, "query", 4)).numpy(), axis=1)
    assert lengths == pytest.approx(1, abs=ROUNDING)


def test_a_missing_feature_is_named() -> None:
    model = model_of({})
    rows = rows_of(model, "query", 2)
    name = next(iter(rows))
    del rows[name]
    with pytest.raises(InputError, match=f"query_tower needs the feature '{name}'"):
        model.query(rows)


def test_values_are_shown_as_unseen_equally_often_and_the_choice_has_its_probability() -> None:
    settings = parse({"vocabularies": {"default": {"n_oov": 2}}, "two_tower": {"oov_dropout": 30}}, "the test")
    feature = next(f for f in DEFAULT.select(CANDIDATE) if f.vocabulary and f.op.shape(settings) == ())
    counts = np.array([500, 0, 0, 40, 300, 3000])  # 40: half of its rows at most
    tokens = tf.constant(np.repeat(np.arange(6), counts))
    unseen = OovDropout((feature,), {feature.name: counts}, settings, seed=0)
    replaced, rare, changed = np.zeros(6), np.zeros(6), []
    for step in range(50):
        rows, probability = unseen({feature.name: tokens}, tf.constant(step, tf.int64))
        found = rows[feature.name].numpy()
        changed.append(found != tokens.numpy())
        replaced += np.bincount(tokens.numpy()[changed[-1]], minlength=6)
        rare += np.bincount(found[changed[-1]], minlength=6)
        rate = np.array([0, 0, 0, 0.5, 0.1, 0.01])[tokens.numpy()]
        assert probability.numpy() == pytest.approx(np.where(changed[-1], rate, 1 - rate), rel=1e-5)
    assert replaced / 50 == pytest.approx([0, 0, 0, 20, 30, 30], rel=0.1)
    assert rare / rare.sum() == pytest.approx([0, 0.5, 0.5, 0, 0, 0], abs=0.05)
    again, _ = unseen({feature.name: tokens}, tf.constant(49, tf.int64))
    assert ((again[feature.name].numpy() != tokens.numpy()) == changed[-1]).all()
    assert (changed[0] != changed[1]).any()


def test_the_past_of_a_share_of_rows_is_hidden_as_a_whole() -> None:
    model = model_of({})
    rows = {name: tf.ones_like(values) for name, values in rows_of(model, "query", 4000).items()}
    past = {feature.name for feature in model.query_features if feature.accuracy is Accuracy.AS_OF}
    shown, again, later, whole = (
        without_past(rows, model.query_features, share, 5, tf.constant(step, tf.int64))
        for share, step in ((0.2, 7), (0.2, 7), (0.2, 8), (0.0, 7))
    )
    assert 0 < len(past) < len(rows)
    hidden = {name: (values.numpy().reshape(4000, -1) == 0).all(axis=1) for name, values in shown.items()}
    for name, values in shown.items():
        assert hidden[name].mean() == pytest.approx(0.2 if name in past else 0, abs=0.03), name
        np.testing.assert_array_equal(values, again[name])
        np.testing.assert_array_equal(whole[name], rows[name])
        assert values.dtype == rows[name].dtype
    for name in past:
        np.testing.assert_array_equal(hidden[name], hidden[min(past)])
        assert (later[name].numpy() != shown[name].numpy()).any()


def test_counts_of_tokens_are_those_of_training_rows(synthetic_run: Ran) -> None:
    rows = TwoTowerRows(str(synthetic_run.root), *features_for(parse({"title_encoder": "none"}, "the test")))
    frame = synthetic_run.result["two_tower_train"].pandas()
    for counts in (rows.query_counts, rows.candidate_counts):
        for name, found in counts.items():
            tokens = np.concatenate([np.atleast_1d(value) for value in frame[name]])
            np.testing.assert_array_equal(found[1:], np.bincount(tokens, minlength=len(found))[1:], err_msg=name)


def test_a_value_that_no_row_shows_is_like_one_of_which_nothing_is_known() -> None:
    model = model_of({"vocabularies": {"default": {"n_oov": 2}}})
    counts = {name: np.full(size, 5) for name, size in sizes_of(model.settings).items()}
    words = {feature.name: feature for feature in (*model.query_features, *model.candidate_features)}
    lacking, bag, lone = "country_token", "tags_tokens", "category_token"
    for name in (lacking, bag):
        counts[name] = np.array([5, 0, 0, 0, 0, 0, 0])  # 0 is missing, or the padding of lists
    counts[lone] = np.array([5, 0, 0, 5, 5, 0, 5])
    before = {name: np.array(table.embeddings) for name, table in model.tables().items()}
    ColdEmbeddings(model, counts)()
    query, candidate = rows_of(model, "query", 7), rows_of(model, "candidate", 7)
    everything = tf.range(7, dtype=tf.int64)
    of_countries = model.query({n: v[:1].numpy().repeat(7, 0) for n, v in query.items()} | {lacking: everything})
    np.testing.assert_allclose(of_countries, np.repeat(of_countries[:1], 7, axis=0), rtol=0, atol=ROUNDING)
    empty = model.candidate(candidate | {bag: tf.zeros((7, 2), tf.int64)})
    of_tags = model.candidate(candidate | {bag: everything[:, None]})
    np.testing.assert_allclose(of_tags, empty, rtol=0, atol=ROUNDING)
    after = {name: np.array(table.embeddings) for name, table in model.tables().items()}
    # The history has categories too, and shows them: nothing is left to mend in the table that both read.
    np.testing.assert_array_equal(after[words[lone].embedding_table], before[words[lone].embedding_table])
    counts["history_categories_tokens"] = counts["previously_watched_category_token"] = np.zeros(7, np.int64)
    ColdEmbeddings(model, counts)()
    expected = before[words[lone].embedding_table].copy()
    expected[5] = expected[1:3].mean(axis=0)
    found = np.array(model.tables()[words[lone].embedding_table].embeddings)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("most", "rows", "expected"), [(1024, 10, 10), (1024, 600, 32), (8, 600, 8), (1024, 2000, 100), (1024, 10**6, 1024)]
)
def test_few_rows_are_cut_into_smaller_batches(most: int, rows: int, expected: int) -> None:
    assert batch_size(most, rows) == expected


def test_the_past_is_not_read_where_rows_are_drawn_at_random() -> None:
    model = model_of({"split": {"kind": "random_per_user"}})
    assert [f.name for f in model.query_features] == [
        f.name for f in DEFAULT.select(QUERY) if f.accuracy is not Accuracy.AS_OF
    ]
    assert Accuracy.AS_OF in {f.accuracy for f in model_of({"split": {"kind": "time_per_user"}}).query_features}


# --- The loss


def slow_loss(query, candidate, ids, probability, weight, temperature) -> float:
    total = 0.0
    for i in range(len(ids)):
        logits = {
            j: float(query[i] @ candidate[j]) / temperature
            - (math.log(probability[j]) if probability is not None else 0)
            for j in range(len(ids))
            if j == i or ids[j] != ids[i]
        }
        total += weight[i] * (math.log(sum(math.exp(value) for value in logits.values())) - logits[i])
    return total / sum(weight)


@pytest.mark.parametrize("corrected", [True, False])
def test_the_loss_is_the_corrected_softmax_without_accidental_hits(corrected: bool) -> None:
    rng = np.random.default_rng(0)
    query, candidate = (rng.normal(size=(6, 3)).astype(np.float32) for _ in range(2))
    ids = np.array([4, 9, 4, 1, 9, 4])
    probability = np.array([1e-8, 0.3, 1e-8, 0.1, 0.3, 1e-8], np.float32) if corrected else None
    weight = np.array([1, 0.5, 1, 0.1, 0, 2], np.float32)
    of_batch = Candidates(candidate, ids, probability)
    found = sampled_softmax(query, of_batch, of_batch, weight, 0.5)
    expected = slow_loss(query, candidate, ids, probability, weight, 0.5)
    assert float(found) == pytest.approx(expected, rel=0, abs=1e-4)  # logits are below 30, and so round by 4e-6


def test_tables_in_steps_keep_their_shapes_and_what_they_have_learned() -> None:
    step = 64
    model = model_of({"two_tower": {"capacity_step": step}})
    features = [f for f in (*model.query_features, *model.candidate_features) if f.vocabulary]
    shapes = {name: table.embeddings.shape for name, table in model.tables().items()}
    assert {shapes[f.embedding_table][0] % step for f in features} == {0}
    drawn = {name: np.array(table.embeddings) for name, table in model.tables().items()}
    ColdEmbeddings(model, {name: np.eye(1, size, 2, np.int64)[0] for name, size in model.categories.items()})()
    before = {name: np.array(table.embeddings) for name, table in model.tables().items()}
    for feature in features:
        changed = (before[feature.embedding_table] != drawn[feature.embedding_table]).any(axis=1)
        assert changed[3 : model.categories[feature.name]].all()
        assert not changed[model.categories[feature.name] :].any()
    more = {**model.categories, **{f.name: model.categories[f.name] + 1 for f in features}}
    later, served = growth.larger(model, more, model.settings), growth.grown(model, more)
    for feature in features:
        name, known = feature.embedding_table, model.categories[feature.name]
        for made in (later, served):
            table = np.array(made.tables()[name].embeddings)
            assert table.shape == shapes[name]
            np.testing.assert_array_equal(table[:known], before[name][:known])
        oov = model.settings.vocabulary(feature.vocabulary.name).n_oov
        np.testing.assert_array_equal(later.tables()[name].embeddings[known], before[name][known])
        np.testing.assert_allclose(
            served.tables()[name].embeddings[known], before[name][1 : 1 + oov].mean(axis=0), rtol=0, atol=ROUNDING
        )
    smaller = growth.larger(model, model.categories, model.settings.replace({"two_tower": {"capacity_step": 1}}))
    for feature in features:
        known = model.categories[feature.name]
        table = np.array(smaller.tables()[feature.embedding_table].embeddings)
        np.testing.assert_array_equal(table, before[feature.embedding_table][:known])
