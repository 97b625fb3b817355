"""Rows per second of the trainers' input alone, and of training: `python -m bench.input --output-dir output`.

It reads, shuffles and batches what the two-tower trainer does, without a model: with all rows in memory (which epoch 0
reads), and through a pool. Then it trains for an epoch. Last, it reads the ranker's rows and makes a CatBoost pool.
"""

import argparse
import pathlib
import tempfile
import time

from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking import catboost_ranker, ranker_rows
from recsys_tft.retrieval.two_tower import TwoTower, features_for
from recsys_tft.retrieval.two_tower_fit import Fit
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows
from recsys_tft.training import model_folders
from recsys_tft.training.shuffled_rows import ShuffledRows

ROUNDS = 3
HELD = {"rows in memory": 10**9, "through a pool of 50,000": 50_000}


def two_tower(output_dir: str, chosen: Settings) -> None:
    """Epochs of the input, then one of training."""
    rows = TwoTowerRows(output_dir, *features_for(chosen))
    for what, held in HELD.items():
        shuffled = rows.shuffled(held)
        for epoch in range(ROUNDS):
            started, read = time.perf_counter(), 0
            assert isinstance(shuffled, ShuffledRows)
            for batch in shuffled.epoch(chosen.two_tower.batch_size, epoch).prefetch(4):
                read += int(batch["weight"].shape[0])
            print(f"two_tower, {what}, epoch {epoch}: {read / (time.perf_counter() - started):,.0f} rows/s", flush=True)
    widths = {f.name: rows.videos[f.name].shape[1] for f in rows.candidate if f.op.is_large}
    model = TwoTower(rows.query, rows.candidate, rows.categories, widths, chosen)
    with tempfile.TemporaryDirectory() as folder:
        state = Fit(model, rows, pathlib.Path(folder), lambda _: None).run()
    print(f"two_tower, training: {state.examples / state.seconds:,.0f} examples/s", flush=True)


def ranker(output_dir: str, chosen: Settings) -> None:
    """Its rows, and the pool."""
    features = ranker_rows.features_for(chosen)
    started = time.perf_counter()
    train = ranker_rows.read(output_dir, "train", features, ranker_rows.columns_of(features, chosen))
    middle = time.perf_counter()
    catboost_ranker.pool(train)
    seconds = time.perf_counter() - middle
    print(f"ranker: {len(train) / (middle - started):,.0f} rows/s read, {seconds:.2f} s for the pool")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", default="output")
    output_dir = parser.parse_args().output_dir
    chosen = model_folders.settings_for(output_dir, None, None).replace({"two_tower": {"epochs": 1}})
    two_tower(output_dir, chosen)
    ranker(output_dir, chosen)


if __name__ == "__main__":
    main()
