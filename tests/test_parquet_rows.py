"""Parquet files of joined rows, as other readers see them."""

import io
import pathlib
from typing import Any

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from recsys_tft.storage import parquet_file, parquet_pages
from recsys_tft.storage.parquet_pages import CodedTable
from recsys_tft.storage.rows import ParquetWriter

FLOATS = st.floats(width=32)
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3)
FLAT = {pa.int64(): INTEGERS, pa.float32(): FLOATS | st.sampled_from([0.0, -0.0]), pa.string(): st.text(max_size=5)}
VALUES = FLAT | {pa.list_(kind): st.lists(values, max_size=3) for kind, values in FLAT.items()}
VALUES |= {pa.large_list(pa.int64()): st.lists(INTEGERS, max_size=3)}
VALUES |= {pa.list_(pa.float32(), size): st.lists(FLOATS, min_size=size, max_size=size) for size in (1, 4)}


@st.composite
def joined(draw: st.DrawFn) -> tuple[list[pa.Table], list[np.ndarray]]:
    """Tables of one entity each, and which of their rows are joined."""
    tables, places, size = [], [], draw(st.integers(0, 200))
    for number in range(draw(st.integers(1, 3))):
        own = draw(st.integers(1, 60))
        kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
        names = [f"{number}/{place}" for place in range(len(kinds))]
        columns = [draw(st.lists(VALUES[kind], min_size=own, max_size=own)) for kind in kinds]
        tables.append(pa.table(list(map(pa.array, columns, kinds)), names))
        places.append(np.array(draw(st.lists(st.integers(0, own - 1), min_size=size, max_size=size)), np.int64))
    return tables, places


def written(
    tables: list[pa.Table], places: list[np.ndarray], compression: str = "snappy", group: int = 1 << 17
) -> pq.ParquetFile:
    """The file of our own encoding."""
    file = io.BytesIO()
    schema = pa.schema([field for table in tables for field in table.schema])
    parquet_file.write(file, schema, list(map(CodedTable, tables)), places, compression, group)
    return pq.ParquetFile(io.BytesIO(file.getvalue()))


def expected(tables: list[pa.Table], places: list[np.ndarray]) -> pa.Table:
    """The rows, by Arrow."""
    parts = [table.take(pa.array(own)) for table, own in zip(tables, places, strict=True)]
    names = [name for part in parts for name in part.column_names]
    return pa.table([column for part in parts for column in part.columns], names)


def bits(table: pa.Table) -> dict[str, list]:
    """The same with floats as integers, so that each NaN and both zeros are equal to themselves alone."""
    found: dict[str, list] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values, sizes = column.combine_chunks(), []
        if not pa.types.is_nested(column.type):
            flat = values
        else:
            assert not values.null_count
            flat, sizes = pc.list_flatten(values), pc.list_value_length(values).to_pylist()
        assert not flat.null_count
        found[name] = [sizes, (flat.view(pa.int32()) if flat.type == pa.float32() else flat).to_pylist()]
    return found


@settings(max_examples=60, deadline=None)
@given(joined(), st.sampled_from(list(parquet_file.CODECS)), st.integers(1, 300))
def test_arrow_reads_what_was_joined(rows: tuple[list[pa.Table], list[np.ndarray]], codec: str, group: int) -> None:
    file, wanted = written(*rows, codec, group), expected(*rows)
    assert file.schema_arrow.equals(wanted.schema)
    assert bits(file.read()) == bits(wanted)
    assert [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)] == [
        min(group, len(wanted) - begin) for begin in range(0, len(wanted), group)
    ]


@settings(max_examples=40, deadline=None)
@given(joined())
def test_polars_reads_what_was_joined(rows: tuple[list[pa.Table], list[np.ndarray]]) -> None:
    file = io.BytesIO()
    ParquetWriter(rows[0]).write(file, rows[1])
    found = pl.read_parquet(io.BytesIO(file.getvalue())).to_arrow(compat_level=pl.CompatLevel.oldest())
    assert bits(found) == bits(expected(*rows))


