"""What is taken for each column, what it becomes, and what is said of the rest."""

import datetime
import decimal
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workspace import Tables, good_rows, table_of

from recsys_tft.columns import FLOATS, Column
from recsys_tft.configuration import settings
from recsys_tft.default_table import COLUMNS, DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.tables import column_types, raw_tables, remedies

US = 1_000_000
NOON = datetime.datetime(2025, 3, 1, 12, tzinfo=datetime.UTC)
NOON_US = 1_740_830_400 * US
D = decimal.Decimal
TAKEN: list[tuple[str, str, pa.Array, list[Any]]] = [
    ("users", "age", pa.array([20, None], pa.int8()), [20, None]),
    ("users", "age", pa.array([20, None], pa.uint64()), [20, None]),
    ("users", "age", pa.array([20.0, None, np.nan], pa.float64()), [20, None, None]),
    ("users", "age", pa.array([20.0, None], pa.float32()), [20, None]),
    ("users", "age", pa.array([20.0, None], pa.float16()), [20, None]),
    ("users", "age", pa.array([D("20.00"), None]), [20, None]),
    ("users", "age", pa.array(["20", "", None, "21.0"]), [20, None, None, 21]),
    ("users", "age", pa.array(["20", None], pa.string_view()), [20, None]),
    ("users", "age", pa.array(["20", None]).dictionary_encode(), [20, None]),
    ("users", "age", pa.array([20.0, None]).dictionary_encode(), [20, None]),
    ("users", "age", pa.nulls(2), [None, None]),
    ("users", "country", pa.array(["DE", None], pa.large_string()), [b"DE", None]),
    ("users", "country", pa.array(["DE", None], pa.string_view()), [b"DE", None]),
    ("users", "country", pa.array([b"DE", None], pa.binary()), [b"DE", None]),
    ("users", "country", pa.array([b"DE", None], pa.binary(2)), [b"DE", None]),
    ("users", "country", pa.array(["DE", None]).dictionary_encode(), [b"DE", None]),
    ("users", "country", pa.array([3, None], pa.int8()), [b"3", None]),
    ("users", "country", pa.array([2**63, None], pa.uint64()), [b"9223372036854775808", None]),
    ("users", "country", pa.array([3.0, None, np.nan]), [b"3", None, None]),
    ("users", "country", pa.array([3, None]).dictionary_encode(), [b"3", None]),
    ("users", "history_video_ids", pa.array([[1, None, 2], None, []]), [[1, 2], None, []]),
    ("users", "history_video_ids", pa.array([[1.0, np.nan], None]), [[1], None]),
    ("users", "history_video_ids", pa.array([[None], None], pa.list_(pa.null())), [[], None]),
    ("users", "history_video_ids", pa.array(["1|2", "[3]", "", None]), [[1, 2], [3], None, None]),
    ("users", "history_categories", pa.array([["a", None], None], pa.large_list(pa.large_string())), [[b"a"], None]),
    ("videos", "tags", pa.array([["a", None, "b"]], pa.list_(pa.string(), 3)), [[b"a", b"b"]]),
    ("videos", "tags", pa.array([["a", None], None], pa.list_view(pa.string())), [[b"a"], None]),
    ("videos", "tags", pa.array([[1, None], None]), [[b"1"], None]),
    ("videos", "tags", pa.array(["a|b", '["c", null]', None]), [[b"a", b"b"], [b"c"], None]),
    ("videos", "tags", pa.nulls(1), [None]),
    ("videos", "video_duration", pa.array([60, None], pa.int32()), [60.0, None]),
    ("videos", "video_duration", pa.array([60.5, None], pa.float64()), [60.5, None]),
    ("videos", "video_duration", pa.array([D("60.5"), None]), [60.5, None]),
    ("videos", "video_duration", pa.array(["60.5", "", None]), [60.5, None, None]),
    ("interactions", "liked", pa.array([1, 0, None]), [True, False, None]),
    ("interactions", "liked", pa.array([1.0, 0.0, np.nan]), [True, False, None]),
    ("interactions", "liked", pa.array([D("1"), D("0")]), [True, False]),
    ("interactions", "liked", pa.array(["true", "False", "1", ""]), [True, False, True, None]),
    ("videos", "published_at", pa.array([NOON, None], pa.timestamp("ns", "Asia/Tokyo")), [NOON_US, None]),
    ("videos", "published_at", pa.array([NOON.replace(tzinfo=None)], pa.timestamp("ms")), [NOON_US]),
    ("videos", "published_at", pa.array([NOON.date(), None], pa.date32()), [NOON_US - 12 * 3600 * US, None]),
    ("videos", "published_at", pa.array([NOON.date()], pa.date64()), [NOON_US - 12 * 3600 * US]),
    ("videos", "published_at", pa.array(["2025-03-01T12:00Z", "2025-03-01 14:00+02:00"]), [NOON_US] * 2),
    ("videos", "published_at", pa.array(["9999-12-31", "0001-01-01"]), [253402214400 * US, -62135596800 * US]),
    ("videos", "published_at", pa.array([datetime.datetime(9999, 12, 31)], pa.timestamp("s")), [253402214400 * US]),
]  # fmt: skip


