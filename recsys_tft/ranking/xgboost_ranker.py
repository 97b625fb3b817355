"""Rankers of gradient boosted trees by XGBoost (`pip install 'recsys_tft[xgboost]'`), with its native categories."""

import dataclasses
import importlib
import json
import pathlib
import time
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from scipy import special

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError, readable
from recsys_tft.ranking import ranking_metrics
from recsys_tft.ranking.boosted_logistic import BoostedLogisticKind
from recsys_tft.ranking.ranker_interface import Served, Task, is_categorical, values_of
from recsys_tft.ranking.ranker_rows import START, RankerRows
from recsys_tft.training.model_folders import ModelFolder
from recsys_tft.tree_graphs import xgboost_model

if TYPE_CHECKING:
    import xgboost

MODEL = "model.json"
_CHECKPOINT, _CHECKPOINT_SECONDS = "checkpoint.json", 10
_LOSSES = "losses"  # the attribute of a checkpoint with the log loss on val after each tree
_LARGEST = np.finfo(np.float32).max


def matrix(data: pd.DataFrame, **of_rows: np.ndarray) -> "xgboost.DMatrix":
    """Rows for XGBoost: tokens as they are, infinite numbers as the largest ones, which it takes alone.

    Args:
        data: as `RankerRows.data`.
        of_rows: [n] label, weight and base_margin.
    """
    values = np.empty(data.shape, np.float32)
    tokens = is_categorical(data)
    for place, (name, is_one) in enumerate(zip(data.columns, tokens, strict=True)):
        values[:, place] = values_of(data[name])
        if not is_one:
            np.clip(values[:, place], -_LARGEST, _LARGEST, out=values[:, place])
    kinds = ["c" if is_one else "q" for is_one in tokens]
    return _library().DMatrix(values, feature_types=kinds, enable_categorical=True, **of_rows)


@dataclasses.dataclass(frozen=True)
class XGBoostRanker:
    """A fitted XGBoost.

    Attributes:
        model: an xgboost.Booster, whose features are numbered as the ranker's columns.
    """

    model: "xgboost.Booster"

    @property
    def rounds(self) -> int:
        return self.model.num_boosted_rounds()

    def raw_scores(self, rows: RankerRows) -> np.ndarray:
        return _margins(self.model, matrix(rows.data))

    def contributions(self, data: pd.DataFrame) -> np.ndarray:
        """SHAP values by XGBoost's own implementation of TreeSHAP."""
        return self.model.predict(matrix(data), pred_contribs=True)[:, :-1]

    def save(self, folder: pathlib.Path) -> None:
        self.model.save_model(folder / MODEL)
        xgboost_model.check(json.loads((folder / MODEL).read_text()))


class XGBoostKind:
    """As `Kind`."""

    unit = "trees"
    files: tuple[str, ...] = (MODEL,)
    explained_by = files
    summary = ("shap_summary", "shap", "SHAP value")

    def require(self) -> None:
        _library()

    def limit(self, settings: Settings) -> int:
        return settings.ranker.iterations

    def fit(self, task: Task) -> XGBoostRanker:
        parts = [task.train] if task.val is None else [task.train, task.val]
        sampled = task.settings.ranker.sampled_weight
        data = [
            matrix(part.data, label=part.keys["label"], weight=part.weights(sampled), base_margin=part.keys[START])
            for part in parts
        ]
        checkpoint = task.checkpoints / _CHECKPOINT
        booster, losses = _begun(checkpoint, parameters(task.settings), data)
        patience, saved = task.settings.ranker.early_stopping_rounds, time.monotonic()
        while booster.num_boosted_rounds() < task.rounds and not _is_over(losses, patience):
            number = booster.num_boosted_rounds()
            booster.update(data[0], number)
            shown = ""
            if task.val is not None:
                losses.append(_loss(booster, data[1]))
                shown = f", val Logloss {losses[-1]:.4f}"
            task.say(f"progress: tree {number + 1}{shown} ({100 * (number + 1) // task.rounds} % of all)")
            if time.monotonic() - saved >= _CHECKPOINT_SECONDS:
                _save(booster, losses, checkpoint)
                saved = time.monotonic()
        booster.set_attr(**{_LOSSES: None})
        return XGBoostRanker(booster[: int(np.argmin(losses)) + 1] if losses else booster)

    def load(self, folder: pathlib.Path, remedy: str) -> XGBoostRanker:
        library, path = _library(), folder / MODEL
        with readable(path, remedy, library.core.XGBoostError):
            return XGBoostRanker(library.Booster(model_file=path))

    def served(self, folder: ModelFolder, sizes: Sequence[int | None]) -> Served:
        from recsys_tft.tree_graphs.xgboost_graph import TreeEnsemble

        with readable(folder.target / MODEL, folder.remedy):
            found = xgboost_model.parse(folder.read(MODEL))
        trees = TreeEnsemble(found, [cast(int, sizes[number]) for number in found.categorical])
        return Served(trees, found.numeric, found.categorical, is_probability=True)


KIND = BoostedLogisticKind(XGBoostKind())


def parameters(settings: Settings) -> dict[str, Any]:
    """What XGBoost is told of the settings."""
    options = settings.ranker
    return {
        "objective": xgboost_model.OBJECTIVE,
        "base_score": 0.5,  # a logit of 0: trees start from START alone
        "learning_rate": options.learning_rate,
        "max_depth": options.depth,
        "reg_lambda": options.l2_leaf_reg,
        "tree_method": "hist",
        "seed": settings.seed % 2**31,
        "verbosity": 0,
    }


def _library() -> ModuleType:
    try:
        return importlib.import_module("xgboost")
    except ImportError:
        raise InputError("xgboost is not installed: run `pip install 'recsys_tft[xgboost]'`.") from None


def _margins(booster: "xgboost.Booster", rows: "xgboost.DMatrix") -> np.ndarray:
    return booster.predict(rows, output_margin=True).astype(np.float64)


def _loss(booster: "xgboost.Booster", val: "xgboost.DMatrix") -> float:
    found = ranking_metrics.log_loss(val.get_label(), special.expit(_margins(booster, val)))
    return float(np.average(found, weights=val.get_weight()))


def _is_over(losses: Sequence[float], patience: int) -> bool:
    return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= patience


def _begun(
    checkpoint: pathlib.Path, options: dict[str, Any], data: "list[xgboost.DMatrix]"
) -> "tuple[xgboost.Booster, list[float]]":
    """A model to go on with, and its losses on val so far."""
    library = _library()
    if not checkpoint.exists():
        return library.Booster(options, data), []
    with readable(checkpoint, "start again without --resume", library.core.XGBoostError):
        booster = library.Booster(options, data, model_file=checkpoint)
        return booster, json.loads(booster.attr(_LOSSES))


def _save(booster: "xgboost.Booster", losses: Sequence[float], checkpoint: pathlib.Path) -> None:
    part = checkpoint.with_name(f"part-{checkpoint.name}")
    booster.set_attr(**{_LOSSES: json.dumps(losses)})
    booster.save_model(part)
    part.rename(checkpoint)
