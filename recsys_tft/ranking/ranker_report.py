"""What a ranker goes by, and how true its probabilities are: as CSV and as pictures."""

import csv
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from recsys_tft.ranking import ranking_metrics
from recsys_tft.ranking.ranker_interface import Fitted
from recsys_tft.ranking.ranker_rows import RankerRows

_SHOWN = 30  # columns in a picture


def write(
    model: Fitted,
    sample: RankerRows,
    weights: np.ndarray,
    names: Sequence[str],
    summary: tuple[str, str, str],
    folder: pathlib.Path,
) -> None:
    """Writes feature_importance and a summary of contributions, each as .csv and .png, into a folder.

    Importance is that of `importance`; the summary is the mean absolute contribution over a sample, in units of the raw
    score, and the mean signed one beside it.

    Args:
        model: that is explained.
        sample: rows to explain.
        weights: [n] of the rows.
        names: of the columns.
        summary: as `Kind.summary`.
        folder: that exists.
    """
    title = ("Feature importance", "fall of the AUC on val when the column is shuffled")
    falls = importance(model, sample, weights)
    _write(folder / "feature_importance", ("column", "importance"), names, falls[:, None], title)
    file, heading, what = summary
    values = model.contributions(sample.data)
    both = np.stack([np.abs(values).mean(axis=0), values.mean(axis=0)], axis=1)
    headings = ("column", f"mean_abs_{heading}", f"mean_{heading}")
    titles = (f"What moves the score: {what}s on val", f"mean absolute {what}, in units of the raw score")
    _write(folder / file, headings, names, both, titles)


def importance(model: Fitted, sample: RankerRows, weights: np.ndarray) -> np.ndarray:
    """[columns] how much the AUC of a sample falls when the values of one column are shuffled among its rows.

    0 in a sample of one label. Breiman, Random forests, Machine Learning (2001).

    Args:
        model: whose AUC it is.
        sample: [n] rows.
        weights: [n] of the rows.
    """
    order = np.random.default_rng(0).permutation(len(sample))

    def auc(data: pd.DataFrame) -> float:
        scores = model.raw_scores(RankerRows(sample.keys, data))
        return ranking_metrics.auc(sample.keys["label"], scores, weights)

    shuffled = (sample.data.assign(**{name: sample.data[name].array[order]}) for name in sample.data)
    return np.nan_to_num(auc(sample.data) - np.array([auc(data) for data in shuffled]))


def _write(
    path: pathlib.Path, headings: Sequence[str], names: Sequence[str], values: np.ndarray, title: tuple[str, str]
) -> None:
    """Rows by their first value, the largest first."""
    order = np.argsort(-values[:, 0], kind="stable")
    with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows([names[i], *(f"{value:.9g}" for value in values[i])] for i in order)
    _draw(path.with_suffix(".png"), [names[i] for i in order[:_SHOWN]], values[order[:_SHOWN], 0], title)


def write_calibration(found: Mapping[str, Sequence[tuple[int, float, float]]], folder: pathlib.Path) -> None:
    """Writes calibration.csv and calibration.png: by split, the tenths of rows as `calibration.deciles` gives them."""
    with open(folder / "calibration.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "decile", "rows", "mean_score", "positive_share"))
        for split, tenths in found.items():
            writer.writerows(
                (split, number, rows, f"{score:.9g}", f"{rate:.9g}")
                for number, (rows, score, rate) in enumerate(tenths, 1)
            )
    _draw_calibration(folder / "calibration.png", found)


def _draw_calibration(path: pathlib.Path, found: Mapping[str, Sequence[tuple[int, float, float]]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    highest = max((max(score, rate) for tenths in found.values() for _, score, rate in tenths), default=1.0)
    axes.plot([0, highest], [0, highest], color="grey", linewidth=1)
    for split, tenths in found.items():
        axes.plot([score for _, score, _ in tenths], [rate for _, _, rate in tenths], marker="o", label=split)
    axes.set_title("Calibration: are scores the share of positives?", fontsize=11, loc="left")
    axes.set_xlabel("mean score of a tenth of the rows, from 0 to 1")
    axes.set_ylabel("share of positives in it, from 0 to 1")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    FigureCanvasAgg(figure).print_png(str(path))


def _draw(path: pathlib.Path, names: Sequence[str], values: np.ndarray, title: tuple[str, str]) -> None:
    """Bars with a title, and what their axis says."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no window, no state of pyplot
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.28 * len(names)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(range(len(names)), values)
    axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=10)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title[0], fontsize=12, loc="left")
    axes.set_xlabel(title[1])
    FigureCanvasAgg(figure).print_png(str(path))
