"""The floor: only encoding and writing the job's own output rows, with tfx_bsl's encoder and tf.io's writer.

Reads the Parquet that `recsys-tft run --format parquet` wrote.
"""

import argparse
import pathlib

import polars as pl

from bench.polars_peer import write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("processed_data", type=pathlib.Path, help="of a run with --format parquet")
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    for file in sorted(options.processed_data.rglob("part-*.parquet")):
        folder = file.parent.relative_to(options.processed_data)
        print(folder, write([(pl.read_parquet(file), None)], options.output / folder / f"{file.stem}.tfrecord"))


if __name__ == "__main__":
    main()
