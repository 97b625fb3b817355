"""Which kind of ids tables have, and that ids of each kind come back as they were given."""

import pathlib
import re
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workspace import good_rows, table_of

from recsys_tft import ids
from recsys_tft.columns import IdKind
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.errors import InputError
from recsys_tft.storage.hashing import text_hash
from recsys_tft.tables import raw_tables, rejects
from recsys_tft.tables.entities import drop_duplicates

USERS = sorted({row["user_id"] for row in good_rows()["users"]})


def tables_in(folder: pathlib.Path, settings: Settings | None = None, **kinds: Any) -> dict[str, raw_tables.RawTable]:
    """Good tables in which `users` and `interactions` have the ids that a function makes of an array of integers."""
    for name, rows in good_rows().items():
        table = table_of(rows)
        if name in kinds:
            place = table.column_names.index("user_id")
            table = table.set_column(place, "user_id", kinds[name](table["user_id"].combine_chunks()))
        pq.write_table(table, folder / f"{name}.parquet")
    chosen = settings or Settings()
    return raw_tables.find(str(folder), chosen.columns, chosen.table)


def texts(values: pa.Array) -> pa.Array:
    return pa.array([None if value is None else f"{value:03d}\n" for value in values.to_pylist()])


def uuids(values: pa.Array) -> pa.Array:
    return pa.array([uuid.UUID(int=value << 96 | 255).bytes for value in values.to_pylist()], pa.binary(16))


def wide(values: pa.Array) -> pa.Array:
    return pa.array([value + 2**63 for value in values.to_pylist()], pa.uint64())


def view(values: pa.Array) -> pa.Array:
    return values.cast(pa.string_view())


FIRST = b"00000001-0000-0000-0000-0000000000ff"
ALIKE = {  # of one kind in two ways, and the id of the first user as rows have it
    "string-dictionary": (IdKind.STRING, texts, lambda v: texts(v).dictionary_encode(), b"001\n"),
    "large-view": (IdKind.STRING, lambda v: texts(v).cast(pa.large_string()), lambda v: view(texts(v)), b"001\n"),
    "bytes-string": (IdKind.STRING, lambda v: texts(v).cast(pa.binary()), texts, b"001\n"),
    "digits": (IdKind.STRING, lambda v: v.cast(pa.string()), lambda v: v.cast(pa.large_string()), b"1"),
    "uuid-extension": (IdKind.UUID, uuids, lambda v: pa.ExtensionArray.from_storage(pa.uuid(), uuids(v)), FIRST),
    "uuid-bytes": (IdKind.UUID, lambda v: uuids(v).cast(pa.binary()), uuids, FIRST),
    "uint64": (IdKind.UINT64, wide, wide, b"9223372036854775809"),
    "int32-float64": (IdKind.INTEGER, lambda v: v.cast(pa.int32()), lambda v: v.cast(pa.float64()), 1),
    "small-uint64": (IdKind.INTEGER, lambda v: v.cast(pa.uint64()), lambda v: v.cast(pa.int8()), 1),
}  # fmt: skip


@pytest.mark.parametrize("how", ALIKE)
def test_ids_of_one_kind_may_be_stored_in_several_ways(tmp_path: pathlib.Path, how: str) -> None:
    kind, one, other, first = ALIKE[how]
    tables = tables_in(tmp_path, users=one, interactions=other)
    assert raw_tables.id_settings(tables) == {"user_id": kind, "video_id": IdKind.INTEGER, "channel_id": IdKind.INTEGER}
    found = {}
    for name in ("users", "interactions"):
        usable, rejected = raw_tables.read(tables[name], tables[name].sources[0], ["user_id"])
        assert not len(rejected)
        assert pa.types.is_int64(usable["user_id"].type)
        found[name] = usable
    codes = found["users"]["user_id"].to_pylist()
    assert len(set(codes)) == len(USERS)
    assert set(found["interactions"]["user_id"].to_pylist()) <= set(codes)
    assert ids.shown(found["users"])["user_id"].to_pylist()[0] == first


UNLIKE = {
    "integers-strings": (lambda v: v, texts, "integers", "strings"),
    "strings-integers": (texts, lambda v: v, "strings", "integers"),
    "uuids-strings": (uuids, lambda v: pa.array([FIRST.decode()] * len(v)), "UUIDs", "strings"),
    "integers-uuids": (lambda v: v, uuids, "integers", "UUIDs"),
    "uint64-digits": (wide, lambda v: wide(v).cast(pa.string()), "integers", "strings"),
}  # fmt: skip


