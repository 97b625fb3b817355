"""TFRecords are read as tf.io.parse_example reads them, whoever wrote them, and what is damaged is refused by name."""

import gzip
import pathlib
import re
import struct
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from wire import BYTES, FLOAT, INT, Entry, assert_equal, example, framed, parsed, spec_of, whole, write

from recsys_tft.errors import InputError
from recsys_tft.reading import record_chunks
from recsys_tft.reading.columns import Column
from recsys_tft.reading.rows import read
from recsys_tft.storage import tfrecord

VALUES = {
    INT: st.one_of(st.integers(0, 300), st.integers(-(1 << 63), (1 << 63) - 1)),
    FLOAT: st.floats(width=32),
    BYTES: st.binary(max_size=12),
}
NAMES = ["a", "of eight", "user_id_token", "n" * 70, "é", "clock"]
ANY = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    found = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        kind, shape = draw(st.sampled_from(list(VALUES))), draw(st.sampled_from([(), (), (1,), (3,), (2, 2), None]))
        default = draw(st.none() | VALUES[kind]) if shape is not None else None
        if default == 0:
            default = 0  # TensorFlow takes -0.0 for the 0.0 that it was given before
        if default is not None and shape:
            default = np.full(shape, default, object).tolist()
        found.append(Column(name, kind, shape, default))
    return found


@st.composite
def records(draw: st.DrawFn, of: Sequence[Column]) -> list[list[Entry]]:
    """Records of a writer that keeps to one order, of which some are odd."""
    own = [Entry("another", INT, [1]), Entry("more", BYTES, [b"x" * 90])]
    order = draw(st.permutations([*of, *own[: draw(st.integers(0, 2))]]))
    found = []
    for _ in range(draw(st.integers(1, 6))):
        entries = [one if isinstance(one, Entry) else draw(entry(one)) for one in order]
        if draw(st.integers(0, 3)) == 0:
            entries = draw(odd(entries, of))
        found.append(entries)
    return found


@st.composite
def entry(draw: st.DrawFn, column: Column) -> Entry:
    sizes = {"min_size": column.size, "max_size": column.size} if column.size is not None else {"max_size": 20}
    return Entry(column.name, column.type, draw(st.lists(VALUES[column.type], **sizes)), draw(st.integers(0, 5)) > 0)


@st.composite
def odd(draw: st.DrawFn, entries: list[Entry], of: Sequence[Column]) -> list[Entry]:
    """The same record with something missing, twice there, without a list, of another kind or size, or reordered."""
    kept = [one for one in entries if draw(st.integers(0, 4))]
    more = [draw(entry(draw(st.sampled_from(of)))) for _ in range(draw(st.integers(0, 2)))]
    bare = [Entry(draw(st.sampled_from(of)).name, None) for _ in range(draw(st.integers(0, 1)))]
    wrong = [Entry(draw(st.sampled_from(of)).name, INT, [7] * draw(st.integers(0, 2)))] * (not draw(st.integers(0, 5)))
    return draw(st.permutations([*kept, *more, *bare, *wrong]))


def found(file: str, of: Sequence[Column]) -> dict | None:
    """What the reader reads; None if it refuses the file."""
    try:
        batches = list(read([file], spec=of, threads=0).numpy())
    except InputError:
        return None
    return whole(batches)


