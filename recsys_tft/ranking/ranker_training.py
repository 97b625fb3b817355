"""`recsys-tft train ranker`: trains CatBoost, judges it against baselines in the same run, and writes models/ranker."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import catboost
import numpy as np
from rich.console import RenderableType

from recsys_tft.configuration.model_settings import RankerSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.faults import catboost_reason, is_interrupt, sentences
from recsys_tft.ranking import ranker_report, ranker_rows, ranking_evaluation, ranking_metrics
from recsys_tft.ranking.ranker_rows import RankerRows
from recsys_tft.ranking.trained_ranker import COLUMNS, FOLDER, MODEL, scores
from recsys_tft.run_layout import run_folders
from recsys_tft.storage.json_files import to_json
from recsys_tft.training import model_folders, stopwatch, training_report
from recsys_tft.training.model_folders import METRICS, ModelFolder
from recsys_tft.training.stopwatch import Stopwatch
from recsys_tft.trees import catboost_model

MODEL_JSON = "model.json"
_SNAPSHOT_SECONDS = 10
_OBJECTIVES = {
    "classifier": {"loss_function": "Logloss", "eval_metric": "Logloss"},
    "yetirank": {"loss_function": "YetiRank", "eval_metric": "NDCG:top=10"},
}


class Trained(training_report.Trained):
    """A trained ranker."""

    def report(self) -> list[RenderableType]:
        """The metrics beside those of the baselines, and where everything is, for a terminal."""
        training = self.metrics["training"]
        return [
            *training_report.by_window(self.metrics, ranking_metrics.NAMES, (), ranking_metrics.SLICES, "auc"),
            f"\nTrees:   {training['trees']:,} of {training['iterations']:,}; {training['examples']:,} rows read at "
            f"{training['rows_per_second']:,.0f} rows/s",
            f"Model:   {self.folder.target}  (model.cbm, model.json, columns.json, metrics.json)",
            f"Why:     {self.folder.target}/feature_importance.csv, .png, shap_summary.csv, .png",
            f"Logs:    tensorboard --logdir {self.folder.target / 'logs'}",
            f"{stopwatch.sentence(training)}.",
            f"Trained in {training['seconds']:.1f} s.",
        ]


@sentences()
def train(
    output_dir: str,
    config: str | None = None,
    seed: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Trains the ranker on the rows of a run.

    Args:
        output_dir: of the run.
        config: a YAML file; its `ranker` training options and `seed` take the place of the run's.
        seed: of CatBoost; the settings' by default.
        resume: whether to go on with an interrupted training.
        overwrite: whether to replace a model that is there already.
        say: is told each step.

    Raises:
        InputError: if there is no run, a setting is wrong or differs from the run's, the training or validation split
            lacks positives or negatives, the ranker is to read what CatBoost cannot, or a model exists already.
    """
    folder = ModelFolder(output_dir, FOLDER)
    with folder.writing(overwrite), run_folders.held(output_dir) as run:
        metrics = _train(run, folder, model_folders.settings_for(run, config, seed), resume, say)
    return Trained(folder, metrics)


