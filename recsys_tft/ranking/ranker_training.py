"""`recsys-tft train ranker`: trains CatBoost, judges it against baselines in the same run, and writes models/ranker."""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import catboost
import numpy as np
from rich.console import RenderableType

from recsys_tft.configuration.model_settings import RankerSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.faults import catboost_reason, is_interrupt, sentences
from recsys_tft.ranking import calibration, ranker_report, ranker_rows, ranking_judgement, ranking_metrics
from recsys_tft.ranking.calibration import Calibration
from recsys_tft.ranking.ranker_rows import Column, RankerRows
from recsys_tft.ranking.trained_ranker import COLUMNS, FOLDER, MODEL, raw_scores
from recsys_tft.run_layout import run_folders
from recsys_tft.storage.json_files import to_json
from recsys_tft.training import model_folders, stopwatch, training_report
from recsys_tft.training.model_folders import METRICS, ModelFolder
from recsys_tft.training.stopwatch import Stopwatch
from recsys_tft.trees import catboost_model

MODEL_JSON, JUDGED = "model.json", "judged.cbm"
_SNAPSHOT_SECONDS = 10
_OBJECTIVES = {
    "classifier": {"loss_function": "Logloss", "eval_metric": "Logloss"},
    "yetirank": {"loss_function": "YetiRank", "eval_metric": "NDCG:top=10"},
}


class Trained(training_report.Trained):
    """A trained ranker."""

    def report(self) -> list[RenderableType]:
        """The metrics beside those of the baselines, and where everything is, for a terminal."""
        training, target = self.metrics["training"], self.folder.target
        days, calibrated = self.metrics["baselines"][ranking_judgement.RECENT]["days"], self.metrics["calibration"]
        probability = [f"Probability: {_sentence(calibrated)}"] if calibrated else []
        pictures = ["calibration.csv, .png", "calibration.json"] if calibrated else []
        return [
            *training_report.by_window(
                self.metrics, ranking_metrics.NAMES, (), ranking_metrics.SLICES, "auc", ranking_metrics.PART_TITLES
            ),
            f"\nRecent popularity: likes of the last {days} days, which were the best on val.",
            *probability,
            *(f"Warning: {text}" for text in self.metrics["warnings"]),
            f"Trees:   {training['trees']:,} of {training['iterations']:,}; {training['examples']:,} rows read at "
            f"{training['rows_per_second']:,.0f} rows/s",
            *training_report.refitted(self.metrics),
            f"Model:   {target}  ({', '.join(['model.cbm, model.json, columns.json, metrics.json', *pictures[1:]])})",
            f"Why:     {target}/{', '.join(['feature_importance.csv, .png', 'shap_summary.csv, .png', *pictures[:1]])}",
            f"Logs:    tensorboard --logdir {target / 'logs'}",
            f"{stopwatch.sentence(training)}.",
            f"Trained in {training['seconds']:.1f} s.",
        ]


def _sentence(calibrated: dict[str, Any]) -> str:
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in calibrated["log loss"].items())
    return f"by {calibrated['method']} scaling on val, cross-validated log loss there: {losses}."


@sentences()
def train(
    output_dir: str,
    config: str | None = None,
    seed: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
    refit: bool = False,
) -> Trained:
    """Trains the ranker on the rows of a run.

    Args:
        output_dir: of the run.
        config: a YAML file; its `ranker` training options and `seed` take the place of the run's.
        seed: of CatBoost; the settings' by default.
        resume: whether to go on with an interrupted training.
        overwrite: whether to replace a model that is there already.
        say: is told each step.
        refit: whether to train again on all windows in the end, with as many trees; the settings may say so as well.

    Raises:
        InputError: if there is no run, a setting is wrong or differs from the run's, the training or validation split
            lacks positives or negatives, the ranker is to read what CatBoost cannot, or a model exists already.
    """
    folder = ModelFolder(output_dir, FOLDER)
    with folder.writing(overwrite), run_folders.held(output_dir) as run:
        chosen = model_folders.settings_for(run, config, seed, FOLDER if refit else None)
        metrics = _train(run, folder, chosen, resume, say)
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
    sampled = chosen.ranker.sampled_weight
    pool = rows["train"].pool(weighted, sampled)
    say("Training")
    model = _judged_model(pool, rows["val"].pool(weighted, sampled), chosen, folder, say)
    raw = {w: raw_scores(model, rows[w]) if len(rows[w]) else np.zeros(0) for w in ("val", "test")}
    calibrated, losses = _calibration(raw["val"], rows["val"], chosen)
    scores = {w: calibrated(of) for w, of in raw.items()} if calibrated else raw
    say("Judging")
    likes = next((c.name for c in columns if c.sources == ("like_count",) and c.kind == "numeric"), None)
    metrics = ranking_judgement.judge(rows, scores, calibrated is not None, likes, chosen.seed)
    metrics["calibration"] = {"method": calibrated.method, "log loss": losses} if calibrated else {}
    metrics["refit"] = {}
    if chosen.ranker.refit:
        say("Training again on all windows")
        windows, trees = [w for w, part in rows.items() if len(part)], model.tree_count_
        pool = ranker_rows.together([rows[w] for w in windows]).pool(weighted, sampled)
        model = _fit(pool, None, chosen, folder, say, trees)
        metrics["refit"] = {"rows": pool.num_row(), "windows": windows, "trees": trees}
    read = sum(map(len, rows.values()))
    metrics["training"] = {
        "trees": model.tree_count_,
        "iterations": chosen.ranker.iterations,
        "examples": read,
        "rows_per_second": read / reading.seconds,
        "seconds": time.monotonic() - begun,
    } | reading.described()
    say("Writing the model")
    _write_calibration(calibrated, scores, rows, folder)
    _write(model, pool, rows["val"], columns, graph, metrics, chosen, folder)
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


