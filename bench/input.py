"""Rows per second of the trainers' input alone: `python -m bench.input --output-dir output`.

It reads, shuffles, batches and parses what the two-tower trainer does, without a model; and reads the ranker's rows and
makes a CatBoost pool of them.
"""

import argparse
import time

from recsys_tft import model_folders, ranker_rows
from recsys_tft.two_tower import features_for
from recsys_tft.two_tower_rows import TwoTowerRows

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", default="output")
    output_dir = parser.parse_args().output_dir
    chosen = model_folders.settings_for(output_dir, None, None)
    options = chosen.two_tower
    rows = TwoTowerRows(output_dir, *features_for(chosen))
    for what, held in (("rows in memory", 10**9), ("through a pool of 50,000", 50_000)):
        shuffled = rows.shuffled(held)
        for epoch in range(ROUNDS):
            started, read = time.perf_counter(), 0
            for batch in shuffled.epoch(options.batch_size, epoch).prefetch(4):
                read += int(batch["weight"].shape[0])
            print(f"two_tower, {what}, epoch {epoch}: {read / (time.perf_counter() - started):,.0f} rows/s")
    features = ranker_rows.features_for(chosen)
    columns = ranker_rows.columns_of(features, chosen)
    started = time.perf_counter()
    train = ranker_rows.read(output_dir, "train", features, columns)
    middle = time.perf_counter()
    train.pool()
    print(
        f"ranker: {len(train) / (middle - started):,.0f} rows/s read, {time.perf_counter() - middle:.2f} s for the pool"
    )


if __name__ == "__main__":
    main()
