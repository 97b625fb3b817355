"""Encoding: what tfx_bsl encodes, after parsing; fragments joined are the joined table encoded."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from framed import encode_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder, RecordBatchToExamplesEncoder

from recsys_tft.errors import InputError
from recsys_tft.storage import tf_example
from recsys_tft.storage.tf_example import encode_fragments
from recsys_tft.storage.tfrecord import frame

INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 20_000) | st.sampled_from([0, 127, 128, -1])
FLOATS = st.floats(width=32) | st.sampled_from([float("inf"), float("-inf"), -0.0])
TEXTS = st.text(max_size=5) | st.text("é漢🎬", max_size=200)
ELEMENTS = {pa.int64(): INTEGERS, pa.float32(): FLOATS, pa.string(): TEXTS, pa.large_binary(): st.binary(max_size=20)}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.Array:
    """Scalars or lists, with or without nulls, sometimes a slice of more."""
    element = draw(st.sampled_from(list(ELEMENTS)))
    values = ELEMENTS[element]
    shape = draw(st.sampled_from(["scalar", "list", "large_list", "fixed_size_list"]))
    size = draw(st.integers(0, 3))
    lists = {"list": pa.list_(element), "large_list": pa.large_list(element)}
    kind = (lists | {"fixed_size_list": pa.list_(element, size)}).get(shape, element)
    fixed = shape == "fixed_size_list"
    cell = values if shape == "scalar" else st.lists(values, min_size=size * fixed, max_size=size if fixed else 12)
    cells = draw(st.sampled_from([cell, cell | st.none()]))
    before = draw(st.integers(0, 2))
    return pa.array(draw(st.lists(cells, min_size=rows + before, max_size=rows + before)), kind).slice(before)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 6) | st.just(40))
    names = st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=4) | st.just("a" * 200)  # tfx_bsl ends at 0
    return pa.table({name: draw(columns(rows)) for name in draw(st.lists(names, min_size=1, max_size=5, unique=True))})


def as_lists(table: pa.Table) -> pa.RecordBatch:
    """The same for tfx_bsl, which takes lists of int64, float32 and binary; a null scalar is a null list."""
    ragged = {}
    for name in table.column_names:
        kind = table[name].type
        nested = pa.types.is_nested(kind)
        element = kind.value_type if nested else kind
        element = pa.large_binary() if pa.types.is_string(element) else element
        cells = [cell if nested or cell is None else [cell] for cell in table[name].to_pylist()]
        if element == pa.large_binary():
            cells = [c and [v.encode() if isinstance(v, str) else v for v in c] for c in cells]
        ragged[name] = pa.array(cells, pa.large_list(element))
    return pa.record_batch(ragged)


def canonical(serialized: bytes) -> bytes:
    return tf.train.Example.FromString(serialized).SerializeToString(deterministic=True)


def encoded_by_tfx_bsl(table: pa.Table) -> list[bytes]:
    return list(RecordBatchToExamplesEncoder().encode(as_lists(table)))


@settings(max_examples=200, deadline=None)
@given(tables())
def test_examples_parse_as_those_of_tfx_bsl(table: pa.Table):
    ours = encode_examples(table)
    theirs = encoded_by_tfx_bsl(table)
    assert [canonical(example) for example in ours] == [canonical(example) for example in theirs]
    assert [len(example) for example in ours] == [len(example) for example in theirs]  # canonical varints


@settings(max_examples=50, deadline=None)
@given(tables())
def test_tfx_bsl_decodes_what_was_encoded(table: pa.Table):
    decoder = ExamplesToRecordBatchDecoder()
    ours = decoder.DecodeBatch(encode_examples(table))
    theirs = decoder.DecodeBatch(encoded_by_tfx_bsl(table))
    assert ours.num_rows == table.num_rows
    assert sorted(ours.schema.names) == sorted(theirs.schema.names)
    for name in ours.schema.names:
        assert str(ours.column(name)) == str(theirs.column(name))  # as text, NaN equals NaN


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_joined_fragments_are_the_joined_table(data: st.DataObject):
    table = data.draw(tables())
    rows = data.draw(st.integers(0, 20)) if table.num_rows else 0
    cuts = sorted(data.draw(st.lists(st.integers(0, table.num_columns), max_size=2)))
    parts, joined = [], {}
    for begin, end in zip([0, *cuts], [*cuts, table.num_columns], strict=True):
        part = table.select(table.column_names[begin:end])
        index = st.integers(0, max(0, table.num_rows - 1))
        indices = np.array(data.draw(st.lists(index, min_size=rows, max_size=rows)), np.int64)
        parts.append((encode_fragments(part), indices))
        joined |= {name: part[name].take(pa.array(indices)) for name in part.column_names}
    assert frame(parts) == frame([(encode_fragments(pa.table(joined)), None)])


def test_rows_are_encoded_alike_in_chunks():
    rng = np.random.default_rng(0)
    chunks = [pa.array(rng.integers(0, 10**6, rows)) for rows in (1, 70, 0, 29)]
    tags = pa.array([[f"tag {k}"] * (k % 4) for k in range(100)])
    whole = pa.table({"a": pa.concat_arrays(chunks), "tags": tags})
    cut = pa.table({"a": pa.chunked_array(chunks), "tags": pa.chunked_array([tags.slice(0, 33), tags.slice(33)])})
    assert encode_fragments(cut).equals(encode_fragments(whole))


@pytest.mark.parametrize("values", [pa.array(range(1000)), pa.array([k % 5 - 2 for k in range(1000)])])
@pytest.mark.parametrize("dtype", [pa.int64(), pa.string()])
def test_repeated_and_distinct_values_are_encoded_alike(values: pa.Array, dtype: pa.DataType):
    table = pa.table({"a": values.cast(dtype)})
    assert list(map(canonical, encode_examples(table))) == list(map(canonical, encoded_by_tfx_bsl(table)))


@pytest.mark.parametrize("size", [1, 100, 127, 128, 129, 16_383, 16_384, 70_000, 3_000_000])
def test_long_values(size: int):
    table = pa.table({"a": [b"x" * size, b"", b"y" * (size // 2)], "b": [[1.0] * (size // 4), [], [2.0]]})
    table = table.cast(pa.schema({"a": pa.binary(), "b": pa.list_(pa.float32())}))
    assert list(map(canonical, encode_examples(table))) == list(map(canonical, encoded_by_tfx_bsl(table)))


@pytest.mark.parametrize(
    ("given_type", "dtype"),
    [(pa.bool_(), pa.int64()), (pa.int8(), pa.int64()), (pa.uint32(), pa.int64()), (pa.uint64(), pa.int64()),
     (pa.float64(), pa.float32()), (pa.float16(), pa.float32()), (pa.large_string(), pa.string())],
)  # fmt: skip
def test_narrower_and_wider_types_are_cast(given_type: pa.DataType, dtype: pa.DataType):
    values = pa.array([1, 0, None, 1], pa.int64()).cast(pa.float32() if given_type == pa.float16() else pa.int64())
    table, expected = pa.table({"a": values.cast(given_type)}), pa.table({"a": values.cast(dtype)})
    assert encode_examples(table) == encode_examples(expected)


def test_no_rows_and_no_columns():
    assert encode_examples(pa.table({"a": pa.array([], pa.int64())})) == []
    assert encode_examples(pa.table({})) == []
    assert encode_examples(pa.table({"a": [1, 2]}).select([])) == [b"\x0a\x00"] * 2


def test_a_null_is_read_as_missing():
    example = encode_examples(pa.table({"a": pa.array([None], pa.int64())}))[0]
    assert tf.io.parse_single_example(example, {"a": tf.io.FixedLenFeature([], tf.int64, -7)})["a"].numpy() == -7


def test_a_row_that_no_tf_example_can_hold_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tf_example, "LONGEST", 1 << 8)  # not a GiB
    with pytest.raises(InputError, match="A row has 5"):
        encode_fragments(pa.table({"a": ["x" * 500]}))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table({"at": pa.array([0], pa.timestamp("us"))}), r"'at' has type timestamp\[us\].*cast it to int64"),
        (pa.table({"a": pa.array([[[1]]])}), "'a' has type list<item: list<item: int64>>"),
        (pa.table({"a": pa.nulls(2)}), "'a' has type null"),
        (pa.table({"tags": [["x", None]]}), "'tags' has a null inside a list"),
        (pa.table({"a": pa.array([2**63], pa.uint64())}), "'a' has a value that does not fit int64"),
        (pa.table([[1], [2]], names=["a", "a"]), "'a' appears more than once"),
    ],
)
def test_what_a_tf_example_cannot_hold_is_named(table: pa.Table, sentence: str):
    with pytest.raises(InputError, match=sentence):
        encode_fragments(table)


def test_importing_the_encoder_leaves_tensorflow_alone():
    heavy = "{'tensorflow', 'numba'} & sys.modules.keys()"
    code = f"import sys; from recsys_tft.storage import tf_example, tfrecord; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
