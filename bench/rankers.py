"""The rankers beside one another, and beside YDF's gradient boosted trees, on the same rows of MovieLens-100K.

    pip install ydf
    python -m bench.rankers [--data-dir data/movielens] [--seeds 3]

Split by `time` and by `time_per_user`, labels and features as in bench/quality.py, all options at their defaults. YDF
has as many trees of the same depth and learning rate, the same weights, and stops by the same val.

AUC on test over shown rows (and the mean AUC of users) and over all rows, means over seeds. CPU seconds of training
alone, on rows that are in memory. Milliseconds of 200 rows, p50: of the exported graph, from raw columns to scores, by
TensorFlow's C library as `recommend` runs it; of it the model alone, as TensorFlow operations; and of the library that
trained it, from columns in memory. YDF has no graph that runs without an operation of its own.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import tensorflow as tf
import ydf

from bench.quality import CONFIGS, run
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking import ranker_kinds, ranker_rows, ranking_metrics, tastes
from recsys_tft.ranking.ranker_interface import Served, Task
from recsys_tft.ranking.ranker_rows import Column, RankerRows
from recsys_tft.ranking.tastes import Tastes
from recsys_tft.run_layout import artifacts, run_folders
from recsys_tft.serving import served_models, serving_models
from recsys_tft.serving.fitted_features import fitted_graph
from recsys_tft.tables import movielens
from recsys_tft.training.model_folders import ModelFolder

SPLITS = ("train", "val", "test")
KINDS = ("time", "time_per_user")
RANKED, CALLS = 200, 300
Rows = dict[str, RankerRows]


@dataclasses.dataclass
class Figures:
    """What is measured of one model with one seed; milliseconds None where there is no such thing."""

    shown: float
    shown_per_user: float
    all: float
    rounds: int
    seconds: float
    graph: float | None
    operations: float | None
    library: float


def judged(rows: RankerRows, scores: np.ndarray) -> tuple[float, float, float]:
    """AUC and mean AUC of users over shown rows, and AUC over all."""
    shown = rows.take(rows.keys[ranker_rows.SHOWN])
    labels, own = shown.keys["label"], scores[rows.keys[ranker_rows.SHOWN]]
    owners, users = shown.owners()
    per_user = np.nanmean(ranking_metrics.auc_per_user(owners, labels, own, users))
    return ranking_metrics.auc(labels, own), float(per_user), ranking_metrics.auc(rows.keys["label"], scores)


def milliseconds(call: Callable[[], object]) -> float:
    """The median of many calls."""
    found = []
    for _ in range(CALLS + 10):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return float(np.median(found[10:])) * 1e3


def ours(kind: str, rows: Rows, columns: tuple[Column, ...], known: Tastes, out: str, chosen: Settings) -> Figures:
    """A model of our own, trained and served."""
    of = ranker_kinds.of(kind)
    with tempfile.TemporaryDirectory() as place:
        folder = ModelFolder(place, "ranker")
        folder.begin(False, {})
        task = Task(rows["train"], rows["val"], of.limit(chosen), chosen, folder, lambda _: None)
        begun = time.process_time()
        model = of.fit(task)
        seconds = time.process_time() - begun
        model.save(folder.work)
        folder.commit()
        graph, operations = latencies(of.served(folder, sizes_of(out, columns)), columns, known, out, place)
    few = rows["test"].take(np.arange(RANKED))
    library = milliseconds(lambda: model.raw_scores(few))
    scores = model.raw_scores(rows["test"])
    return Figures(*judged(rows["test"], scores), model.rounds, seconds, graph, operations, library)


def sizes_of(out: str, columns: tuple[Column, ...]) -> list[int | None]:
    of_run = settings.from_manifest(run_folders.manifest(out), out)
    graph = fitted_graph(out, of_run)
    sizes = artifacts.categories(artifacts.vocabularies(graph.saved_model, of_run), of_run)
    return [sizes.get(column.feature) for column in columns]


def latencies(served: Served, columns: tuple[Column, ...], known: Tastes, out: str, place: str) -> tuple[float, float]:
    """Of the whole graph by TensorFlow's C library, and of the model's operations alone."""
    of_run = settings.from_manifest(run_folders.manifest(out), out)
    described = [dataclasses.asdict(column) for column in columns]
    serving_models.ranker(served, described, fitted_graph(out, of_run), taste_table=known).save(f"{place}/graph")
    session = served_models.load(f"{place}/graph", "")
    slots = session.signatures["serving_default"].inputs
    random = np.random.default_rng(0)
    inputs = {
        name: np.array([b"Drama"] * RANKED, object) if slot.dtype == object else
        random.integers(1, 1000, RANKED).astype(slot.dtype)
        for name, slot in slots.items()
    }  # fmt: skip
    inputs = {name: values if slots[name].rank == 1 else values[:, None] for name, values in inputs.items()}
    numeric = tf.constant(random.normal(size=(len(served.numeric), RANKED)), tf.float32)
    tokens = tf.constant(random.integers(0, 3, (len(served.categorical), RANKED)))
    call = tf.function(served.scores.__call__, autograph=False)
    return milliseconds(lambda: session.run("serving_default", inputs)), milliseconds(lambda: call(numeric, tokens))


def columns_of(rows: RankerRows) -> dict[str, np.ndarray]:
    """Rows as YDF takes them: categories as text."""
    return {
        name: column.astype(str).to_numpy(object) if isinstance(column.dtype, pd.CategoricalDtype) else
        column.to_numpy()
        for name, column in rows.data.items()
    }  # fmt: skip


def of_ydf(rows: Rows, chosen: Settings) -> Figures:
    """YDF's gradient boosted trees."""
    options, sampled = chosen.ranker, chosen.ranker.sampled_weight
    parts = {w: columns_of(part) for w, part in rows.items()}
    for split in ("train", "val"):
        parts[split] |= {"label": rows[split].keys["label"], "weight": rows[split].weights(sampled)}
    learner = ydf.GradientBoostedTreesLearner(
        label="label", weights="weight", num_trees=options.iterations, max_depth=options.depth + 1,
        shrinkage=options.learning_rate, random_seed=chosen.seed, early_stopping_num_trees_look_ahead=
        options.early_stopping_rounds, min_vocab_frequency=1, num_threads=2,
    )  # fmt: skip
    begun = time.process_time()
    model = learner.train(parts["train"], valid=parts["val"], verbose=0)
    seconds = time.process_time() - begun
    scores = model.predict(parts["test"])
    few = {name: values[:RANKED] for name, values in parts["test"].items()}
    library = milliseconds(lambda: model.predict(few))
    return Figures(*judged(rows["test"], scores), model.num_trees(), seconds, None, None, library)


