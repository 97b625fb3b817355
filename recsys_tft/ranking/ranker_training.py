"""`recsys-tft train ranker`: trains a model, judges it against baselines in the same run, and writes models/ranker."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import RenderableType

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.faults import sentences
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.ranking import (
    calibration,
    logistic,
    ranker_kinds,
    ranker_report,
    ranker_rows,
    ranking_judgement,
    ranking_metrics,
    tastes,
)
from recsys_tft.ranking.calibration import Calibration
from recsys_tft.ranking.ranker_interface import Fitted, Kind, Task
from recsys_tft.ranking.ranker_rows import Column, RankerRows
from recsys_tft.ranking.trained_ranker import COLUMNS, FOLDER
from recsys_tft.storage.json_files import to_json
from recsys_tft.training import model_folders, stopwatch, timeline, training_report
from recsys_tft.training.model_folders import METRICS, ModelFolder
from recsys_tft.training.stopwatch import Stopwatch
from recsys_tft.training.timeline import Timeline

JUDGED = "judged"  # the folder of the judged model, while another one follows it


class RankerResult(training_report.TrainingResult):
    """A trained ranker."""

    def report(self) -> list[RenderableType]:
        """The metrics beside those of the baselines, and where everything is, for a terminal."""
        training, target = self.metrics["training"], self.folder.target
        kind = ranker_kinds.of(training["model"])
        days, calibrated = self.metrics["baselines"][ranking_judgement.RECENT]["days"], self.metrics["calibration"]
        probability = [f"Probability: {_sentence(calibrated)}"] if calibrated else []
        pictures = ["calibration.csv, .png", "calibration.json"] if calibrated else []
        return [
            *training_report.by_split(
                self.metrics, ranking_metrics.NAMES, (), ranking_metrics.SLICES, "auc", ranking_metrics.PART_TITLES
            ),
            f"\nRecent popularity: likes of the last {days} days, which were the best on val.",
            *probability,
            *(f"Warning: {text}" for text in self.metrics["warnings"]),
            f"{kind.unit.capitalize() + ':':<8} {training[kind.unit]:,} of {training['iterations']:,}; "
            f"{training['examples']:,} rows read at {training['rows_per_second']:,.0f} rows/s",
            *training_report.refitted(self.metrics),
            f"Model:   {target}  ({', '.join([*kind.files, COLUMNS, METRICS, *pictures[1:]])})",
            f"Why:     {target}/{', '.join([f'{name}.csv, .png' for name in _explaining(kind)] + pictures[:1])}",
            f"Logs:    tensorboard --logdir {target / 'logs'}",
            f"{stopwatch.sentence(training)}.",
            f"Trained in {training['seconds']:.1f} s.",
        ]


def _explaining(kind: Kind) -> tuple[str, str]:
    return "feature_importance", kind.summary[0]


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
) -> RankerResult:
    """Trains the ranker on the rows of a run.

    Args:
        output_dir: of the run.
        config: a YAML file; its `ranker` training options and `seed` take the place of the run's.
        seed: of the model; the settings' by default.
        resume: whether to go on with an interrupted training.
        overwrite: whether to replace a model that is there already.
        say: is told each step.
        refit: whether to train again on all splits in the end, with as many trees or epochs; the settings may say so.

    Raises:
        InputError: if there is no run, a setting is wrong or differs from the run's, the training or validation split
            lacks positives or negatives, the ranker is to read what it cannot, a library is missing, or a model exists
            already.
    """
    folder = ModelFolder(output_dir, FOLDER)
    with folder.writing(overwrite), timeline.held(output_dir) as splits:
        chosen = model_folders.settings_for(splits.newest, config, seed, FOLDER if refit else None)
        metrics = _train(splits, folder, chosen, resume, say)
    return RankerResult(folder, metrics)


def _train(
    splits: Timeline, folder: ModelFolder, chosen: Settings, resume: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Trains and commits the model; returns its metrics."""
    kind = ranker_kinds.of(chosen.ranker.model)
    kind.require()
    features = ranker_rows.features_for(chosen)
    columns = ranker_rows.columns_of(features, chosen)
    made_by = splits.described()
    for text in splits.told(FOLDER):
        say(text)
    say("Reading rows")
    with Stopwatch() as reading:
        rows = {w: ranker_rows.read(splits, w, features, columns) for w in SPLITS}
    for split in ("train", "val"):
        own = splits.folder(FOLDER, split).path
        path = own if splits.period else f"{folder.output_dir}/processed_data/{FOLDER}/{split}"
        _check(rows[split], path, split)
    folder.begin(resume, {**made_by, "settings": chosen.model_dump(mode="json"), "start": logistic.FILE})
    begun = time.monotonic()
    say("Training")
    given = rows
    known, rows = tastes.of_splits(given, columns, chosen.seed)
    model = _judged_model(kind, rows, chosen, folder, say)
    raw = {w: model.raw_scores(rows[w]) if len(rows[w]) else np.zeros(0) for w in ("val", "test")}
    calibrated, losses = _calibration(raw["val"], rows["val"], chosen)
    scores = {w: calibrated(of) for w, of in raw.items()} if calibrated else raw
    say("Judging")
    likes = next((c.name for c in columns if c.sources == ("like_count",) and c.kind == "numeric"), None)
    metrics = ranking_judgement.judge(rows, scores, calibrated is not None, likes, chosen.seed)
    metrics["calibration"] = {"method": calibrated.method, "log loss": losses} if calibrated else {}
    metrics["refit"] = {}
    if chosen.ranker.refit:
        say("Training again on all splits")
        hidden = tastes.new_in(given["val"], given["train"], columns)
        used, rounds = [w for w, part in rows.items() if len(part)], model.rounds
        del model, rows["train"]  # and what the model holds of it
        known, every = tastes.learned(ranker_rows.together([given[w] for w in used]), columns, chosen.seed, hidden)
        model = kind.fit(Task(every, None, rounds, chosen, folder, say))
        rows["val"] = known.applied(given["val"])
        metrics["refit"] = {"rows": len(every), "splits": used, kind.unit: rounds}
    read = sum(map(len, given.values()))
    metrics["training"] = {
        "model": chosen.ranker.model,
        kind.unit: model.rounds,
        "iterations": kind.limit(chosen),
        "examples": read,
        "rows_per_second": read / reading.seconds,
        "seconds": time.monotonic() - begun,
    } | reading.described()
    say("Writing the model")
    _write_calibration(calibrated, scores, rows, folder)
    known.save(folder.work)
    _write(kind, model, rows["val"], columns, made_by, metrics, chosen, folder)
    folder.commit()
    return metrics