@ANY
@given(data=st.data())
def test_every_value_is_that_of_parse_example(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    of = data.draw(columns())
    written = [example(entries) for entries in data.draw(records(of))]
    file = write(tmp_path_factory.getbasetemp() / "any.tfrecord", written)
    ours, theirs = found(file, of), parsed(written, of)
    assert (ours is None) == (theirs is None)
    if ours is not None:
        assert_equal(ours, theirs)


OF_ALL_KINDS = [
    Column("user_id_token", INT),
    Column("age_z", FLOAT),
    Column("source", BYTES),
    Column("tags", INT, None),
    Column("words", BYTES, None),
    Column("pair", FLOAT, (2,)),
    Column("lacking", INT, (), -3),
]


def of_all_kinds(rows: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [
        example([
            Entry("user_id_token", INT, [int(rng.integers(0, 300))]),
            Entry("age_z", FLOAT, [float(rng.normal())]),
            Entry("skipped", INT, [int(rng.integers(0, 1 << 40))]),
            Entry("source", BYTES, [b"sampled"]),
            Entry("tags", INT, rng.integers(0, 200, rng.integers(0, 20)).tolist()),
            Entry("words", BYTES, [b"w" * n for n in range(row % 3)]),
            Entry("pair", FLOAT, rng.normal(size=2).tolist()),
        ])
        for row in range(rows)
    ]  # fmt: skip


def test_every_bit_that_is_turned_is_told_with_its_file_and_record(tmp_path: pathlib.Path) -> None:
    whole_file = framed(of_all_kinds(3))
    starts = [0, *np.cumsum([len(framed([record])) for record in of_all_kinds(3)])]
    for byte in range(len(whole_file)):
        damaged = bytearray(whole_file)
        damaged[byte] ^= 1 << byte % 8
        (tmp_path / "turned.tfrecord").write_bytes(damaged)
        record = np.searchsorted(starts, byte, side="right") - 1
        with pytest.raises(InputError, match=rf"turned.tfrecord: the rows cannot be read: record {record} \(from 0\)"):
            list(read([tmp_path / "turned.tfrecord"], spec=OF_ALL_KINDS, threads=0))


DAMAGES = {"a bit": lambda byte: byte ^ 1, "0": lambda _: 0, "255": lambda _: 255, "varint": lambda byte: byte ^ 128}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_records_whose_bytes_are_others_with_their_checksums_are_refused_or_read_as_they_stand(
    damage: Callable[[int], int], tmp_path: pathlib.Path
) -> None:
    before, record, after = of_all_kinds(3)
    for byte in range(len(record)):
        damaged = bytearray(record)
        damaged[byte] = damage(record[byte])
        records = [before, bytes(damaged), after]
        ours, theirs = found(write(tmp_path / "odd.tfrecord", records), OF_ALL_KINDS), parsed(records, OF_ALL_KINDS)
        if ours is not None:
            assert theirs is not None, byte
            assert_equal(ours, theirs)


@settings(ANY, max_examples=300)
@given(data=st.binary(max_size=60))
def test_bytes_that_are_no_examples_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    ours = found(write(tmp_path_factory.getbasetemp() / "any.tfrecord", [data]), OF_ALL_KINDS)
    theirs = parsed([data], OF_ALL_KINDS)
    if ours is not None:
        assert_equal(ours, theirs)


def test_a_file_that_is_cut_anywhere_is_refused_but_between_records(tmp_path: pathlib.Path) -> None:
    whole_file = framed(of_all_kinds(2))
    first = len(framed(of_all_kinds(1)))
    for size in range(len(whole_file)):
        (tmp_path / "cut.tfrecord").write_bytes(whole_file[:size])
        rows = read([tmp_path / "cut.tfrecord"], spec=OF_ALL_KINDS, threads=0)
        if size in (0, first):
            assert sum(len(batch["age_z"]) for batch in rows) == (size > 0)
        else:
            with pytest.raises(InputError, match=r"cut.tfrecord: .*record [01] \(from 0\), at byte \d+, is cut off"):
                list(rows)


def by_tf(path: pathlib.Path, records: Sequence[bytes], kind: str = "") -> None:
    with tf.io.TFRecordWriter(str(path), kind) as writer:
        for record in records:
            writer.write(record)


TABLE = pa.table({
    "number": pa.array([1, 2, 300, -4], pa.int64()),
    "ratio": pa.array([0.5, -0.0, 1e-30, 7.0], pa.float32()),
    "text": pa.array([b"a", b"", b"\xff\x00", b"longer than eight"], pa.binary()),
    "list": pa.array([[1, 2], [], [1 << 62], [5] * 30], pa.list_(pa.int64())),
})  # fmt: skip
OF_TABLE = [Column("number", INT), Column("ratio", FLOAT), Column("text", BYTES), Column("list", INT, None)]


def tf_examples() -> list[bytes]:
    made = []
    for row in TABLE.to_pylist():
        features = {
            "list": tf.train.Feature(int64_list=tf.train.Int64List(value=row["list"])),
            "number": tf.train.Feature(int64_list=tf.train.Int64List(value=[row["number"]])),
            "ratio": tf.train.Feature(float_list=tf.train.FloatList(value=[row["ratio"]])),
            "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row["text"]])),
        }
        made.append(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return made


def tfx_examples() -> list[bytes]:
    lists = {
        name: column.cast(pa.large_list(pa.int64()))
        if pa.types.is_list(column.type)
        else pa.LargeListArray.from_arrays(np.arange(len(column) + 1), column.combine_chunks())
        for name, column in zip(TABLE.column_names, TABLE.columns, strict=True)
    }
    (batch,) = pa.table(lists).to_batches()
    return RecordBatchToExamplesEncoder().encode(batch)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("writer", ["ours", "ours, gzip", "tf.train.Example", "tfx_bsl", "tf, gzip", "gzip by name"])
def test_files_of_all_writers_hold_the_same_rows(writer: str, threads: int, tmp_path: pathlib.Path) -> None:
    file = tmp_path / ("rows.gz" if writer == "gzip by name" else "rows.tfrecord")
    match writer:
        case "ours" | "ours, gzip":
            tfrecord.write_examples(str(file), TABLE, compress="gzip" in writer)
        case "gzip by name":
            file.write_bytes(gzip.compress(framed(tf_examples())))
        case _:
            by_tf(file, tfx_examples() if writer == "tfx_bsl" else tf_examples(), "GZIP" if "gzip" in writer else "")
    (batch,) = read([file], spec=OF_TABLE, threads=threads).arrow()
    assert batch.to_pylist() == TABLE.to_pylist()


def test_the_specs_of_tf_are_taken_as_they_are(tmp_path: pathlib.Path) -> None:
    by_tf(tmp_path / "rows.tfrecord", tf_examples())
    rows = read([tmp_path / "rows.tfrecord"], spec=spec_of(OF_TABLE), threads=0)
    assert rows.columns == tuple(OF_TABLE)
    ragged = spec_of(OF_TABLE) | {"list": tf.io.RaggedFeature(tf.int64)}
    assert read([tmp_path / "rows.tfrecord"], spec=ragged, threads=0).columns == tuple(OF_TABLE)
    for refused in (
        tf.io.RaggedFeature(tf.int64, partitions=[tf.io.RaggedFeature.UniformRowLength(2)]),
        tf.io.FixedLenSequenceFeature([], tf.int64, True),
        tf.io.FixedLenFeature([], tf.float64),
    ):
        with pytest.raises(InputError, match=r"'list' is .*only FixedLenFeature, VarLenFeature, and RaggedFeature"):
            read([tmp_path / "rows.tfrecord"], spec={"list": refused})


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([Entry("n", FLOAT, [1.0])], "has no int64 in the feature 'n', as the schema says"),
        ([Entry("n", INT, [1, 2])], "has not 1 int64 in the feature 'n', as the schema says"),
        ([Entry("n", INT, [])], "has not 1 int64 in the feature 'n', as the schema says"),
        ([Entry("m", INT, [1])], "lacks the feature 'n', which has no default"),
        ([Entry("n", None)], "lacks the feature 'n', which has no default"),
    ],
)
def test_a_record_that_is_not_as_the_schema_says_is_told(
    entries: list[Entry], why: str, tmp_path: pathlib.Path
) -> None:
    good = example([Entry("n", INT, [5])])
    file = write(tmp_path / "rows.tfrecord", [good] * 4 + [example(entries)])
    byte = 4 * len(framed([good])) + 12
    with pytest.raises(
        InputError, match=re.escape(f"{file}: the rows cannot be read: record 4 (from 0), at byte ")
    ) as e:
        list(read([file], spec=[Column("n", INT)]))
    assert f"{why}; write the file again." in str(e.value)
    assert byte <= int(re.search(r"at byte (\d+)", str(e.value))[1]) <= byte + len(example(entries))


@pytest.mark.parametrize("chunk", [1, 64, 300, 1000])
def test_rows_are_the_same_however_much_is_read_at_a_time(
    chunk: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_chunks, "BYTES", chunk)
    records = of_all_kinds(40)
    file = write(tmp_path / "rows.tfrecord", records)
    rows = whole(list(read([file], spec=OF_ALL_KINDS, threads=0, batch_size=7)))
    assert_equal(rows, parsed(records, OF_ALL_KINDS))


def test_lists_and_texts_may_be_far_longer_than_those_before(tmp_path: pathlib.Path) -> None:
    of = [Column("list", INT, None), Column("text", BYTES), Column("words", BYTES, None), Column("floats", FLOAT, None)]
    records = [
        example([
            Entry("list", INT, range(size)),
            Entry("text", BYTES, [b"t" * size]),
            Entry("words", BYTES, [b"w"] * size),
            Entry("floats", FLOAT, [0.5] * size),
        ])
        for size in (0, 1, 5000, 2, 60_000, 0)
    ]  # fmt: skip
    file = write(tmp_path / "rows.tfrecord", records)
    assert_equal(whole(list(read([file], spec=of, threads=0))), parsed(records, of))


def test_a_size_beyond_all_bounds_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    from wire import _masked

    size = struct.pack("<Q", 1 << 40)
    (tmp_path / "rows.tfrecord").write_bytes(size + _masked(size) + b"few")
    with pytest.raises(InputError, match=r"record 0 \(from 0\), at byte 0, is longer than 1,073,741,824 bytes"):
        list(read([tmp_path / "rows.tfrecord"], spec=OF_TABLE))


@pytest.mark.parametrize("damage", ["cut", "turned"])
def test_damaged_gzip_is_refused_with_its_file(damage: str, tmp_path: pathlib.Path) -> None:
    packed = bytearray(gzip.compress(framed(of_all_kinds(50)), mtime=0))
    if damage == "cut":
        packed = packed[:-20]
    else:
        packed[len(packed) // 2] ^= 4
    (tmp_path / "rows.tfrecord.gz").write_bytes(packed)
    with pytest.raises(InputError, match=r"rows.tfrecord.gz: the rows cannot be read: "):
        list(read([tmp_path / "rows.tfrecord.gz"], spec=OF_ALL_KINDS))
