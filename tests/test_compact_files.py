"""gzip and Parquet, with any compression, in the place of plain TFRecords: the same rows, and the same models."""

import json
import pathlib
import shutil
import subprocess
import sys

import catboost
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import SMALL_CONFIG, Ran

from recsys_tft import PipelineConfig, ProcessingPipeline, RunResult
from recsys_tft.configuration.settings import parse
from recsys_tft.describing import statistics_files
from recsys_tft.errors import InputError
from recsys_tft.ranking import ranker_training
from recsys_tft.retrieval import two_tower, two_tower_training
from recsys_tft.verifying.verification import verify

OUTPUTS = {"gzip": "format: tfrecord, compression: gzip", "parquet": "format: parquet, compression: zstd"}
QUICK = """
ranker: {iterations: 10, depth: 4, shap_rows: 50}
two_tower: {epochs: 1, compare_title: false, dim: 8, batch_size: 256}
"""


@pytest.fixture(scope="module", params=OUTPUTS)
def compact(request: pytest.FixtureRequest, synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The synthetic run once more, written otherwise."""
    folder = tmp_path_factory.mktemp(request.param)
    config = SMALL_CONFIG.replace("output: {", f"output: {{{OUTPUTS[request.param]}, ")
    without = "statistics: {enabled: false}\n" if request.param == "parquet" else ""
    (folder / "config.yaml").write_text(config + without)
    given = PipelineConfig(output_dir=str(folder / "out"), config=str(folder / "config.yaml"), workers=2)
    return ProcessingPipeline(given).run(str(synthetic_run.raw))


def root_of(result: RunResult) -> pathlib.Path:
    return next(path for path in pathlib.Path(result["users"].path).parents if path.name == "out")


def test_all_folders_hold_the_same_rows(compact: RunResult, synthetic_run: Ran) -> None:
    for name, folder in compact.items():
        ours = folder.read().table()
        assert ours.equals(synthetic_run.result[name].read().table()), name


def test_the_files_are_what_the_settings_say(compact: RunResult) -> None:
    output = parse(compact.manifest["settings"], "the manifest").output
    for file in compact["ranker_train"].files:
        if output.format == "parquet":
            assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"
        else:
            assert file.endswith(".tfrecord.gz")
            assert pathlib.Path(file).read_bytes()[:2] == b"\x1f\x8b"


def test_statistics_are_the_same_or_not_there_if_they_are_turned_off(compact: RunResult, synthetic_run: Ran) -> None:
    root = root_of(compact)
    if not compact.manifest["settings"]["statistics"]["enabled"]:
        assert not (root / "artifacts/statistics").exists()
        return
    ours, other = (statistics_files.read(str(each))["data_sets"] for each in (synthetic_run.root, root))
    assert ours == other


def test_tensorflow_reads_gzip_when_it_is_told(compact: RunResult, synthetic_run: Ran) -> None:
    if compact["users"].files[0].endswith(".parquet"):
        with pytest.raises(InputError, match=r"has Parquet files; read them with pandas\(\) or read\(\)"):
            compact["users"].dataset()
        return
    plain = tf.data.TFRecordDataset(synthetic_run.result["users"].files)
    packed = tf.data.TFRecordDataset(compact["users"].files, compression_type="GZIP")
    assert list(packed.as_numpy_iterator()) == list(plain.as_numpy_iterator())
    (ours,), (theirs,) = (r["users"].dataset(1000).as_numpy_iterator() for r in (compact, synthetic_run.result))
    np.testing.assert_array_equal(ours["user_id"], theirs["user_id"])


@pytest.fixture(scope="module")
def models(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[np.ndarray]]:
    return trained(synthetic_run.root, tmp_path_factory.mktemp("plain"))


def trained(root: pathlib.Path, folder: pathlib.Path) -> tuple[dict, list[np.ndarray]]:
    """Trees and weights of both models, trained on the rows of a run, beside which they are put."""
    out = shutil.copytree(root, folder / "out", ignore=shutil.ignore_patterns("raw", "models*"))
    (folder / "config.yaml").write_text(QUICK)
    for train in (ranker_training.train, two_tower_training.train):
        metrics = train(str(out), str(folder / "config.yaml")).metrics
        training = metrics["training"].get("two_tower", metrics["training"])
        assert 0 < training["reading_share"] < 1
        assert training["reading_seconds"] > 0
    model = catboost.CatBoost().load_model(str(out / "models/ranker/model.cbm"))
    model.save_model(str(folder / "trees.json"), format="json")
    trees = json.loads((folder / "trees.json").read_text())
    weights = [np.asarray(variable) for variable in two_tower.load(str(out)).variables()]
    return {name: trees[name] for name in ("oblivious_trees", "scale_and_bias")}, weights


def test_both_trainers_come_to_the_same_models(
    compact: RunResult, models: tuple[dict, list[np.ndarray]], tmp_path: pathlib.Path
) -> None:
    trees, weights = trained(root_of(compact), tmp_path)
    assert trees == models[0]
    for own, other in zip(weights, models[1], strict=True):
        np.testing.assert_array_equal(own, other)


def test_verify_takes_it(compact: RunResult, synthetic_run: Ran) -> None:
    found = verify(str(root_of(compact)), str(synthetic_run.raw))
    assert not found.differences
    assert sum(found.rows.values()) > 1000


def test_zstd_is_not_for_tfrecords() -> None:
    with pytest.raises(InputError, match=r"output.*compression zstd is for the format parquet; TensorFlow reads"):
        parse({"output": {"compression": "zstd"}}, "a test")
    assert parse({"output": {"compression": "zstd", "format": "parquet"}}, "a test").output.compression == "zstd"


def test_the_ranker_is_read_without_tensorflow() -> None:
    code = "import sys, recsys_tft.ranking.ranker_rows; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