def _train(run: str, folder: ModelFolder, chosen: Settings, resume: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Trains and commits the model; returns its metrics."""
    features = ranker_rows.features_for(chosen)
    columns = ranker_rows.columns_of(features, chosen)
    graph = run_folders.fingerprint(run)
    say("Reading rows")
    with Stopwatch() as reading:
        rows = {w: ranker_rows.read(run, w, features, columns) for w in ("train", "val", "test")}
    for window in ("train", "val"):
        _check(rows[window], folder.output_dir, window)
    folder.begin(resume, {"transform_graph": graph, "settings": chosen.model_dump(mode="json")})
    begun = time.monotonic()
    weighted = chosen.ranker.objective == "classifier"  # CatBoost's YetiRank ignores weights of rows, and says so
    pools = {window: rows[window].pool(weighted) for window in ("train", "val")}
    say("Training")
    model = _fit(pools["train"], pools["val"], chosen, folder, say)
    read = sum(map(len, rows.values()))
    metrics: dict[str, Any] = {w: _judged(model, rows, w, chosen) for w in ("val", "test") if len(rows[w])}
    metrics = {"val": {}, "test": {}} | metrics
    metrics["training"] = {
        "trees": model.tree_count_,
        "iterations": chosen.ranker.iterations,
        "examples": read,
        "rows_per_second": read / reading.seconds,
        "seconds": time.monotonic() - begun,
    } | reading.described()
    say("Writing the model")
    _write(model, pools["train"], rows, columns, graph, metrics, chosen, folder)
    folder.commit()
    return metrics


def _check(rows: RankerRows, output_dir: str, window: str) -> None:
    labels = rows.keys["label"]
    path = f"{output_dir}/processed_data/ranker/{window}"
    if not len(labels):
        raise InputError(f"{path}: the {window} split is empty; training needs rows there.")
    if labels.min() == labels.max():
        raise InputError(
            f"{path}: all {len(labels):,} rows of the {window} split have the label {labels[0]}; a ranker needs "
            "positives and negatives (ranker.negative_sample_ratio draws them)."
        )


def _fit(train: catboost.Pool, val: catboost.Pool, chosen: Settings, folder: ModelFolder, say: Callable) -> Any:
    logs, checkpoints = folder.work / "logs", folder.work / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    options = parameters(chosen.ranker) | {
        "random_seed": chosen.seed % 2**31,
        "train_dir": str(logs),
        "save_snapshot": True,
        "snapshot_file": str((checkpoints / "snapshot").resolve()),
        "snapshot_interval": _SNAPSHOT_SECONDS,
        "logging_level": "Silent",
    }
    model = catboost.CatBoost(options)
    try:
        model.fit(train, eval_set=val, use_best_model=True, early_stopping_rounds=chosen.ranker.early_stopping_rounds,
                  callbacks=[_Said(say)])  # fmt: skip
    except catboost.CatBoostError as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise InputError(_explained(error, folder, train.num_row())) from error
    return model


def _explained(error: catboost.CatBoostError, folder: ModelFolder, rows: int) -> str:
    """What CatBoost's error means for the rows and settings that it was given."""
    path, why = f"{folder.output_dir}/processed_data/{FOLDER}/train", catboost_reason(error)
    if "constant" in why:
        return (
            f"{path}: every column that the ranker reads has one value in all {rows:,} rows, so that there is nothing "
            "to learn from; it needs raw tables with columns that differ, such as age, category or view_count."
        )
    if "napshot" in why or "rogress" in why:
        return f"{folder.work / 'checkpoints'}: the checkpoint cannot be used ({why}); start again without --resume."
    return f"{path}: CatBoost cannot train on these {rows:,} rows with the settings under ranker ({why})."


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


class _Said:
    """Tells how many trees there are, and how good they are."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say

    def after_iteration(self, info: Any) -> bool:
        values = next(iter(info.metrics.get("validation", {}).items()), None)
        shown = f", val {values[0]} {values[1][-1]:.4f}" if values else ""
        self._say(f"progress: tree {info.iteration}{shown}")
        return True


def _judged(model: Any, rows: dict[str, RankerRows], window: str, chosen: Settings) -> dict[str, Any]:
    """The table of one window: the model and baselines."""
    keys, training = rows[window].keys, rows["train"].keys
    positives = training["video_id"][training["label"] == 1]
    videos, counts = np.unique(positives, return_counts=True)
    place = np.minimum(np.searchsorted(videos, keys["video_id"]), len(videos) - 1)
    popularity = np.where(videos[place] == keys["video_id"], counts[place], 0)
    owners, users = rows[window].owners()
    judged = ranking_evaluation.Judged(
        owners,
        users,
        keys["label"],
        keys["weight"],
        ~np.isin(keys["user_id"], training["user_id"]),
        ~np.isin(keys["video_id"], training["video_id"]),
    )
    constant = np.full(len(owners), np.average(training["label"], weights=training["weight"]))
    found = {
        "ranker": (scores(model, rows[window], chosen.ranker.objective), chosen.ranker.objective == "classifier"),
        "popularity": (popularity.astype(np.float64), False),
        "constant": (constant, True),
    }
    return {name: ranking_evaluation.table(judged, *how, chosen.seed) for name, how in found.items()}


def _write(model, train, rows, columns, graph: str, metrics, chosen: Settings, folder: ModelFolder) -> None:
    work = folder.work
    model.save_model(str(work / MODEL))
    model.save_model(str(work / MODEL_JSON), format="json", pool=train)
    catboost_model.check(json.loads((work / MODEL_JSON).read_text()))  # one that cannot be served is no result
    sample = rows["val"].sample(chosen.ranker.shap_rows, chosen.seed).pool()
    ranker_report.write(model, train, sample, [column.name for column in columns], work)
    described = {
        "objective": chosen.ranker.objective,
        "transform_graph": graph,
        "columns": [dataclasses.asdict(column) for column in columns],
    }
    (work / COLUMNS).write_text(to_json(described))
    (work / METRICS).write_text(to_json(metrics))
