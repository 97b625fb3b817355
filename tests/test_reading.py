"""Rows in every form that they are handed out in: whole, in parts, shuffled, read ahead; and what is refused."""

import gc
import os
import pathlib
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Ran
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from wire import BYTES, FLOAT, INT

import recsys_tft
from recsys_tft.errors import InputError
from recsys_tft.reading.columns import Column
from recsys_tft.reading.forms import Lists
from recsys_tft.reading.prefetch import prefetch
from recsys_tft.storage import tfrecord

FILES, PER_FILE = 5, 60
ROWS = FILES * PER_FILE
SCHEMA = """
feature { name: "number" type: INT presence { min_fraction: 1.0 } shape {} }
feature { name: "pair" type: FLOAT presence { min_fraction: 1.0 } shape { dim { size: 2 } } }
feature { name: "list" type: INT }
feature { name: "id" type: BYTES presence { min_fraction: 1.0 } shape {} }
feature { name: "words" type: BYTES }
"""


def table_of(numbers: np.ndarray) -> pa.Table:
    """Rows that can be told by their number."""
    return pa.table({
        "number": pa.array(numbers),
        "pair": pa.array([[n, -n] for n in numbers.tolist()], pa.list_(pa.float32(), 2)),
        "list": pa.array([[n] * (n % 4) for n in numbers.tolist()], pa.list_(pa.int64())),
        "id": pa.array([f"user {n}" for n in numbers.tolist()], pa.string()),
        "words": pa.array([["a", "bc"][: n % 3] for n in numbers.tolist()], pa.list_(pa.string())),
    })  # fmt: skip


def write(path: pathlib.Path, kind: str) -> str:
    for file in range(FILES):
        table = table_of(np.arange(file * PER_FILE, (file + 1) * PER_FILE))
        name = str(path / f"part-{file:05}-of-{FILES:05}.{kind}")
        if kind == "parquet":
            pq.write_table(table, name, compression="zstd")
        else:
            tfrecord.write_examples(name, table, compress=kind.endswith("gz"))
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    (path / "schema.pbtxt").write_text(text_format.MessageToString(schema))
    return str(path)


@pytest.fixture(scope="module", params=["tfrecord", "tfrecord.gz", "parquet"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("rows"), request.param)


def numbers(rows: recsys_tft.reading.rows.Rows) -> list[int]:
    return [n for batch in rows for n in batch["number"].tolist()]


# --- Forms


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_arrow_batches_hold_the_rows_as_they_were_written(folder: str, threads: int) -> None:
    batches = list(recsys_tft.read(folder, batch_size=70, threads=threads).arrow())
    assert [len(batch) for batch in batches] == [70, 70, 70, 70, 20]
    found = pa.Table.from_batches(batches).to_pylist()
    wanted = table_of(np.arange(ROWS)).to_pylist()
    assert [row | {"id": row["id"].decode(), "words": [w.decode() for w in row["words"]]} for row in found] == wanted


def test_numpy_batches_are_arrays_and_lists(folder: str) -> None:
    for batch in recsys_tft.read(folder, batch_size=70).numpy():
        number = batch["number"]
        assert (number.dtype, batch["pair"].dtype, batch["id"].dtype) == (np.int64, np.float32, object)
        np.testing.assert_array_equal(batch["pair"], np.stack([number, -number], axis=1))
        assert batch["id"].tolist() == [f"user {n}".encode() for n in number]
        values, offsets = batch["list"]
        np.testing.assert_array_equal(np.diff(offsets), number % 4)
        np.testing.assert_array_equal(values, np.repeat(number, number % 4))
        assert offsets[0] == 0
        assert batch["words"].values.tolist() == [w for n in number for w in [b"a", b"bc"][: n % 3]]


def test_a_dataset_has_tensors_and_ragged_tensors(folder: str) -> None:
    rows = recsys_tft.read(folder, batch_size=70)
    batches = list(rows.dataset())
    for batch, plain in zip(batches, rows.numpy(), strict=True):
        assert isinstance(batch["list"], tf.RaggedTensor)
        for name in ("number", "pair", "id"):
            np.testing.assert_array_equal(batch[name].numpy(), plain[name])
        for name in ("list", "words"):
            np.testing.assert_array_equal(batch[name].values.numpy(), plain[name].values)
            np.testing.assert_array_equal(batch[name].row_splits.numpy(), plain[name].offsets)
    whole = recsys_tft.read(folder, batch_size=70, drop_remainder=True).dataset()
    assert whole.element_spec["pair"].shape == (70, 2)
    assert len(list(whole)) == 4


def test_torch_tensors_are_of_arrays_that_may_be_written_to(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_numpy(array: np.ndarray) -> np.ndarray:
        assert array.flags.writeable
        return array

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=from_numpy))
    rows = recsys_tft.read(folder, ["number", "pair", "list"], batch_size=70)
    for batch, plain in zip(rows.torch(), rows.numpy(), strict=True):
        np.testing.assert_array_equal(batch["pair"], plain["pair"])
        assert isinstance(batch["list"], Lists)
        np.testing.assert_array_equal(batch["list"].offsets, plain["list"].offsets)
    with pytest.raises(InputError, match="column 'id' is text, which torch tensors cannot hold; leave it out"):
        next(recsys_tft.read(folder, ["number", "id"]).torch())


