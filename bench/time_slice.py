"""The memory that counting as of each exposure takes of one video in one day, the most that a time slice has to hold.

    python -m bench.time_slice --increments 4000000

Prints for each step the most memory that it takes beyond its input, by each view, like or comment; with counters alone,
and with what is recent, where as much ceases to be recent on that day as happens.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from bench.skew import Watched
from recsys_tft.configuration.job_settings import CounterSettings, RecentSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.point_in_time import counters, recent, video_counts
from recsys_tft.storage import arrow_ipc

DAY = 86_400_000_000
CHUNKS = 1000  # in which changes come from as many partitions of users


def day(increments: int, with_recent: bool) -> pa.Table:
    """The changes of video 0 in a day of 2025: a tenth of them are no views."""
    rng, start = np.random.default_rng(0), 20_089 * DAY
    time, zeros = start + rng.integers(0, DAY, increments), np.zeros(increments, np.int64)
    kinds = rng.choice(3, increments, p=(0.9, 0.08, 0.02)).astype(np.int8)
    table = pa.table([zeros, time, kinds, zeros == 0], counters.INCREMENT_SCHEMA)
    if not with_recent:
        return table
    table = recent.changes(table, RecentSettings())
    return table.set_column(1, "time", pa.array(start + (table["time"].to_numpy() - start) % DAY)).combine_chunks()


def measure(increments: int, with_recent: bool) -> None:
    """Prints a line for each step."""
    table = day(increments, with_recent)
    chosen = Settings.model_validate({"recent": {"enabled": with_recent}, "positive_rates": {"enabled": False}})
    values = video_counts.values(chosen, counted=True)
    ends = np.linspace(0, len(table), CHUNKS + 1).astype(int).tolist()
    parts = [arrow_ipc.dumps(table.slice(a, b - a)) for a, b in itertools.pairwise(ends)]
    base, size = counters.sums(table, values), sum(map(len, parts))
    del table
    steps: dict[str, Callable[[pa.Table], pa.Table]] = {
        "Sum changes": lambda changes: counters.sums(changes, values),
        "Count versions": lambda changes: counters.later_versions(base, changes, CounterSettings(), values),
    }
    watched = Watched()
    for name, step in steps.items():
        list(watched.watch(name, _once(step, parts), size))
        (call,) = watched.calls[name]
        what = "with what is recent" if with_recent else "counters"
        print(
            f"{name}, {what}: {increments:,} increments, {size / increments:.0f} B each; {call['peak'] / 1e6:,.0f} MB,"
            f" {call['peak'] / increments:.0f} B each; {call['seconds']:.1f} s"
        )


def _once(step: Callable[[pa.Table], pa.Table], parts: list[bytes]) -> Iterator[bytes]:
    yield arrow_ipc.dumps(step(arrow_ipc.concat(parts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--increments", type=int, default=4_000_000)
    options = parser.parse_args()
    for with_recent in (False, True):
        measure(options.increments, with_recent)


if __name__ == "__main__":
    main()
