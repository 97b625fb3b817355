"""What both trainers take beyond their libraries: `train ranker` against CatBoost alone on a ready Pool, and the
examples a second of `train two-tower` against the same step on batches that are in memory already.

    python -m bench.training [--output-dir out] [--iterations 200]

Wall and CPU seconds; each side is measured in turn. The ranker's old model is replaced.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable

import catboost
import tensorflow as tf

from bench.reading import run
from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking import catboost_ranker, logistic, ranker_rows, ranker_training, tastes
from recsys_tft.ranking.boosted_logistic import started
from recsys_tft.retrieval.two_tower import TwoTower, features_for
from recsys_tft.retrieval.two_tower_fit import Fit
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows
from recsys_tft.training import model_folders

EPOCHS = 3


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Of wall and CPU time."""
    wall, cpu = time.monotonic(), time.process_time()
    function()
    return time.monotonic() - wall, time.process_time() - cpu


def pools(output: str, chosen: Settings) -> list[catboost.Pool]:
    """Of train and val."""
    features = ranker_rows.features_for(chosen)
    columns = ranker_rows.columns_of(features, chosen)
    read = {split: ranker_rows.read(output, split, features, columns) for split in ("train", "val")}
    sampled, rows = chosen.ranker.sampled_weight, tastes.of_splits(read, columns, chosen.seed)[1]
    start = logistic.fit(rows["train"], rows["train"].weights(sampled), chosen.seed)
    return [catboost_ranker.pool(started(part, start), sampled=sampled) for part in rows.values()]


def fit_alone(train: catboost.Pool, val: catboost.Pool, chosen: Settings) -> None:
    """What a script does that has Pools; with the trainer's parameters."""
    options = catboost_ranker.parameters(chosen.ranker) | {"random_seed": chosen.seed, "logging_level": "Silent"}
    model = catboost.CatBoost(options | {"allow_writing_files": False})
    model.fit(train, eval_set=val, use_best_model=True, early_stopping_rounds=chosen.ranker.early_stopping_rounds)


def ranker(output: str, config: str) -> None:
    """Prints both times and their ratio."""
    chosen = model_folders.settings_for(output, config, None)
    train, val = pools(output, chosen)
    rows = train.num_row()
    alone = seconds(lambda: fit_alone(train, val, chosen))
    trained = []
    ours = seconds(lambda: trained.append(ranker_training.train(output, config, overwrite=True)))
    training = trained[0].metrics["training"]
    print(f"ranker: {rows:,} training rows, {training['trees']} trees; wall and CPU seconds")
    print(f"train ranker {ours[0]:.1f} {ours[1]:.1f}, CatBoost alone {alone[0]:.1f} {alone[1]:.1f}")
    print(f"ratio {ours[0] / alone[0]:.2f} {ours[1] / alone[1]:.2f}; {ranker_training.stopwatch.sentence(training)}")


def two_tower(output: str) -> None:
    """Prints examples a second of both, and their ratio."""
    chosen = model_folders.settings_for(output, None, None)
    query, candidate = features_for(chosen)
    rows = TwoTowerRows(output, query, candidate)
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(TwoTower(query, candidate, rows.categories, {}, chosen), rows, pathlib.Path(folder), lambda _: None)
        batches = list(fit._shuffled.batches(fit._batch, 0))
        fit._epoch()  # traces the step
        examples = len(batches) * fit._batch
        times = [(seconds(fit._epoch), seconds(lambda: bare(fit, batches))) for _ in range(EPOCHS)]
    for kind, unit in enumerate(("wall", "CPU")):
        ours, alone = (min(one[side][kind] for one in times) for side in (0, 1))
        print(f"two-tower, {unit}: {examples / ours:,.0f} examples/s, in memory {examples / alone:,.0f}, "
              f"ratio {alone / ours:.2f}")  # fmt: skip


def bare(fit: Fit, batches: list[dict[str, tf.Tensor]]) -> float:
    """An epoch of the same step over tensors."""
    losses = tf.zeros(())
    for step, batch in enumerate(batches):
        losses += fit._step(batch, tf.constant(step, tf.int64))
    return float(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", help="of a run")
    parser.add_argument("--interactions", type=int, default=1_000_000, help="of the synthetic run without one")
    parser.add_argument("--iterations", type=int, default=200, help="trees of the ranker")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = options.output_dir or run(f"{folder}/out", options.interactions)
        two_tower(output)
        config = pathlib.Path(folder, "config.yaml")
        config.write_text(f"ranker: {{iterations: {options.iterations}}}\n")
        ranker(output, str(config))


if __name__ == "__main__":
    main()