def table_in(folder: pathlib.Path, table: str, column: str, values: pa.Array, config: dict | None = None) -> Any:
    """The table of a data folder in which one column holds these values, in as many rows."""
    tables: Tables = {name: table_of(rows) for name, rows in good_rows().items()}
    rows = tables[table].slice(0, len(values))
    if column in rows.column_names:
        rows = rows.drop_columns([column])
    tables[table] = rows.append_column(column, values)
    for name, each in tables.items():
        pq.write_table(each, folder / f"{name}.parquet", store_schema=True)
    columns = settings.parse({"columns": config or {}}, "the test").columns
    return raw_tables.find(str(folder), columns)[table]


def stored(kind: pa.DataType) -> str:
    """A type as it comes out of Parquet."""
    return str(kind).replace("item: ", "element: ")


def read(table: Any) -> tuple[pa.Table, pa.Table]:
    (source,) = table.sources
    return raw_tables.read(table, source, list(table.columns))


@pytest.mark.parametrize(
    ("table", "column", "values", "expected"), TAKEN, ids=[f"{column}-{values.type}" for _, column, values, _ in TAKEN]
)
def test_what_loses_nothing_is_taken(
    tmp_path: pathlib.Path, table: str, column: str, values: pa.Array, expected: list[Any]
) -> None:
    found = table_in(tmp_path, table, column, values)
    usable, rejected = read(found)
    assert usable[column].to_pylist() == expected
    assert not len(rejected)
    plain = raw_tables.empty(DEFAULT.columns_of(table), [column]).schema.field(column).type
    assert usable[column].type == plain
    assert not any("holds" in note or "row" in note for note in found.notes)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (pa.array([1740830400, None]), "s"),
        (pa.array([1740830400], pa.int32()), "s"),
        (pa.array([1740830400000], pa.uint64()), "ms"),
        (pa.array([NOON_US]), "us"),
        (pa.array([NOON_US * 1000 + 999]), "ns"),
        (pa.array([1740830400.0, np.nan]), "s"),
        (pa.array([D("1740830400")]), "s"),
        (pa.array(["1740830400", "2025-03-01T12:00Z", "1740830400.0"]), "s"),
        (pa.array([NOON], pa.timestamp("us", "UTC")), "s"),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_times_that_are_numbers_are_read_by_their_unit(tmp_path: pathlib.Path, values: pa.Array, unit: str) -> None:
    config = {"videos": {"since": {"name": "published_at", "unit": unit}}}
    usable, rejected = read(table_in(tmp_path, "videos", "since", values, config))
    assert set(usable["published_at"].drop_null().to_pylist()) == {NOON_US}
    assert not len(rejected)


def test_int96_times_of_any_year_are_taken(tmp_path: pathlib.Path) -> None:
    found = [datetime.datetime(9999, 12, 31), NOON.replace(tzinfo=None), datetime.datetime(1, 1, 1)]
    table_in(tmp_path, "videos", "published_at", pa.array(found, pa.timestamp("us")))
    path = tmp_path / "videos.parquet"
    pq.write_table(pq.read_table(path), path, use_deprecated_int96_timestamps=True)
    assert str(pq.read_metadata(path).schema.column(4).physical_type) == "INT96"
    usable, _ = read(raw_tables.find(str(tmp_path), {})["videos"])
    assert usable["published_at"].to_pylist() == [253402214400 * US, NOON_US, -62135596800 * US]


