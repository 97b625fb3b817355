"""Finding the files of a table: names, folders of any kind, what is no data, and what is said of it."""

import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from good_tables import good_tables, rows_of, write
from object_store import ObjectStore

from recsys_tft.errors import InputError
from recsys_tft.tables import raw_tables, table_files
from recsys_tft.tables.sources import TableFile

Place = Callable[[str, bytes], None]
PARQUET = b"PAR1"  # what files that are not read here begin with


def place_in(folder: pathlib.Path) -> Place:
    def place(name: str, data: bytes = PARQUET) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return place


def place_in_store(root: str) -> Place:
    def place(name: str, data: bytes = PARQUET) -> None:
        with ObjectStore(None).create(f"{root}/{name}") as file:
            file.write(data)

    return place


@pytest.fixture(params=["local", "object store"])
def root(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """A data folder of either kind, under a name that no glob should see."""
    if request.param == "local":
        (tmp_path / "raw [v1]").mkdir()
        return str(tmp_path / "raw [v1]")
    return f"ram://{uuid.uuid4().hex}/raw [v1]"


@pytest.fixture
def place(root: str) -> Place:
    return place_in_store(root) if "://" in root else place_in(pathlib.Path(root))


def found_in(root: str, table: str = "users") -> tuple[list[str], tuple[str, ...]]:
    """Names of the files, and of what is not read."""
    found = table_files.find(root, table)
    return [file.path.removeprefix(root).lstrip("/") for file in found.files], found.unread


@pytest.mark.parametrize(
    "names",
    [
        ["users.parquet"],
        ["users.PARQUET"],
        ["users.csv"],
        ["users.csv.gz"],
        ["users.tsv"],
        ["users.parquet/part-0.parquet", "users.parquet/part-1.parquet"],
        ["users/a.parquet", "users/b.snappy.parquet", "users/c.gz.parquet"],
        ["users-00000-of-00002.parquet", "users-00001-of-00002.parquet"],
        ["users/2025/03/part.parquet", "users/2025/04/part.parquet"],
        ["users/a.parquet", "users/dt=2025-03-01/part.parquet", "users/dt=2025-03-02/hour=03/part.parquet"],
        ["users/000000000000", "users/000000000001"],
        ["users/part-00000-5f.c000", "users/part-00000-5f.c000.snappy.parquet"],
    ],
)
def test_every_layout_is_found_in_the_order_of_its_names(root: str, place: Place, names: list[str]) -> None:
    for name in reversed(names):
        place(name)
    assert found_in(root) == (sorted(names), ())


def test_files_and_folders_that_begin_with_an_underscore_or_a_dot_are_no_data(root: str, place: Place) -> None:
    place("users/a.parquet")
    for name in ("_SUCCESS", "_metadata", ".a.parquet.crc", "_temporary/0/b.parquet", ".ipynb_checkpoints/c.parquet"):
        place(f"users/{name}")
        place(f"users/dt=1/{name}")
    assert found_in(root) == (["users/a.parquet"], ())


def test_what_lies_there_and_is_not_read_is_named(root: str, place: Place) -> None:
    place("users/a.parquet")
    for name in ("b.csv", "c.json", "d.orc", "e.avro", "f.parquet.gz", "g.parquet.tmp"):
        place(f"users/{name}")
    place("users/h.parquet", b"")
    place("users/i", b"text")
    place("users_old.parquet")
    files, unread = found_in(root)
    assert files == ["users/a.parquet"]
    assert set(unread) == {
        "users/b.csv (beside Parquet files)",
        *(f"users/{name}" for name in ("c.json", "d.orc", "e.avro", "f.parquet.gz", "g.parquet.tmp", "i")),
        "users/h.parquet (0 bytes)",
        "users_old.parquet",
    }


@pytest.mark.parametrize("other", ["users/a.parquet", "users.csv", "users-1.parquet", "users.parquet.csv/a.csv"])
def test_a_table_in_two_places_is_refused(root: str, place: Place, other: str) -> None:
    place("users.parquet")
    place(other)
    if other.startswith("users.parquet."):
        assert found_in(root) == (["users.parquet"], (other,))
        return
    with pytest.raises(InputError, match=r"the table users exists twice, as .* and .*"):
        table_files.find(root, "users")


def test_a_table_of_files_that_cannot_be_read_says_what_there_is(root: str, place: Place) -> None:
    place("users.json")
    with pytest.raises(InputError, match=r"found no table users; .* There is users\.json, which is not read\.$"):
        table_files.find(root, "users")


def test_keys_of_folders_are_decoded(root: str, place: Place) -> None:
    place("users/country=C%C3%B4te%20d%27Ivoire/dt=__HIVE_DEFAULT_PARTITION__/a=b=c/x/part.parquet")
    (file,) = table_files.find(root, "users").files
    assert file.keys == (("country", "Côte d'Ivoire"), ("dt", None), ("a", "b=c"))


def test_a_glob_has_a_meaning_only_where_no_such_folder_is(tmp_path: pathlib.Path) -> None:
    for folder in ("2025-01", "2025-02", "x?"):
        place_in(tmp_path / folder)("users.parquet", PARQUET)
    paths = [str(tmp_path / folder / "users.parquet") for folder in ("2025-01", "2025-02")]
    assert [file.path for file in table_files.find(f"{tmp_path}/2025-*", "users").files] == paths
    place_in(tmp_path / "2025-*")("users.parquet", PARQUET)
    assert found_in(f"{tmp_path}/2025-*") == (["users.parquet"], ())
    assert found_in(f"{tmp_path}/x?") == (["users.parquet"], ())


def test_keys_in_folders_that_a_glob_matches_are_columns(tmp_path: pathlib.Path) -> None:
    for country in ("DE", "FR"):
        place_in(tmp_path / f"country={country}")("users/dt=1/a.parquet", PARQUET)
    files = table_files.find(f"{tmp_path}/country=*", "users").files
    assert [file.keys for file in files] == [(("country", country), ("dt", "1")) for country in ("DE", "FR")]


def test_a_glob_has_its_meaning_in_an_object_store() -> None:
    root = f"ram://{uuid.uuid4().hex}"
    for folder in ("2025-01", "2025-02"):
        place_in_store(f"{root}/{folder}")("users/country=DE/a.parquet", PARQUET)
    files = table_files.find(f"{root}/2025-*", "users").files
    paths = [f"{root}/{folder}/users/country=DE/a.parquet" for folder in ("2025-01", "2025-02")]
    assert files == tuple(TableFile(path, 4, "parquet", (("country", "DE"),)) for path in paths)


def test_linked_folders_are_read_once_and_loops_end(tmp_path: pathlib.Path) -> None:
    place_in(tmp_path / "elsewhere")("dt=1/a.parquet", PARQUET)
    place_in(tmp_path / "raw")("users/b.parquet", PARQUET)
    users = tmp_path / "raw" / "users"
    (users / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (users / "again").symlink_to(tmp_path / "elsewhere" / "dt=1", target_is_directory=True)
    (users / "loop").symlink_to(users, target_is_directory=True)
    (users / "file.parquet").symlink_to(users / "b.parquet")
    (users / "nowhere.parquet").symlink_to(tmp_path / "nothing")
    files, unread = found_in(str(tmp_path / "raw"))
    assert len(files) == 2
    assert {name.rpartition("/")[2] for name in files} == {"a.parquet", "b.parquet"}
    assert "users/nowhere.parquet (no file)" in unread
    assert sum("(a link to what is there)" in name for name in unread) == len(unread) - 1 == 3


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "raw").write_text("")
    with pytest.raises(InputError, match="is a file; expected the folder"):
        table_files.find(str(tmp_path / "raw"), "users")


def test_a_table_of_nearly_the_right_name_is_named(tmp_path: pathlib.Path) -> None:
    place_in(tmp_path)("User.parquet", PARQUET)
    with pytest.raises(InputError, match=r" Is User\.parquet meant\?$"):
        table_files.find(str(tmp_path), "users")


def test_a_folder_without_data_is_named(tmp_path: pathlib.Path) -> None:
    place_in(tmp_path)("users/_SUCCESS", b"")
    with pytest.raises(InputError, match=r" The folder users/ has no data\.$"):
        table_files.find(str(tmp_path), "users")


# --- What is read of them


def test_keys_of_folders_are_columns_where_the_schema_has_them(tmp_path: pathlib.Path) -> None:
    tables = good_tables()
    whole = tables.pop("users")
    write(tables, tmp_path)
    for country, of_country in (("DE", whole.slice(0, 5)), ("__HIVE_DEFAULT_PARTITION__", whole.slice(5))):
        folder = tmp_path / "users" / f"country={country}" / "dt=2025-03-01"
        folder.mkdir(parents=True)
        pq.write_table(of_country.drop_columns(["country", "age"]), folder / "part-0.parquet")
    (tmp_path / "users" / "country=DE" / "age=41").mkdir()
    extra = pa.table({"user_id": [77], "country": ["FR"]})
    pq.write_table(extra, tmp_path / "users" / "country=DE" / "age=41" / "part-0.parquet")
    users = raw_tables.find(str(tmp_path), {})["users"]
    found = {row["user_id"]: (row["country"], row["age"]) for row in rows_of(users)}
    assert found == {
        **{user: (b"DE", None) for user in range(1, 6)},
        **{user: (None, None) for user in range(6, 13)},
        77: (b"FR", 41),
    }
    note = "users: not read: dt of its folders, country of its folders (the files have it)"
    assert [text for text in users.warnings() if "not read" in text] == [note]


def test_a_key_of_a_folder_that_is_no_value_of_its_column_is_refused(tmp_path: pathlib.Path) -> None:
    tables = good_tables()
    write(tables, tmp_path)
    (tmp_path / "users.parquet").unlink()
    (tmp_path / "users" / "age=old").mkdir(parents=True)
    pq.write_table(tables["users"].drop_columns(["age"]), tmp_path / "users" / "age=old" / "a.parquet")
    with pytest.raises(InputError, match="the folder age=old names a int64, but 'old' is no whole number"):
        raw_tables.find(str(tmp_path), {})


def test_types_of_interactions_may_be_folders(tmp_path: pathlib.Path) -> None:
    tables = good_tables()
    events = tables.pop("interactions")
    write(tables, tmp_path)
    for kind in ("click", "impression"):
        folder = tmp_path / "interactions" / f"interaction_type={kind}"
        folder.mkdir(parents=True)
        chosen = events.filter(pa.compute.equal(events["interaction_type"], kind))
        pq.write_table(chosen.drop_columns(["interaction_type"]), folder / "a.parquet")
    table = raw_tables.find(str(tmp_path), {})["interactions"]
    assert table.is_long
    found = [row["interaction_type"] for row in rows_of(table)]
    assert sorted(found) == sorted(value.encode() for value in events["interaction_type"].to_pylist())


def test_a_mapped_name_may_be_a_folders_key(tmp_path: pathlib.Path) -> None:
    tables = good_tables()
    write(tables, tmp_path)
    (tmp_path / "users.parquet").unlink()
    (tmp_path / "users" / "land=AT").mkdir(parents=True)
    pq.write_table(tables["users"].drop_columns(["country"]), tmp_path / "users" / "land=AT" / "a.parquet")
    users = raw_tables.find(str(tmp_path), {"users": {"land": "country"}})["users"]
    assert {row["country"] for row in rows_of(users)} == {b"AT"}


def test_tables_in_an_object_store_are_read_like_those_of_this_machine(tmp_path: pathlib.Path) -> None:
    tables = good_tables()
    root = f"ram://{uuid.uuid4().hex}/a*b"
    write(tables, tmp_path)
    half = tables["interactions"].slice(0, 60), tables["interactions"].slice(60)
    (tmp_path / "interactions.parquet").unlink()
    (tmp_path / "interactions" / "dt=1").mkdir(parents=True)
    pq.write_table(half[0], tmp_path / "interactions" / "a.parquet")
    pq.write_table(half[1], tmp_path / "interactions" / "dt=1" / "b.parquet")
    place = place_in_store(root)
    for path in tmp_path.rglob("*.parquet"):
        place(str(path.relative_to(tmp_path)), path.read_bytes())
    here, there = (raw_tables.find(folder, {}) for folder in (str(tmp_path), root))
    for name in tables:
        assert here[name].fingerprint == there[name].fingerprint
        assert rows_of(here[name]) == rows_of(there[name])


def test_files_of_one_folder_keep_their_order_and_numbers(tmp_path: pathlib.Path) -> None:
    tables = good_tables()
    write(tables, tmp_path)
    (tmp_path / "users.parquet").unlink()
    (tmp_path / "users").mkdir()
    for number, start in (("10", 4), ("2", 8), ("1", 0)):
        pq.write_table(tables["users"].slice(start, 4), tmp_path / "users" / f"part-{number}.parquet")
    users = raw_tables.find(str(tmp_path), {})["users"]
    assert [name for name, *_ in users.fingerprint] == [f"users/part-{n}.parquet" for n in ("1", "10", "2")]
    assert [row["user_id"] for row in rows_of(users)] == list(range(1, 13))
    assert [row["_row"] for row in rows_of(users)] == list(range(12))


def test_local_tables_are_found_without_beam_or_tensorflow(tmp_path: pathlib.Path) -> None:
    write(good_tables(), tmp_path)
    program = (
        "import sys; from recsys_tft.processing import PipelineConfig, ProcessingPipeline; "
        "ProcessingPipeline(PipelineConfig(sys.argv[1] + '/out')).check(sys.argv[1]); "
        "print([name for name in ('tensorflow', 'apache_beam') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "users").mkdir(mode=0)
    with pytest.raises(InputError, match="users: cannot be read"):
        table_files.find(str(tmp_path), "users")


def test_a_name_that_is_not_utf_8_is_refused_and_shown_where_it_is_not_read(tmp_path: pathlib.Path) -> None:
    place = place_in(tmp_path)
    place("users/a.parquet", PARQUET)
    place(os.fsdecode(b"users/b\xe9.json"), b"[]")
    assert found_in(str(tmp_path)) == (["users/a.parquet"], ("users/b\\udce9.json",))
    place(os.fsdecode(b"users/\xe9.parquet"), PARQUET)
    with pytest.raises(InputError) as found:
        table_files.find(str(tmp_path), "users")
    assert str(found.value) == f"{tmp_path}/users/\\udce9.parquet: the name is not UTF-8; rename it."


@pytest.mark.parametrize("log", ["_delta_log/0.json", ".hoodie/hoodie.properties", "metadata/v1.metadata.json"])
def test_a_log_that_says_which_files_hold_is_told_of(root: str, place: Place, log: str) -> None:
    place("users/data/a.parquet")
    place(f"users/{log}")
    files, unread = found_in(root)
    assert files == ["users/data/a.parquet"]
    assert [name for name in unread if "replaced" in name] == [
        f"users/{log.partition('/')[0]}/ (a log of the table, by which files may have been replaced or deleted; all "
        "files are read: export the table)"
    ]


def test_a_file_without_rows_does_not_say_what_ids_are(tmp_path: pathlib.Path) -> None:
    tables = good_tables()
    write({name: table for name, table in tables.items() if name != "users"}, tmp_path)
    (tmp_path / "users").mkdir()
    pq.write_table(tables["users"], tmp_path / "users/b.parquet")
    empty = {name: pa.array([], pa.string()) for name in tables["users"].column_names}
    pq.write_table(pa.table(empty), tmp_path / "users/a.parquet")
    assert rows_of(raw_tables.find(str(tmp_path), {})["users"])[0]["user_id"] == 1
