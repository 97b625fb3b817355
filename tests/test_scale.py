"""What is said of large tables, and the simulation of docs/scale.md."""

import numpy as np
import pytest

from bench import scale
from recsys_tft.beam_pipelines.job import Job, advice, plan
from recsys_tft.configuration.settings import Settings
from recsys_tft.run_layout.output import Output
from recsys_tft.tables.raw_tables import RawTable, Source


def job_of(users: int, interactions: int, users_per_shard: int) -> Job:
    def table(name: str, rows: int) -> RawTable:
        return RawTable(name, (Source("file", (0,), 0, 0, rows),), {}, (), ())

    tables = {
        "users": table("users", users),
        "videos": table("videos", 1),
        "interactions": table("interactions", interactions),
    }
    return plan(Settings().replace({"output": {"users_per_shard": users_per_shard}}), tables, Output.at("out"))


def test_shards_of_too_many_interactions_are_told_with_a_number_that_is_right() -> None:
    (sentence,) = advice(job_of(10_000, 30_000_000, 5_000))
    assert "15,000,000 interactions on average" in sentence
    better = int(sentence.partition("users_per_shard: ")[2].split()[0])
    assert advice(job_of(10_000, 30_000_000, better)) == []
    assert 30_000_000 / job_of(10_000, 30_000_000, better).user_partitions == pytest.approx(250_000, rel=0.05)


def test_shards_of_few_interactions_are_not_told() -> None:
    assert advice(job_of(10_000, 2_000_000, 5_000)) == []


def test_simulated_partitions_hold_everything_once() -> None:
    shares = scale.zipf(1000, 1.1)
    found = scale.loads(shares, 7)
    assert found.sum() == pytest.approx(1)
    assert found.max() >= shares[0] > shares[1]


def test_expected_number_of_different_items_is_that_of_drawing_them() -> None:
    shares = scale.zipf(50, 1.3)
    rng = np.random.default_rng(0)
    drawn = [len(np.unique(rng.choice(50, 40, p=shares))) for _ in range(2000)]
    assert scale.distinct(shares, 40) == pytest.approx(np.mean(drawn), abs=0.2)
