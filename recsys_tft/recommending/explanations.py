"""Explanations of the ranker's scores: the contributions of raw columns."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_tft.serving.serving_folders import EXPORT_AGAIN
from recsys_tft.storage import json_files


def columns(folder: pathlib.Path) -> Mapping[str, Any]:
    """The contents of columns.json in a folder.

    Raises:
        InputError: if it is damaged.
    """
    return json_files.read(folder / "columns.json", EXPORT_AGAIN, ("columns",))


def by_raw_columns(values: np.ndarray, described: Mapping[str, Any]) -> list[list[tuple[str, float]]]:
    """For each of [n] rows (raw columns, contribution), the largest first.

    Args:
        values: [n, columns] contributions.
        described: as `columns`.
    """
    sources = [", ".join(column.get("sources") or [column["feature"]]) for column in described["columns"]]
    names = list(dict.fromkeys(sources))
    summed = np.zeros((len(values), len(names)))
    for column, source in enumerate(sources):
        summed[:, names.index(source)] += values[:, column]
    order = np.argsort(-np.abs(summed), axis=1, kind="stable")
    return [[(names[i], float(row[i])) for i in best] for row, best in zip(summed, order, strict=True)]


class Explainer:
    """Explains scores by the library that trained the ranker, with its implementation of TreeSHAP for trees.

    Lundberg et al., Consistent individualized feature attribution for tree ensembles (2018), arXiv:1802.03888.

    Args:
        folder: with the files of the model and columns.json.

    Attributes:
        described: the contents of columns.json.

    Raises:
        InputError: if the library is not installed, or a file is damaged.
    """

    def __init__(self, folder: pathlib.Path):
        from recsys_tft.ranking import tastes, trained_ranker

        self.described = columns(folder)
        kind = trained_ranker.kind_of(self.described)
        remedy = f"train the ranker again, and {EXPORT_AGAIN}"
        self._model, self._tastes = kind.load(folder, remedy), tastes.load(folder, remedy)

    def contributions(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """[n, columns] of [n] or [n, width] values by name."""
        import pandas as pd

        frame = {column["name"]: _values(features, column) for column in self.described["columns"]}
        return self._model.contributions(self._tastes(pd.DataFrame(frame)))


def _values(features: Mapping[str, np.ndarray], column: Mapping[str, Any]) -> np.ndarray:
    values = features[column["feature"]]
    return values if column["index"] is None else values[:, column["index"]]
