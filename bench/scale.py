"""What a job of any size takes, from measured bytes a row and from how interactions spread over users and videos.

    python -m bench.scale --measure 400000
    python -m bench.scale --users 100000000 --videos 10000000 --interactions 10000000000

The first runs the main job and prints the bytes that each step sends on, per row. The second multiplies them, and
simulates partitions: activity of users falls with rank ** -0.6 as in the synthetic tables, popularity of videos with
rank ** -s for s from 1.1 to 1.5.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from recsys_tft.storage.hashing import partition_of
from recsys_tft.tables import synthetic

EXPONENTS = (1.1, 1.2, 1.3, 1.4, 1.5)
ACTIVITY = 0.6
# Bytes of one item in what every worker holds of the whole; measured by `--measure`.
SIDE_INPUTS = {"lookup (labels, history)": "lookup", "catalogue (negatives)": "catalogue"}


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the tables are, and into how many partitions users and videos are divided."""

    users: int
    videos: int
    interactions: int
    users_per_shard: int
    videos_per_shard: int

    @property
    def user_partitions(self) -> int:
        return math.ceil(self.users / self.users_per_shard)

    @property
    def video_partitions(self) -> int:
        return math.ceil(self.videos / self.videos_per_shard)


def measure(interactions: int) -> None:
    """Prints the bytes that each step yields per row that it takes, and the sizes of side inputs per item."""
    users, videos = interactions // 20, interactions // 50
    with tempfile.TemporaryDirectory() as folder:
        raw, output, config = (pathlib.Path(folder) / name for name in ("raw", "output", "config.yaml"))
        synthetic.write_tables(raw, users=users, videos=videos, interactions=interactions)
        config.write_text(f"output: {{users_per_shard: {-(-users // 8)}, videos_per_shard: {-(-videos // 2)}}}\n")
        command = [sys.executable, "-m", "bench.skew", "--one", str(raw), str(output), "--config", str(config)]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        steps = json.loads(ran.stdout.splitlines()[-1])["steps"]
        counts = json.loads((output / "artifacts" / "manifest.json").read_text())["counts"]
    exposures = sum(n for name, n in counts.items() if name.startswith("exposures/"))
    rows = {"interactions": interactions, "exposures": exposures, "users": users, "videos": videos}
    print({**rows, "rows written": sum(n for name, n in counts.items() if name.startswith("written/"))})
    print(
        "\n| step | MB out | s | bytes an interaction | bytes an exposure | bytes a video |\n|---|---|---|---|---|---|"
    )
    for step, calls in steps.items():
        out, seconds = (sum(call[name] for call in calls) for name in ("out", "seconds"))
        per = " | ".join(f"{out / rows[name]:.1f}" for name in ("interactions", "exposures", "videos"))
        print(f"| {step} | {out / 1e6:.1f} | {seconds:.1f} | {per} |")


def zipf(items: int, exponent: float) -> np.ndarray:
    """[items] float64: the share of each rank."""
    shares = np.arange(1, items + 1, dtype=np.float64) ** -exponent
    return shares / shares.sum()


def loads(shares: np.ndarray, partitions: int) -> np.ndarray:
    """[partitions] float64: the share of everything that each partition holds, ids being ranks."""
    owners = partition_of(np.arange(1, len(shares) + 1), partitions)
    return np.bincount(owners, weights=shares, minlength=partitions)


def distinct(shares: np.ndarray, drawn: float) -> float:
    """How many different items so many independent draws have, on average."""
    return float(-np.expm1(drawn * np.log1p(-np.minimum(shares, 1 - 1e-12))).sum())


def user_partitions(size: Size) -> None:
    """Prints how evenly interactions fall into partitions of users."""
    shares = zipf(size.users, ACTIVITY)
    found = loads(shares, size.user_partitions) * size.interactions
    most = shares[0] * size.interactions
    print(f"\n{size.user_partitions:,} partitions of users: {found.mean():,.0f} interactions on average, ", end="")
    print(f"{found.max():,.0f} in the largest ({found.max() / found.mean():.2f}), {most:,.0f} of the most active user")


def video_partitions(size: Size, rows_per_interaction: float, negatives: int) -> None:
    """Prints, for each exponent, the hottest video and what partitions of videos hold and are asked for."""
    print(f"\n{size.video_partitions:,} partitions of videos\n")
    print("| exponent | hottest video | rows, largest / mean | answers to a partition of users | of all rows |")
    print("|---|---|---|---|---|")
    per_partition = size.interactions / size.user_partitions * rows_per_interaction
    for exponent in EXPONENTS:
        shares = zipf(size.videos, exponent)
        found = loads(shares, size.video_partitions)
        positives = distinct(shares, per_partition)
        uniform = np.full(size.videos, 1 / size.videos)
        both = positives + distinct(uniform, per_partition * negatives) * (1 - positives / size.videos)
        print(
            f"| {exponent} | {shares[0]:.1%} | {found.max() / found.mean():.1f} | {both:,.0f} |"
            f" {both / (per_partition * (1 + negatives)):.0%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", type=int, metavar="INTERACTIONS")
    parser.add_argument("--users", type=int, default=100_000_000)
    parser.add_argument("--videos", type=int, default=10_000_000)
    parser.add_argument("--interactions", type=int, default=10_000_000_000)
    parser.add_argument("--users-per-shard", type=int, default=8192)
    parser.add_argument("--videos-per-shard", type=int, default=65_536)
    parser.add_argument("--exposures", type=float, default=0.45, help="positives per interaction")
    parser.add_argument("--negatives", type=int, default=3)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    given = (options.users, options.videos, options.interactions, options.users_per_shard, options.videos_per_shard)
    size = Size(*given)
    user_partitions(size)
    video_partitions(size, options.exposures, options.negatives)


if __name__ == "__main__":
    main()
