"""Public data sets out of a folder that the user has: MovieLens-1M, 20M, latest-small and KION."""

import csv
import datetime
import pathlib
import statistics

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from public_sources import INTERACTIONS, ITEMS, KION, ML_1M, ML_CSV, SOURCES, Files

from recsys_tft.cli import main
from recsys_tft.columns import TABLES
from recsys_tft.commands.dataset_command import NAMES
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.run_layout import run_folders
from recsys_tft.tables import csv_files, csv_parts, kion, movielens_larger


def _folder(path: pathlib.Path, files: Files) -> pathlib.Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def _made(name: str, folder: pathlib.Path, files: Files, *options: str) -> dict[str, pl.DataFrame]:
    """What the command makes of the files, in a new place below the folder."""
    source, out = _folder(folder / "source", files), folder / "out"
    assert main(["dataset", name, "--source", str(source), "--data-dir", str(out), *options]) == 0
    return {table: pl.read_parquet(out / f"{table}.parquet") for table in TABLES}


def _write(name: str, directory: pathlib.Path, source: pathlib.Path | None) -> None:
    if name == "kion":
        kion.write_tables(directory, source)
    else:
        movielens_larger.write_tables(name, directory, source)


def _utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)


def _film(video: int, title: str | None, published: int | None, *tags: str) -> dict:
    return {
        "video_id": video, "title": title, "tags": [*tags],
        "published_at": None if published is None else _utc(published, 1, 1),
        "category": tags[0] if tags else None, "child_categories": [*tags[1:]],
    }  # fmt: skip


# --- Tables


def test_movielens_1m_becomes_the_four_tables(tmp_path: pathlib.Path) -> None:
    tables = _made("movielens-1m", tmp_path, ML_1M)
    assert tables["users"].rows() == [(1, 14), (2, 60), (3, 29)]
    assert tables["videos"].to_dicts() == [
        _film(10, 'Café: The "Noir", A', 1995, "Comedy", "Drama", "Film-Noir"),
        _film(11, "Only: A Year", 1994, "War"),
        _film(12, "Nothing", None),
    ]
    assert tables["interactions"].rows() == [
        (1, 10, _utc(2000, 12, 31, 22, 12, 40), "like", None),
        (1, 11, _utc(2000, 12, 31, 22, 35, 9), "watch", None),
        (2, 10, _utc(2000, 12, 31, 21, 33, 33), "like", None),
    ]
    assert tables["channels"].schema == {"channel_id": pl.Int64}
    assert tables["channels"].is_empty()


def test_a_copy_of_movielens_1m_in_utf_8_has_the_same_titles(tmp_path: pathlib.Path) -> None:
    movies = ML_1M["movies.dat"].decode("latin-1").encode()
    made = _made("movielens-1m", tmp_path, ML_1M | {"movies.dat": movies})
    assert made["videos"]["title"][0] == 'Café: The "Noir", A'


@pytest.mark.parametrize("name", ["movielens-20m", "movielens-latest-small"])
def test_movielens_in_csv_becomes_the_four_tables(name: str, tmp_path: pathlib.Path) -> None:
    tables = _made(name, tmp_path, ML_CSV)
    assert tables["users"].rows() == [(2,), (7,)]
    assert tables["videos"].to_dicts() == [
        _film(10, "American President, The", 1995, "Comedy", "Drama", "Romance"),
        _film(11, '"Great Performances" Café, Le', 1998),
        _film(12, "Babylon 5", None, "Sci-Fi"),
    ]
    assert tables["interactions"].rows() == [
        (7, 10, _utc(2005, 4, 2, 23, 53, 47), "watch", None),
        (7, 11, _utc(2005, 4, 2, 23, 31, 16), "like", None),
        (2, 10, _utc(2004, 9, 10, 3, 9), "watch", None),
    ]
    assert tables["channels"].is_empty()


