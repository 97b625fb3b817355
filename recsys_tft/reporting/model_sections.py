"""The models: how they were trained, how good they are beside baselines, and what they go by."""

import csv
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from recsys_tft.reporting import charts
from recsys_tft.reporting.elements import Markup, element
from recsys_tft.reporting.numbers import NONE, count, short
from recsys_tft.reporting.parts import absent, block, columns, legend, section, table

_SHOWN = 20  # columns of a picture
_FIRST = {"two_tower": ("ndcg@10", "recall@10", "recall@100"), "ranker": ("auc", "ndcg@10", "log_loss")}


def two_tower(output_dir: str) -> Markup:
    """The retrieval model; with which command it comes, where it is not there."""
    command = f"recsys-tft train two-tower --output-dir {output_dir}"
    folder = pathlib.Path(output_dir, "models", "two_tower")
    metrics = _metrics(folder)
    if metrics is None:
        return section(
            "two-tower", "Retrieval model", absent("There is no two-tower model yet; it comes with", command)
        )
    parts = [_training(name, own) for name, own in metrics.get("training", {}).items() if isinstance(own, dict)]
    return section("two-tower", "Retrieval model", columns(*parts), *_quality(metrics, "two_tower"), told=_TOLD)


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
    told = table(["training", ""], [[name, _plain(value)] for name, value in training.items()])
    return section(
        "ranker", "Ranker", *_quality(metrics, "ranker"), columns(*pictures),
        columns(*([calibrated] if calibrated else []), block("Training", told)), told=_TOLD,
    )  # fmt: skip


def _metrics(folder: pathlib.Path) -> dict[str, Any] | None:
    path = folder / "metrics.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _training(name: str, state: Mapping[str, Any]) -> Markup:
    """The curves of a training, where it kept any."""
    curves = {key: values for key, values in state.items() if _is_curve(values)}
    plain = [[key, _plain(value)] for key, value in state.items() if isinstance(value, int | float | str)]
    drawn: list[object] = []
    best = state.get("best_epoch")
    for key, values in curves.items():
        marked = best - 1 if isinstance(best, int) and best > 0 else None
        title = key.replace("_", " ")
        drawn.append(charts.lines({"train": values}, f"{title} by epoch", "Epoch", title, marked))
    return block(name.replace("_", " "), *drawn, table(["training", ""], plain))


def _is_curve(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, int | float) for value in values)


def _plain(value: object) -> str:
    if isinstance(value, bool | str):
        return str(value)
    return count(value) if isinstance(value, int) else short(value)


def _quality(metrics: Mapping[str, Any], name: str) -> list[Markup]:
    """For each window the first metrics as intervals, and all of them as a table."""
    found = []
    for window in ("test", "val"):
        judged = metrics.get(window)
        if not judged:
            continue
        first = next(iter(judged.values()))["all"]
        known = [metric for metric, value in first.items() if isinstance(value, dict) and "value" in value]
        chosen = [metric for metric in _FIRST[name] if metric in known] or known[:2]
        blocks = [
            block(f"{metric} on {window}", charts.intervals(points, f"{metric} on {window}"))
            for metric in chosen
            if (points := _points(judged, metric, name))
        ]
        rows = [[model, *(_estimate(own["all"].get(metric)) for metric in known)] for model, own in judged.items()]
        users = next((first[metric].get("users") for metric in known if first[metric].get("users")), None)
        heading = f"All metrics on {window}" + (f", over {count(users)} users" if users else "")
        listed = element("details", element("summary", heading), table(["model", *known], rows), class_="plain")
        found.append(element("div", columns(*blocks), listed))
    return found


def _points(judged: Mapping[str, Any], metric: str, name: str) -> list[tuple[str, float, float, float, bool]]:
    found = []
    for model, own in judged.items():
        value = own["all"].get(metric)
        if value and value.get("value") is not None:
            low, high = (value.get(side) if value.get(side) is not None else value["value"] for side in ("low", "high"))
            found.append((model, value["value"], low, high, model.startswith((name, "model"))))
    return found


def _estimate(value: Mapping[str, Any] | None) -> str:
    if not value or value.get("value") is None:
        return NONE
    if value.get("low") is None:
        return f"{value['value']:.4f}"
    return f"{value['value']:.4f} [{value['low']:.3f}, {value['high']:.3f}]"


def _explanations(folder: pathlib.Path) -> list[tuple[str, str]]:
    """The files of what the model goes by, and their titles."""
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
    for window, _, _, score, rate in _read(path):
        points.setdefault(window, []).append((float(score), float(rate)))
    picture = charts.calibration(points, "Share of positives by the mean score, in tenths of the rows")
    return block("Calibration", legend(*points), picture, told="On the dotted line scores are the share of positives.")


def serving(output_dir: str) -> Markup:
    """What is exported, and latencies where they were measured."""
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