def text(*values: bytes) -> pa.Array:
    """Strings that need not be UTF-8, as some writers leave them."""
    return pa.array(values, pa.binary()).cast(pa.string(), safe=False)


NO_LIST = "is no list such as a|b or a JSON array"
REJECTED: list[tuple[str, str, pa.Array, list[str | None], str]] = [
    ("users", "age", pa.array([20.0, 20.5, None]), [None, "20.5", None], "age is no whole number"),
    ("users", "age", pa.array([1.0, 2.0**53]), [None, str(2.0**53)], "age is 2^53 or more, where a float is not exact"),
    ("users", "age", pa.array([1, 2**63], pa.uint64()), [None, str(2**63)], "age is no 64-bit integer"),
    ("users", "age", pa.array([D("20.0"), D("0.5")]), [None, "Decimal('0.5')"], "age is no whole number"),
    ("users", "age", pa.array(["20", "007"]), [None, "'007'"], "age is no whole number"),
    ("users", "age", text(b"20", b"2\xff"), [None, r"b'2\xff'"], "age is no whole number"),
    ("users", "history_video_ids", text(b"1", b"\xff"), [None, r"b'\xff'"], f"history_video_ids {NO_LIST}"),
    ("users", "country", pa.array([1.0, 1.5]), [None, "1.5"], "country is no whole number"),
    ("users", "country", pa.array([b"a", b"\xe9"], pa.binary()), [None, r"b'\xe9'"], "country is not UTF-8"),
    (
        "users",
        "history_video_ids",
        pa.array([[1.0], [0.5, 2.0]]),
        [None, "[0.5, 2.0]"],
        "history_video_ids holds a value that is no whole number",
    ),
    ("videos", "tags", pa.array(["a", "['a']"]), [None, "\"['a']\""], f"tags {NO_LIST}"),
    ("videos", "tags", pa.array(["a", r'["\ud800"]']), [None, r"""'["\\ud800"]'"""], f"tags {NO_LIST}"),
    ("videos", "video_duration", pa.array(["1", "1:30"]), [None, "'1:30'"], "video_duration is no number"),
    ("videos", "video_duration", text(b"1", b"\xff"), [None, r"b'\xff'"], "video_duration is no number"),
    ("interactions", "liked", text(b"1", b"\xff"), [None, r"b'\xff'"], "liked is neither true nor false, nor 1 or 0"),
    ("interactions", "liked", pa.array([0, 2]), [None, "2"], "liked is neither true nor false, nor 1 or 0"),
    (
        "interactions",
        "interaction_time",
        pa.array(["2025-03-01", "2025-02-29"]),
        [None, "'2025-02-29'"],
        "interaction_time is no time such as 2025-03-01 12:00:00",
    ),
    (
        "interactions",
        "interaction_time",
        pa.array([NOON.replace(tzinfo=None), datetime.datetime(9999, 12, 31)], pa.timestamp("s")),
        [None],
        "interaction_time is not a time between 1970 and 2200",
    ),
    (
        "videos",
        "published_at",
        pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32()),
        [None, "date32[day] 2147483647"],
        "published_at is a time that microseconds in 64 bits do not reach",
    ),
]


@pytest.mark.parametrize(("table", "column", "values", "told", "reason"), REJECTED, ids=[row[4] for row in REJECTED])
def test_a_value_that_cannot_be_read_rejects_its_row_and_is_told(
    tmp_path: pathlib.Path, table: str, column: str, values: pa.Array, told: list[str | None], reason: str
) -> None:
    found = table_in(tmp_path, table, column, values)
    usable, rejected = read(found)
    assert rejected["reason"].to_pylist() == [reason]
    assert rejected["source_row"].to_pylist() == [1]
    assert len(usable) == len(values) - 1
    if "2200" in reason:
        assert "value" not in rejected.column_names
        return
    assert rejected["value"].to_pylist() == told[1:2]
    (note,) = (note for note in found.notes if "row 1 has" in note)
    assert note.startswith(f"{tmp_path}/{table}.parquet: column '{column}' is {stored(values.type)}, expected ")
    assert f"row 1 has {told[1]}, which {reason.removeprefix(column).strip()}; rows with such values" in note


