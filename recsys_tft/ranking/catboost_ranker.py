"""Rankers of symmetric trees, by CatBoost, with its native categories."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import catboost
import numpy as np
import pandas as pd

from recsys_tft.configuration.model_settings import RankerSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError, readable
from recsys_tft.faults import is_interrupt, reason_of_trees
from recsys_tft.ranking.boosted_logistic import BoostedLogisticKind
from recsys_tft.ranking.ranker_interface import Served, Task, is_categorical
from recsys_tft.ranking.ranker_rows import START, RankerRows, groups
from recsys_tft.training.model_folders import ModelFolder
from recsys_tft.tree_graphs import catboost_model

MODEL, MODEL_JSON = "model.cbm", "model.json"
_SNAPSHOT_SECONDS = 10
_OBJECTIVES = {
    "classifier": {"loss_function": "Logloss", "eval_metric": "Logloss"},
    "yetirank": {"loss_function": "YetiRank", "eval_metric": "NDCG:top=10"},
}


def pool(rows: RankerRows, weighted: bool = True, sampled: float = 1.0) -> catboost.Pool:
    """Rows with labels, groups and, unless the objective knows none, weights.

    Args:
        rows: the rows; START of their keys is the baseline.
        weighted: whether they have weights.
        sampled: by which those of drawn negatives are multiplied, if some of the shown rows are negatives.
    """
    return catboost.Pool(
        rows.data,
        label=rows.keys["label"],
        cat_features=_categorical(rows.data),
        weight=rows.weights(sampled) if weighted else None,
        group_id=groups(rows.keys["user_id"]),
        baseline=rows.keys.get(START),
    )


def _categorical(data: pd.DataFrame) -> list[str]:
    return [name for name, is_one in zip(data.columns, is_categorical(data), strict=True) if is_one]


def raw_scores(model: catboost.CatBoost, rows: RankerRows) -> np.ndarray:
    """[n] float64 sums of leaves: logits of a classifier, scores of a ranking."""
    return np.asarray(model.predict(pool(rows), prediction_type="RawFormulaVal"))


@dataclasses.dataclass(frozen=True)
class CatBoostRanker:
    """A fitted CatBoost.

    Attributes:
        model: a catboost.CatBoost.
        pool: it was fitted on; None of one that was loaded.
    """

    model: catboost.CatBoost
    pool: catboost.Pool | None = None

    @property
    def rounds(self) -> int:
        return self.model.tree_count_

    def raw_scores(self, rows: RankerRows) -> np.ndarray:
        return raw_scores(self.model, rows)

    def contributions(self, data: pd.DataFrame) -> np.ndarray:
        """SHAP values by CatBoost's own implementation of TreeSHAP."""
        given = catboost.Pool(data, cat_features=_categorical(data))
        return np.asarray(self.model.get_feature_importance(given, type="ShapValues"))[:, :-1]

    def save(self, folder: pathlib.Path) -> None:
        self.model.save_model(str(folder / MODEL))
        self.model.save_model(str(folder / MODEL_JSON), format="json", pool=self.pool)
        catboost_model.check(json.loads((folder / MODEL_JSON).read_text()))


class CatBoostKind:
    """As `Kind`."""

    unit = "trees"
    files: tuple[str, ...] = (MODEL, MODEL_JSON)
    explained_by: tuple[str, ...] = (MODEL,)
    summary = ("shap_summary", "shap", "SHAP value")

    def require(self) -> None:
        pass  # it comes with us

    def limit(self, settings: Settings) -> int:
        return settings.ranker.iterations

    def fit(self, task: Task) -> CatBoostRanker:
        chosen = task.settings.ranker
        weighted = chosen.objective == "classifier"  # CatBoost's YetiRank ignores weights of rows, and says so
        train = pool(task.train, weighted, chosen.sampled_weight)
        options = parameters(chosen) | {
            "iterations": task.rounds,
            "random_seed": task.settings.seed % 2**31,
            "train_dir": str(task.logs),
            "save_snapshot": True,
            "snapshot_file": str((task.checkpoints / "snapshot").resolve()),
            "snapshot_interval": _SNAPSHOT_SECONDS,
            "logging_level": "Silent",
        }
        stopping: dict[str, Any] = {}
        if task.val is not None:
            val, rounds = pool(task.val, weighted, chosen.sampled_weight), chosen.early_stopping_rounds
            stopping = {"eval_set": val, "use_best_model": True, "early_stopping_rounds": rounds}
        model = catboost.CatBoost(options)
        try:
            model.fit(train, **stopping, callbacks=[_Said(task.say, options["iterations"])])
        except catboost.CatBoostError as error:
            if is_interrupt(error):
                raise KeyboardInterrupt from error
            raise InputError(_explained(error, task.folder, train.num_row())) from error
        return CatBoostRanker(model, train)

    def load(self, folder: pathlib.Path, remedy: str) -> CatBoostRanker:
        path = folder / MODEL
        with readable(path, remedy, catboost.CatBoostError):
            return CatBoostRanker(catboost.CatBoost().load_model(str(path)))

    def served(self, folder: ModelFolder, sizes: Sequence[int | None]) -> Served:
        from recsys_tft.tree_graphs.catboost_graph import TreeEnsemble

        with readable(folder.target / MODEL_JSON, folder.remedy):
            found = catboost_model.parse(folder.read(MODEL_JSON))
        trees = TreeEnsemble(found, [cast(int, sizes[number]) for number in found.categorical])
        return Served(trees, found.numeric, found.categorical, found.is_probability)


KIND = BoostedLogisticKind(CatBoostKind())


def parameters(options: RankerSettings) -> dict[str, Any]:
    """What CatBoost is told of the settings."""
    return _OBJECTIVES[options.objective] | {
        "learning_rate": options.learning_rate,
        "iterations": options.iterations,
        "depth": options.depth,
        "l2_leaf_reg": options.l2_leaf_reg,
        "max_ctr_complexity": options.max_ctr_complexity,
        "grow_policy": "SymmetricTree",  # the only trees that the serving graph holds
    }  # fmt: skip


def _explained(error: catboost.CatBoostError, folder: ModelFolder, rows: int) -> str:
    """What CatBoost's error means for the rows and settings that it was given."""
    path, why = f"{folder.output_dir}/processed_data/{folder.name}/train", reason_of_trees(error)
    if "constant" in why:
        return (
            f"{path}: every column that the ranker reads has one value in all {rows:,} rows, so that there is nothing "
            "to learn from; it needs raw tables with columns that differ, such as age, category or view_count."
        )
    if "napshot" in why or "rogress" in why:
        return f"{folder.work / 'checkpoints'}: the checkpoint cannot be used ({why}); start again without --resume."
    return f"{path}: CatBoost cannot train on these {rows:,} rows with the settings under ranker ({why})."


class _Said:
    """Tells how many trees there are, and how good they are."""

    def __init__(self, say: Callable[[str], None], most: int):
        self._say, self._most = say, most

    def after_iteration(self, info: Any) -> bool:
        values = next(iter(info.metrics.get("validation", {}).items()), None)
        shown = f", val {values[0]} {values[1][-1]:.4f}" if values else ""
        self._say(f"progress: tree {info.iteration}{shown} ({100 * info.iteration // self._most} % of all)")
        return True
