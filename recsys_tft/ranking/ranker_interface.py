"""What a kind of models must offer to be a ranker: training, scores, explanations, and a graph that is served."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking.ranker_rows import RankerRows
from recsys_tft.training.model_folders import ModelFolder

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Task:
    """One model to be trained.

    Attributes:
        train: what it learns from.
        val: it ends where this is no better; without it, after all rounds.
        rounds: how many trees or epochs it has, at most.
        settings: of the run and the training.
        folder: of the model, in whose `work` it grows.
        say: is told how far it is.
    """

    train: RankerRows
    val: RankerRows | None
    rounds: int
    settings: Settings
    folder: ModelFolder
    say: Callable[[str], None]

    @property
    def logs(self) -> pathlib.Path:
        """For TensorBoard."""
        return self.folder.work / "logs" / self._own

    @property
    def checkpoints(self) -> pathlib.Path:
        """What an interrupted training is resumed from, if it is not empty."""
        folder = self.folder.work / "checkpoints" / self._own
        folder.mkdir(exist_ok=True, parents=True)
        return folder

    @property
    def _own(self) -> str:
        return "." if self.val is not None else "refit"


class Fitted(Protocol):
    """A trained model."""

    @property
    def model(self) -> Any:
        """As its library has it."""

    @property
    def rounds(self) -> int:
        """How many trees or epochs it has."""

    def raw_scores(self, rows: RankerRows) -> np.ndarray:
        """[n] float64: logits of a classifier, scores of a ranking."""

    def contributions(self, data: pd.DataFrame) -> np.ndarray:
        """[n, columns]: what each column adds to the raw score of a row of `RankerRows.data`."""

    def save(self, folder: pathlib.Path) -> None:
        """Writes `Kind.files`.

        Raises:
            InputError: if a graph cannot hold the model.
        """


class Served(NamedTuple):
    """A trained model as TensorFlow operations.

    Attributes:
        scores: a tf.Module that maps [numeric, batch] float32 and [categorical, batch] int64 to [batch] float64 raw
            scores.
        numeric: which of the ranker's columns are the rows of its first input, by number.
        categorical: the same of its second.
        is_probability: whether a raw score is a logit.
        contributions: if the graph itself explains: from the same inputs to [batch, columns] float32.
    """

    scores: "tf.Module"
    numeric: tuple[int, ...]
    categorical: tuple[int, ...]
    is_probability: bool
    contributions: "Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None" = None


class Kind(Protocol):
    """A kind of models.

    Attributes:
        unit: what its rounds are, in the plural.
        files: what `Fitted.save` writes.
        explained_by: of these, what has to be exported so that `load` finds a model that explains; none where the graph
            does.
        summary: the name of the files that hold the mean contributions, the name of a contribution in their headings,
            and what it is called.
    """

    unit: str
    files: tuple[str, ...]
    explained_by: tuple[str, ...]
    summary: tuple[str, str, str]

    def require(self) -> None:
        """Refuses an environment in which it cannot be trained.

        Raises:
            InputError: if its library is not installed.
        """

    def limit(self, settings: Settings) -> int:
        """How many rounds a training has at most."""

    def fit(self, task: Task) -> Fitted:
        """A model.

        Raises:
            InputError: if it cannot be trained on these rows with these settings.
        """

    def load(self, folder: pathlib.Path, remedy: str) -> Fitted:
        """What `Fitted.save` wrote.

        Raises:
            InputError: if it is damaged; `remedy` says what to do.
        """

    def served(self, folder: ModelFolder, sizes: Sequence[int | None]) -> Served:
        """The model in a folder as a graph.

        Args:
            folder: of a finished training.
            sizes: for each column how many values it may have, if it is categorical.

        Raises:
            InputError: if it is damaged, or a graph cannot hold it.
        """


def is_categorical(data: pd.DataFrame) -> np.ndarray:
    """[columns] bool: those of tokens, not of numbers."""
    return np.array([not pd.api.types.is_float_dtype(kind) for kind in data.dtypes], bool)


def values_of(column: pd.Series) -> np.ndarray:
    """[n] tokens or numbers of a column."""
    return (column.cat.codes if isinstance(column.dtype, pd.CategoricalDtype) else column).to_numpy()
