"""Rankers of one neural network, a deep and cross network by Keras 3 and keras-rs."""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import readable
from recsys_tft.ranking import dcn, dcn_fit
from recsys_tft.ranking.dcn import Dcn
from recsys_tft.ranking.ranker_interface import Served, Task
from recsys_tft.ranking.ranker_rows import RankerRows
from recsys_tft.storage import json_files
from recsys_tft.storage.json_files import to_json
from recsys_tft.training.model_folders import ModelFolder

WEIGHTS, MODEL = "model.weights.h5", "model.json"
_KEYS = ("shape", "epochs")


@dataclasses.dataclass(frozen=True)
class DcnRanker:
    """A fitted network.

    Attributes:
        model: a `Dcn`.
        rounds: epochs.
    """

    model: Dcn
    rounds: int

    def raw_scores(self, rows: RankerRows) -> np.ndarray:
        return dcn_fit.raw_scores(self.model, rows.data)

    def contributions(self, data: pd.DataFrame) -> np.ndarray:
        """Integrated gradients."""
        return dcn_fit.contributions(self.model, data)

    def save(self, folder: pathlib.Path) -> None:
        self.model.save_weights(folder / WEIGHTS)
        described = {"shape": self.model.shape.as_json(), "epochs": self.rounds, "keras": keras.__version__}
        (folder / MODEL).write_text(to_json(described))


class _Scores(tf.Module):
    """The network as `Served.scores`, with its weights but without the Keras model."""

    def __init__(self, network: Dcn):
        super().__init__(name="dcn")
        self._weights = [variable.value for variable in network.variables]
        self._logits = lambda numeric, tokens: network(numeric, tokens)[:, 0]

    def __call__(self, numeric: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._logits(tf.transpose(numeric), tf.transpose(categorical)), tf.float64)


class DcnKind:
    """As `Kind`."""

    unit = "epochs"
    files = (WEIGHTS, MODEL)
    explained_by = ()
    summary = ("gradients_summary", "gradient", "integrated gradient")

    def require(self) -> None:
        pass  # it comes with us

    def limit(self, settings: Settings) -> int:
        return settings.ranker.dcn.epochs

    def fit(self, task: Task) -> DcnRanker:
        fit = dcn_fit.Fit(task)
        state = fit.run()
        return DcnRanker(fit.network, state.best_epoch)

    def load(self, folder: pathlib.Path, remedy: str) -> DcnRanker:
        found = json_files.read(folder / MODEL, remedy, _KEYS)
        with readable(folder / MODEL, remedy):
            network = Dcn(dcn.from_json(found["shape"]))
        with readable(folder / WEIGHTS, remedy):
            network.load_weights(folder / WEIGHTS)
        return DcnRanker(network, found["epochs"])

    def served(self, folder: ModelFolder, sizes: Sequence[int | None]) -> Served:
        network = self.load(folder.target, folder.remedy).model

        def contributions(numeric: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
            return network.contributions(tf.transpose(numeric), tf.transpose(categorical))

        shape = network.shape
        return Served(_Scores(network), shape.numeric, shape.categorical, True, contributions)


KIND = DcnKind()
