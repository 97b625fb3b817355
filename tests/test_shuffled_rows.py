"""Shuffled batches: every row once an epoch, out of memory or through a pool, in an order that the seed decides."""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.storage import tfrecord
from recsys_tft.training.shuffled_rows import ShuffledRows

FILES, PER_FILE = 12, 100
ROWS = FILES * PER_FILE
SCHEMA = """
feature { name: "number" type: INT presence { min_fraction: 1.0 } shape {} }
feature { name: "pair" type: FLOAT presence { min_fraction: 1.0 } shape { dim { size: 2 } } }
feature { name: "list" type: INT }
"""
NAMES = ["number", "pair", "list"]


def table_of(numbers: np.ndarray) -> pa.Table:
    """Rows that can be told by their number: a vector of it, and a list of number % 4 sevens, longer in later files."""
    lists = [[7] * (number % 4 + number // 300) for number in numbers.tolist()]
    pairs = [[number, -number] for number in numbers.tolist()]
    return pa.table({
        "number": pa.array(numbers),
        "pair": pa.array(pairs, pa.list_(pa.float32(), 2)),
        "list": pa.array(lists, pa.list_(pa.int64())),
    })  # fmt: skip


@pytest.fixture(scope="module", params=["tfrecord", "parquet"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    path: pathlib.Path = tmp_path_factory.mktemp(request.param)
    for file in range(FILES):
        table = table_of(np.arange(file * PER_FILE, (file + 1) * PER_FILE))
        name = str(path / f"part-{file:05}-of-{FILES:05}.{request.param}")
        tfrecord.write_examples(name, table) if request.param == "tfrecord" else pq.write_table(table, name)
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    (path / "schema.pbtxt").write_text(text_format.MessageToString(schema))
    return DataFolder(str(path))


def epoch(folder: DataFolder, held: int, size: int, seed: int) -> list[dict[str, np.ndarray]]:
    return list(ShuffledRows(folder, NAMES, held).epoch(size, seed).as_numpy_iterator())


def as_arrays(batch: dict) -> dict[str, list]:
    return {name: np.asarray(values).tolist() for name, values in batch.items()}


@pytest.mark.parametrize("held", [500, ROWS])
def test_a_loop_in_python_has_the_batches_of_the_dataset(folder: DataFolder, held: int) -> None:
    batches = ShuffledRows(folder, NAMES, held).batches(40, seed=2)
    assert list(map(as_arrays, batches)) == list(map(as_arrays, epoch(folder, held, 40, seed=2)))


HELD = pytest.mark.parametrize("held", [60, 500, ROWS])


@HELD
def test_an_epoch_has_every_row_once_and_whole(folder: DataFolder, held: int) -> None:
    batches = epoch(folder, held, 40, seed=0)
    assert {len(batch["number"]) for batch in batches} == {40}
    numbers = np.concatenate([batch["number"] for batch in batches])
    assert sorted(numbers.tolist()) == list(range(ROWS))
    for batch in batches:
        np.testing.assert_array_equal(batch["pair"], np.stack([batch["number"], -batch["number"]], axis=1))
        np.testing.assert_array_equal((batch["list"] == 7).sum(axis=1), batch["number"] % 4 + batch["number"] // 300)
        assert set(np.unique(batch["list"])) <= {0, 7}


@HELD
def test_what_does_not_fill_a_batch_is_left_out(folder: DataFolder, held: int) -> None:
    assert len(epoch(folder, held, 801, seed=0)) == 1
    assert epoch(folder, held, ROWS + 1, seed=0) == []


@HELD
def test_the_seed_decides_the_order(folder: DataFolder, held: int) -> None:
    rows = ShuffledRows(folder, ["number"], held)
    first, again, other = (
        np.concatenate([batch["number"] for batch in rows.epoch(100, seed).as_numpy_iterator()]) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9


@pytest.mark.parametrize("held", [500, ROWS])
def test_a_batch_is_of_many_files_in_no_order(folder: DataFolder, held: int) -> None:
    batches = epoch(folder, held, 100, seed=1)
    files = [len(np.unique(batch["number"] // PER_FILE)) for batch in batches]
    assert min(files) >= 5
    assert all(abs((np.diff(batch["number"]) > 0).mean() - 0.5) < 0.2 for batch in batches)