_REMEDY = (
    "Check labels.positive, and that this split has positives.",
    "Give rows that were shown and not liked; ranker.negative_sample_ratio draws only videos that a user was not "
    "positive on.",
)  # by the only label


def _check(rows: RankerRows, path: str, split: str) -> None:
    labels = rows.keys["label"]
    if not len(labels):
        raise InputError(f"{path}: the {split} split is empty; training needs rows there.")
    if labels.min() == labels.max():
        raise InputError(
            f"{path}: all {len(labels):,} rows of the {split} split have the label {labels[0]}; a ranker needs "
            f"positives and negatives. {_REMEDY[int(labels[0])]}"
        )


def _judged_model(
    kind: Kind, rows: dict[str, RankerRows], chosen: Settings, folder: ModelFolder, say: Callable[[str], None]
) -> Fitted:
    """The model of the training split. Where one is to follow it on all splits, it is kept, to be resumed with."""
    kept = folder.work / JUDGED
    if kept.exists():
        return kind.load(kept, "start again without --resume")
    model = kind.fit(Task(rows["train"], rows["val"], kind.limit(chosen), chosen, folder, say))
    if chosen.ranker.refit:
        part = kept.with_suffix(".part")
        part.mkdir(exist_ok=True)
        model.save(part)
        part.rename(kept)
    return model


def _calibration(raw: np.ndarray, val: RankerRows, chosen: Settings) -> tuple[Calibration | None, dict[str, float]]:
    """Of a classifier, fitted on val; and the log losses by which it was chosen."""
    if chosen.ranker.objective != "classifier":
        return None, {}
    owners, _ = val.owners()
    weights = val.keys["weight"].astype(np.float64)
    return calibration.choose(raw, val.keys["label"], weights, owners, chosen.seed)


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
    kind: Kind,
    model: Fitted,
    val: RankerRows,
    columns: Sequence[Column],
    made_by: Mapping[str, Any],
    metrics: dict[str, Any],
    chosen: Settings,
    folder: ModelFolder,
) -> None:
    work = folder.work
    model.save(work)
    sample = val.sample(chosen.ranker.shap_rows, chosen.seed)
    weights = sample.weights(chosen.ranker.sampled_weight)
    ranker_report.write(model, sample, weights, [column.name for column in columns], kind.summary, work)
    shutil.rmtree(work / JUDGED, ignore_errors=True)
    described = {
        "model": chosen.ranker.model,
        "objective": chosen.ranker.objective,
        **made_by,
        "columns": [dataclasses.asdict(column) for column in columns],
    }
    (work / COLUMNS).write_text(to_json(described))
    (work / METRICS).write_text(to_json(metrics))
