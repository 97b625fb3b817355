"""Two-tower models whose vocabularies have grown: tokens never move, so that a table only gets rows behind its own."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from recsys_tft.configuration.settings import Settings
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.vocabularies import MISSING_TOKEN


def grown(model: TwoTower, categories: Mapping[str, int]) -> TwoTower:
    """The same model for more values; those that it has not been trained on are to it as unseen ones.

    Args:
        model: as it was trained; itself where there are no more values.
        categories: for each categorical feature how many values it may have by now.
    """
    if all(categories.get(name, size) == size for name, size in model.categories.items()):
        return model
    return with_new_rows(larger(model, categories, model.settings), model, unseen)


def larger(model: TwoTower, categories: Mapping[str, int], settings: Settings) -> TwoTower:
    """The same model for more values, to go on from: new ones begin at random, as all do in a training from nothing.

    Args:
        model: as it was trained.
        categories: as of `grown`.
        settings: under which it goes on.
    """
    sizes = {name: categories.get(name, size) for name, size in model.categories.items()}
    made = TwoTower(model.query_features, model.candidate_features, sizes, model.widths, settings)
    carry(made.variables(), list(map(np.asarray, model.variables())))
    return made


def with_new_rows(made: TwoTower, model: TwoTower, start: Callable[[np.ndarray, int], np.ndarray]) -> TwoTower:
    """A larger model whose new rows are another vector, by a function of the table and how many rows are of unseen."""
    for name, table in made.tables().items():
        rows = np.array(table.embeddings)
        known = _known(model, name)
        rows[known:] = start(rows[:known], _out_of_vocabulary(model, name))
        table.embeddings.assign(rows)
    return made


def carry(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Gives variables the values of those that they stand for; rows behind them, of larger tables, stay as they are.

    Args:
        variables: of a model, or of its optimizer.
        values: of the same variables in their order, of the same shape but for fewer rows.
    """
    for variable, old in zip(variables, values, strict=True):
        value = np.array(variable)
        shared = tuple(map(slice, np.minimum(old.shape, value.shape).tolist()))
        value[shared] = old[shared]
        variable.assign(value)


def unseen(rows: np.ndarray, n_oov: int) -> np.ndarray:
    """[width] the vector of a value that [values, width] lacks: the mean of the unseen ones, or the missing one."""
    return rows[1 : 1 + n_oov].mean(axis=0) if n_oov else rows[MISSING_TOKEN]


def _known(model: TwoTower, table: str) -> int:
    """How many of the rows of a table stand for values; those behind them are there for later ones."""
    features = (*model.query_features, *model.candidate_features)
    return max(model.categories[f.name] for f in features if f.is_categorical and f.embedding_table == table)


def _out_of_vocabulary(model: TwoTower, table: str) -> int:
    features = (*model.query_features, *model.candidate_features)
    names = (f.vocabulary.name for f in features if f.vocabulary and f.embedding_table == table)
    return max((model.settings.vocabulary(name).n_oov for name in names), default=0)
