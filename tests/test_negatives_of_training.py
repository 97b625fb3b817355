"""What a row's own video is told from when the two-tower model is trained."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given

from recsys_tft.configuration.model_settings import TwoTowerSettings
from recsys_tft.retrieval.negatives import Negatives, begins
from recsys_tft.retrieval.sampled_softmax import Candidates, sampled_softmax

COUNTS = np.array([0, 1, 1, 2, 4, 8, 16, 32])


def negatives_of(kind: str, drawn: int, seed: int = 0, **options: bool) -> Negatives:
    return Negatives(TwoTowerSettings(negatives=kind, uniform_negatives=drawn, **options), COUNTS, seed)


def drawn(negatives: Negatives, step: int) -> list[int]:
    return negatives.draw(tf.constant(step, tf.int64)).numpy().tolist()


def test_the_draw_depends_on_the_seed_and_the_step_alone() -> None:
    one, again, other = negatives_of("mixed", 5), negatives_of("uniform", 5), negatives_of("mixed", 5, seed=1)
    assert drawn(one, 3) == drawn(again, 3)
    assert len({tuple(drawn(one, step)) for step in range(10)}) > 5
    assert [drawn(one, step) for step in range(5)] != [drawn(other, step) for step in range(5)]
    assert drawn(negatives_of("in_batch", 5), 0) == []


def test_all_videos_are_drawn_alike_and_each_once_where_there_are_no_more() -> None:
    found = np.bincount(np.concatenate([drawn(negatives_of("uniform", 5), step) for step in range(800)]), minlength=8)
    assert found == pytest.approx(np.full(8, 500), rel=0.2)
    for kind in ("mixed", "uniform"):
        for most in (8, 1000):
            assert drawn(negatives_of(kind, most), 4) == list(range(8))


@pytest.mark.parametrize(("kind", "size"), [("in_batch", 5), ("mixed", 5), ("mixed", 100)])
def test_the_correction_is_how_often_a_video_is_among_the_candidates(kind: str, size: int) -> None:
    negatives, rng, steps, batch = negatives_of(kind, size), np.random.default_rng(0), 3000, 6
    rows = np.repeat(np.arange(8), COUNTS)
    found, probability = np.zeros(8), np.zeros(8)

    chosen = rng.choice(rows, (steps, batch))

    def candidates(given: tuple[tf.Tensor, tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
        both = tf.concat([given[0], negatives.draw(given[1])], axis=0)
        split = negatives.split(tf.zeros((both.shape[0], 2)), both, tf.ones(both.shape), tf.constant(batch))
        return [(part.ids, part.probability) for part in split]

    kinds = [(tf.int64, tf.float32)] * 2
    of_steps = tf.function(lambda *given: tf.map_fn(candidates, given, kinds))(chosen, np.arange(steps))
    for own, *parts in zip(chosen, *(array.numpy() for part in of_steps for array in part), strict=True):
        ids, of_own, others, of_others = parts
        assert ids.tolist() == own.tolist()
        found += np.bincount(others, minlength=8)
        probability[others] = of_others
        probability[own] = of_own
    assert (found[0] == 0) == (kind == "in_batch")
    assert found / steps / batch == pytest.approx(probability, rel=0.15)


def test_what_is_shown_as_unseen_is_as_rare_as_it_is_shown_so() -> None:
    shown = tf.constant([0.25, 1, 0.5, 1, 1])
    _, others = negatives_of("mixed", 2).split(
        tf.zeros((5, 2)), tf.constant([5, 6, 7, 5, 0], tf.int64), shown, tf.constant(3)
    )
    plain = np.array([8, 16, 32, 8, 0]) / 64 + 2 / 8 / 3
    assert others.probability.numpy() == pytest.approx(plain * shown.numpy(), rel=1e-6)


def test_without_the_correction_there_is_no_probability() -> None:
    rows = tf.constant([1, 2, 3], tf.int64)
    for negatives in (negatives_of("mixed", 1, sampling_correction=False), negatives_of("uniform", 1)):
        own, others = negatives.split(tf.zeros((3, 2)), rows, tf.ones(3), tf.constant(2))
        assert own.probability is None
        assert others.probability is None


def test_uniform_negatives_of_all_videos_give_the_softmax_over_all_videos() -> None:
    rng = np.random.default_rng(0)
    query, videos = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(8, 3)).astype(np.float32)
    rows, weight = np.array([5, 7, 5, 0]), np.array([1, 0.5, 2, 0.1], np.float32)
    negatives = negatives_of("uniform", 8)
    both = tf.constant([*rows, *drawn(negatives, 0)], tf.int64)
    own, others = negatives.split(tf.gather(videos, both), both, tf.ones(12), tf.constant(4))
    assert others.ids.numpy().tolist() == list(range(8))
    expected = 0.0
    for row in range(4):
        logits = [float(query[row] @ video) / 0.5 for video in videos]
        expected += weight[row] * (math.log(sum(map(math.exp, logits))) - logits[rows[row]])
    found = sampled_softmax(tf.constant(query), own, others, tf.constant(weight), 0.5)
    assert float(found) == pytest.approx(expected / weight.sum(), rel=1e-5)


ALWAYS = np.iinfo(np.int64).min


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 4]), st.integers(-5, 50)), max_size=60))
def test_a_video_begins_with_its_first_row_where_it_lacks_before_by_more_than_chance(rows: list) -> None:
    ordered = sorted(rows, key=lambda row: row[1])
    expected = [ALWAYS] * 5
    for video in {video for video, _ in rows}:
        own = [i for i, row in enumerate(ordered) if row[0] == video]
        if (1 - own[0] / len(rows)) ** len(own) < 0.01:
            expected[video] = ordered[own[0]][1]
    videos, times = (np.array([row[i] for row in rows], np.int64) for i in range(2))
    assert begins(videos, times, 5).tolist() == expected


def test_a_video_that_begins_later_is_no_negative_of_a_row() -> None:
    rng = np.random.default_rng(0)
    query, videos = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    ids, weight = tf.constant([0, 1, 2, 3], tf.int64), tf.ones(2)
    own = Candidates(videos[:2], ids[:2])
    found = sampled_softmax(
        query, own, Candidates(videos, ids, begins=tf.constant([0, 0, 7, ALWAYS], tf.int64)), weight, 1.0,
        tf.constant([7, 6], tf.int64),
    )  # fmt: skip
    expected = [
        np.log(np.exp(query[row] @ videos[among].T).sum()) - query[row] @ videos[row]
        for row, among in ((0, [0, 1, 2, 3]), (1, [0, 1, 3]))
    ]
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_popularity_of_a_new_video_is_that_since_it_is_there() -> None:
    """By the softmax over all videos, of rows of which one video is shown in half of those since it is there."""
    rng = np.random.default_rng(0)
    times = np.arange(4000)
    videos = np.where(times >= 3000, np.where(rng.random(4000) < 0.5, 0, 1), 1)
    ids, since = tf.constant(videos), tf.constant(begins(videos, times, 2))
    scores = tf.Variable([0.0, 0.0])

    def loss() -> tf.Tensor:
        own = Candidates(tf.gather(scores, ids)[:, None], ids)
        every = Candidates(scores[:, None], tf.constant([0, 1], tf.int64), begins=since)
        return sampled_softmax(tf.ones((4000, 1)), own, every, tf.ones(4000), 1.0, tf.constant(times))

    for _ in range(60):
        with tf.GradientTape() as tape:
            value = loss()
        scores.assign_sub(4 * tape.gradient(value, scores))
    share = (videos[3000:] == 0).mean()
    assert float(scores[0] - scores[1]) == pytest.approx(np.log(share / (1 - share)), abs=0.02)
