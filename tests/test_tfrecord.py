"""Framing: TensorFlow's writer gives the same bytes, its readers read them, and notice a damaged one."""

import gzip
import io
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from framed import encode_examples, records
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.errors import InputError
from recsys_tft.storage import files, tfrecord
from recsys_tft.storage.tf_example import encode_fragments
from recsys_tft.storage.tfrecord import frame, frames, write_examples, write_records
from recsys_tft.storage.varints import varint

USERS = pa.table(
    {"user_id": [f"u{k}" for k in range(20)], "age": pa.array([k * k if k % 3 else None for k in range(20)])}
)
VIDEOS = pa.table(
    {"tags": [["tag"] * (k % 9) for k in range(30)], "score": pa.array(np.linspace(-1, 1, 30), pa.float32())}
)
TITLES = pa.table({"title": ["", "short", "x" * 200, "y" * 17_000, "é" * 100_000]})


def joined(rows: int) -> tuple[tfrecord.Joined, pa.Table]:
    """Parts, and the table that they amount to."""
    rng = np.random.default_rng(rows)
    drawn = [(table, rng.integers(0, len(table), rows)) for table in (USERS, VIDEOS, TITLES)]
    taken = [table.take(pa.array(indices)) for table, indices in drawn]
    columns = {name: table[name] for table in taken for name in table.column_names}
    return [(encode_fragments(table), indices) for table, indices in drawn], pa.table(columns)


def written_by_tensorflow(path: pathlib.Path, messages: list[bytes], compression: str = "") -> bytes:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for message in messages:
            writer.write(message)
    return path.read_bytes()


def read(path: pathlib.Path, compression: str = "") -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator())


def reference_crc(data: bytes) -> int:
    register = 0xFFFFFFFF
    for octet in data:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ 0x82F63B78 * (register & 1)
    return register ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_the_reference_checksum_of_the_digits_is_the_published_one():
    assert reference_crc(b"123456789") == 0xE3069283  # RFC 3720's check value


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=300), min_size=3, max_size=3), max_size=6))
def test_records_hold_what_is_joined_with_checksums_that_equal_a_slow_reference(rows: list[list[bytes]]):
    parts = [(pa.array([row[k] for row in rows], pa.large_binary()), None) for k in range(3)]
    found = list(records(frame(parts)))
    assert [message for message, *_ in found] == [b"\x0a" + varint(len(text := b"".join(row))) + text for row in rows]
    for message, of_size, of_message in found:
        assert of_size == masked(reference_crc(len(message).to_bytes(8, "little")))
        assert of_message == masked(reference_crc(message))


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_records_are_byte_for_byte_those_of_tensorflow(rows: int, tmp_path: pathlib.Path):
    parts, table = joined(rows)
    messages = encode_examples(table)
    assert frame(parts) == written_by_tensorflow(tmp_path / "theirs", messages)


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_tensorflow_reads_what_was_written(compression: str, tmp_path: pathlib.Path):
    parts, table = joined(50)
    assert write_records(tmp_path / "joined", parts, compress=bool(compression)) == 50
    assert write_examples(str(tmp_path / "plain"), table, compress=bool(compression)) == 50
    messages = encode_examples(table)
    assert read(tmp_path / "joined", compression) == read(tmp_path / "plain", compression) == messages


def test_blocks_of_rows_are_the_whole_in_order(monkeypatch: pytest.MonkeyPatch):
    parts, _ = joined(50)
    parts = [*parts, (encode_fragments(pa.table({"row": range(50)})), None)]
    whole = frame(parts)
    monkeypatch.setattr(tfrecord, "BLOCK_BYTES", 7)  # so that a block is as long as the longest row may be
    assert len([bytes(block) for block in frames(parts)]) > 8
    assert b"".join(bytes(block) for block in frames(parts)) == whole


def test_blocks_of_long_rows_are_short():
    fragments = encode_fragments(pa.table({"title": ["x" * 1_000_000]}))
    sizes = [len(block) for block in frames([(fragments, np.zeros(40, np.int64))])]
    assert sum(sizes) > 40_000_000
    assert max(sizes) <= tfrecord.BLOCK_BYTES


def test_a_long_file_holds_what_was_written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "_KEPT", 100)  # bytes
    parts, _ = joined(50)
    files.write_file(str(tmp_path / "long"), lambda file: write_records(file, parts))
    assert (tmp_path / "long").read_bytes() == frame(parts)


def test_rows_are_written_where_compiled_code_cannot_be_kept():
    code = (
        "import sys; import pyarrow as pa; from numba.core.caching import FunctionCache\n"
        "FunctionCache._impl_class._locator_classes = []\n"
        "from recsys_tft.storage.tfrecord import write_examples\n"
        "write_examples(sys.stdout.buffer, pa.table({'a': [1, 2], 'b': ['x', None]}))"
    )
    written = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout
    assert written == frame([(encode_fragments(pa.table({"a": [1, 2], "b": ["x", None]})), None)])


def test_compressed_bytes_depend_on_the_rows_alone():
    parts, _ = joined(10)
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_records(file, parts, compress=True)
    assert files[0].getvalue() == files[1].getvalue()
    assert gzip.decompress(files[0].getvalue()) == frame(parts)


@pytest.mark.parametrize("position", [0, 9, 12, 15, 40, -5, -1])
def test_a_damaged_byte_is_noticed(position: int, tmp_path: pathlib.Path):
    damaged = bytearray(frame([(encode_fragments(USERS), np.array([1]))]))
    damaged[position] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(tf.errors.DataLossError):
        read(tmp_path / "damaged")


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64])
def test_indices_of_any_integer_type(dtype: type[np.integer]):
    fragments = encode_fragments(USERS)
    expected = frame([(fragments.take(pa.array([3, 1])), None)])
    assert frame([(fragments, np.array([3, 1], dtype))]) == expected


def test_slices_of_fragments(tmp_path: pathlib.Path):
    half = encode_fragments(USERS).slice(10)
    (tmp_path / "half").write_bytes(frame([(half, None)]))
    assert read(tmp_path / "half") == encode_examples(USERS.slice(10))


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([], "no fragments to join"),
        ([(USERS, np.array([20]))], "Part 0 has 20 fragments, but is indexed from 20 to 20"),
        ([(USERS, None), (VIDEOS, np.array([-1] * 20))], "Part 1 has 30 fragments, but is indexed from -1 to -1"),
        ([(USERS, None), (VIDEOS, None)], r"equally many, but there are \[20, 30\]"),
    ],
)
def test_parts_that_do_not_fit_are_named(parts: list[tuple[pa.Table, np.ndarray | None]], sentence: str):
    with pytest.raises(InputError, match=sentence):
        frame([(encode_fragments(table), indices) for table, indices in parts])
