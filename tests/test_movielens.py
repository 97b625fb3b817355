"""MovieLens-100K as the four raw tables."""

import datetime
import pathlib
import zipfile

import polars as pl
import pyarrow.parquet as pq
import pytest
from movielens_files import GROUPLENS_FILES, _flags, _folder

from recsys_tft.columns import TABLES
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.tables import movielens

RECBOLE_FILES = {
    "ml-100k.inter": (
        b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        b"1\t10\t4\t881250949\n2\t10\t3\t891717742\n1\t11\t5\t878887116\n"
    ),
    "ml-100k.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '10\tCaf\xe9 "Noir"\t1995\tComedy Drama Sci-Fi\n11\tOnly a Year\t1994\tWar\n12\tunknown\tV\t\n'
    ).encode(),
    "ml-100k.user": (
        b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        b"1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\t94043\n"
    ),
}


def _wheel(path: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(movielens.WHEEL_FOLDER + name, data)
    return path


def _read(directory: pathlib.Path) -> dict[str, pl.DataFrame]:
    return {table: pl.read_parquet(directory / f"{table}.parquet") for table in TABLES}


def _utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)


def test_grouplens_files_become_the_four_tables(tmp_path: pathlib.Path) -> None:
    movielens.write_tables(tmp_path / "out", _folder(tmp_path / "ml-100k", GROUPLENS_FILES))
    tables = _read(tmp_path / "out")
    assert tables["users"].rows() == [(1, 24), (2, 53)]
    assert tables["videos"].to_dicts() == [
        {
            "video_id": 10, "title": 'Café "Noir"', "tags": ["Comedy", "Drama", "Sci-Fi"],
            "published_at": _utc(1995, 2, 1), "category": "Comedy", "child_categories": ["Drama", "Sci-Fi"],
        },
        {
            "video_id": 11, "title": "Only a Year", "tags": ["War"],
            "published_at": _utc(1994, 1, 1), "category": "War", "child_categories": [],
        },
        {
            "video_id": 12, "title": "unknown", "tags": [],
            "published_at": None, "category": None, "child_categories": [],
        },
    ]  # fmt: skip
    assert tables["interactions"].rows() == [
        (1, 10, _utc(1997, 12, 4, 15, 55, 49), "like", None),
        (2, 10, _utc(1998, 4, 4, 19, 22, 22), "watch", None),
        (1, 11, _utc(1997, 11, 7, 7, 18, 36), "like", None),
    ]
    assert tables["channels"].schema == {"channel_id": pl.Int64}
    assert tables["channels"].is_empty()


def test_both_layouts_differ_only_in_the_precision_of_dates(tmp_path: pathlib.Path) -> None:
    movielens.write_tables(tmp_path / "a", _folder(tmp_path / "grouplens", GROUPLENS_FILES))
    movielens.write_tables(tmp_path / "b", _folder(tmp_path / "recbole", RECBOLE_FILES))
    movielens.write_tables(tmp_path / "c", _wheel(tmp_path / "recbole.whl", RECBOLE_FILES))
    a, b, c = (_read(tmp_path / name) for name in "abc")
    year = pl.col("published_at").dt.truncate("1y")
    for table in ("users", "channels", "interactions"):
        assert a[table].equals(b[table])
    assert a["videos"].with_columns(year).equals(b["videos"])
    assert all(b[table].equals(c[table]) for table in TABLES)


def test_columns_have_the_declared_types(tmp_path: pathlib.Path) -> None:
    movielens.write_tables(tmp_path / "out", _folder(tmp_path / "ml-100k", GROUPLENS_FILES))
    for table in TABLES:
        for field in pq.read_schema(tmp_path / "out" / f"{table}.parquet"):
            assert field.type == DEFAULT.columns_of(table)[field.name].type, field


