"""The value of a warm start after a refresh, compared with training from scratch every time.

    python -m bench.warm --folder bench_data [--only movielens drifting] [--periods 6]

MovieLens-100K by weeks, and synthetic days on which tastes drift and new videos come. After each refresh every arm
trains a two-tower model; what it recommends is judged on the newest period, which no arm has trained on. Prints, of all
periods so far, for each arm the mean NDCG@10 over users and periods, its difference to training from nothing with a
95 % interval (paired bootstrap over users), rows that were trained on, and CPU seconds of the training and of the whole
command.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

import recsys_tft
from bench import drifting_tastes, folders
from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.configuration.settings import Settings
from recsys_tft.retrieval import growth, retrieval_evaluation, retrieval_metrics, two_tower, two_tower_training
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.retrieval.two_tower_fit import Fit
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows, encode
from recsys_tft.tables import movielens
from recsys_tft.training import bootstrap, timeline

CONFIG = {
    "title_encoder": "none",
    "labels": {"positive": {"like": 1.0, "comment": 1.0, "share": 1.0, "watch": 1.0, "click": 0.5}},
}
SHARED = ("artifacts", "processed_data", "state", "rejected", "periods")
SCRATCH, KEPT = "from nothing", "not trained again"
# What is different in the settings of `two_tower`, and how new rows of tables begin.
ARMS: dict[str, tuple[dict[str, object], str]] = {
    SCRATCH: ({"warm_start": False}, "random"),
    "warm": ({}, "random"),
    "warm, no replay": ({"replay": 0.0}, "random"),
    "warm, replay 0.8": ({"replay": 0.8}, "random"),
    "warm, a third of the learning rate": ({"learning_rate": 0.001}, "random"),
    "warm, new rows: mean of the table": ({}, "mean"),
    "warm, new rows: unseen": ({}, "unseen"),
}
Larger = Callable[[TwoTower, Mapping[str, int], Settings], TwoTower]


def _starting(start: Callable[[np.ndarray, int], np.ndarray], larger: Larger = growth.larger) -> Larger:
    return lambda model, categories, chosen: growth.with_new_rows(larger(model, categories, chosen), model, start)


STARTS: dict[str, Larger] = {
    "random": growth.larger,
    "mean": _starting(lambda rows, n_oov: rows[1 + n_oov :].mean(axis=0)),
    "unseen": _starting(growth.unseen),
}


@dataclasses.dataclass
class Measured:
    """Of one arm: NDCG@10 of each user and period, and what training took in all periods."""

    ndcg: list[np.ndarray] = dataclasses.field(default_factory=list)
    users: list[np.ndarray] = dataclasses.field(default_factory=list)
    examples: int = 0
    fit: float = 0.0
    command: float = 0.0


def arm_folder(out: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """An output with the rows of another one, and models of its own, which are those of the run at first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in SHARED:
        (folder / name).symlink_to((out / name).absolute())
    shutil.copytree(out / "models", folder / "models", symlinks=True)
    return folder


@contextlib.contextmanager
def new_rows(start: str) -> Iterator[None]:
    """New rows of tables begin as STARTS has it."""
    usual = growth.larger
    setattr(growth, "larger", STARTS[start])  # noqa: B010
    try:
        yield
    finally:
        setattr(growth, "larger", usual)  # noqa: B010


@contextlib.contextmanager
def timed(measured: Measured) -> Iterator[None]:
    """Adds the CPU seconds of fits."""
    usual = Fit.run

    def run(fit: Fit) -> object:
        began = time.process_time()
        try:
            return usual(fit)
        finally:
            measured.fit += time.process_time() - began

    setattr(Fit, "run", run)  # noqa: B010
    began = time.process_time()
    try:
        yield
    finally:
        measured.command += time.process_time() - began
        setattr(Fit, "run", usual)  # noqa: B010