@pytest.mark.slow
def test_neither_library_is_loaded_but_for_its_own_form(tmp_path: pathlib.Path) -> None:
    stand_in = tmp_path / "torch.py"
    stand_in.write_text("import sys\nassert 'tensorflow' not in sys.modules\ndef from_numpy(array): return array\n")
    folder = write(tmp_path, "tfrecord")
    code = f"""
import sys
import recsys_tft
assert not {{"numba", "pyarrow", "numpy"}} & set(sys.modules)
rows = recsys_tft.read({folder!r}, ["number", "list"])
assert sum(len(batch["number"]) for batch in rows.numpy()) == {ROWS}
assert sum(len(batch) for batch in rows.arrow()) == {ROWS}
assert not {{"tensorflow", "torch", "apache_beam"}} & set(sys.modules)
assert sum(len(batch["number"]) for batch in rows.torch()) == {ROWS}
assert "torch" in sys.modules and "tensorflow" not in sys.modules
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(pathlib.Path.cwd())])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_it_works_where_nothing_compiled_can_be_kept(tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path, "tfrecord")
    code = f"""
import numba.core.caching as caching
for kind in (caching.InTreeCacheLocator, caching.UserWideCacheLocator):
    kind.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError("read-only"))
import recsys_tft
assert sum(len(batch["number"]) for batch in recsys_tft.read({folder!r})) == {ROWS}
"""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# --- Parts of the rows


def test_only_the_columns_that_are_named_are_read(folder: str) -> None:
    (batch,) = recsys_tft.read(folder, ["words", "number"]).arrow()
    assert batch.schema.names == ["words", "number"]
    with pytest.raises(InputError, match=r"the rows have no column 'numbr'\. Did you mean 'number'\?"):
        recsys_tft.read(folder, ["numbr"])
    with pytest.raises(InputError, match="no column is selected"):
        recsys_tft.read(folder, [])


@pytest.mark.parametrize("shuffle", [0, 100])
@pytest.mark.parametrize("count", [2, FILES, 7])
def test_shards_are_all_rows_once(folder: str, count: int, shuffle: int) -> None:
    options = {"batch_size": 16, "shuffle": shuffle, "seed": 3}
    parts = [numbers(recsys_tft.read(folder, shard=(index, count), **options)) for index in range(count)]
    assert sorted(n for part in parts for n in part) == list(range(ROWS))
    assert max(map(len, parts)) <= -(-ROWS // count) + PER_FILE


def test_a_shuffled_pass_has_every_row_once_in_an_order_that_the_seed_decides(folder: str) -> None:
    first, again, other = (numbers(recsys_tft.read(folder, shuffle=100, seed=seed)) for seed in (3, 3, 4))
    assert sorted(first) == list(range(ROWS))
    assert first == again != other
    assert len({n // PER_FILE for n in first[:100]}) > 1
    assert abs((np.diff(first) > 0).mean() - 0.5) < 0.2
    whole = recsys_tft.read(folder, shuffle=100, seed=3, threads=0, batch_size=7)
    assert numbers(whole) == first
    (batch, *_) = whole
    np.testing.assert_array_equal(batch["list"].values, np.repeat(batch["number"], batch["number"] % 4))


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"shard": (2, 2)}, {"shard": (-1, 2)}, {"shuffle": -1}, {"threads": -1}]
)
def test_options_that_make_no_sense_are_refused(folder: str, wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        recsys_tft.read(folder, **wrong)


# --- Threads


def own_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "reading" in thread.name}


@pytest.mark.parametrize("threads", [1, 4])
def test_a_consumer_that_stops_early_leaves_no_threads(folder: str, threads: int) -> None:
    batches = recsys_tft.read(folder, batch_size=1, threads=threads).numpy()
    next(batches)
    assert own_threads()
    del batches
    gc.collect()
    assert not own_threads()


def test_no_more_is_read_ahead_than_a_bounded_part() -> None:
    taken: list[int] = []
    released = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            released.release()
            yield i

    results = prefetch(lambda item: item, items(), threads=2)
    assert next(results) == 0
    for _ in range(5):
        released.acquire()
    assert len(taken) <= 8
    results.close()
    assert len(taken) <= 10
    assert not own_threads()


@pytest.mark.parametrize("where", ["items", "function"])
@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_comes_in_the_place_of_its_result(where: str, threads: int) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        if where == "items":
            raise InputError("the third is bad")
        yield 3

    def function(item: int) -> int:
        if where == "function" and item == 3:
            raise InputError("the third is bad")
        return item

    results = prefetch(function, items(), threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="the third is bad"):
        next(results)
    assert not own_threads()


# --- Files


def test_parquet_files_tell_their_columns_themselves(tmp_path: pathlib.Path) -> None:
    pq.write_table(
        table_of(np.arange(9)).append_column("when", pa.array([0] * 9, pa.timestamp("us"))), tmp_path / "a.parquet"
    )
    (batch,) = recsys_tft.read(tmp_path / "a.parquet").numpy()
    assert list(batch) == ["number", "pair", "list", "id", "words"]
    assert batch["pair"].shape == (9, 2)


def test_parquet_of_other_types_is_read_as_the_spec_says(tmp_path: pathlib.Path) -> None:
    table = pa.table({
        "n": pa.array([1, None], pa.int32()),
        "x": pa.array([0.5, None], pa.float64()),
        "v": pa.array([[1.0, 2.0], None], pa.list_(pa.float64())),
        "t": pa.array(["a", None], pa.large_string()),
        "l": pa.array([[1], None], pa.large_list(pa.int32())),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    spec = {
        "n": Column("n", INT, (), 7),
        "x": Column("x", FLOAT, (), 0.25),
        "v": Column("v", FLOAT, (2,), [3.0, 4.0]),
        "t": Column("t", BYTES, (), b"none"),
        "l": Column("l", INT, None),
    }
    (batch,) = recsys_tft.read(tmp_path / "a.parquet", spec=spec).arrow()
    assert batch.to_pylist() == [
        {"n": 1, "x": 0.5, "v": [1.0, 2.0], "t": b"a", "l": [1]},
        {"n": 7, "x": 0.25, "v": [3.0, 4.0], "t": b"none", "l": []},
    ]


PARQUET_FAULTS: dict[str, tuple[pa.Array, Column, str]] = {
    "missing": (pa.array([1, 2, None]), Column("n", INT), r"row 2 \(from 0\) has no value in the column 'n'"),
    "size": (
        pa.array([[1.0, 2.0], [1.0], [2.0, 3.0]]),
        Column("n", FLOAT, (2,)),
        r"row 1 \(from 0\) has not 2 values in the column 'n'",
    ),
    "type": (pa.array(["a", "b", "c"]), Column("n", INT), "the column 'n' is no int64"),
    "absent": (pa.array([1, 2, 3]), Column("m", INT), "it has no column 'm'"),
}


@pytest.mark.parametrize("fault", PARQUET_FAULTS)
def test_parquet_that_is_not_as_the_spec_says_is_refused(fault: str, tmp_path: pathlib.Path) -> None:
    values, column, why = PARQUET_FAULTS[fault]
    pq.write_table(pa.table({"n": values}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=rf"a.parquet: the rows cannot be read: {why}.*; write the file again\."):
        list(recsys_tft.read(tmp_path / "a.parquet", spec=[column]))


def test_damaged_parquet_is_refused_with_its_file(tmp_path: pathlib.Path) -> None:
    path = pathlib.Path(write(tmp_path, "parquet"))
    file = sorted(path.glob("part-*"))[1]
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"{file.name}: the rows cannot be read"):
        list(recsys_tft.read(path))


def test_what_cannot_be_read_is_told_before(tmp_path: pathlib.Path) -> None:
    (tmp_path / "rows.tfrecord").write_bytes(b"")
    with pytest.raises(InputError, match=r"is not a data folder, because it has no schema\.pbtxt"):
        recsys_tft.read(tmp_path)
    with pytest.raises(InputError, match="TFRecords do not describe their columns; pass their spec"):
        recsys_tft.read(tmp_path / "rows.tfrecord")
    with pytest.raises(InputError, match=r"none\.tfrecord: there is no such file"):
        recsys_tft.read(tmp_path / "none.tfrecord", spec=[Column("n", INT)])
    (tmp_path / "rows.parquet").write_bytes(b"")
    both = [tmp_path / "rows.tfrecord", tmp_path / "rows.parquet"]
    with pytest.raises(InputError, match="the files have different formats"):
        list(recsys_tft.read(both, spec=[Column("n", INT)]))
    assert list(recsys_tft.read(tmp_path / "rows.tfrecord", spec=[Column("n", INT)])) == []


# --- What a run wrote


@pytest.mark.parametrize("name", ["two_tower_train", "ranker_val", "users", "videos"])
def test_what_a_run_wrote_is_read_as_by_tensorflow(of_any_ids: Ran, name: str) -> None:
    folder = of_any_ids.result[name]
    theirs = list(folder.dataset(batch_size=100))
    ours = list(folder.read(batch_size=100).dataset())
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert set(one) == set(other)
        for column, values in other.items():
            if isinstance(values, tf.SparseTensor):
                values, one[column] = tf.RaggedTensor.from_sparse(values).to_list(), one[column].to_list()
                assert one[column] == values, column
            else:
                np.testing.assert_array_equal(one[column].numpy(), values.numpy(), err_msg=column)


def test_a_folder_is_read_to_its_end_whatever_is_written_meanwhile(
    tmp_path: pathlib.Path, make_version: Callable[[], None]
) -> None:
    make_version()
    rows = recsys_tft.read(tmp_path / "processed_data" / "users")
    make_version()
    assert sorted(numbers(rows)) == list(range(ROWS))


@pytest.fixture
def make_version(tmp_path: pathlib.Path) -> Callable[[], None]:
    """Commits a version of a folder of users in the place of the one before."""
    from recsys_tft.storage.version_folders import VersionFolders

    def commit() -> None:
        folders = VersionFolders(tmp_path, ("processed_data",))
        folders.begin()
        target = folders.staged / "processed_data" / "users"
        target.mkdir(parents=True)
        write(target, "tfrecord")
        folders.commit()
        folders.prune()

    return commit
