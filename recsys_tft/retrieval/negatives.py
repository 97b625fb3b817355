"""Negatives of the two-tower model: the videos of the batch, drawn ones, or both."""

import numpy as np
import tensorflow as tf

from recsys_tft.configuration.model_settings import TwoTowerSettings
from recsys_tft.retrieval.sampled_softmax import Candidates

_BY_CHANCE = 0.01  # how probable it is at most that a video which counts as new was there before


def begins(videos: np.ndarray, times: np.ndarray, candidates: int) -> np.ndarray:
    """[candidates] int64 microseconds: when the first row of each video is that is new, else the smallest int64.

    A video of n rows that is in none of the first share s of all rows is new where (1 - s) ** n is below _BY_CHANCE: so
    probable that is if it was there. What was not there cannot have been left for another video: as a negative of
    earlier rows it would look the less popular, the newer it is.

    Args:
        videos: [n] int64 candidates of rows.
        times: [n] int64 microseconds.
        candidates: how many there are.
    """
    order = np.argsort(times, kind="stable")
    known, place, rows = np.unique(videos[order], return_index=True, return_counts=True)
    new = rows * np.log1p(-place / max(len(order), 1)) < np.log(_BY_CHANCE)
    found = np.full(candidates, np.iinfo(np.int64).min)
    found[known[new]] = times[order][place[new]]
    return found


class Negatives:
    """Draws videos for a step, and computes how often each candidate is expected among the negatives of a step.

    With B rows of a batch, p the share of training rows that a video has, and M videos drawn of V, a video is expected
    among the negatives of a step

        in_batch  B p
        mixed     B p + M / V       (Yang et al., Mixed Negative Sampling, WWW 2020)
        uniform   M / V, so that no correction is needed

    times. M is `uniform_negatives`; if there are no more videos than that, each is taken once.

    Args:
        options: of which `negatives`, `uniform_negatives` and `sampling_correction` are used.
        counts: [V] training rows of each video.
        seed: of the draws.
    """

    def __init__(self, options: TwoTowerSettings, counts: np.ndarray, seed: int):
        self._kind, self._corrected, self._seed = options.negatives, options.sampling_correction, seed
        self._videos = len(counts)
        self._drawn = 0 if self._kind == "in_batch" else min(options.uniform_negatives, self._videos)
        self._share = tf.constant(counts / counts.sum(), tf.float32)

    def draw(self, step: tf.Tensor) -> tf.Tensor:
        """[M] int64 rows of videos; empty with `in_batch`.

        Args:
            step: int64 scalar; the draw depends on it and the seed alone.
        """
        if self._drawn == self._videos:
            return tf.range(self._videos, dtype=tf.int64)
        key = tf.stack([tf.constant(self._seed * 1000 - 2, tf.int64), step])
        return tf.random.stateless_uniform([self._drawn], key, 0, self._videos, tf.int64)

    def split(
        self, vectors: tf.Tensor, rows: tf.Tensor, as_shown: tf.Tensor, batch: tf.Tensor
    ) -> tuple[Candidates, Candidates]:
        """The own candidates of [batch] rows, and the others, from the videos of the batch and then the drawn ones.

        Args:
            vectors: [batch + M, dim] float32.
            rows: [batch + M] int64 rows of videos.
            as_shown: [batch + M] float32 probability of the form in which a video is shown, itself or unseen.
            batch: int32 scalar.
        """
        probability = self._probability(rows, as_shown, batch)
        first = batch if self._kind == "uniform" else 0
        return (
            Candidates(vectors[:batch], rows[:batch], None if probability is None else probability[:batch]),
            Candidates(vectors[first:], rows[first:], None if probability is None else probability[first:]),
        )

    def _probability(self, rows: tf.Tensor, as_shown: tf.Tensor, batch: tf.Tensor) -> tf.Tensor | None:
        if not self._corrected or self._kind == "uniform":
            return None
        drawn = self._drawn / self._videos
        return (tf.gather(self._share, rows) + drawn / tf.cast(batch, tf.float32)) * as_shown
