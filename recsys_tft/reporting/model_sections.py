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
TABLE = "scalars.csv"  # as training.scalar_log, which needs TensorFlow, calls it
_LESS_IS_BETTER = ("log loss",)
_SHOWN = 20  # columns of a picture
_FIRST = {"two_tower": ("ndcg@10", "recall@10", "recall@100"), "ranker": ("auc", "ndcg@10", "log loss")}


def two_tower(output_dir: str) -> Markup:
    """The retrieval model; with which command it comes, where it is not there."""
    command = f"recsys-tft train two-tower --output-dir {output_dir}"
    folder = pathlib.Path(output_dir, "models", "two_tower")
    metrics = _metrics(folder)
    if metrics is None:
        return section(
            "two-tower", "Retrieval model", absent("There is no two-tower model yet; it comes with", command)
        )
    parts = [
        _training(name, own, _curves(folder / "logs") if name == folder.name else {}, own.get("best_epoch"))
        for name, own in metrics.get("training", {}).items()
        if isinstance(own, dict)
    ]
    return section("two-tower", "Retrieval model", *_quality(metrics, "two_tower"), *parts, told=_TOLD)


_TOLD = "Dots are values over users, lines their 95 % intervals. The model stands out; the others are baselines."


def ranker(output_dir: str) -> Markup:
    """The ranker; with which command it comes, where it is not there."""
    command = f"recsys-tft train ranker --output-dir {output_dir}"
    folder = pathlib.Path(output_dir, "models", "ranker")
    metrics = _metrics(folder)
    if metrics is None:
        return section("ranker", "Ranker", absent("There is no ranker yet; it comes with", command))
    pictures = [
        block(title, charts.bars(own[:_SHOWN], title))
        for name, title in _explanations(folder)
        if (own := _bars(folder / f"{name}.csv"))
    ]
    calibrated = _calibration(folder / "calibration.csv")
    training = {
        name: value for name, value in metrics.get("training", {}).items() if not isinstance(value, dict | list)
    }
    trained = _training("Training", training, _curves(folder / "logs"), training.get("trees"))
    return section(
        "ranker", "Ranker", *_quality(metrics, "ranker"), columns(*pictures),
        trained, columns(*([calibrated] if calibrated else [])), told=_TOLD,
    )  # fmt: skip


def _metrics(folder: pathlib.Path) -> dict[str, Any] | None:
    path = folder / "metrics.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _training(name: str, state: Mapping[str, Any], curves: Mapping[str, Series], best: object) -> Markup:
    """The cost of a training, and its curves, if it kept any."""
    plain = [
        [key.replace("_", " "), _plain(value)] for key, value in state.items() if isinstance(value, int | float | str)
    ]
    marked = best - 1 if isinstance(best, int) and best > 0 else None
    drawn = [
        element("div", charts.lines(own, f"{title} by step of the training", "step of the training", title, marked))
        for title, own in curves.items()
    ]
    splits = dict.fromkeys(split for own in curves.values() for split in own)
    return block(
        name.replace("_", " "),
        legend(*splits) if splits else None,
        columns(*drawn, table(["training", ""], plain), narrow=True),
    )


def _curves(logs: pathlib.Path) -> Mapping[str, Series]:
    """The logged values by metric and step, of train and of val, of our trainers or CatBoost."""
    found: dict[str, dict[str, list[float]]] = {}
    if (logs / TABLE).exists():
        values: dict[str, dict[int, float]] = {}
        with open(logs / TABLE, newline="", encoding="utf-8") as file:
            for step, name, value in csv.reader(file):
                values.setdefault(name, {})[int(step)] = float(value)
        for name, own in values.items():
            split = "val" if name.startswith("val_") else "train"
            title = name.removeprefix("val_").replace("_at_", "@").replace("_", " ")
            found.setdefault(title, {})[split] = [own[step] for step in sorted(own)]
    for name, split in (("learn_error.tsv", "train"), ("test_error.tsv", "val")):
        if (logs / name).exists():
            with open(logs / name, newline="", encoding="utf-8") as lines:
                (_, *names), *rows = csv.reader(lines, delimiter="\t")
            for place, name in enumerate(names, 1):
                found.setdefault(name, {})[split] = [float(row[place]) for row in rows]
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    return count(value) if isinstance(value, int) else short(value)


