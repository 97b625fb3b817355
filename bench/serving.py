"""Latency of serving: each stage and all four for one user, the ranker against CatBoost itself, indexes by their size.

Reads an export, which a run of 10,000 videos makes comparable:

    recsys-tft run --synthetic --users 5000 --videos 10000 --interactions 100000 --title-encoder none --output-dir DIR
    recsys-tft train two-tower --output-dir DIR; recsys-tft train ranker --output-dir DIR
    recsys-tft export --output-dir DIR
    python -m bench.serving DIR
    python -m bench.serving DIR --server     # all four over HTTP, under load: see load.py
"""

import argparse
import time
from collections.abc import Callable

import catboost
import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from bench import load
from recsys_tft import libraries
from recsys_tft.ranking import tastes
from recsys_tft.recommending.recommender import Recommender, Request
from recsys_tft.serving import approximate_index
from recsys_tft.serving.serving_folders import EXTRA, serving_folder
from recsys_tft.serving.serving_models import ExactIndex
from recsys_tft.serving.serving_rows import tensors

MOMENT = 1_740_000_000_000_000


def show(name: str, seconds: list[float]) -> None:
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    print(f"{name:<58} p50 {p50:8.2f} ms   p99 {p99:8.2f} ms")


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Seconds of each call, after some that are not counted."""
    found = []
    for _ in range(times + 5):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return found[5:]


def stages(recommender: Recommender, users: np.ndarray, videos: str) -> None:
    """Each stage, and all four."""
    found = [recommender.recommend(int(user), 10, MOMENT).seconds for user in users]
    for stage in found[0]:
        show(f"  {stage}", [seconds[stage] for seconds in found])
    show(f"all four, {videos} candidates, {recommender.settings.ranked} ranked", [sum(s.values()) for s in found])


def query_tower(output_dir: str, recommender: Recommender, times: int) -> None:
    model = tf.saved_model.load(str(serving_folder(output_dir) / "query_tower" / str(recommender.version)))
    signature = model.signatures["serving_default"]
    known = Request(1, {}, MOMENT).columns(recommender.store.user(1))
    inputs = tensors(known, signature.structured_input_signature[1])
    show("query tower, 1 user", timed(lambda: signature(**inputs), times))


def ranker(output_dir: str, recommender: Recommender, times: int) -> None:
    """The whole graph, the part before the trees, and CatBoost from a table and from a pool, of the same 200 rows."""
    folder = serving_folder(output_dir) / "ranker" / str(recommender.version)
    model = tf.saved_model.load(str(folder))
    known = Request(1, {}, MOMENT).columns(recommender.store.user(1))
    ids, _ = recommender.retrieve(known, np.zeros(0, np.int64))
    of_videos = recommender.store.videos(ids[:200])
    columns = {**known, **dict(zip(of_videos.column_names, of_videos.columns, strict=True))}
    score, features = model.signatures["serving_default"], model.signatures["features"]
    inputs = tensors(columns, score.structured_input_signature[1])
    show("ranker graph, 200 rows", timed(lambda: score(**inputs), times))
    show("  its features alone", timed(lambda: features(**inputs), times))
    native = catboost.CatBoost().load_model(str(folder / EXTRA / "model.cbm"))
    described = pd.read_json(folder / EXTRA / "columns.json", typ="series")["columns"]
    found = features(**inputs)
    learned = tastes.load(folder / EXTRA, "export again")
    frame = learned(pd.DataFrame({c["name"]: found[c["feature"]].numpy() for c in described}))
    categorical = [c["name"] for c in described if c["kind"] == "categorical" and c["name"] not in learned.columns]
    pool = catboost.Pool(frame, cat_features=categorical)
    show(f"  CatBoost, {native.tree_count_} trees, from a DataFrame", timed(lambda: native.predict(frame), times))
    show("  CatBoost, from a pool that is there already", timed(lambda: native.predict(pool), times))


def with_more_videos(recommender: Recommender, count: int, dim: int, times: int) -> None:
    """All four stages where retrieval compares `count` random vectors; they stand for the store's videos in turn."""
    random = np.random.default_rng(0)
    index = ExactIndex(np.arange(count), random.normal(size=(count, dim)).astype(np.float32))
    best = tf.function(index.best, reduce_retracing=True)
    known_ids = np.array(recommender.store.video_ids)
    query = tf.constant(random.normal(size=(1, dim)), tf.float32)
    k = tf.constant(recommender.settings.candidates)

    def retrieve(_: object, seen: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        found = best(query, k, tf.constant(seen.to_numpy()[None, :]))
        ids = np.unique(known_ids[found["video_ids"].numpy()[0] % len(known_ids)])
        return ids, found["scores"].numpy()[0][: len(ids)]

    setattr(recommender, "retrieve", retrieve)  # noqa: B010
    stages(recommender, np.arange(1, times + 1), f"{count:,}")


def approximate(kind: approximate_index.Kind, count: int, dim: int, times: int) -> None:
    """Building, searching and recall of an index of random vectors, the hardest case for it."""
    random = np.random.default_rng(0)
    vectors, queries = (random.normal(size=(size, dim)).astype(np.float32) for size in (count, 100))
    ids, nothing = np.arange(count), np.zeros(0, np.int64)
    begun = time.perf_counter()
    index = approximate_index.build(ids, vectors, kind)
    seconds = time.perf_counter() - begun
    recall = approximate_index.recall(index, ids, vectors, queries, 100)
    numbers = iter(range(10**9))
    calls = timed(lambda: index.best(queries[(i := next(numbers) % 100) : i + 1], 500, nothing), times)
    show(f"faiss {kind}, {count:,} x {dim}, built in {seconds:.0f} s, recall@100 {recall:.3f}", calls)


def main() -> None:
    libraries.load("recsys_tft.recommending.recommender")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", help="of an export")
    parser.add_argument("--times", type=int, default=300, help="calls of each kind (default 300)")
    parser.add_argument("--more", type=int, default=1_000_000, help="videos of the larger index (default 1,000,000)")
    parser.add_argument("--dim", type=int, default=32, help="width of its vectors (default 32)")
    parser.add_argument("--approximate", action="store_true", help="also build faiss's indexes of it, for minutes")
    parser.add_argument("--server", action="store_true", help="measure `recsys-tft serve` under load, and nothing else")
    parser.add_argument("--requests", type=int, default=100_000, help="of the loop that shows memory (100,000)")
    options = parser.parse_args()
    recommender = Recommender(options.output_dir)
    if options.server:
        users = recommender.store.some_users(100_000)
        del recommender
        load.measure(options.output_dir, users, options.requests)
        return
    query_tower(options.output_dir, recommender, options.times)
    stages(recommender, np.arange(1, options.times + 1), f"{len(recommender.store.video_ids):,}")
    ranker(options.output_dir, recommender, options.times)
    with_more_videos(recommender, options.more, options.dim, options.times)
    if options.approximate:
        for kind in ("ivf", "hnsw"):
            approximate(kind, options.more, options.dim, options.times)


if __name__ == "__main__":
    main()
