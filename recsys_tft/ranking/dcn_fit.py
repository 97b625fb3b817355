"""Fits the neural ranker: epochs with checkpoints, until the log loss on the validation split no longer improves."""

import dataclasses

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import special

from recsys_tft.ranking import ranking_metrics
from recsys_tft.ranking.dcn import LABEL, Dcn, DcnShape
from recsys_tft.ranking.ranker_interface import Task, is_categorical, values_of
from recsys_tft.ranking.ranker_rows import WATCH_SHARE, RankerRows
from recsys_tft.retrieval.two_tower_fit import batch_size
from recsys_tft.training import checkpoints
from recsys_tft.training.scalar_log import ScalarLog

_SCORED = 1 << 14  # rows that are scored at a time
_CLIPPED = 10.0  # the largest norm of all gradients together


@dataclasses.dataclass
class State:
    """The progress of training."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")


def sizes_of(data: pd.DataFrame) -> tuple[int | None, ...]:
    """For each column of `RankerRows.data` the number of tokens; None for a numeric column."""
    return tuple(
        len(data[name].cat.categories) if is_one else None
        for name, is_one in zip(data.columns, is_categorical(data), strict=True)
    )


def inputs_of(data: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """[n, numbers] float32 and [n, tokens] int64 of the columns of `RankerRows.data`."""
    are_tokens = is_categorical(data)
    numeric = np.empty((len(data), (~are_tokens).sum()), np.float32)
    tokens = np.empty((len(data), are_tokens.sum()), np.int64)
    for found, names in ((numeric, data.columns[~are_tokens]), (tokens, data.columns[are_tokens])):
        for place, name in enumerate(names):
            found[:, place] = values_of(data[name])
    return numeric, tokens


class Fit:
    """The training of one network.

    Args:
        task: the rows and options.
    """

    def __init__(self, task: Task):
        self._task, self.state, chosen = task, State(), task.settings
        self._options, self._seed = chosen.ranker.dcn, chosen.seed
        keras.utils.set_random_seed(self._seed % 2**32)
        rows = task.train
        watched = rows.keys.get(WATCH_SHARE)
        heads = (LABEL,) if watched is None or not (watched >= 0).any() else (LABEL, WATCH_SHARE)
        self.network = Dcn(DcnShape(sizes_of(rows.data), heads, self._options, self._seed))
        self._inputs = inputs_of(rows.data)
        labels, self._weights = rows.keys["label"].astype(np.float32), rows.weights(chosen.ranker.sampled_weight)
        of_heads = [labels] if watched is None or len(heads) == 1 else [labels, watched]
        self._targets = np.stack(of_heads, 1).astype(np.float32)
        self._weights = self._weights / self._weights.mean(dtype=np.float64).astype(np.float32)
        self.network.prepare(self._inputs[0], float(np.average(labels, weights=self._weights)))
        self._batch = batch_size(self._options.batch_size, len(rows))
        self._optimizer = keras.optimizers.AdamW(
            self._options.learning_rate, weight_decay=self._options.weight_decay, global_clipnorm=_CLIPPED
        )
        self._optimizer.build(self.network.trainable_variables)
        self._log = ScalarLog(task.logs)
        self._step = tf.function(self._train_step, autograph=False)

    def run(self) -> State:
        """Trains until the loss on val stops improving, without val for all rounds, and restores the best weights."""
        last, best = (self._task.checkpoints / f"{name}.npz" for name in ("last", "best"))
        if last.exists():
            self.state = State(**checkpoints.read(last, self._all()))
            self._task.say(f"Resuming after epoch {self.state.epoch}")
        while self.state.epoch < self._task.rounds and not self._is_over():
            found = {"loss": self._epoch()}
            self.state.epoch += 1
            if self._task.val is None:
                self.state.best_epoch = self.state.epoch
            elif (loss := self._loss(self._task.val)) < self.state.best_loss:
                self.state.best_epoch, self.state.best_loss = self.state.epoch, loss
                checkpoints.write(best, self.network.variables, {})
            if self._task.val is not None:
                found["val_log_loss"] = loss
            self._log.write(self.state.epoch, **found)
            told = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items())
            self._task.say(f"Epoch {self.state.epoch}: {told}")
            checkpoints.write(last, self._all(), dataclasses.asdict(self.state))
        if self._task.val is not None:
            checkpoints.read(best, self.network.variables)
        self.network.remember_average(list(_batches(*self._inputs)))
        return self.state

    def _is_over(self) -> bool:
        waited = self.state.epoch - self.state.best_epoch
        return self._task.val is not None and self.state.epoch > 0 and waited >= self._options.patience

    def _epoch(self) -> float:
        """The mean loss."""
        order = np.random.default_rng([self._seed, self.state.epoch]).permutation(len(self._targets))
        losses, steps = tf.zeros(()), len(order) // self._batch
        for chosen in order[: steps * self._batch].reshape(steps, self._batch):
            numeric, tokens = (part[chosen] for part in self._inputs)
            losses += self._step(*map(tf.constant, (numeric, tokens, self._targets[chosen], self._weights[chosen])))
        return float(losses) / max(steps, 1)

    def _train_step(self, numeric: tf.Tensor, tokens: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.network(numeric, tokens, training=True)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.maximum(targets, 0.0), logits)
            loss = tf.reduce_mean(losses[:, 0] * weights)
            if len(self.network.shape.heads) > 1:
                known = tf.cast(targets[:, 1] >= 0, tf.float32)
                mean = tf.reduce_sum(losses[:, 1] * known) / tf.maximum(tf.reduce_sum(known), 1.0)
                loss += self._options.watch_weight * mean
        self._optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    def _loss(self, val: RankerRows) -> float:
        found = special.expit(raw_scores(self.network, val.data))
        weights = val.weights(self._task.settings.ranker.sampled_weight)
        return float(np.average(ranking_metrics.log_loss(val.keys["label"], found), weights=weights))

    def _all(self) -> list[keras.Variable]:
        return [*self.network.variables, *self._optimizer.variables]


def raw_scores(network: Dcn, data: pd.DataFrame) -> np.ndarray:
    """[n] float64 logits of LABEL."""
    logits = [np.asarray(network(*batch))[:, 0] for batch in _batches(*inputs_of(data))]
    return np.concatenate([np.zeros(0), *logits])


def contributions(network: Dcn, data: pd.DataFrame) -> np.ndarray:
    """[n, columns] float32: as `Dcn.contributions`."""
    call = tf.function(network.contributions, autograph=False, reduce_retracing=True)
    found = [call(*map(tf.constant, batch)).numpy() for batch in _batches(*inputs_of(data), rows=_SCORED >> 5)]
    return np.concatenate([np.zeros((0, data.shape[1]), np.float32), *found])


def _batches(numeric: np.ndarray, tokens: np.ndarray, rows: int = _SCORED) -> "list[tuple[np.ndarray, np.ndarray]]":
    starts = range(0, len(numeric), rows)
    return [(numeric[start : start + rows], tokens[start : start + rows]) for start in starts]
