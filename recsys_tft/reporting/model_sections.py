"""The models: their training, their metrics beside baselines, and their important features."""

import csv
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.reporting import charts
from recsys_tft.reporting.elements import Markup, element, joined
from recsys_tft.reporting.numbers import NONE, count, short
from recsys_tft.reporting.parts import absent, block, columns, legend, section, table

Series = Mapping[str, Sequence[float]]  # of train and of val
TABLE = "scalars.csv"  # of training.scalar_log, which imports TensorFlow
_LESS_IS_BETTER = ("log loss",)
_SHOWN = 20  # columns of a picture
_FIRST = {"two_tower": ("ndcg@10", "recall@10", "recall@100"), "ranker": ("auc", "ndcg@10", "log loss")}


def two_tower(output_dir: str) -> Markup:
    """The retrieval model, or the command that trains it."""
    command = f"recsys-tft train two-tower --output-dir {output_dir}"
    folder = pathlib.Path(output_dir, "models", "two_tower")
    metrics = _metrics(folder)
    if metrics is None:
        return section(
            "two-tower", "Retrieval model", absent("There is no two-tower model yet; train it with", command)
        )
    parts = [
        _training(name, stage, _curves(folder / "logs") if name == folder.name else {}, stage.get("best_epoch"))
        for name, stage in metrics.get("training", {}).items()
        if isinstance(stage, dict)
    ]
    return section("two-tower", "Retrieval model", *_quality(metrics, "two_tower"), *parts, note=_TOLD)


_TOLD = "Dots are values over users, lines their 95 % intervals. The model stands out; the others are baselines."


def ranker(output_dir: str) -> Markup:
    """The ranker, or the command that trains it."""
    command = f"recsys-tft train ranker --output-dir {output_dir}"
    folder = pathlib.Path(output_dir, "models", "ranker")
    metrics = _metrics(folder)
    if metrics is None:
        return section("ranker", "Ranker", absent("There is no ranker yet; train it with", command))
    pictures = [
        block(title, charts.bars(values[:_SHOWN], title))
        for name, title in _explanations(folder)
        if (values := _bars(folder / f"{name}.csv"))
    ]
    calibrated = _calibration(folder / "calibration.csv")
    training = {
        name: value for name, value in metrics.get("training", {}).items() if not isinstance(value, dict | list)
    }
    trained = _training("Training", training, _curves(folder / "logs"), training.get("trees"))
    return section(
        "ranker", "Ranker", *_quality(metrics, "ranker"), columns(*pictures),
        trained, columns(*([calibrated] if calibrated else [])), note=_TOLD,
    )  # fmt: skip


def _metrics(folder: pathlib.Path) -> dict[str, Any] | None:
    path = folder / "metrics.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _training(name: str, state: Mapping[str, Any], curves: Mapping[str, Series], best: object) -> Markup:
    """The cost of a training, and its curves, if it logged any."""
    plain = [
        [key.replace("_", " "), _cell(value)] for key, value in state.items() if isinstance(value, int | float | str)
    ]
    marked = best - 1 if isinstance(best, int) and best > 0 else None
    drawn = [
        element(
            "div",
            charts.lines(splits_of_curve, f"{title} by step of the training", "step of the training", title, marked),
        )
        for title, splits_of_curve in curves.items()
    ]
    splits = dict.fromkeys(split for splits_of_curve in curves.values() for split in splits_of_curve)
    return block(
        name.replace("_", " "),
        legend(*splits) if splits else None,
        columns(*drawn, table(["training", ""], plain), narrow=True),
    )


def _curves(logs: pathlib.Path) -> Mapping[str, Series]:
    """The logged values by metric and step, of train and of val, of our trainers or CatBoost."""
    curves: dict[str, dict[str, list[float]]] = {}
    if (logs / TABLE).exists():
        values: dict[str, dict[int, float]] = {}
        with open(logs / TABLE, newline="", encoding="utf-8") as file:
            for step, name, value in csv.reader(file):
                values.setdefault(name, {})[int(step)] = float(value)
        for name, by_step in values.items():
            split = "val" if name.startswith("val_") else "train"
            title = name.removeprefix("val_").replace("_at_", "@").replace("_", " ")
            curves.setdefault(title, {})[split] = [by_step[step] for step in sorted(by_step)]
    for name, split in (("learn_error.tsv", "train"), ("test_error.tsv", "val")):
        if (logs / name).exists():
            with open(logs / name, newline="", encoding="utf-8") as lines:
                (_, *names), *rows = csv.reader(lines, delimiter="\t")
            for place, name in enumerate(names, 1):
                curves.setdefault(name, {})[split] = [float(row[place]) for row in rows]
    return curves