@pytest.mark.parametrize("how", UNLIKE)
def test_two_kinds_of_one_key_are_one_sentence_that_names_both_files(tmp_path: pathlib.Path, how: str) -> None:
    one, other, here, there = UNLIKE[how]
    with pytest.raises(InputError) as found:
        tables_in(tmp_path, users=one, interactions=other)
    message = str(found.value)
    assert message.startswith(f"user_id: it has {here} in {tmp_path}/users.parquet (column 'user_id', ")
    assert f", but {there} in {tmp_path}/interactions.parquet (column 'user_id', " in message
    assert message.endswith("; expected the same kind in every table.")
    assert "\n" not in message


UNFIT = {
    "bool": lambda v: pa.array([True] * len(v)),
    "timestamp[us]": lambda v: v.cast(pa.timestamp("us")),
    "list<element: int64>": lambda v: pa.array([[one] for one in v.to_pylist()]),
}


@pytest.mark.parametrize("stored", UNFIT)
def test_a_type_that_holds_no_ids_is_told_what_may(tmp_path: pathlib.Path, stored: str) -> None:
    told = f"{tmp_path}/users.parquet: column 'user_id' is {stored}, expected integers, strings or UUIDs; cast it in "
    with pytest.raises(InputError, match=f"^{re.escape(told)}"):
        tables_in(tmp_path, users=UNFIT[stored])


def test_given_histories_of_other_ids_name_the_setting(tmp_path: pathlib.Path) -> None:
    tables_in(tmp_path)
    users = pq.read_table(tmp_path / "users.parquet")
    for given, kind in ((["v1"], "string"), ([uuid.UUID(int=0x80 << 120).bytes], "uuid")):
        told = pa.array([given] * len(users), pa.list_(pa.string() if kind == "string" else pa.binary(16)))
        pq.write_table(users.append_column("history_video_ids", told), tmp_path / "users.parquet")
        with pytest.raises(
            InputError, match=rf"^\S+users.parquet: column 'history_video_ids' is .*{{video_id: {kind}}}"
        ):
            raw_tables.find(str(tmp_path), {})


def test_what_else_is_wrong_is_told_with_two_kinds_of_one_key(tmp_path: pathlib.Path) -> None:
    def with_lists(values: pa.Array) -> pa.Array:
        videos = pq.read_table(tmp_path / "videos.parquet")
        pq.write_table(videos.append_column("title", pa.array([[1]] * len(videos))), tmp_path / "videos.parquet")
        return uuids(values)

    with pytest.raises(InputError) as found:
        tables_in(tmp_path, users=texts, interactions=with_lists)
    _, one, other = str(found.value).split("\n")
    assert one.strip().startswith("user_id: it has strings in ")
    assert f"{tmp_path}/videos.parquet: column 'title' is list<" in other


def test_files_of_one_table_of_two_kinds_are_refused(tmp_path: pathlib.Path) -> None:
    table = tables_in(tmp_path)["users"]
    (tmp_path / "users.parquet").rename(tmp_path / "users-0.parquet")
    pq.write_table(pa.table({"user_id": ["u99"]}), tmp_path / "users-1.parquet")
    files = r"integers in \S+users-0.parquet \(column 'user_id', int64\), but strings in \S+users-1.parquet"
    assert table.rows
    with pytest.raises(InputError, match=f"^user_id: it has {files}"):
        raw_tables.find(str(tmp_path), {})


def test_bytes_that_are_text_by_chance_are_uuids_where_others_are(tmp_path: pathlib.Path) -> None:
    """A small file may have no others."""

    def by_chance(values: pa.Array) -> pa.Array:
        return pa.array([uuid.UUID(int=value).bytes for value in values.to_pylist()], pa.binary())

    assert raw_tables.id_settings(tables_in(tmp_path, users=uuids, interactions=by_chance))["user_id"] is IdKind.UUID
    both = tables_in(tmp_path, users=by_chance, interactions=by_chance)
    assert raw_tables.id_settings(both)["user_id"] is IdKind.STRING


TOLD: dict[str, tuple[Any, bytes | int]] = {  # by the setting: how the ids are stored, and the first of them
    "string of floats": (lambda v: v.cast(pa.float64()), b"1"),
    "string of uint64": (wide, b"9223372036854775809"),
    "string of 16 bytes": (lambda v: pa.array([b"%016d" % one for one in v.to_pylist()], pa.binary(16)), b"%016d" % 1),
    "uint64 of int64": (lambda v: v, b"1"),
    "uuid of text": (lambda v: pa.array([str(uuid.UUID(int=one)).upper() for one in v.to_pylist()]), b"%032x" % 1),
    "integer of text": (lambda v: v.cast(pa.string()), 1),
    "integer of decimals": (lambda v: v.cast(pa.decimal128(25, 2)), 1),
}