def test_kion_becomes_the_four_tables(tmp_path: pathlib.Path) -> None:
    tables = _made("kion", tmp_path, KION)
    assert tables["users"].rows() == [(176549, 29), (699317, 69), (973171, None), (1, None), (656683, None)]
    videos = tables["videos"].to_dicts()
    durations = [video.pop("video_duration") for video in videos]
    assert videos == [
        _film(10, "Поговори с ней", 2002, "драмы", "зарубежные", "детективы"),  # noqa: RUF001
        _film(11, "Search Party", 2016, "комедии"),
        _film(12, "Голые перцы", None),
    ]
    assert durations == [pytest.approx(statistics.median([4250 * 100 / 72, 8000])), 1200, None]
    assert tables["interactions"].rows() == [
        (176549, 10, _utc(2021, 5, 11), "watch", 4250),
        (699317, 10, _utc(2021, 5, 29), "watch", 8000),
        (656683, 10, _utc(2021, 5, 9), "watch", 10),
        (656683, 11, _utc(2021, 5, 10), "watch", 300),
        (699317, 11, _utc(2021, 7, 5), "watch", 0),
        (176549, 11, _utc(2021, 7, 5), "watch", 50),
        (1, 12, _utc(2021, 8, 22), "watch", 9),
    ]
    assert tables["channels"].is_empty()


def test_the_english_files_of_kion_are_read_with_their_column_without_a_name(tmp_path: pathlib.Path) -> None:
    files = {
        "interactions.csv": KION["interactions.csv"],
        "users_en.csv": b",user_id,age,income,sex,kids_flg\n0,973171,age_18_24,income_60_90,M,1\n",
        "items_en.csv": f',{ITEMS}0,10,film,Talk to Her,Hable con ella,2002.0,"drama, foreign",,,,,,,,\n'.encode(),
    }
    tables = _made("kion", tmp_path, files)
    assert tables["users"].rows()[0] == (973171, 21)
    assert tables["videos"].drop("video_duration").to_dicts() == [_film(10, "Talk to Her", 2002, "drama", "foreign")]


@pytest.mark.parametrize("name", SOURCES)
def test_columns_have_the_declared_types(name: str, tmp_path: pathlib.Path) -> None:
    _made(name, tmp_path, SOURCES[name])
    for table in TABLES:
        for field in pq.read_schema(tmp_path / "out" / f"{table}.parquet"):
            assert field.type == DEFAULT.columns_of(table)[field.name].type, field


@pytest.mark.parametrize("name", SOURCES)
def test_windows_line_ends_are_read(name: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "unix").mkdir()
    (tmp_path / "windows").mkdir()
    splits = {file: data.replace(b"\n", b"\r\n") for file, data in SOURCES[name].items()}
    there, here = _made(name, tmp_path / "windows", splits), _made(name, tmp_path / "unix", SOURCES[name])
    assert all(there[table].equals(here[table]) for table in TABLES)


@pytest.mark.parametrize(("stars", "likes"), [("0.5", 3), ("3.5", 2), ("4", 1), ("5", 0)])
def test_half_stars_may_be_the_first_that_is_a_like(stars: str, likes: int, tmp_path: pathlib.Path) -> None:
    rows = _made("movielens-20m", tmp_path, ML_CSV, "--liked-from", stars)["interactions"]
    assert (rows["interaction_type"] == "like").sum() == likes


TEXT = st.text('a ,"\n\r\u00e9', min_size=1, max_size=8).filter(lambda text: text.strip() and not text.endswith("\r"))


