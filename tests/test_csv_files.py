"""CSV tables: cut into parts at the ends of rows, read as text of the schema's columns, and refused by line."""

import bz2
import csv
import gzip
import io
import lzma
import pathlib
import re
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_store import ObjectStore
from workspace import USERS, good_rows

from recsys_tft.errors import InputError
from recsys_tft.tables import csv_files, raw_tables, stored_rows
from recsys_tft.tables.sources import CSV, TableFile

quick = settings(deadline=None, derandomize=True, max_examples=60)
TEXTS = st.text(st.sampled_from('ab,;"\n |é\t'), max_size=6)


def text_of(rows: list[list[str]], separator: str = ",", ends: str = "\n") -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, lineterminator=ends).writerows(rows)
    return file.getvalue().encode()


def read_all(path: pathlib.Path, names: list[str]) -> tuple[list[dict[str, Any]], int]:
    """All rows of a file, and in how many parts."""
    described = csv_files.describe(TableFile(str(path), path.stat().st_size, CSV))
    parts = [csv_files.read(source, names) for source in described.sources]
    assert [source.file_row for source in described.sources] == [
        sum(len(part) for part in parts[:number]) for number in range(len(parts))
    ]
    assert described.rows == sum(len(part) for part in parts)
    return [row for part in parts for row in part.to_pylist()], len(parts)


@quick
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12), st.sampled_from(["\n", "\r\n"]), st.sampled_from([1, 7, 64]))
def test_parts_of_any_size_hold_the_rows_that_python_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], ends: str, size: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "users.csv"
    path.write_bytes(text_of([["id", "a", "b"], *(["1", *row] for row in rows)], ends=ends))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_BLOCK", size)
        found, parts = read_all(path, ["a", "b"])
    assert found == [{"a": a or None, "b": b or None} for a, b in rows]
    assert parts > 1 or size > 1 or len(rows) < 12


@pytest.mark.parametrize("name", ["users.csv", "users.csv.gz", "users.tsv", "users.TSV.GZ"])
def test_compressed_and_tabbed_files_are_read_with_or_without_a_mark(tmp_path: pathlib.Path, name: str) -> None:
    text = text_of([["user_id", "title"], ["1", "a,b\tc"]], "\t" if "tsv" in name.lower() else ",")
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text) if name.lower().endswith("gz") else b"\xef\xbb\xbf" + text)
    assert read_all(path, ["user_id", "title"])[0] == [{"user_id": "1", "title": "a,b\tc"}]


@pytest.mark.parametrize("name", ['"user_id"', '"user_id "', " user_id", '"user\nid"'])
def test_a_header_after_a_mark_may_be_quoted(tmp_path: pathlib.Path, name: str) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(f'\ufeff{name},"title"\n"1","a"\n'.encode())
    first = name.replace('"', "").strip()
    assert read_all(path, [first, "title"])[0] == [{first: "1", "title": "a"}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the CSV file is empty; expected a header line with the column names."),
        (b"user_id;age\n1;2\n", "its header is one name, 'user_id;age'; the values are separated by ';', expected ','"),
        (b"user_id,country\n1,M\xfcnchen\n", "line 2 is not UTF-8 (byte 0xFC)"),
        ("user_id\n1\n".encode("utf-16"), "this is UTF-16; expected UTF-8"),
        (b'user_id,title\n1,"a\n', "a quoted value is never closed"),
        (b'user_id,title\n1,5" disc\n2,b\n', "a quote is inside a value, in the line '1,5\" disc'"),
        (b'user_id,title\n1,"he said \\"hi\\""\n', "a quote is inside a value, in the line "),
        (b"user_id,age\r1,2\r", "its lines end with CR only"),
        (b"\xef\xbb\xbf\n\n", "the CSV file is empty; expected a header line with the column names."),
        ("user_id\n1\n".encode("utf-16-le"), "there are NUL characters in its header; expected UTF-8"),
        (gzip.compress(b"user_id\n1\n"), "this is a gzip file; name it so: users.csv.gz."),
        (b",,\n1,2,3\n", "its header line has no names; expected those of the columns."),
        (b"PAR1\x15\x04", "this is a Parquet file; name it so: users.parquet."),
        (b"PK\x03\x04\x14", "this is a ZIP file; unpack it."),
        (bz2.compress(b"user_id\n1\n"), "this is a bzip2 file; unpack it."),
        (lzma.compress(b"user_id\n1\n"), "this is an XZ file; unpack it."),
        (b"\x28\xb5\x2f\xfd\x20\x0a", "this is a Zstandard file; unpack it."),
    ],
)
def test_a_file_that_is_no_csv_is_named_with_its_line(tmp_path: pathlib.Path, text: bytes, sentence: str) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(text)
    with pytest.raises(InputError) as found:
        read_all(path, [])
    assert str(found.value).startswith(f"{path}: ")
    assert sentence in str(found.value)


