"""The same inputs, settings and seed give the same bytes, whatever the workers; nothing that is fitted sees the future.

A SavedModel is compared by its variables and assets, byte by byte, and by its graph. TensorFlow numbers functions and
resources in the order in which a process happens to make them, lists functions and nodes in no order, and keeps the
path of the temporary folder: these are made alike first.
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pandas as pd
import pytest
from compared_outputs import (
    UNTOUCHED,
    assert_same_bytes,
    assert_same_output,
    divided_tables,
    files_below,
    graph_text,
    rejected_rows,
    tables_with_another_future,
)
from conftest import SMALL_CONFIG, SMALL_SIZES, Ran

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.beam_pipelines import staging
from recsys_tft.describing import statistics_files
from recsys_tft.run_layout.data_folders import DataFolder

pytestmark = pytest.mark.slow


Rerun = Callable[..., pathlib.Path]


@pytest.fixture
def rerun(synthetic_run: Ran, tmp_path: pathlib.Path) -> Rerun:
    """Runs on the tables of the synthetic run, or on others, and returns the output folder."""

    def run(raw: pathlib.Path = synthetic_run.raw, **options: object) -> pathlib.Path:
        config = PipelineConfig(**{"output_dir": str(tmp_path / "out"), "config": str(synthetic_run.config)} | options)
        ProcessingPipeline(config).run(str(raw))
        return tmp_path / "out"

    return run


def test_another_process_writes_the_same_bytes_on_one_thread(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    sizes = [part for name, size in SMALL_SIZES.items() for part in (name.replace("num_", "--"), str(size))]
    folders = ["--output-dir", str(tmp_path / "out"), "--config", str(synthetic_run.config), "--workers", "1"]
    command = [sys.executable, "-m", "recsys_tft", "run", "--synthetic", *sizes, *folders]
    run = subprocess.run(
        command, env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "Done in" in run.stdout
    assert_same_output(synthetic_run.root, tmp_path / "out")


def assert_same_of_divided_tables(ran: Ran, other: pathlib.Path) -> None:
    assert_same_output(ran.root, other, "processed_data", "artifacts", without=["inputs"])
    assert rejected_rows(ran.root, "source_row") == rejected_rows(other, "source_row")


def test_the_order_of_interactions_and_the_files_they_lie_in_change_nothing_on_four_threads(
    texts_run: Ran, rerun: Rerun, tmp_path: pathlib.Path
) -> None:
    """The run itself has two, and the settings of the synthetic one; of integers it is in test_as_of_runs."""
    other = rerun(divided_tables(texts_run.raw, tmp_path / "raw"), workers=4)
    assert_same_of_divided_tables(texts_run, other)


def test_nor_do_threads_of_beams_own_and_tables_that_wait_in_files(
    synthetic_run: Ran, rerun: Rerun, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beam's processes change nothing in test_as_of_runs and test_portable_runner."""
    monkeypatch.setattr(staging, "_SMALLEST", 0)
    raw = divided_tables(synthetic_run.raw, tmp_path / "raw")
    other = rerun(raw, beam_args=("--direct_running_mode=multi_threading", "--direct_num_workers=2"))
    assert_same_of_divided_tables(synthetic_run, other)


def test_another_seed_changes_negatives_alone(synthetic_run: Ran, rerun: Rerun) -> None:
    root = rerun(seed=1)
    one, other = (files_below(root, "processed_data", "artifacts") for root in (synthetic_run.root, root))
    assert one.keys() == other.keys()
    changed = {name for name in one if one[name] != other[name]}
    assert changed
    of_ranker = ("processed_data/ranker/", "artifacts/statistics/")
    assert all(name.startswith(of_ranker) for name in changed - {"processed_data/run.json"})
    both = (statistics_files.read(str(root))["data_sets"] for root in (synthetic_run.root, root))
    described, differently = ({name: own for name, own in each.items() if name != "ranker"} for each in both)
    assert described == differently
    assert graph_text(synthetic_run.root) == graph_text(root)
    pipeline = ProcessingPipeline(PipelineConfig(output_dir=str(root)))
    assert pipeline.get_feature_specs() == synthetic_run.pipeline.get_feature_specs()
    for split in ("train", "val", "test"):
        ranker = [synthetic_run.result[f"ranker_{split}"].pandas(), ranker_rows(root, split)]
        kept = [rows[rows["source"] != b"sampled"].reset_index(drop=True) for rows in ranker]
        pd.testing.assert_frame_equal(*kept)
        assert len(ranker[0]) == len(ranker[1])
        assert ranker[0]["video_id"].tolist() != ranker[1]["video_id"].tolist()


def ranker_rows(root: pathlib.Path, split: str) -> pd.DataFrame:
    return DataFolder(str(root / f"processed_data/ranker/{split}")).pandas()


def test_what_happens_after_the_training_split_changes_nothing_that_is_fitted_and_no_training_row(
    synthetic_run: Ran, rerun: Rerun, tmp_path: pathlib.Path
) -> None:
    """The past is that of the synthetic run, whose cuts are given as times; the future is another one."""
    raw, split = tables_with_another_future(synthetic_run, tmp_path / "raw")
    config = tmp_path / "config.yaml"
    config.write_text(f"{SMALL_CONFIG}{split}")

    root = rerun(raw, config=str(config))

    one, other = (files_below(root, *UNTOUCHED) for root in (synthetic_run.root, root))
    assert_same_bytes(one, other)
    assert graph_text(synthetic_run.root) == graph_text(root)
    for split in ("val", "test"):
        future = [files_below(root, f"processed_data/two_tower/{split}") for root in (synthetic_run.root, root)]
        assert future[0] != future[1]
