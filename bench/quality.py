"""The gate: the ranker's scores of shown rows must beat simple ones, and be no worse than plain CatBoost by hand.

    python -m bench.quality [--data-dir data/movielens] [--seeds 3]
    python -m bench.quality --run out [--data-dir data/raw]

The first judges the ranker with default settings on MovieLens-100K: split by `time`, by `time_per_user`, and as wide
rows in which `liked` is false for a low rating, each with no more config than names of columns and labels (and no
titles). Without --data-dir the data set comes from the package registry. The second judges the ranker of a run of your
own, whose raw tables are in --data-dir.

Rows that were drawn as negatives are left out: they ask what is shown, and not what is liked. AUC over all rows and
mean AUC of users, on val and test, means over seeds. Differences have 95 % intervals of the bootstrap over users, in
pairs. The ranker passes a simple baseline where the interval is above 0, and CatBoost by hand (bench/by_hand.py) where
the difference is not below 0. Exits with 1 where it fails once.
"""

import argparse
import json
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import polars as pl

from bench import by_hand
from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.configuration import settings
from recsys_tft.ranking import ranker_rows, ranker_training, ranking_metrics, trained_ranker
from recsys_tft.raw_replay import raw_rows
from recsys_tft.run_layout import run_folders
from recsys_tft.tables import movielens
from recsys_tft.training import bootstrap
from recsys_tft.training.model_folders import METRICS as METRICS_FILE
from recsys_tft.training.model_folders import ModelFolder

SPLITS = ("train", "val", "test")
METRICS = ("AUC", "AUC per user")
PEER = "CatBoost by hand"
SAMPLES = 1000
_PLAIN = {"title_encoder": "none"}
_LONG = _PLAIN | {"labels": {"positive": {"like": 1.0, "comment": 1.0, "share": 1.0, "watch": 1.0, "click": 0.5}}}
_WIDE = _PLAIN | {
    "labels": {"positive": {"like": 1.0}},
    "columns": {"interactions": {"rated_at": {"name": "interaction_time", "unit": "us"}}},
}
CONFIGS: dict[str, Mapping[str, object]] = {
    "time": _LONG,
    "time_per_user": _LONG | {"split": {"kind": "time_per_user"}},
    "wide": _WIDE,
}