def test_the_notice_names_the_licence_and_the_paper(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    movielens.write_tables(tmp_path / "out", _folder(tmp_path / "ml-100k", GROUPLENS_FILES))
    printed = capsys.readouterr().out
    assert "forbids redistribution" in printed
    assert "Harper" in printed
    assert "GroupLens" in printed


def test_windows_line_ends_are_read(tmp_path: pathlib.Path) -> None:
    files = {name: data.replace(b"\n", b"\r\n") for name, data in GROUPLENS_FILES.items()}
    movielens.write_tables(tmp_path / "a", _folder(tmp_path / "windows", files))
    movielens.write_tables(tmp_path / "b", _folder(tmp_path / "unix", GROUPLENS_FILES))
    assert all(_read(tmp_path / "a")[table].equals(_read(tmp_path / "b")[table]) for table in TABLES)


@pytest.mark.parametrize(
    ("files", "name", "data", "message"),
    [
        (GROUPLENS_FILES, "u.data", b"1\t10\t4\t881250949\n1\t10\t4\n", r"u\.data, line 2: expected 4 fields"),
        (GROUPLENS_FILES, "u.data", b"1\t10\t4\t881250949\n\n1\t1\t4\t9\n", r"u\.data, line 2: expected 4 fields"),
        (GROUPLENS_FILES, "u.data", b"", r"u\.data, line 1: expected 4 fields"),
        (GROUPLENS_FILES, "u.data", b"1\tten\t4\t881250949\n", r"u\.data, line 1: expected integers as user_id, video"),
        (GROUPLENS_FILES, "u.data", b"1\t10\t9\t881250949\n", r"u\.data, line 1: expected a rating from 1 to 5"),
        (GROUPLENS_FILES, "u.data", b"1\t10\tnan\t881250949\n", r"u\.data, line 1: expected a rating from 1 to 5"),
        (GROUPLENS_FILES, "u.data", b"1\t10\t4\t-1\n", r"u\.data, line 1: expected a timestamp"),
        (GROUPLENS_FILES, "u.item", b"10|A (1995)|||\n", r"u\.item, line 1: expected 24 fields"),
        (GROUPLENS_FILES, "u.item", f"10|A||||{_flags()[:-1]}x\n".encode(), r"u\.item, line 1: expected genre flags"),
        (GROUPLENS_FILES, "u.user", b"1|24|M|none|1\n2|old|M|none|1\n", r"u\.user, line 2: expected integers as .*age"),
        (RECBOLE_FILES, "ml-100k.user", b"user_id\n1\n", r"ml-100k\.user, line 1: expected the header"),
        (
            RECBOLE_FILES, "ml-100k.item", RECBOLE_FILES["ml-100k.item"].replace(b"War", b"Wars"),
            r"ml-100k\.item, line 3: expected genres out of",
        ),
        (
            RECBOLE_FILES, "ml-100k.item", RECBOLE_FILES["ml-100k.item"].decode().encode("latin-1"),
            r"ml-100k\.item, line 2: expected UTF-8, found byte 0xe9",
        ),
    ],
)  # fmt: skip
def test_a_malformed_line_is_named_and_nothing_is_written(
    tmp_path: pathlib.Path, files: dict[str, bytes], name: str, data: bytes, message: str
) -> None:
    source = _folder(tmp_path / "source", files | {name: data})
    with pytest.raises(InputError, match=message):
        movielens.write_tables(tmp_path / "out", source)
    assert list(tmp_path.iterdir()) == [source]


def test_missing_files_are_named(tmp_path: pathlib.Path) -> None:
    files = {name: data for name, data in GROUPLENS_FILES.items() if name == "u.item"}
    with pytest.raises(InputError, match=r"lacks u\.data, u\.user; expected all of u\.data, u\.item, u\.user"):
        movielens.write_tables(tmp_path / "out", _folder(tmp_path / "half", files))
    files = {name: data for name, data in RECBOLE_FILES.items() if name != "ml-100k.user"}
    with pytest.raises(InputError, match=r"lacks ml-100k\.user"):
        movielens.write_tables(tmp_path / "out", _wheel(tmp_path / "half.whl", files))


def test_a_source_that_is_no_source_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        movielens.write_tables(tmp_path / "out", tmp_path / "nowhere")
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(InputError, match="neither a folder nor a wheel"):
        movielens.write_tables(tmp_path / "out", tmp_path / "text")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        movielens.write_tables(tmp_path / "text", _folder(tmp_path / "ml-100k", GROUPLENS_FILES))


def test_a_failed_download_says_how_to_go_on(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(movielens.SOURCE_VARIABLE, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"pip could not download recbole==1\.2\.1 .* --source"):
        movielens.write_tables(tmp_path / "out")


def test_a_download_of_other_content_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = _folder(tmp_path / "wheels", {})
    metadata = "recbole-1.2.1.dist-info/"
    with zipfile.ZipFile(_wheel(wheels / "recbole-1.2.1-py3-none-any.whl", RECBOLE_FILES), "a") as wheel:
        wheel.writestr(metadata + "METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        wheel.writestr(metadata + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(metadata + "RECORD", "")
    monkeypatch.delenv(movielens.SOURCE_VARIABLE, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with pytest.raises(InputError, match=f"expected {movielens.WHEEL_SHA256}"):
        movielens.write_tables(tmp_path / "out")


def test_the_environment_variable_names_the_source(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(movielens.SOURCE_VARIABLE, str(_folder(tmp_path / "ml-100k", GROUPLENS_FILES)))
    movielens.write_tables(tmp_path / "out")
    assert _read(tmp_path / "out")["interactions"].height == 3


def test_the_full_data_set_has_its_known_counts(tmp_path: pathlib.Path, full_source: pathlib.Path) -> None:
    movielens.write_tables(tmp_path, full_source)
    tables = _read(tmp_path)
    interactions = tables["interactions"]
    assert [tables[name].height for name in TABLES] == [943, 1682, 0, 100_000]
    assert interactions["interaction_type"].value_counts().sort("count").rows() == [("watch", 44_625), ("like", 55_375)]
    assert interactions["user_id"].is_in(tables["users"]["user_id"].to_list()).all()
    assert interactions["video_id"].is_in(tables["videos"]["video_id"].to_list()).all()
    assert tables["videos"]["category"].is_in(movielens.GENRES).all()


def test_the_rating_from_which_on_it_is_a_like_can_be_chosen(tmp_path: pathlib.Path) -> None:
    source = _folder(tmp_path / "source", GROUPLENS_FILES)
    likes = []
    for liked_from in (1, 4, 5):
        movielens.write_tables(tmp_path / str(liked_from), source, liked_from)
        likes.append((_read(tmp_path / str(liked_from))["interactions"]["interaction_type"] == "like").sum())
    rows = len(_read(tmp_path / "1")["interactions"])
    assert likes[0] == rows > likes[1] >= likes[2]