def _judged_model(
    train: catboost.Pool, val: catboost.Pool, chosen: Settings, folder: ModelFolder, say: Callable
) -> Any:
    """The model of the training window. Where one is to follow it on all windows, it is kept, to be resumed with."""
    kept = folder.work / JUDGED
    if kept.exists():
        return catboost.CatBoost().load_model(str(kept))
    model = _fit(train, val, chosen, folder, say, chosen.ranker.iterations)
    if chosen.ranker.refit:
        part = kept.with_suffix(".part")
        model.save_model(str(part))
        part.rename(kept)
    return model


def _fit(
    train: catboost.Pool, val: catboost.Pool | None, chosen: Settings, folder: ModelFolder, say: Callable, trees: int
) -> Any:
    """A model of so many trees at most, which ends where val is no better; without val, of as many."""
    own = "refit" if val is None else "."
    logs, checkpoints = folder.work / "logs" / own, folder.work / "checkpoints" / own
    checkpoints.mkdir(exist_ok=True, parents=True)
    options = parameters(chosen.ranker) | {
        "iterations": trees,
        "random_seed": chosen.seed % 2**31,
        "train_dir": str(logs),
        "save_snapshot": True,
        "snapshot_file": str((checkpoints / "snapshot").resolve()),
        "snapshot_interval": _SNAPSHOT_SECONDS,
        "logging_level": "Silent",
    }
    stopping: dict[str, Any] = {}
    if val is not None:
        rounds = chosen.ranker.early_stopping_rounds
        stopping = {"eval_set": val, "use_best_model": True, "early_stopping_rounds": rounds}
    model = catboost.CatBoost(options)
    try:
        model.fit(train, **stopping, callbacks=[_Said(say)])
    except catboost.CatBoostError as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise InputError(_explained(error, folder, train.num_row())) from error
    return model


def _calibration(raw: np.ndarray, val: RankerRows, chosen: Settings) -> tuple[Calibration | None, dict[str, float]]:
    """Of a classifier, fitted on val; and the log losses by which it was chosen."""
    if chosen.ranker.objective != "classifier":
        return None, {}
    owners, _ = val.owners()
    weights = val.keys["weight"].astype(np.float64)
    return calibration.choose(raw, val.keys["label"], weights, owners, chosen.seed)


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


def _write_calibration(
    calibrated: Calibration | None, scores: dict[str, np.ndarray], rows: dict[str, RankerRows], folder: ModelFolder
) -> None:
    if calibrated is None:
        return
    (folder.work / calibration.FILE).write_text(to_json(calibrated.as_json()))
    weights = {w: rows[w].keys["weight"].astype(np.float64) for w in scores}
    tenths = {w: calibration.deciles(of, rows[w].keys["label"], weights[w]) for w, of in scores.items() if len(of)}
    ranker_report.write_calibration(tenths, folder.work)


def _write(
    model: Any,
    pool: catboost.Pool,
    val: RankerRows,
    columns: Sequence[Column],
    graph: str,
    metrics: dict[str, Any],
    chosen: Settings,
    folder: ModelFolder,
) -> None:
    work = folder.work
    model.save_model(str(work / MODEL))
    model.save_model(str(work / MODEL_JSON), format="json", pool=pool)
    catboost_model.check(json.loads((work / MODEL_JSON).read_text()))  # one that cannot be served is no result
    sample = val.sample(chosen.ranker.shap_rows, chosen.seed).pool()
    ranker_report.write(model, pool, sample, [column.name for column in columns], work)
    (work / JUDGED).unlink(missing_ok=True)
    described = {
        "objective": chosen.ranker.objective,
        "transform_graph": graph,
        "columns": [dataclasses.asdict(column) for column in columns],
    }
    (work / COLUMNS).write_text(to_json(described))
    (work / METRICS).write_text(to_json(metrics))