REFUSED: list[tuple[str, str, pa.Array, str]] = [
    ("users", "age", pa.array([True]), 'expected int64; cast it in pandas: df["age"] = df["age"].astype("Int64").'),
    ("users", "age", pa.array([[1]]), "column 'age' is list<"),
    ("users", "user_id", pa.array([2.0**60]), 'a float, as by pd.read_csv(path, dtype={"user_id": "Int64"}).'),
    ("users", "user_id", pa.array([0.5, 1.5]), "row 0 has 0.5, which is no whole number; cast it in pandas: "),
    ("users", "age", pa.array([datetime.timedelta(days=1)]), "is duration[us], expected int64"),
    ("users", "country", pa.array([NOON]), "is timestamp[us, tz=UTC], expected string; cast it in pandas"),
    ("users", "country", pa.array([True]), 'df["country"] = df["country"].astype("string")'),
    ("videos", "video_duration", pa.array([datetime.timedelta(seconds=60)]), "].dt.total_seconds()"),
    ("videos", "tags", pa.array([{"a": 1}]), "is struct<a: int64>, expected list<"),
    ("videos", "tags", pa.array([[["a"]]]), "expected list<"),
    ("videos", "tags", pa.array(["['a', 'b']"]), 'df["tags"] = df["tags"].map(json.dumps)'),
    ("interactions", "liked", pa.array([2, 3]), "row 0 has 2, which is neither true nor false, nor 1 or 0; "),
    ("interactions", "liked", pa.array([NOON]), "expected bool; cast"),
    ("interactions", "interaction_time", pa.array([1740830400]), "{name: interaction_time, unit: s}}"),
    ("interactions", "interaction_time", pa.array([1740830400]), 'pd.to_datetime(df["interaction_time"], unit="s"'),
    ("interactions", "interaction_time", pa.array(["1740830400"]), "which is no time such as 2025-03-01 12:00:00; say "
     "in the config what it counts, such as `columns: {interactions: {interaction_time: {name: interaction_time, unit"),
    ("interactions", "interaction_time", pa.array(["20250301120000"]), 'format="mixed"'),
    ("interactions", "interaction_time", pa.array(["01.03.2025"]), 'df["interaction_time"] = pd.to_datetime(df["inte'),
    ("interactions", "interaction_time", pa.array([datetime.time(12)]), "is time64[us], expected timestamp"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "column", "values", "sentence"), REFUSED, ids=[f"{row[1]}-{row[2].type}" for row in REFUSED]
)
def test_what_is_something_else_is_refused_with_a_remedy(
    tmp_path: pathlib.Path, table: str, column: str, values: pa.Array, sentence: str
) -> None:
    with pytest.raises(InputError) as found:
        table_in(tmp_path, table, column, values)
    assert str(found.value).startswith(
        f"{tmp_path}/{table}.parquet: column '{column}' is {stored(values.type)}, expected "
    )
    assert sentence in str(found.value)


@pytest.mark.parametrize(
    ("value", "unit", "hint"),
    [
        (1_740_830_400, "us", "row 0 has 1740830400, which is 1970-01-01; unit: s would make it 2025-03-01."),
        (1_740_830_400_000, "s", "which is beyond the year 9999; unit: ms would make it"),
        (12, "s", "which is 1970-01-01"),
    ],
)
def test_a_unit_that_is_plainly_wrong_is_told(tmp_path: pathlib.Path, value: int, unit: str, hint: str) -> None:
    config = {"interactions": {"interaction_time": {"unit": unit}}}
    with pytest.raises(InputError) as found:
        table_in(tmp_path, "interactions", "interaction_time", pa.array([value, value + 1]), config)
    assert f"has no time between 1971 and 2200 with unit: {unit}; " in str(found.value)
    assert hint in str(found.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"interaction_time": {"unit": "h"}}, "the unit 'h'; expected one of s, ms, us, ns"),
        ({"watch_time": {"unit": "s"}}, "a unit, but watch_time is no time"),
        ({"ts": {"name": "interaction_time", "units": "s"}}, "the unknown key 'units'; it takes name and unit"),
        ({"ts": {"name": "time"}}, "maps 'ts' of interactions to the unknown column 'time'."),
        ({"ts": {"unit": "s"}}, "maps 'ts' of interactions to the unknown column 'ts'."),
        ({"ts": 3}, "maps 'ts' of interactions to 3; both are names of columns"),
        ({"a": "device", "b": {"name": "device"}}, "maps two columns of interactions to one name"),
    ],
)
def test_a_wrong_entry_of_columns_is_named(given: dict, sentence: str) -> None:
    with pytest.raises(InputError) as found:
        settings.parse({"columns": {"interactions": given}}, "the test")
    assert sentence in str(found.value)


