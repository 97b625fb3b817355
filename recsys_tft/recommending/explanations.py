"""Why the ranker scored as it did: SHAP values by the raw columns that a feature is made of."""

import pathlib
from collections.abc import Mapping

import numpy as np

from recsys_tft.errors import readable
from recsys_tft.serving.serving_folders import EXPORT_AGAIN
from recsys_tft.storage import json_files


class Explainer:
    """Explains scores with CatBoost's own implementation of TreeSHAP.

    Lundberg et al., Consistent individualized feature attribution for tree ensembles (2018), arXiv:1802.03888.

    Args:
        folder: with model.cbm and columns.json.
    """

    def __init__(self, folder: pathlib.Path):
        import catboost

        model = folder / "model.cbm"
        with readable(model, f"train the ranker again, and {EXPORT_AGAIN}", catboost.CatBoostError):
            self._model = catboost.CatBoost().load_model(str(model))
        self._columns = json_files.read(folder / "columns.json", EXPORT_AGAIN, ("columns",))["columns"]

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
        sources = [", ".join(column.get("sources") or [column["feature"]]) for column in self._columns]
        names = list(dict.fromkeys(sources))
        summed = np.zeros((len(values), len(names)))
        np.add.at(summed, (slice(None), [names.index(source) for source in sources]), values)
        order = np.argsort(-np.abs(summed), axis=1, kind="stable")
        return [[(names[i], float(row[i])) for i in best] for row, best in zip(summed, order, strict=True)]


def _values(features: Mapping[str, np.ndarray], column: Mapping[str, object]) -> np.ndarray:
    values = features[column["feature"]]
    return values if column["index"] is None else values[:, column["index"]]