def wide(tables: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The same tables, but that a row of interactions says by a flag whether the rating was high, and nothing else."""
    folder.mkdir()
    for name in ("users", "videos", "channels"):
        pl.read_parquet(tables / f"{name}.parquet").write_parquet(folder / f"{name}.parquet")
    pl.read_parquet(tables / "interactions.parquet").select(
        "user_id",
        "video_id",
        pl.col("interaction_time").dt.epoch("us").alias("rated_at"),
        (pl.col("interaction_type") == "like").alias("liked"),
    ).write_parquet(folder / "interactions.parquet")
    return folder


def run(tables: pathlib.Path, config: Mapping[str, object], out: pathlib.Path) -> str:
    """The output of the main job."""
    path = out.with_suffix(".yaml")
    path.write_text(json.dumps(config))  # JSON is YAML
    ProcessingPipeline(PipelineConfig(output_dir=str(out), config=str(path))).run(str(tables))
    return str(out)


def shown_rows(out: str) -> tuple[pd.DataFrame, np.ndarray]:
    """All shown rows of a run, and the [n] scores of its trained ranker.

    Columns: user_id and video_id (of ids that are text their codes), time in microseconds, label, split.
    """
    ranker = trained_ranker.load(out)
    parts, scores = [], []
    for split in SPLITS:
        rows = ranker.rows(split)
        rows = rows.take(rows.keys[ranker_rows.SHOWN])
        names = {"user_id": "user_id", "video_id": "video_id", "interaction_time": "time", "label": "label"}
        parts.append(pd.DataFrame({name: rows.keys[key] for key, name in names.items()}).assign(split=split))
        scores.append(ranker.scores(rows) if len(rows) else np.zeros(0))
    return pd.concat(parts, ignore_index=True), np.concatenate(scores)


def rivals(out: str, tables: str, rows: pd.DataFrame, seeds: Sequence[int]) -> dict[str, list[np.ndarray]]:
    """By name the [n] scores of rows, of each seed where seeds matter."""
    of_run = settings.from_manifest(run_folders.manifest(out), out)
    raw = raw_rows.read(tables, of_run)
    users, videos = raw.latest_users.to_pandas(), raw.latest_videos.to_pandas()
    found = {name: [scores] for name, scores in by_hand.baselines(rows).items()}
    return found | {PEER: [by_hand.catboost_scores(rows, users, videos, seed) for seed in seeds]}


def resampled(rows: pd.DataFrame, scores: Sequence[np.ndarray], times: np.ndarray) -> np.ndarray:
    """[samples, 2] METRICS, means over seeds, where each user counts [samples, users] times."""
    labels, (users, owners) = rows["label"].to_numpy(), np.unique(rows["user_id"], return_inverse=True)
    found = np.zeros((len(times), 2))
    for own in scores:
        auc = ranking_metrics.Auc(labels, own)
        found[:, 0] += [auc(sample[owners]) for sample in times]
        per_user = ranking_metrics.auc_per_user(owners, labels, own, len(users))
        counted = times * ~np.isnan(per_user)
        found[:, 1] += (counted @ np.nan_to_num(per_user)) / np.maximum(counted.sum(axis=1), 1)
    return found / len(scores)


def compare(rows: pd.DataFrame, own: Sequence[np.ndarray], others: Mapping[str, Sequence[np.ndarray]]) -> pd.DataFrame:
    """A row for each split and rival: of each metric ours, theirs, the difference with its interval, and `passed`."""
    found = []
    for split in SPLITS[1:]:
        chosen = (rows["split"] == split).to_numpy()
        part = rows[chosen]
        if part["label"].nunique() < 2:
            continue
        users = part["user_id"].nunique()
        drawn = [np.bincount(sample, minlength=users) for sample in bootstrap.draws(users, SAMPLES, 0)]
        times = np.stack([np.ones(users, np.int64), *drawn])
        ours = resampled(part, [scores[chosen] for scores in own], times)
        for name, theirs in others.items():
            values = resampled(part, [scores[chosen] for scores in theirs], times)
            low, high = np.nanquantile(ours[1:] - values[1:], [0.025, 0.975], axis=0)
            least = ours[0] - values[0] if name == PEER else low
            found.append(
                {"split": split, "users": users, "rival": name, "ours": ours[0], "theirs": values[0], "low": low,
                 "high": high, "passed": (least >= 0) if name == PEER else (least > 0)}
            )  # fmt: skip
    return pd.DataFrame(found)


def markdown(found: pd.DataFrame, name: str) -> str:
    """The table of one form of data."""
    lines = []
    for split, part in found.groupby("split", sort=False):
        ours = part["ours"].iloc[0]
        lines += [
            f"\n### {name}, {split}: {part['users'].iloc[0]:,} users, shown rows\n",
            f"| | {METRICS[0]} | ranker's is higher by | | {METRICS[1]} | ranker's is higher by | |",
            "|---|---|---|---|---|---|---|",
            f"| **ranker** | {ours[0]:.4f} | | | {ours[1]:.4f} | | |",
        ]
        for row in part.itertuples():
            cells = (
                f"{row.theirs[i]:.4f} | {row.ours[i] - row.theirs[i]:+.4f} [{row.low[i]:+.4f}, {row.high[i]:+.4f}] | "
                f"{'pass' if row.passed[i] else 'FAIL'}"
                for i in range(len(METRICS))
            )
            lines.append(f"| {row.rival} | {' | '.join(cells)} |")
    return "\n".join(lines)


def movielens_gate(data_dir: pathlib.Path | None, folder: pathlib.Path, seeds: range) -> dict[str, pd.DataFrame]:
    """The comparisons of each form of the data, printed as they are made."""
    if data_dir is None:
        data_dir = folder / "tables"
        movielens.write_tables(data_dir)
    found = {}
    for name, config in CONFIGS.items():
        tables = wide(data_dir, folder / "wide_tables") if name == "wide" else data_dir
        out, own = run(tables, config, folder / name), []
        for seed in seeds:
            ranker_training.train(out, seed=seed, overwrite=True)
            rows, scores = shown_rows(out)
            own.append(scores)
        found[name] = compare(rows, own, rivals(out, str(tables), rows, seeds))
        print(markdown(found[name], name), flush=True)
    return found


def own_run(out: str, data_dir: str | None) -> dict[str, pd.DataFrame]:
    """The comparisons of a trained run."""
    if ModelFolder(out, trained_ranker.FOLDER).read(METRICS_FILE).get("refit"):
        sys.exit(f"{out}: the ranker was refitted on val and test, which cannot judge it; train it without --refit.")
    tables = raw_rows.raw_folder(out, data_dir, run_folders.manifest(out))
    rows, scores = shown_rows(out)
    if (found := compare(rows, [scores], rivals(out, tables, rows, [0]))).empty:
        sys.exit(f"{out}: among the shown rows of val and test are no negatives, so that there is nothing to judge.")
    print(markdown(found, out))
    return {out: found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="of recsys-tft dataset movielens-100k, or the raw tables of --run")
    parser.add_argument("--run", metavar="OUT", help="of recsys-tft run, with a trained ranker: judge that one")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.run:
        found = own_run(options.run, options.data_dir)
    else:
        with tempfile.TemporaryDirectory() as folder:
            data_dir = options.data_dir and pathlib.Path(options.data_dir)
            found = movielens_gate(data_dir, pathlib.Path(folder), range(options.seeds))
    passed = np.concatenate([np.concatenate(part["passed"].to_list()) for part in found.values()])
    print(f"\n{passed.sum()} of {len(passed)} comparisons pass: the gate {'passes' if passed.all() else 'FAILS'}.")
    sys.exit(not passed.all())


if __name__ == "__main__":
    main()