def ndcg(out: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Users of the newest period, and the NDCG@10 of each by the model of an output."""
    model = two_tower.load(str(out))
    with timeline.held(str(out)) as splits:
        rows = TwoTowerRows(splits, model.query_features, model.candidate_features)
        model = growth.grown(model, rows.categories)
        judged = rows.judgements("test", 10**6, 0)
        queries = rows.queries("test", judged.users)
        query, candidate = (
            encode(tf.function(of, reduce_retracing=True), given, features)
            for of, given, features in (
                (model.query, queries, model.query_features),
                (model.candidate, rows.videos, model.candidate_features),
            )
        )
    ranked = retrieval_evaluation.rank(lambda users: query[users] @ candidate.T, judged, 0)
    owners = np.repeat(np.arange(len(judged)), np.diff(judged.relevant.indptr))
    return judged.users, retrieval_metrics.per_user(ranked.ranks, owners, len(judged))["ndcg@10"]


def measure(days: Sequence[pathlib.Path], folder: pathlib.Path, arms: Sequence[str]) -> Mapping[str, Measured]:
    """Each arm after each refresh; the first day is that of the run."""
    out, config = folder / "out", folder / "config.yaml"
    config.write_text(json.dumps(CONFIG))
    ProcessingPipeline(PipelineConfig(output_dir=str(out), config=str(config), overwrite=True)).run(str(days[0]))
    shutil.rmtree(out / "periods", ignore_errors=True)
    (out / "periods").mkdir()
    two_tower_training.train(str(out), overwrite=True)
    found = {arm: Measured() for arm in (KEPT, *arms)}
    folders = {arm: arm_folder(out, folder / f"arm-{number}") for number, arm in enumerate(found)}
    for day in days[1:]:
        recsys_tft.refresh(str(out), str(day))
        for arm, measured in found.items():
            if arm != KEPT:
                train(folders[arm], arm, measured, folder)
            users, values = ndcg(folders[arm])
            measured.users.append(users)
            measured.ndcg.append(values)
        print(f"After {day.name}:")
        show(found)
    return found


def train(out: pathlib.Path, arm: str, measured: Measured, folder: pathlib.Path) -> None:
    """Trains a model of an arm."""
    options, start = ARMS[arm]
    config = folder / "arm.yaml"
    config.write_text(json.dumps({"two_tower": options}))
    with new_rows(start), timed(measured):
        trained = two_tower_training.train(str(out), str(config), overwrite=True)
    measured.examples += trained.metrics["training"][two_tower.FOLDER]["examples"]


def difference(one: Measured, other: Measured) -> bootstrap.Estimate:
    """Of the means over users and periods, paired."""
    users = np.concatenate(one.users)
    gaps = np.concatenate(one.ndcg) - np.concatenate(other.ndcg)
    _, owners = np.unique(users, return_inverse=True)
    return bootstrap.ratio(np.bincount(owners, gaps), np.bincount(owners).astype(np.float64))


def show(found: Mapping[str, Measured]) -> None:
    """A table."""
    base = found[SCRATCH]
    print("| arm | NDCG@10 | difference | rows trained on | CPU s of training | CPU s of the command |")
    print("|---|---|---|---|---|---|")
    for arm, of in found.items():
        gap = difference(of, base)
        told = "" if arm == SCRATCH else f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        mean = np.concatenate(of.ndcg).mean()
        print(f"| {arm} | {mean:.4f} | {told} | {of.examples:,} | {of.fit:.0f} | {of.command:.0f} |")
    print(flush=True)


def movielens_weeks(folder: pathlib.Path, periods: int) -> list[pathlib.Path]:
    """MovieLens-100K, of which the last weeks are apart."""
    movielens.write_tables(folder / "raw")
    return drifting_tastes.cut(folder / "raw", folder / "days", periods, 7)


DATA: dict[str, Callable[[pathlib.Path, int], list[pathlib.Path]]] = {
    "movielens": movielens_weeks,
    "drifting": drifting_tastes.write_days,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, help="for the data, kept there; else a temporary one")
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--periods", type=int, default=6, help="refreshes")
    options = parser.parse_args()
    with folders.chosen(options.folder) as place:
        for name in options.only:
            folder = place / name
            shutil.rmtree(folder, ignore_errors=True)
            days = DATA[name](folder, options.periods)
            print(f"## {name}")
            measure(days, folder, options.arms)


if __name__ == "__main__":
    main()
