"""The value of point-in-time features on MovieLens-100K: `python -m bench.past --data-dir data --folder out/past`.

For each kind of split the main job runs once, then both models are trained on its rows with several seeds, each time
reading other features: what is not read is left out of the same rows. Prints the tables of docs/quality.md, means over
seeds. What is done already is not done again: runs are in FOLDER/SPLIT, figures in FOLDER/figures.json.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import tempfile
from collections.abc import Callable

import catboost
import keras
import numpy as np

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking import catboost_ranker, ranker_rows, ranking_metrics, tastes
from recsys_tft.retrieval import retrieval_baselines, retrieval_evaluation, two_tower
from recsys_tft.retrieval.two_tower_fit import Fit
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows
from recsys_tft.training import model_folders

KINDS = ("time", "time_per_user", "random_per_user")
SPLITS = ("val", "test")
# A rating of 4 or 5 is positive, a lower one an exposed negative, as in configs/engagement.yaml.
CONFIG = {
    "title_encoder": "none",
    "recent": {"enabled": True},
    "cooccurrence": {"enabled": True},
    "labels": {"positive": {"like": 1.0, "comment": 1.0, "share": 1.0, "watch": 1.0, "click": 0.5}},
}
Figures = dict[str, dict[str, list[float]]]  # by model and by split


def run(data_dir: str, folder: pathlib.Path, kind: str) -> str:
    """The output of the main job, made unless it is there."""
    out = folder / kind
    if not (out / "artifacts/manifest.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / f"{kind}.yaml"
        config.write_text(json.dumps(CONFIG | {"split": {"kind": kind}}))  # JSON is YAML
        ProcessingPipeline(PipelineConfig(output_dir=str(out), config=str(config)), print).run(data_dir)
    return str(out)


def retrieval(out: str, seed: int) -> Figures:
    """NDCG@10 of the two-tower model with and without the history, and of baselines."""
    found, of_run = {}, model_folders.settings_for(out, None, seed)
    without = of_run.replace({"history": {"length": 0}, "cooccurrence": {"enabled": False}})
    arms = {"with history": of_run, "without history": without}
    if of_run.split.kind == "random_per_user":  # where the model never reads one
        del arms["with history"]
    for name, chosen in arms.items():
        rows = TwoTowerRows(out, *two_tower.features_for(chosen))
        keras.utils.set_random_seed(seed)
        model = two_tower.TwoTower(rows.query, rows.candidate, rows.categories, {}, chosen)
        with tempfile.TemporaryDirectory() as work:
            fit = Fit(model, rows, pathlib.Path(work), lambda _: None)
            fit.run()
        judged = {w: rows.judgements(w, chosen.two_tower.eval_users, seed) for w in SPLITS}
        found[name] = {w: _ndcg(fit.scorer(rows.queries(w, judged[w].users)), judged[w], seed) for w in SPLITS}
    scorers = {
        "item-kNN": lambda users: retrieval_baselines.item_knn(
            rows.history(), retrieval_evaluation.pairs_matrix(users, rows.pairs("train"), rows.candidates), rows.counts
        ),
        "popularity": lambda _: retrieval_baselines.popularity(rows.counts),
    }
    for name, scorer in scorers.items():
        found[name] = {w: _ndcg(scorer(judged[w].users), judged[w], seed) for w in SPLITS}
    return found


def _ndcg(scorer: retrieval_baselines.Scorer, judged: retrieval_evaluation.Judgements, seed: int) -> list[float]:
    return [retrieval_evaluation.ndcg(retrieval_evaluation.rank(scorer, judged, seed), judged)]


def ranking(out: str, seed: int) -> Figures:
    """AUC, and AUC per user, of the ranker by what it reads, and of two scores by popularity."""
    chosen = model_folders.settings_for(out, None, seed)
    features = ranker_rows.features_for(chosen)
    rows = {w: ranker_rows.read(out, w, features, ranker_rows.columns_of(features, chosen)) for w in ("train", *SPLITS)}
    _, rows = tastes.of_splits(rows, ranker_rows.columns_of(features, chosen), seed)
    lately = [feature for feature in features if feature.option != "cooccurrence"]
    lasting = [feature for feature in features if feature.option is None]
    neither = [feature for feature in lasting if not feature.is_counted]
    arms = {"neither": neither, "counters": lasting, "counters, recent": lately, "counters, recent, together": features}
    found = {}
    for name, own in arms.items():
        columns = [column.name for column in ranker_rows.columns_of(own, chosen)]
        parts = {w: dataclasses.replace(part, data=part.data[columns]) for w, part in rows.items()}
        model = _ranker(parts, chosen)
        found[name] = _aucs(parts, functools.partial(catboost_ranker.raw_scores, model))
    training = rows["train"].keys
    videos = np.unique(np.concatenate([part.keys["video_id"] for part in rows.values()]))
    counts = np.bincount(np.searchsorted(videos, training["video_id"]), training["label"], len(videos))
    found["positives in training"] = _aucs(rows, lambda part: counts[np.searchsorted(videos, part.keys["video_id"])])
    found["likes so far"] = _aucs(rows, lambda part: part.data["like_count_log_z"].to_numpy())
    return found


def _ranker(rows: dict[str, ranker_rows.RankerRows], chosen: Settings) -> catboost.CatBoost:
    options = catboost_ranker.parameters(chosen.ranker)
    model = catboost.CatBoost(
        options | {"random_seed": chosen.seed, "logging_level": "Silent", "allow_writing_files": False}
    )
    return model.fit(
        catboost_ranker.pool(rows["train"]),
        eval_set=catboost_ranker.pool(rows["val"]),
        use_best_model=True,
        early_stopping_rounds=chosen.ranker.early_stopping_rounds,
    )


def _aucs(rows: dict[str, ranker_rows.RankerRows], score: Callable[[ranker_rows.RankerRows], np.ndarray]) -> dict:
    found = {}
    for split in SPLITS:
        labels, scores = rows[split].keys["label"], score(rows[split])
        per_user = ranking_metrics.auc_per_user(*_by_user(rows[split], labels, scores))
        found[split] = [ranking_metrics.auc(labels, scores), float(np.nanmean(per_user))]
    return found


def _by_user(rows: ranker_rows.RankerRows, labels: np.ndarray, scores: np.ndarray) -> tuple:
    owners, users = rows.owners()
    return owners, labels, scores, users


def show(figures: dict[str, Figures], title: str) -> None:
    """One table: a row for each kind and split, a column for each model; the mean over seeds, and their range."""
    print(f"\n## {title}\n")
    kinds = list(dict.fromkeys(key.split()[1] for key in figures))
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    print(f"| kind | split | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for kind in kinds:
        for split in SPLITS:
            of_seeds = [found for key, found in figures.items() if key.split()[1] == kind]
            cells = (_cell([found[name][split] for found in of_seeds if name in found]) for name in names)
            print(f"| {kind} | {split} | {' | '.join(cells)} |")


def _cell(values: list[list[float]]) -> str:
    """Of [seeds, metrics]: each metric's mean and, where seeds differ, the smallest and the largest value."""
    shown = []
    for column in np.array(values).T:
        span = f" ({column.min():.4f} to {column.max():.4f})" if np.ptp(column) > 5e-5 else ""
        shown.append(f"{column.mean():.4f}{span}")
    return "; ".join(shown)


def main() -> None:
    """Trains what is missing, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="of recsys-tft dataset movielens-100k")
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--models", nargs="+", choices=("retrieval", "ranking"), default=("retrieval", "ranking"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "figures.json"
    figures = json.loads(kept.read_text()) if kept.is_file() else {}
    judges = {"retrieval": retrieval, "ranking": ranking}
    for model, judge in ((name, judges[name]) for name in options.models):
        for key in (f"{model} {kind} {seed}" for kind in options.kinds for seed in range(options.seeds)):
            if key not in figures:
                _, kind, seed = key.split()
                figures[key] = judge(run(options.data_dir, options.folder, kind), int(seed))
                kept.write_text(json.dumps(figures, indent=1))
                print(f"Done: {key}", flush=True)
    titles = {"retrieval": "NDCG@10", "ranking": "AUC; AUC per user"}
    for model, title in ((name, titles[name]) for name in options.models):
        show({key: found for key, found in figures.items() if key.startswith(f"{model} ")}, title)


if __name__ == "__main__":
    main()