def test_a_gzip_file_is_named_by_its_own_extension(tmp_path: pathlib.Path) -> None:
    packed = gzip.compress(b"user_id\n1\n")
    for name, text, sentence in (
        ("users.tsv", packed, "this is a gzip file; name it so: users.tsv.gz."),
        ("users.csv.gz", gzip.compress(packed), "it is compressed twice; decompress it once."),
    ):
        tables_in(tmp_path, users="")
        (tmp_path / "users.csv").unlink()
        (tmp_path / name).write_bytes(text)
        with pytest.raises(InputError, match=re.escape(f"{name}: {sentence}")):
            raw_tables.find(str(tmp_path), {})
        (tmp_path / name).unlink()


def test_a_damaged_gzip_file_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "users.csv.gz"
    path.write_bytes(gzip.compress(b"user_id\n" + b"1\n" * 1000)[:-9])
    with pytest.raises(InputError, match=r"users\.csv\.gz: not a readable CSV file \("):
        read_all(path, [])


def tables_in(folder: pathlib.Path, **others: str) -> None:
    """The good tables as CSV files, but for the others."""
    for name, rows in good_rows().items():
        values = [["" if value is None else str(value) for value in row.values()] for row in rows]
        text = others.get(name) or text_of([list(rows[0]), *values]).decode()
        (folder / f"{name}.csv").write_text(text)


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0b", "\x1e"])
@pytest.mark.parametrize("quote", ['"', ""])
def test_only_a_line_feed_ends_the_header(mark: str, quote: str, tmp_path: pathlib.Path) -> None:
    rows = "".join(f"{user},x,DE\n" for user in range(1, USERS + 1))
    tables_in(tmp_path, users=f"user_id,{quote}plan{mark}name{quote},country\n{rows}")
    users = raw_tables.find(str(tmp_path), {})["users"]
    usable, rejected = raw_tables.read(users, users.sources[0], ["user_id", "country"])
    assert usable["user_id"].to_pylist() == list(range(1, USERS + 1))
    assert not len(rejected)


def test_rows_of_another_length_are_named_by_line(tmp_path: pathlib.Path) -> None:
    tables_in(tmp_path, users='user_id,country\n1,"D\nE"\n2\n3,DE,4\n')
    with pytest.raises(InputError, match="line 4 has 1 values, the header 2: '2', and 1 more lines like it; quote"):
        raw_tables.find(str(tmp_path), {})


def test_a_header_without_a_required_column_is_named(tmp_path: pathlib.Path) -> None:
    tables_in(tmp_path, users="userid,country\n1,DE\n")
    with pytest.raises(InputError, match=r"the table users has no column 'user_id'\. Did you mean 'userid'\?"):
        raw_tables.find(str(tmp_path), {})


def test_values_are_read_by_the_columns_of_the_schema_and_not_by_guess(tmp_path: pathlib.Path) -> None:
    users = 'user_id,age,country,history_video_ids,x\n9007199254740993,20.0,007,1|2,u\n2,,,"[3, null]",v\n3,old,DE,,w\n'
    tables_in(tmp_path, users=users)
    table = raw_tables.find(str(tmp_path), {})["users"]
    usable, rejected = raw_tables.read(table, table.sources[0], ["user_id", "age", "country", "history_video_ids"])
    assert [list(row.values())[:4] for row in usable.to_pylist()] == [
        [9007199254740993, 20, b"007", [1, 2]],
        [2, None, None, [3]],
    ]
    told = rejected.select(["source_row", "reason", "value"]).to_pylist()
    assert told == [{"source_row": 2, "reason": "age is no whole number", "value": "'old'"}]
    assert "users: not read: x" in table.notes


def test_csv_and_parquet_of_the_same_rows_are_the_same_tables(tmp_path: pathlib.Path) -> None:
    from good_tables import good_tables, rows_of, write

    write(good_tables(), tmp_path / "parquet")
    (tmp_path / "csv").mkdir()
    tables_in(tmp_path / "csv")
    found = [raw_tables.find(str(tmp_path / kind), {}) for kind in ("parquet", "csv")]
    for name in found[0]:
        assert rows_of(found[0][name]) == rows_of(found[1][name])
        assert found[0][name].absent == found[1][name].absent


def test_csv_files_in_an_object_store_are_read(tmp_path: pathlib.Path) -> None:
    tables_in(tmp_path)
    root = f"ram://{uuid.uuid4().hex}/raw"
    for path in tmp_path.iterdir():
        packed = path.name == "interactions.csv"
        with ObjectStore(None).create(f"{root}/{path.name}{'.gz' if packed else ''}") as file:
            file.write(gzip.compress(path.read_bytes()) if packed else path.read_bytes())
    here, there = (raw_tables.find(folder, {}) for folder in (str(tmp_path), root))
    for name in here:
        found = [stored_rows.read(table[name].sources[0], table[name].stored_names) for table in (here, there)]
        assert {key: rows.to_pylist() for key, rows in found[0].items()} == {
            key: rows.to_pylist() for key, rows in found[1].items()
        }
