"""Grows two-tower models with their vocabularies: tokens never move, so tables only get more rows at the end."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from recsys_tft.configuration.settings import Settings
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.vocabularies import MISSING_TOKEN


def grown(model: TwoTower, categories: Mapping[str, int]) -> TwoTower:
    """The same model for more values, which it treats as unseen ones.

    Args:
        model: the trained model, which is returned itself if there are no more values.
        categories: the current number of values of each categorical feature.
    """
    if all(categories.get(name, size) == size for name, size in model.categories.items()):
        return model
    return with_new_rows(larger(model, categories, model.settings), model, unseen)


def larger(model: TwoTower, categories: Mapping[str, int], settings: Settings) -> TwoTower:
    """The same model for more values, for a warm start: new values are initialized at random, as in any training.

    Args:
        model: the trained model.
        categories: as for `grown`.
        settings: of the next training.
    """
    sizes = {name: categories.get(name, size) for name, size in model.categories.items()}
    made = TwoTower(model.query_features, model.candidate_features, sizes, model.widths, settings)
    carry(made.variables(), list(map(np.asarray, model.variables())))
    return made


def with_new_rows(made: TwoTower, model: TwoTower, start: Callable[[np.ndarray, int], np.ndarray]) -> TwoTower:
    """A larger model with new rows computed by a function of the table and its number of out-of-vocabulary rows."""
    for name, table in made.tables().items():
        rows = np.array(table.embeddings)
        known = _known(model, name)
        rows[known:] = start(rows[:known], _out_of_vocabulary(model, name))
        table.embeddings.assign(rows)
    return made


def carry(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Assign values to variables; further rows of larger tables stay unchanged.

    Args:
        variables: of a model, or of its optimizer.
        values: of the same variables in order, of the same shapes except for fewer rows.
    """
    for variable, old in zip(variables, values, strict=True):
        value = np.array(variable)
        shared = tuple(map(slice, np.minimum(old.shape, value.shape).tolist()))
        value[shared] = old[shared]
        variable.assign(value)


def unseen(rows: np.ndarray, n_oov: int) -> np.ndarray:
    """[width] the vector of a value outside of [values, width]: the mean of the unseen ones, or the missing one."""
    return rows[1 : 1 + n_oov].mean(axis=0) if n_oov else rows[MISSING_TOKEN]


def _known(model: TwoTower, table: str) -> int:
    """The number of rows of a table with a value; the rest are spare."""
    features = (*model.query_features, *model.candidate_features)
    return max(model.categories[f.name] for f in features if f.is_categorical and f.embedding_table == table)


def _out_of_vocabulary(model: TwoTower, table: str) -> int:
    features = (*model.query_features, *model.candidate_features)
    names = (f.vocabulary.name for f in features if f.vocabulary and f.embedding_table == table)
    return max((model.settings.vocabulary(name).n_oov for name in names), default=0)