def models(
    rows: Rows, columns: tuple[Column, ...], known: Tastes, out: str, chosen: Settings
) -> Iterator[tuple[str, Figures]]:
    for kind in ranker_kinds.KINDS:
        yield kind, ours(kind, rows, columns, known, out, chosen)
    yield "YDF", of_ydf(rows, chosen)


def table(found: dict[str, list[Figures]], kind: str) -> str:
    """Markdown: means over seeds, medians of milliseconds."""
    lines = [
        f"\n### {kind}\n",
        "| | AUC, shown rows | AUC per user | AUC, all rows | trees or epochs | training, CPU s | graph, ms | "
        "of it the model | library, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, of_seeds in found.items():
        values = {f.name: [getattr(one, f.name) for one in of_seeds] for f in dataclasses.fields(Figures)}
        cells = [f"{np.mean(values[metric]):.4f}" for metric in ("shown", "shown_per_user", "all")]
        cells += [", ".join(map(str, values["rounds"])), f"{np.mean(values['seconds']):.1f}"]
        cells += [
            "-" if None in values[n] else f"{np.median(values[n]):.2f}" for n in ("graph", "operations", "library")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(tables: pathlib.Path, kind: str, folder: pathlib.Path, seeds: range) -> None:
    """Prints the table of one split."""
    out = run(tables, CONFIGS[kind], folder / kind)
    found: dict[str, list[Figures]] = {}
    for seed in seeds:
        chosen = settings.from_manifest(run_folders.manifest(out), out).replace({"seed": seed})
        features = ranker_rows.features_for(chosen)
        columns = ranker_rows.columns_of(features, chosen)
        read = {split: ranker_rows.read(out, split, features, columns) for split in SPLITS}
        known, rows = tastes.of_splits(read, columns, seed)
        for name, figures in models(rows, columns, known, out, chosen):
            found.setdefault(name, []).append(figures)
    print(table(found, kind), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="of recsys-tft dataset movielens-100k; by default it is downloaded")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        tables = pathlib.Path(options.data_dir or folder / "tables")
        if options.data_dir is None:
            movielens.write_tables(tables)
        for kind in KINDS:
            measure(tables, kind, folder, range(options.seeds))


if __name__ == "__main__":
    main()