@pytest.mark.parametrize("how", TOLD)
def test_ids_are_read_as_the_settings_say(tmp_path: pathlib.Path, how: str) -> None:
    make, first = TOLD[how]
    told = how.split()[0]
    tables = tables_in(tmp_path, parse({"ids": {"user_id": told}}, "the test"), users=make, interactions=make)
    assert raw_tables.id_settings(tables)["user_id"] == told
    usable, rejected = raw_tables.read(tables["users"], tables["users"].sources[0], ["user_id"])
    found = ids.shown(usable)["user_id"].to_pylist()[0]
    assert (found.replace(b"-", b"") if told == "uuid" else found) == first
    assert not len(rejected)


def test_what_the_settings_say_is_taken(tmp_path: pathlib.Path) -> None:
    chosen = parse({"ids": {"user_id": "string"}}, "the test")
    tables = tables_in(tmp_path, chosen, users=lambda v: v.cast(pa.string()))
    usable, _ = raw_tables.read(tables["interactions"], tables["interactions"].sources[0], ["user_id"])
    assert set(ids.shown(usable)["user_id"].to_pylist()) <= {b"%d" % user for user in USERS}
    with pytest.raises(InputError, match=r"ids\.user_id is 'text'; expected 'auto', 'integer', 'uint64', "):
        parse({"ids": {"user_id": "text"}}, "the test")


CSV = {
    f"{FIRST.decode().upper()},x\n": IdKind.STRING,
    "1,x\n2,y\n": IdKind.INTEGER,
    "007,x\n7,y\n": IdKind.STRING,
    "a1,x\n2,y\n": IdKind.STRING,
}


@pytest.mark.parametrize("text", CSV)
def test_a_csv_file_has_strings_where_they_are_no_numbers(tmp_path: pathlib.Path, text: str) -> None:
    tables_in(tmp_path)
    for name in ("users", "interactions"):
        (tmp_path / f"{name}.parquet").unlink()
    (tmp_path / "users.csv").write_text("user_id,country\n" + text)
    first = text.split(",")[0]
    row = f"{first},1,2025-01-01 00:00:00,click\n"
    (tmp_path / "interactions.csv").write_text("user_id,video_id,interaction_time,interaction_type\n" + row)
    found = raw_tables.find(str(tmp_path), {})
    assert raw_tables.id_settings(found)["user_id"] is CSV[text]
    usable, rejected = raw_tables.read(found["users"], found["users"].sources[0], ["user_id"])
    assert not len(rejected)
    given = [line.split(",")[0] for line in text.splitlines()]
    expected = [int(one) if CSV[text] is IdKind.INTEGER else one.encode() for one in given]
    assert ids.shown(usable)["user_id"].to_pylist() == expected


def test_an_empty_string_is_a_missing_key(tmp_path: pathlib.Path) -> None:
    def some_empty(values: pa.Array) -> pa.Array:
        return pa.array(["", None, *texts(values).to_pylist()[2:]])

    table = tables_in(tmp_path, users=some_empty, interactions=texts)["users"]
    usable, rejected = raw_tables.read(table, table.sources[0], ["user_id"])
    assert rejected["reason"].to_pylist() == ["user_id is empty", "user_id is null"]
    assert len(usable) == len(USERS) - 2


def test_a_repeated_key_is_rejected_with_the_id_as_it_was(tmp_path: pathlib.Path) -> None:
    table = tables_in(tmp_path, users=lambda v: texts(pa.array([1] * len(v))), interactions=texts)["users"]
    usable, _ = raw_tables.read(table, table.sources[0], ["user_id"])
    kept, dropped = drop_duplicates(usable, "user_id")
    assert ids.shown(kept)["user_id"].to_pylist() == [b"001\n"]
    reasons = pa.array(["twice"] * len(dropped))
    shown = rejects.rejected_rows(dropped.append_column("reason", reasons), table)
    assert set(shown["user_id"].to_pylist()) == {b"001\n"}


def test_hashes_of_text_tell_similar_texts_apart_and_never_change() -> None:
    given = [f"{prefix}{number}" for prefix in ("", "0", "user", "x" * 40) for number in range(50_000)]
    given += ["\0" * size for size in range(1, 40)] + ["a", "a\0", "\0a"]
    hashed = text_hash(pa.array(given))
    assert len(np.unique(hashed)) == len(set(given))
    whole = pa.array(["", "a", "007", "0123456789abcdef", None, "ü" * 50])
    assert text_hash(whole)[[0, 1, 2, 3, 5]].tolist() == PINNED
    assert text_hash(whole.slice(1, 3)).tolist() == PINNED[1:4]
    assert text_hash(whole.cast(pa.large_binary())).tolist() == text_hash(whole).tolist()


PINNED = [16294208416658607535, 6774081908283191102, 16568435594678004626, 3767721461140822226, 12541654151607534485]