@given(texts=st.lists(TEXT, min_size=1, max_size=12), data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parts_of_any_size_hold_all_rows_and_a_wrong_one_is_named_by_its_line(
    texts: list[str], data: st.DataObject, tmp_path: pathlib.Path
) -> None:
    wrong = data.draw(st.integers(0, len(texts)), label="which row is wrong")
    file, begin = tmp_path / "movies.csv", 0
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["movieId", "title", "genres"])
        out.flush()
        for row, text in enumerate(texts):
            begin = file.read_bytes().count(b"\n") if row == wrong else begin
            writer.writerow([f"{row}x" if row == wrong else row, text, "War"])
            out.flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_BLOCK", data.draw(st.sampled_from([16, 64, 4096]), label="bytes of a part"))
        patch.setattr(csv_parts, "_BLOCK", 16)
        columns = ("movieId", "title")
        if wrong == len(texts):
            rows = csv_parts.read(file, columns, lambda part, rows: part.integers(rows, "movieId").select(columns))
            assert rows.rows() == list(enumerate(texts))
        else:
            with pytest.raises(
                InputError, match=rf"^movies\.csv, line {begin + 1}: expected integers as movieId, found"
            ):
                csv_parts.read(file, columns, lambda part, rows: part.integers(rows, "movieId"))


def test_empty_lines_are_counted_and_are_no_rows(tmp_path: pathlib.Path) -> None:
    text = "userId,movieId,rating,timestamp\n\n1,10,4,9\n\n\n"
    source = _folder(tmp_path / "source", ML_CSV | {"ratings.csv": text.encode()})
    movielens_larger.write_tables("movielens-20m", tmp_path / "out", source)
    assert pl.read_parquet(tmp_path / "out/interactions.parquet").height == 1
    (source / "ratings.csv").write_text(f"{text}5,10,5.5,9\n")
    with pytest.raises(InputError, match=r"ratings\.csv, line 6: expected a rating .*, found '5,10,5\.5,9'"):
        movielens_larger.write_tables("movielens-20m", tmp_path / "out", source)


# --- Errors