def test_columns_with_units_are_read_again_from_what_a_manifest_holds() -> None:
    given = {"columns": {"interactions": {"ts": {"name": "interaction_time", "unit": "ms"}, "who": "user_id"}}}
    parsed = settings.parse(given, "the test")
    assert settings.parse(parsed.model_dump(mode="json"), "the test") == parsed
    assert parsed.model_dump(mode="json")["columns"] == given["columns"]


@pytest.mark.parametrize("column", {column.name: column for column in COLUMNS}.values(), ids=lambda column: column.name)
def test_a_column_of_its_own_type_is_not_touched(column: Any) -> None:
    values = pa.chunked_array([pa.nulls(3, column.type)])
    assert not column_types.depends_on_values(column.type, column.type)
    found, faults = column_types.read(values, column)
    assert faults == {}
    if not column.is_list:
        assert found is values


@pytest.mark.parametrize(
    ("table", "column", "frame"),
    [
        ("users", "age", pd.DataFrame({"age": [True, False]})),
        ("users", "age", pd.DataFrame({"age": ["20", "old"]})),
        ("users", "user_id", pd.DataFrame({"user_id": np.array([2**63, 1], np.uint64)})),
        ("users", "country", pd.DataFrame({"country": [True, False]})),
        ("videos", "video_duration", pd.DataFrame({"video_duration": pd.to_timedelta([1, 2], unit="s")})),
        ("videos", "video_duration", pd.DataFrame({"video_duration": ["1:30", "2"]})),
        ("videos", "video_duration", pd.DataFrame({"video_duration": [datetime.time(0, 10), None]})),
        ("videos", "published_at", pd.DataFrame({"published_at": [datetime.time(0, 10)]})),
        ("videos", "title", pd.DataFrame({"title": [b"a", b"\xe9"]})),
        ("videos", "published_at", pd.DataFrame({"published_at": ["March 1, 2025", "2025-03-02"]})),
        ("videos", "published_at", pd.DataFrame({"published_at": [1740830400, 1740830401]})),
        ("videos", "tags", pd.DataFrame({"tags": [[1.5], [2]]})),
        ("interactions", "liked", pd.DataFrame({"liked": [2, 1]})),
    ],
)
def test_remedies_are_pandas_that_makes_what_is_taken(table: str, column: str, frame: pd.DataFrame) -> None:
    known = DEFAULT.columns_of(table)[column]
    found = pa.Table.from_pandas(frame)[column].type
    (_, _, remedy) = remedies.remedy(column, found, known, table).rpartition("in pandas: ")
    exec(remedy.partition(", which")[0], {"df": frame, "pd": pd})
    made = pa.Table.from_pandas(frame)[column]
    assert column_types.is_taken(made.type, known.type)
    _, faults = column_types.read(made, known)
    assert not any(bad.any() for bad in faults.values())


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[0.5, 0.7], None, []], pa.list_(pa.float64())),
        pa.array([[0.5, 0.7], None, []], pa.large_list(pa.float32())),
        pa.array(["0.5|0.7", None, "[]"]),
    ],
)
def test_lists_of_floats_are_read(values: pa.Array) -> None:
    found, faults = column_types.read(values, Column("scores", "users", FLOATS))
    assert found.to_pylist() == [[0.5, np.float32(0.7)], None, []]
    assert found.type == FLOATS
    assert not any(bad.any() for bad in faults.values())


def test_whole_numbers_are_read_as_lists_of_floats() -> None:
    found, _ = column_types.read(pa.array([[1, 2**53 + 1]]), Column("scores", "users", FLOATS))
    assert found.type == FLOATS
    assert found.to_pylist() == [[1.0, 2.0**53]]