@settings(max_examples=40, deadline=None)
@given(joined(), st.integers(1, 300))
def test_the_metadata_are_those_that_arrow_writes(rows: tuple[list[pa.Table], list[np.ndarray]], group: int) -> None:
    ours, by_arrow = written(*rows, group=group), io.BytesIO()
    wanted = expected(*rows)
    with pq.ParquetWriter(by_arrow, wanted.schema) as writer:
        for begin in range(0, len(wanted), group):
            writer.write_table(wanted.slice(begin, group))
    theirs = pq.ParquetFile(io.BytesIO(by_arrow.getvalue()))
    assert ours.schema.equals(theirs.schema)
    assert ours.metadata.num_rows == theirs.metadata.num_rows
    assert ours.metadata.metadata == theirs.metadata.metadata
    for place in range(theirs.num_row_groups):
        for column in range(len(wanted.schema)):
            own, other = (file.metadata.row_group(place).column(column).to_dict() for file in (ours, theirs))
            names = ("physical_type", "num_values", "path_in_schema", "compression")
            assert {name: own[name] for name in names} == {name: other[name] for name in names}
            assert repr(own["statistics"]) == repr(other["statistics"])


@pytest.mark.parametrize("distinct", [2**power + more for power in range(17) for more in (-1, 0, 1)])
def test_codes_of_all_widths(distinct: int) -> None:
    table = pa.table({"a": np.arange(max(distinct, 1)), "b": np.arange(max(distinct, 1)).astype(np.float32)})
    place = np.random.default_rng(distinct).integers(0, len(table), 3 * len(table) + 5)
    assert written([table], [place]).read().equals(table.take(pa.array(place)))


def test_text_that_is_no_utf8_stays_as_it_is() -> None:
    given = pa.array([b"\xff\xfe", b"", b"\xc3("]).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, given.buffers())
    found = written([pa.table({"a": text})], [np.array([2, 0, 0, 1])]).read()["a"].combine_chunks()
    assert found.cast(pa.binary()).to_pylist() == [b"\xc3(", b"\xff\xfe", b"\xff\xfe", b""]


def test_a_page_fits_however_long_values_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_pages, "_PAGE", 4000)
    random = np.random.default_rng(0)
    texts = ["".join(map(chr, random.integers(97, 123, size))) for size in random.integers(0, 300, 200)]
    lists = [random.integers(0, 2**60, size).tolist() for size in random.integers(0, 30, 200)]
    table, places = pa.table({"a": texts, "b": lists}), random.integers(0, 200, 500)
    pages, plain = [], parquet_pages._page

    def noted(data: bytes, *others: Any, **named: Any) -> tuple[bytes, int]:
        pages.append(len(data))
        return plain(data, *others, **named)

    monkeypatch.setattr(parquet_pages, "_page", noted)
    file = io.BytesIO()
    ParquetWriter([table]).write(file, [places])
    assert 1000 < max(pages) <= 4000
    assert bits(pq.read_table(io.BytesIO(file.getvalue()))) == bits(expected([table], [places]))


def test_a_page_is_smaller_than_its_values_where_few_are_distinct() -> None:
    table = pa.table({"a": np.arange(100.0, dtype=np.float32)})
    place = np.random.default_rng(0).integers(0, 100, 10_000)
    assert written([table], [place]).metadata.row_group(0).column(0).total_compressed_size < 10_000


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1], None]),
        pa.array([[None], []], pa.list_(pa.int64())),
        pa.array([[[1]], []]),
        pa.array([1, None]),
        pa.array([1.0, 2.0]),
        pa.array([b"a", b"b"]),
        pa.array([True, False]),
    ],
)
def test_arrow_writes_other_columns(column: pa.Array, tmp_path: pathlib.Path) -> None:
    tables = [pa.table({"a": column, "b": [1, 2]}), pa.table({"c": ["x", "y"]})]
    places = [np.array([1, 0, 1]), np.array([0, 0, 1])]
    with (tmp_path / "rows.parquet").open("wb") as file:
        ParquetWriter(tables).write(file, places)
    assert pq.read_table(tmp_path / "rows.parquet").equals(expected(tables, places))


def test_arrow_writes_columns_that_must_not_be_missing_and_wide_vectors() -> None:
    required = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    assert not CodedTable.takes(pa.table({"a": [1]}, required))
    vectors = [pa.array([[0.0] * size], pa.list_(pa.float32(), size)) for size in (32, 33)]
    assert [CodedTable.takes(pa.table({"a": vector})) for vector in vectors] == [True, False]


def test_a_file_without_rows_has_its_columns() -> None:
    tables = [pa.table({"a": [1], "b": ["x"]})]
    assert written(tables, [np.array([], np.int64)]).read().equals(tables[0].slice(0, 0))