# By data set and file: the whole of it, or with + a last line, and how the error goes on after the file's name.
WRONG_LINES: dict[tuple[str, str], dict[bytes, str]] = {
    ("movielens-1m", "ratings.dat"): {
        b"1::10::5\n": ", line 1: expected 4 fields, found '1::10::5'.",
        b"": ", line 1: expected 4 fields, found ''.",
        b"1::x::5::9\n": ", line 1: expected integers as user_id, video_id, timestamp, found '1::x::5::9'.",
        b"1::1::0.5::9\n": ", line 1: expected a rating from 1 to 5, found '1::1::0.5::9'.",
        b"+1::1::5::soon\n": ", line 4: expected integers as user_id, video_id, timestamp, found '1::1::5::soon'.",
    },
    ("movielens-1m", "users.dat"): {
        b"+4::F::30::1::1\n": ", line 4: expected an age out of 1, 18, 25, 35, 45, 50, 56, found '4::F::30::1::1'.",
        b"1::F::1\n": ", line 1: expected 5 fields, found '1::F::1'.",
    },
    ("movielens-1m", "movies.dat"): {
        b"ten::A (1995)::War\n": ", line 1: expected integers as video_id, found 'ten::A (1995)::War'.",
        b"+13::Caf\xe9 (1995)\n": ", line 4: expected 3 fields, found '13::Caf\u00e9 (1995)'.",
    },
    ("movielens-20m", "ratings.csv"): {
        b"": ": the CSV file is empty; expected a header line with the column names.",
        b"userId,movieId,rating,timestamp\n": " has no rows below its header.",
        b"userId,rating\n1,2\n": ", line 1: the columns movieId, timestamp are missing; found userId, rating.",
        b"+1,2,3\n": ": line 5 has 3 values, the header 4: '1,2,3'; quote values that contain the separator.",
        b"+1,2,6,9\n": ", line 5: expected a rating from 0.5 to 5, found '1,2,6,9'.",
        b"+1,2,,9\n": ", line 5: expected a rating from 0.5 to 5, found '1,2,,9'.",
        b"+1,2,1,-9\n": ", line 5: expected a timestamp in seconds since 1970, found '1,2,1,-9'.",
        b"+a,2,1,9\n": ", line 5: expected integers as user_id, video_id, timestamp, found 'a,2,1,9'.",
    },
    ("movielens-latest-small", "movies.csv"): {
        b"+x,A,War\n": ", line 5: expected integers as video_id, found 'x,A,War'.",
        b"+13,A,\n": ", line 5: expected genres between |, or (no genres listed), found '13,A,'.",
        b"+13,Caf\xe9,War\n": ": line 5 is not UTF-8 (byte 0xE9); convert it to UTF-8",
    },
    ("kion", "interactions.csv"): {
        b"user_id\n1\n": ", line 1: the columns item_id, last_watch_dt, total_dur, watched_pct are missing; found u",
        b"1;2\n1;2\n": ": its header is one name, '1;2'; the values are separated by ';', expected ','",
        b"+1,x,2021-05-11,10,1.0\n": ", line 9: expected integers as user_id, item_id, found '1,x,2021-05-11,10,1.0'.",
        b"+1,2,11.05.2021,10,\n": ", line 9: expected a last_watch_dt such as 2021-05-11, found '1,2,11.05.2021,10,'.",
        b"+1,2,,10,1.0\n": ", line 9: expected a last_watch_dt such as 2021-05-11, found '1,2,,10,1.0'.",
        b"+1,2,2021-05-11,-1,1\n": ", line 9: expected a total_dur of seconds, 0 or more, found '1,2,2021-05-11,-1,1'",
        b"+1,2,2021-05-11,inf,\n": ", line 9: expected a total_dur of seconds, 0 or more, found '1,2,2021-05-11,inf,'.",
        b"+1,2,2021-05-11,,1\n": ", line 9: expected a total_dur of seconds, 0 or more, found '1,2,2021-05-11,,1'.",
        b"+1,2,2021-05-11,10,101\n": ", line 9: expected a watched_pct from 0 to 100, or nothing, found '1,2,2021-",
        b"+1,2,2021-05-11,10,all\n": ", line 9: expected a watched_pct from 0 to 100, or nothing, found '1,2,2021-",
    },
    ("kion", "users.csv"): {
        b"+7,30,,,0\n": ", line 5: expected an age such as age_25_34, or nothing, found '7,30,,,0'.",
        b"+,age_25_34,,,0\n": ", line 5: expected integers as user_id, found ',age_25_34,,,0'.",
        b"+7,30\n": ": line 5 has 2 values, the header 5: '7,30'; quote values that contain the separator.",
    },
    ("kion", "items.csv"): {  # of which a description has a line break: the fourth row is on the sixth line
        b"+x" + b"," * 13 + b"\n": ", line 6: expected integers as item_id, found 'x,,,,,,,,,,,,,'.",
        b"+13,film,A,,soon" + b"," * 9 + b"\n": ", line 6: expected a release_year, or nothing, found '13,film,A,,so",
    },
}


@pytest.mark.parametrize(
    ("name", "file", "data", "message"),
    [(*where, data, message) for where, wrong in WRONG_LINES.items() for data, message in wrong.items()],
)
def test_a_wrong_line_is_named_and_nothing_is_written(
    tmp_path: pathlib.Path, name: str, file: str, data: bytes, message: str
) -> None:
    whole = SOURCES[name][file] + data[1:] if data.startswith(b"+") else data
    source = _folder(tmp_path / "source", SOURCES[name] | {file: whole})
    with pytest.raises(InputError) as error:
        _write(name, tmp_path / "out", source)
    assert str(error.value).removeprefix(f"{source}/").startswith(f"{file}{message}")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("movielens-1m", "ratings.dat, users.dat, movies.dat"),
        ("movielens-20m", "ratings.csv, movies.csv"),
        ("movielens-latest-small", "ratings.csv, movies.csv"),
        ("kion", "interactions.csv, users.csv or users_en.csv, items.csv or items_en.csv"),
    ],
)
def test_all_missing_files_are_named(name: str, files: str, tmp_path: pathlib.Path) -> None:
    source = _folder(tmp_path / "source", {"README": b""})
    with pytest.raises(InputError) as error:
        _write(name, tmp_path / "out", source)
    assert str(error.value) == f"The {name} source {source} lacks {files}; expected all of {files}."