def _cell(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    return count(value) if isinstance(value, int) else short(value)


def _quality(metrics: Mapping[str, Any], name: str) -> list[Markup]:
    """For each split the main metrics as intervals, and all metrics as a table."""
    parts = []
    for split in ("test", "val"):
        models = metrics.get(split)
        if not models:
            continue
        first = next(iter(models.values()))["all"]
        metric_names = [metric for metric, value in first.items() if isinstance(value, dict) and "value" in value]
        shown_metrics = [metric for metric in _FIRST[name] if metric in metric_names] or metric_names[:2]
        blocks = [
            block(f"{metric} on {split}", charts.intervals(points, f"{metric} on {split}"))
            for metric in shown_metrics
            if (points := _points(models, metric, name))
        ]
        rows = [
            [model, *(_estimate(slices_of_model["all"].get(metric)) for metric in metric_names)]
            for model, slices_of_model in models.items()
        ]
        users = next((first[metric].get("users") for metric in metric_names if first[metric].get("users")), None)
        heading = f"All metrics on {split}" + (f", over {count(users)} users" if users else "")
        listed = element("details", element("summary", heading), table(["model", *metric_names], rows), class_="plain")
        slices = (
            _slices(models, shown_metrics[0], name, f"{shown_metrics[0]} on {split}, by slice")
            if shown_metrics
            else None
        )
        groups = [
            _slices(
                {model: slices_of_model.get(group, {}) for model, slices_of_model in models.items()},
                shown_metrics[0],
                name,
                title,
            )
            for group, title in _GROUPS.items()
            if group in next(iter(models.values()))
            for title in (f"{shown_metrics[0]} on {split}, {title}",)
        ]
        parts.append(element("div", columns(*blocks, narrow=True), slices, columns(*groups, narrow=True), listed))
    return parts


# Groups of retrieval_evaluation, which imports TensorFlow.
_GROUPS = {
    "by history length": "by the number of videos that the user was positive on before",
    "by popularity": "by the popularity rank of the videos, by training positives",
}


def _slices(judged: Mapping[str, Any], metric: str, name: str, title: str) -> Markup:
    """One metric by slice of users or rows: of the model, and of the best baseline of each slice."""
    model = next((other for other in judged if other.startswith((name, "model"))), next(iter(judged)))
    least = metric in _LESS_IS_BETTER
    drawn = []
    for part, estimates in judged[model].items():
        if not isinstance(estimates, dict) or part == "all" or not _has_value(estimates.get(metric)):
            continue
        baselines = [
            (other, slices_of_model[part][metric])
            for other, slices_of_model in judged.items()
            if other != model and _has_value(slices_of_model[part].get(metric))
        ]
        users = estimates[metric].get("users")
        points = [_point(f"{part} ({count(users)} users)" if users else part, estimates[metric], True)]
        if baselines:
            best = (min if least else max)(baselines, key=lambda other: other[1]["value"])
            points.append(_point(f"best baseline: {best[0]}", best[1], False))
        drawn += points
    return block(title, charts.intervals(drawn, title)) if drawn else joined()


def _has_value(value: Mapping[str, Any] | None) -> bool:
    return value is not None and value.get("value") is not None


def _point(name: str, value: Mapping[str, Any], is_model: bool) -> tuple[str, float, float, float, bool]:
    low, high = (value["value"] if value.get(side) is None else value[side] for side in ("low", "high"))
    return name, value["value"], low, high, is_model


def _points(judged: Mapping[str, Any], metric: str, name: str) -> list[tuple[str, float, float, float, bool]]:
    return [
        _point(model, slices_of_model["all"][metric], model.startswith((name, "model")))
        for model, slices_of_model in judged.items()
        if _has_value(slices_of_model["all"].get(metric))
    ]


def _estimate(value: Mapping[str, Any] | None) -> str:
    if not value or value.get("value") is None:
        return NONE
    if value.get("low") is None:
        return f"{value['value']:.4f}"
    return f"{value['value']:.4f} [{value['low']:.3f}, {value['high']:.3f}]"


def _explanations(folder: pathlib.Path) -> list[tuple[str, str]]:
    """The files of feature importances, and their titles."""
    titles = {"feature_importance": "Feature importance", "shap_summary": "Mean absolute SHAP value"}
    files = [
        (path.stem, titles.get(path.stem, path.stem.replace("_", " ").capitalize()))
        for path in sorted(folder.glob("*.csv"))
    ]
    return [file for file in files if file[0] != "calibration"]


def _read(path: pathlib.Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def _bars(path: pathlib.Path) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value, *_ in _read(path)]


def _calibration(path: pathlib.Path) -> Markup | None:
    if not path.exists():
        return None
    points: dict[str, list[tuple[float, float]]] = {}
    for split, _, _, score, rate in _read(path):
        points.setdefault(split, []).append((float(score), float(rate)))
    picture = charts.calibration(points, "Share of positives by mean score, in tenths of the rows")
    return block(
        "Calibration", legend(*points), picture, note="On the dotted line scores equal the share of positives."
    )


def serving(output_dir: str) -> Markup:
    """The exported models, and latencies, if measured."""
    root = pathlib.Path(output_dir, "serving")
    models = sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
    export = f"recsys-tft export --output-dir {output_dir}"
    if not models:
        return section("serving", "Serving", absent("Nothing is exported yet; serving models come with", export))
    rows = [[path.name, max((int(v.name) for v in path.iterdir() if v.name.isdigit()), default=0)] for path in models]
    latency = root / "latency.json"
    if latency.exists():
        latencies = json.loads(latency.read_text("utf-8"))
        shown = [
            [name, *(_cell(value) for value in figures.values())]
            for name, figures in latencies.items()
            if isinstance(figures, dict)
        ]
        headings = ["what", *next((figures for figures in latencies.values() if isinstance(figures, dict)), {})]
        measured = block("Latency", table(headings, shown))
    else:
        measured = absent("Latency was not measured; measure it with", "python -m bench.serving")
    return section("serving", "Serving", table(["model", "version"], rows), measured)
