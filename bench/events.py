"""How many events a second a recommender takes, in memory and in Redis, and what a request costs that knows of them.

Reads an export, which a run of 20,000 videos makes comparable:

    recsys-tft run --synthetic --users 20000 --videos 20000 --interactions 400000 --title-encoder none --output-dir DIR
    recsys-tft train two-tower --output-dir DIR; recsys-tft train ranker --output-dir DIR
    recsys-tft export --output-dir DIR
    python -m bench.events DIR --redis redis://localhost:6379/0
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq

from recsys_tft import Recommender

KINDS = ("impression", "click", "watch", "like")


class Stream:
    """Random events after the end of an output's tables, a millisecond apart."""

    def __init__(self, recommender: Recommender, output_dir: str, seed: int):
        raw = f"{output_dir}/raw"
        self._users = pq.read_table(f"{raw}/users.parquet")["user_id"].to_numpy()
        self._videos, self._random = recommender.store.video_ids, np.random.default_rng(seed)
        self.now = int(pq.read_table(f"{raw}/interactions.parquet")["interaction_time"].cast("int64").to_numpy().max())

    def take(self, count: int) -> list[dict]:
        """The next events."""
        times = self.now + 1000 * np.arange(1, count + 1)
        self.now = int(times[-1])
        columns = (self._random.choice(each, count).tolist() for each in (self._users, self._videos, KINDS))
        return [
            {
                "user_id": user,
                "video_id": video,
                "interaction_time": moment,
                "interaction_type": kind,
                "watch_time": 9.5,
            }
            for user, video, kind, moment in zip(*columns, times.tolist(), strict=True)
        ]


def observed(recommender: Recommender, stream: Stream, size: int, events: int) -> None:
    """Takes events in batches of a size, and prints how many a second."""
    batches = [stream.take(size) for _ in range(max(events // size, 3))]
    begun, used = time.perf_counter(), time.process_time()
    for batch in batches:
        assert recommender.observe(batch).applied == size
    seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    total = size * len(batches)
    print(f"batches of {size:>6,}: {total / seconds:>9,.0f} events/s   {total / cpu:>9,.0f} a CPU second", flush=True)


def requests(name: str, call: Callable[[int], object], users: np.ndarray) -> None:
    """Prints how long a call for each of some users takes."""
    found, used = [], time.process_time()
    for user in users.tolist():
        begun = time.perf_counter()
        call(user)
        found.append(time.perf_counter() - begun)
    p50, p99 = np.quantile(found, [0.5, 0.99]) * 1e3
    cpu = (time.process_time() - used) / len(users) * 1e3
    print(f"{name:<44} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   CPU {cpu:6.2f} ms", flush=True)


def measure(recommender: Recommender, output_dir: str, seed: int, events: int) -> None:
    stream = Stream(recommender, output_dir, seed)
    begun = time.perf_counter()
    recommender.observe(stream.take(1))
    print(f"the first event, which loads the state: {time.perf_counter() - begun:.1f} s", flush=True)
    for size in (1, 10, 100, 1000, 5000):
        observed(recommender, stream, size, min(events, 200 * size))
    users = np.unique(stream._users)[:300]

    def known(user: int) -> object:
        return recommender.known(recommender.request(user, stream.now))

    requests("what is known of a user, the first time", known, users)
    requests("again", known, users)
    requests("all four stages, users that are known", lambda u: recommender.recommend(u, time=stream.now), users)
    print(f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB at most", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", help="of an export of synthetic tables")
    parser.add_argument("--events", type=int, default=200_000, help="of each batch size at most (default 200,000)")
    parser.add_argument("--redis", help="an address of Redis, to measure it as well; what it holds is added to")
    options = parser.parse_args()
    measure(Recommender(options.output_dir), options.output_dir, 0, options.events)
    if options.redis:
        print(f"\nin {options.redis}")
        measure(Recommender(options.output_dir, redis=options.redis), options.output_dir, 1, options.events)


if __name__ == "__main__":
    main()
