"""A run with own signals and context columns: what it writes, that it verifies, and that no row knows the future."""

import json
import pathlib

import numpy as np
import own_signals
import polars as pl
import pytest

from recsys_tft import cli
from recsys_tft.auditing import leak_audit
from recsys_tft.point_in_time import history

pytestmark = pytest.mark.slow

CONFIG = f"""
features: {own_signals.NAME}
title_encoder: none
output: {{format: parquet, users_per_shard: 50}}
labels: {{positive: {{like: 1.0, follow: 0.5, click: 0.5}}}}
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "raw").mkdir()
    (folder / "moment").write_text(str(own_signals.write_tables(folder / "raw")))
    (folder / "my.yaml").write_text(CONFIG)
    arguments = ["--config", f"{folder}/my.yaml", "--data-dir", f"{folder}/raw", "--output-dir", f"{folder}/out"]
    assert cli.main(["run", *arguments]) == 0
    return folder


def rows_of(output: pathlib.Path, split: str) -> pl.DataFrame:
    return pl.read_parquet(f"{output}/out/processed_data/ranker/{split}/*.parquet")


def test_disliked_rows_are_negatives_of_a_source_of_their_own_and_counted(output: pathlib.Path) -> None:
    rows = rows_of(output, "train")
    counts = json.loads((output / "out/artifacts/manifest.json").read_text())["counts"]
    assert set(rows["source"]) == {"positive", "disliked", "exposed", "sampled"}
    disliked = rows.filter(pl.col("source") == "disliked")
    assert len(disliked) == counts["sources/train/disliked"] == counts["exposures/train/disliked"] > 50
    assert set(disliked["label"]) == {0}
    assert set(disliked["weight"]) == {1.0}


def test_context_columns_of_every_type_reach_the_features(output: pathlib.Path) -> None:
    rows = rows_of(output, "train")
    context = [
        feature.name
        for feature in own_signals.TABLE.features
        if feature.sources[0] in set(column.name for column in own_signals.CONTEXT)
    ]
    assert len(context) == len(own_signals.CONTEXT)
    for name in context:
        assert rows[name].n_unique() > 1, name
    assert rows["autoplay_z"].n_unique() == 3


def test_verify_finds_no_difference(output: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--output-dir", f"{output}/out", "--data-dir", f"{output}/raw"]
    assert cli.main(["verify", *arguments]) == 0, capsys.readouterr()


def audited(output: pathlib.Path) -> leak_audit.Audited:
    """At the time at which every user stops to want something."""
    moment = int((output / "moment").read_text())
    return leak_audit.audit(f"{output}/out", f"{output}/raw", users=60, cuts=(moment,))


def test_no_row_knows_what_happens_later(output: pathlib.Path) -> None:
    found = audited(output)
    assert found.leaks == {}
    assert all({"history_video_ids_tokens", "surface_token"} <= set(line.features) for line in found.lines)


def test_a_history_that_forgets_a_video_before_it_was_disliked_is_a_leak(
    output: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, sound = leak_audit.Trial.cuts, history.negative_since
    monkeypatch.setattr(leak_audit.Trial, "cuts", lambda trial, given: cuts(trial, given)[1:])
    monkeypatch.setattr(leak_audit, "FUTURES", {"altered": leak_audit.FUTURES["altered"]})

    def always(*args: object) -> np.ndarray:
        since = sound(*args)
        return np.where(since == history.NEVER, since, 0)

    monkeypatch.setattr(history, "negative_since", always)
    assert {"history_video_ids_tokens"} <= set(audited(output).leaks)
