"""A user's file: .ci/types checks it strictly, so that the types of the public API are those that a user sees.

Nothing runs it. Each name of `recsys_tft.__all__` occurs in it, which tests/test_api_types.py sees to.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import assert_type

import numpy as np

import recsys_tft
from recsys_tft import PipelineConfig, ProcessingPipeline, Recommender, RunResult
from recsys_tft.checking.preview import Preview
from recsys_tft.columns import INT64, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import CANDIDATE, RANKER, Feature, FeatureTable
from recsys_tft.number_ops import ZScore
from recsys_tft.reading.forms import Lists
from recsys_tft.reading.rows import Rows
from recsys_tft.recommending.recommendations import Recommendations
from recsys_tft.run_layout.data_folders import DataFolder


def run(say: Callable[[str], None]) -> RunResult:
    config = PipelineConfig(artifacts_dir="out/artifacts", processed_data_dir="out/rows", negative_ratio=3)
    pipeline = ProcessingPipeline(pipeline_config=config, say=say)
    assert_type(pipeline.run("data"), RunResult)
    return pipeline.run_synthetic(num_users=100, num_videos=50, num_interactions=1000, ids="uuid")


def open_rows(result: RunResult) -> list[str]:
    assert_type(result["two_tower_train"], DataFolder)
    assert_type(result.seconds, float)
    return [*result]


def look(data_dir: str) -> float:
    found = assert_type(recsys_tft.check(data_dir, config="shop.yaml"), Preview)
    return found.scale("users")


def read() -> Iterator[Mapping[str, np.ndarray | Lists]]:
    rows = assert_type(recsys_tft.read("out/rows/ranker/train", columns=["label"], batch_size=64, shard=(0, 2)), Rows)
    yield from rows.numpy()


def later() -> RunResult:
    return recsys_tft.refresh("out", "data/2025-03-01", workers=2)


def recommend(output_dir: str) -> tuple[int | str, float]:
    recommender = Recommender(output_dir, index="hnsw")
    found = assert_type(recommender.recommend(7, k=10, device="mobile"), Recommendations)
    best = found.items[0]
    reasons = assert_type(recommender.explain(7, [best.video_id]), list[list[tuple[str, float]]])
    return best.video_id, reasons[0][0][1]


def table() -> FeatureTable:
    resolution = Column("resolution", "videos", INT64, minimum=0)
    return DEFAULT.extend(resolution, features=Feature("resolution_z", "resolution", ZScore(), (CANDIDATE, RANKER)))
