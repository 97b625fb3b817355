"""What is said of a table that is read, though not all of it."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workspace import good_rows, table_of

from recsys_tft.errors import InputError
from recsys_tft.tables import raw_tables
from recsys_tft.tables.raw_tables import RawTable


@pytest.fixture
def raw(tmp_path: pathlib.Path) -> pathlib.Path:
    """Good tables."""
    for name, rows in good_rows().items():
        pq.write_table(table_of(rows), tmp_path / f"{name}.parquet")
    return tmp_path


def changed(raw: pathlib.Path, name: str, columns: dict[str, pa.Array], *without: str) -> None:
    path = raw / f"{name}.parquet"
    rows = pq.read_table(path).drop_columns(list(without))
    for column, values in columns.items():
        rows = rows.append_column(column, values)
    pq.write_table(rows, path)


def found(raw: pathlib.Path, table: str, columns: dict[str, dict[str, str]] | None = None) -> RawTable:
    return raw_tables.find(str(raw), columns or {})[table]


def test_columns_that_are_not_read_are_told_in_one_line_with_what_may_be_meant(raw: pathlib.Path) -> None:
    texts = pa.array(["x"] * 12)
    changed(raw, "users", {"income": texts, "Country": texts, "userLanguage": texts, "agee": texts}, "country")
    assert found(raw, "users").notes == (
        "users: not read: income, Country (did you mean country?), userLanguage (did you mean user_language?), agee",
    )


def test_a_column_twice_is_no_error_where_it_is_not_read(raw: pathlib.Path) -> None:
    texts = pa.array(["x"] * 12)
    changed(raw, "users", {"income": texts})
    changed(raw, "users", {"income": texts})
    assert found(raw, "users").notes == ("users: not read: income",)


def test_a_column_whose_name_is_given_to_another_is_not_read_under_its_own(raw: pathlib.Path) -> None:
    changed(raw, "users", {}, "country")
    table = found(raw, "users", {"users": {"age": "country"}})
    usable, _ = raw_tables.read(table, table.sources[0], ["country", "age"])
    assert usable["country"].to_pylist() == [str(20 + user).encode() for user in range(1, 13)]
    assert usable["age"].null_count == len(usable)
    assert "age" in table.absent


def test_two_columns_may_change_names(raw: pathlib.Path) -> None:
    changed(raw, "users", {"user_language": pa.array(["de"] * 12)})
    names = {"users": {"country": "user_language", "user_language": "country"}}
    table = found(raw, "users", names)
    usable, _ = raw_tables.read(table, table.sources[0], ["country", "user_language"])
    assert usable.select(["country", "user_language"]).slice(0, 1).to_pylist() == [
        {"country": b"de", "user_language": b"DE"}
    ]


def test_many_names_are_told_in_part(raw: pathlib.Path) -> None:
    changed(raw, "users", {f"x{number}": pa.array([0] * 12) for number in range(20)})
    (note,) = found(raw, "users").notes
    assert note.endswith("x6, x7 and 12 more")


def test_an_odd_value_in_a_column_that_is_nearly_empty_rejects_its_row_alone(raw: pathlib.Path) -> None:
    rows = table_of([{"user_id": user} for user in range(100)])
    ages = pa.array([None] * 99 + [20.5])
    pq.write_table(rows.append_column("age", ages), raw / "users.parquet")
    table = found(raw, "users")
    assert len(raw_tables.read(table, table.sources[0], [])[1]) == 1
    (note,) = table.notes
    assert "row 99 has 20.5, which is no whole number; rows with such values are rejected" in note


def test_every_kind_of_file_is_tried(raw: pathlib.Path) -> None:
    rows = pq.read_table(raw / "users.parquet").drop_columns(["age"])
    (raw / "users.parquet").unlink()
    (raw / "users").mkdir()
    for name, ages in (("a", ["20"] * 12), ("b", [20.0] * 12), ("c", [20] * 12)):
        pq.write_table(rows.append_column("age", pa.array(ages)), raw / "users" / f"{name}.parquet")
    assert len(found(raw, "users").sources) == 3
    pq.write_table(rows.append_column("age", pa.array([20.5] * 12)), raw / "users" / "0.parquet")
    with pytest.raises(InputError, match=r"users/0\.parquet: column 'age' is double, expected int64; row 0 has 20\.5"):
        found(raw, "users")


def test_a_null_among_lists_of_one_size_is_named_with_a_remedy(raw: pathlib.Path) -> None:
    changed(raw, "videos", {"tags": pa.array([["a", "b"], None] * 4, pa.list_(pa.string(), 2))})
    videos = found(raw, "videos")
    with pytest.raises(InputError) as error:
        raw_tables.read(videos, videos.sources[0], ["tags"])
    assert str(error.value) == (
        f"{raw}/videos.parquet: a column holds lists of a fixed size and null, which Arrow cannot read from Parquet; "
        "write its lists without a fixed size."
    )


def test_bytes_that_are_neither_text_nor_uuids_are_refused_with_what_makes_ids_of_them(raw: pathlib.Path) -> None:
    for name, rows in (("users", 12), ("interactions", 120)):
        ids = pa.array([bytes([255, row % 12]) for row in range(rows)], pa.binary())
        changed(raw, name, {"key": ids}, "user_id")
    with pytest.raises(InputError, match=r'not UTF-8; cast it in pandas: df\["key"\] = df\["key"\].map\(bytes.hex\)'):
        found(raw, "users", {"users": {"key": "user_id"}, "interactions": {"key": "user_id"}})


def test_a_file_without_columns_is_said_to_have_none(raw: pathlib.Path) -> None:
    pq.write_table(pa.table({}), raw / "channels.parquet")
    with pytest.raises(InputError, match=r"has no column 'channel_id'\. Name it under"):
        found(raw, "channels")


@pytest.mark.parametrize("rows", [0, 5, 24])
def test_a_file_that_changes_while_it_is_read_is_named(raw: pathlib.Path, rows: int) -> None:
    users = found(raw, "users")
    path = raw / "users.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(path)] * 2).slice(0, rows), path)
    with pytest.raises(InputError) as error:
        raw_tables.read(users, users.sources[0], ["user_id"])
    assert str(error.value) == f"{path}: the file changed while it was being read; run again."
    path.unlink()
    with pytest.raises(InputError, match=r"users\.parquet: the file vanished while it was being read; run again\.$"):
        raw_tables.read(users, users.sources[0], ["user_id"])


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["a,b", None], "'a,b'"),
        (["a", "b; c"], "'b; c'"),
        (["{a,b}", "{}"], "'{a,b}'"),
        (["('a')"], "\"('a')\""),
        ([*["a"] * 18, "a,b"], "'a,b'"),
        ([b"a,\xff", "x", "a,b"], "'a,b'"),
        ([*["a"] * 19, "a,b"], ""),
        (["a,b", "a|b"], ""),
        (['["a,b"]', "a,b"], ""),
        (["a", "", None, "{a", "a b"], ""),
    ],
)
@pytest.mark.parametrize("kind", [pa.string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_texts_that_seem_to_hold_several_values_of_a_list_are_told_of(
    raw: pathlib.Path, tags: list[str | bytes | None], told: str, kind: pa.DataType
) -> None:
    encoded = pa.array([tag.encode() if isinstance(tag, str) else tag for tag in tags], pa.binary())
    texts = pa.StringArray.from_buffers(len(tags), *encoded.buffers()[1:], encoded.buffers()[0])
    texts = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts.cast(kind, safe=False)
    rows = pa.table({"video_id": pa.array(range(len(tags))), "tags": texts})
    pq.write_table(rows, raw / "videos.parquet")
    notes = [note for note in found(raw, "videos").notes if "holds" in note]
    several = 'which is read as a list of one value; several are written as a|b or ["a", "b"]'
    assert notes == ([f"{raw}/videos.parquet: column 'tags' holds {told}, {several}"] if told else [])
