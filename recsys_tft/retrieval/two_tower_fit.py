"""Fits a two-tower model: epochs with checkpoints, until the NDCG on the validation split no longer improves."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from recsys_tft.configuration.model_settings import TwoTowerSettings
from recsys_tft.retrieval import growth, retrieval_evaluation
from recsys_tft.retrieval.cold_embeddings import ColdEmbeddings
from recsys_tft.retrieval.negatives import Negatives
from recsys_tft.retrieval.oov_dropout import OovDropout, without_past
from recsys_tft.retrieval.retrieval_baselines import Scorer
from recsys_tft.retrieval.sampled_softmax import sampled_softmax
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows, encode
from recsys_tft.training import checkpoints
from recsys_tft.training.scalar_log import ScalarLog

_STEPS_PER_REPORT = 20
_STEPS_PER_EPOCH = 20  # at least: patience counts epochs, and one of a step or two says nothing
_SMALLEST_BATCH = 32  # for the sake of these; a row needs others to be told from


@dataclasses.dataclass
class State:
    """How far training has come."""

    epoch: int = 0
    best_epoch: int = 0
    best_ndcg: float = -1.0
    seconds: float = 0.0  # of training alone
    examples: int = 0
    steps: int = 0

    def is_over(self, options: TwoTowerSettings) -> bool:
        """Whether all epochs are done, or the last ones were no better."""
        return self.epoch >= options.epochs or (self.epoch - self.best_epoch >= options.patience and self.epoch > 0)


def batch_size(most: int, rows: int) -> int:
    """Rows of a batch: `most`, or fewer where an epoch of so few `rows` would have hardly a step."""
    return min(most, rows, max(_SMALLEST_BATCH, rows // _STEPS_PER_EPOCH))


class Fit:
    """The training of one model.

    Args:
        model: with fresh weights, or those to go on from.
        rows: of the run.
        folder: for `logs/` and `checkpoints/`.
        say: is told how far it is.
        slots: the values of `Fit.slots` to go on from.
    """

    def __init__(
        self,
        model: TwoTower,
        rows: TwoTowerRows,
        folder: pathlib.Path,
        say: Callable[[str], None],
        slots: Sequence[np.ndarray] | None = None,
    ):
        self.model, self.state = model, State()
        self._rows, self._say = rows, say
        self._options, self._seed = model.settings.two_tower, model.settings.seed
        self._checkpoints = folder / "checkpoints"
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        self._log = ScalarLog(folder / "logs")
        self._optimizer = keras.optimizers.AdamW(self._options.learning_rate, weight_decay=self._options.weight_decay)
        self._variables = model.variables()
        self._optimizer.build(self._variables)
        self._goes_on = slots is not None
        if slots is not None:
            growth.carry(self.slots, slots)
        self._shuffled = rows.shuffled(self._options.shuffle_rows)
        self._batch = batch_size(self._options.batch_size, rows.examples)
        self._corpus = {f.name: tf.constant(rows.videos[f.name]) for f in model.candidate_features}
        self._begins = tf.constant(rows.trained.begins)
        self._negatives = Negatives(self._options, rows.counts, self._seed)
        self._query_dropout = OovDropout(model.query_features, rows.query_counts, model.settings, 2 * self._seed)
        self._video_dropout = OovDropout(
            model.candidate_features, rows.candidate_counts, model.settings, 2 * self._seed + 1
        )
        self._cold_embeddings = ColdEmbeddings(model, rows.trained.query_counts | rows.trained.candidate_counts)
        self._step = tf.function(self._train_step, autograph=False)
        self._query = tf.function(model.query, autograph=False, reduce_retracing=True)
        self._candidate = tf.function(model.candidate, autograph=False, reduce_retracing=True)

    def run(self) -> State:
        """Trains to the end and leaves the weights of the best epoch in the model."""
        judged = self._rows.judgements("val", self._options.eval_users, self._seed)
        queries = self._rows.queries("val", judged.users)
        if not len(judged):
            self._say("No user of val is positive on a video that is new to them: the first epoch is kept")
        if self._goes_on and not self.state.epoch:
            self._cold_embeddings()
            self.state.best_ndcg = self._ndcg(queries, judged)
            self._say(f"Before training: val NDCG@10 {self.state.best_ndcg:.4f}")
            self._write("best", self._kept)
        while not self.state.is_over(self._options):
            loss = self._epoch()
            self._cold_embeddings()
            ndcg = self._ndcg(queries, judged)
            self.state.epoch += 1
            self._log.write(self.state.epoch, loss=loss, val_ndcg_at_10=ndcg)
            self._say(f"Epoch {self.state.epoch}: loss {loss:.4f}, val NDCG@10 {ndcg:.4f}")
            if ndcg > self.state.best_ndcg:
                self.state.best_epoch, self.state.best_ndcg = self.state.epoch, ndcg
                self._write("best", self._kept)
            self._write("last", self._all())
        self._read("best", self._kept)
        return self.state

    def _ndcg(self, queries: dict[str, np.ndarray], judged: retrieval_evaluation.Judgements) -> float:
        ranked = retrieval_evaluation.rank(self.scorer(queries), judged, self._seed)
        return retrieval_evaluation.ndcg(ranked, judged)

    def repeat(self, epochs: int) -> State:
        """Trains so many epochs, whatever they lead to, and leaves the last weights in the model."""
        while self.state.epoch < epochs:
            loss = self._epoch()
            self._cold_embeddings()
            self.state.epoch += 1
            self._log.write(self.state.epoch, loss=loss)
            self._say(f"Epoch {self.state.epoch} of {epochs}: loss {loss:.4f}")
            self._write("last", self._all())
        return self.state

    def resume(self) -> None:
        """Goes on from the last checkpoint, if there is one."""
        if (self._checkpoints / "last.npz").exists():
            self._read("last", self._all())
            self._say(f"Resuming after epoch {self.state.epoch}")

    @property
    def slots(self) -> list[keras.Variable]:
        """What the optimizer remembers, the learning rate apart, in the order of the model's variables."""
        return [variable for variable in self._optimizer.variables if variable.name != "learning_rate"]

    @property
    def _kept(self) -> list[keras.Variable]:
        """Of the best epoch: what the model is, and what it goes on from another day."""
        return [*self._variables, *self.slots]

    def scorer(self, queries: dict[str, np.ndarray]) -> Scorer:
        """Scores of all videos for [n] queries by their numbers, with the weights as they are."""
        query = encode(self._query, queries, self.model.query_features)
        candidate = encode(self._candidate, self._rows.videos, self.model.candidate_features)
        return lambda users: query[users] @ candidate.T

    def _epoch(self) -> float:
        """The mean loss."""
        started, losses, steps = time.monotonic(), tf.zeros(()), 0
        for batch in self._shuffled.batches(self._batch, self._seed + self.state.epoch):
            losses += self._step(batch, tf.constant(self.state.steps + steps, tf.int64))
            steps += 1
            if steps % _STEPS_PER_REPORT == 0:
                rate = steps * self._batch / (time.monotonic() - started)
                done, total = steps * self._batch, self._rows.examples
                told = f"epoch {self.state.epoch + 1}, {done:,} of {total:,} examples, {rate:,.0f} a second"
                self._say(f"progress: {told} ({100 * done // total} % of all)")
        loss = float(losses) / max(steps, 1)
        self.state.seconds += time.monotonic() - started
        self.state.examples += steps * self._batch
        self.state.steps += steps
        return loss

    def _train_step(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        row = batch["candidate_row"]
        both = tf.concat([row, self._negatives.draw(step)], 0)
        # A video that is shown as unseen is a candidate of its own, as rare as it is shown so.
        videos, as_shown = self._video_dropout({n: tf.gather(values, both) for n, values in self._corpus.items()}, step)
        queries, _ = self._query_dropout({f.name: batch[f.name] for f in self.model.query_features}, step)
        queries = without_past(queries, self.model.query_features, self._options.history_dropout, self._seed, step)
        with tf.GradientTape() as tape:
            query = self.model.query_tower(queries, training=True)
            candidate = self.model.candidate_tower(videos, training=True)
            own, others = self._negatives.split(candidate, both, as_shown, tf.size(row))
            others = dataclasses.replace(others, begins=tf.gather(self._begins, others.ids))
            times = batch["interaction_time"]
            loss = sampled_softmax(query, own, others, batch["weight"], self._options.temperature, times)
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        self._optimizer.apply(gradients, self._variables)
        return loss

    def _all(self) -> list[keras.Variable]:
        """What has to be kept to go on as if nothing had happened: weights, moments, states of random generators."""
        towers = (self.model.query_tower, self.model.candidate_tower)
        variables = [variable for tower in towers for variable in tower.variables]
        return list({id(v): v for v in [*variables, *self._optimizer.variables]}.values())

    def _write(self, name: str, variables: list[keras.Variable]) -> None:
        checkpoints.write(self._checkpoints / f"{name}.npz", variables, dataclasses.asdict(self.state))

    def _read(self, name: str, variables: list[keras.Variable]) -> None:
        state = checkpoints.read(self._checkpoints / f"{name}.npz", variables)
        if name == "last":
            self.state = State(**state)