def _quality(metrics: Mapping[str, Any], name: str) -> list[Markup]:
    """For each split the first metrics as intervals, and all of them as a table."""
    found = []
    for split in ("test", "val"):
        judged = metrics.get(split)
        if not judged:
            continue
        first = next(iter(judged.values()))["all"]
        known = [metric for metric, value in first.items() if isinstance(value, dict) and "value" in value]
        chosen = [metric for metric in _FIRST[name] if metric in known] or known[:2]
        blocks = [
            block(f"{metric} on {split}", charts.intervals(points, f"{metric} on {split}"))
            for metric in chosen
            if (points := _points(judged, metric, name))
        ]
        rows = [[model, *(_estimate(own["all"].get(metric)) for metric in known)] for model, own in judged.items()]
        users = next((first[metric].get("users") for metric in known if first[metric].get("users")), None)
        heading = f"All metrics on {split}" + (f", over {count(users)} users" if users else "")
        listed = element("details", element("summary", heading), table(["model", *known], rows), class_="plain")
        slices = _slices(judged, chosen[0], name, f"{chosen[0]} on {split}, by slice") if chosen else None
        groups = [
            _slices({model: own.get(group, {}) for model, own in judged.items()}, chosen[0], name, title)
            for group, title in _GROUPS.items()
            if group in next(iter(judged.values()))
            for title in (f"{chosen[0]} on {split}, {title}",)
        ]
        found.append(element("div", columns(*blocks, narrow=True), slices, columns(*groups, narrow=True), listed))
    return found


# As retrieval_evaluation, which needs TensorFlow, calls groups of what is judged.
_GROUPS = {
    "by history length": "by how many videos the user was positive on before",
    "by popularity": "by the place of the videos among all, by training positives",
}


def _slices(judged: Mapping[str, Any], metric: str, name: str, title: str) -> Markup:
    """One metric by slice of users or rows: of the model, and of whichever baseline is best there."""
    model = next((each for each in judged if each.startswith((name, "model"))), next(iter(judged)))
    least = metric in _LESS_IS_BETTER
    drawn = []
    for part, own in judged[model].items():
        if not isinstance(own, dict) or part == "all" or not _known(own.get(metric)):
            continue
        others = [
            (each, of[part][metric]) for each, of in judged.items() if each != model and _known(of[part].get(metric))
        ]
        users = own[metric].get("users")
        points = [_point(f"{part} ({count(users)} users)" if users else part, own[metric], True)]
        if others:
            best = (min if least else max)(others, key=lambda each: each[1]["value"])
            points.append(_point(f"best baseline: {best[0]}", best[1], False))
        drawn += points
    return block(title, charts.intervals(drawn, title)) if drawn else joined()


def _known(value: Mapping[str, Any] | None) -> bool:
    return value is not None and value.get("value") is not None


def _point(name: str, value: Mapping[str, Any], is_model: bool) -> tuple[str, float, float, float, bool]:
    low, high = (value["value"] if value.get(side) is None else value[side] for side in ("low", "high"))
    return name, value["value"], low, high, is_model


def _points(judged: Mapping[str, Any], metric: str, name: str) -> list[tuple[str, float, float, float, bool]]:
    return [
        _point(model, own["all"][metric], model.startswith((name, "model")))
        for model, own in judged.items()
        if _known(own["all"].get(metric))
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
    found = [
        (path.stem, titles.get(path.stem, path.stem.replace("_", " ").capitalize()))
        for path in sorted(folder.glob("*.csv"))
    ]
    return [each for each in found if each[0] != "calibration"]


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
    picture = charts.calibration(points, "Share of positives by the mean score, in tenths of the rows")
    return block("Calibration", legend(*points), picture, told="On the dotted line scores are the share of positives.")


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
        told = json.loads(latency.read_text("utf-8"))
        shown = [
            [name, *(_plain(value) for value in own.values())] for name, own in told.items() if isinstance(own, dict)
        ]
        headings = ["what", *next((own for own in told.values() if isinstance(own, dict)), {})]
        measured = block("Latency", table(headings, shown))
    else:
        measured = absent("Latency was not measured; it is by", "python -m bench.serving")
    return section("serving", "Serving", table(["model", "version"], rows), measured)