def test_one_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    source = _folder(tmp_path / "source", {file: data for file, data in KION.items() if file != "users.csv"})
    with pytest.raises(
        InputError, match=r"lacks users\.csv or users_en\.csv; expected all of interactions\.csv, users"
    ):
        kion.write_tables(tmp_path / "out", source)


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("movielens-1m", "https://grouplens.org/datasets/movielens/1m/"),
        ("movielens-20m", "https://grouplens.org/datasets/movielens/20m/"),
        ("movielens-latest-small", "https://grouplens.org/datasets/movielens/latest/"),
        ("kion", "https://github.com/irsafilo/KION_DATASET"),
    ],
)
def test_without_a_source_the_page_and_the_files_are_named(
    name: str, page: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", name, "--data-dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"error: {name} is not downloaded by this command: get it from {page} and name the unpacked folder, with "
    )
    assert error.endswith(" by --source.\n")
    assert all(file in error for file in SOURCES[name] if file != "tags.csv")


def test_a_source_or_an_output_that_is_no_folder_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    for source in ("file", "nowhere"):
        with pytest.raises(InputError, match=f"kion source .*{source} is not a folder; expected one with interactions"):
            kion.write_tables(tmp_path / "out", tmp_path / source)
    for name, files in SOURCES.items():
        with pytest.raises(InputError, match="is a file; expected a folder to write the tables to"):
            _write(name, tmp_path / "file", _folder(tmp_path / name, files))


def test_kion_has_no_ratings_that_could_be_liked(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["dataset", "kion", "--data-dir", str(tmp_path), "--source", str(tmp_path), "--liked-from", "4"]
    assert main(command) == 2
    assert capsys.readouterr().err == "error: --liked-from is for ratings, and kion has none.\n"


# --- The command


def test_help_names_every_data_set_and_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["dataset", "--help"])
    printed = capsys.readouterr().out
    assert set(SOURCES) | {"movielens-100k"} == set(NAMES)
    assert all(name in printed for name in NAMES)
    assert all(file in printed for files in SOURCES.values() for file in files if file != "tags.csv")


@pytest.mark.parametrize(
    ("name", "says"), [("movielens-1m", "Harper"), ("movielens-20m", "GroupLens"), ("kion", "MTS")]
)
def test_the_notice_says_whose_the_data_are_and_the_next_command_names_the_config(
    name: str, says: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _made(name, tmp_path, SOURCES[name])
    printed = capsys.readouterr().out
    assert says in printed
    assert printed.endswith(f"--output-dir out --config {name.partition('-')[0]}\n")


@pytest.mark.slow
def test_the_main_job_runs_on_kion_with_its_config(tmp_path: pathlib.Path) -> None:
    days = ["2021-05-11", "2021-07-27", "2021-08-10"]
    viewings = [
        (user, 10 + (user + place) % 3, day, 600 * share, 10.0 * share)
        for user in range(1, 11)
        for place, day in enumerate(days)
        for share in [3 + (2 * user + place) % 7]
    ]
    text = INTERACTIONS + "".join(",".join(map(str, viewing)) + "\n" for viewing in viewings)
    _made("kion", tmp_path, KION | {"interactions.csv": text.encode()})
    config = pathlib.Path(__file__).parent.parent / "configs" / "kion.yaml"
    command = ["run", "--data-dir", str(tmp_path / "out"), "--output-dir", str(tmp_path / "run"), "--workers", "1"]
    assert main([*command, "--config", str(config)]) == 0
    counts = run_folders.manifest(str(tmp_path / "run"))["counts"]
    for split, day in zip(("train", "val", "test"), days, strict=True):
        positive = sum(watched > 40 for _, _, date, _, watched in viewings if date == day)
        assert counts[f"exposures/{split}/positive"] == positive > 0
        assert counts[f"exposures/{split}/exposed"] == 10 - positive > 0
    assert counts["rows/users/used"] == 13
    assert not list((tmp_path / "run" / "rejected").rglob("*.parquet"))
