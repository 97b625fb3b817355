"""Why the ranker scored as it did: SHAP values by the raw columns that a feature is made of."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np

from recsys_tft.features import BY_NAME


class Explainer:
    """Explains scores with CatBoost's own implementation of TreeSHAP.

    Lundberg et al., Consistent individualized feature attribution for tree ensembles (2018), arXiv:1802.03888.

    Args:
        folder: with model.cbm and columns.json.
    """

    def __init__(self, folder: pathlib.Path):
        import catboost

        self._model = catboost.CatBoost().load_model(str(folder / "model.cbm"))
        self._columns = json.loads((folder / "columns.json").read_text())["columns"]

    def explain(self, features: Mapping[str, np.ndarray]) -> list[list[tuple[str, float]]]:
        """For each of [n] rows (raw columns, contribution), the weightiest first.

        Args:
            features: [n] or [n, width] values by name.
        """
        import catboost
        import pandas as pd

        frame = pd.DataFrame({column["name"]: _values(features, column) for column in self._columns})
        categorical = [column["name"] for column in self._columns if column["kind"] == "categorical"]
        pool = catboost.Pool(frame, cat_features=categorical)
        values = np.asarray(self._model.get_feature_importance(pool, type="ShapValues"))[:, :-1]
        sources = [", ".join(BY_NAME[column["feature"]].sources) for column in self._columns]
        names = list(dict.fromkeys(sources))
        summed = np.zeros((len(values), len(names)))
        np.add.at(summed, (slice(None), [names.index(source) for source in sources]), values)
        order = np.argsort(-np.abs(summed), axis=1, kind="stable")
        return [[(names[i], float(row[i])) for i in best] for row, best in zip(summed, order, strict=True)]


def _values(features: Mapping[str, np.ndarray], column: Mapping[str, object]) -> np.ndarray:
    values = features[column["feature"]]
    return values if column["index"] is None else values[:, column["index"]]
