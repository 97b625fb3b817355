"""Tables of a public data set in a folder that has some already: the old ones or the new ones, whole."""

import pathlib

import polars as pl
import pytest
from killed import killed_at

from recsys_tft.tables import public_tables

NAMES = ("users", "videos", "interactions")


def _write(folder: pathlib.Path, number: int) -> None:
    frame = pl.DataFrame({"user_id": [number]}, schema={"user_id": pl.Int64})
    video = frame.rename({"user_id": "video_id"})
    public_tables.write(folder, {"users": frame, "videos": video, "interactions": frame.hstack(video)})


def _held(folder: pathlib.Path) -> set[int]:
    return {pl.read_parquet(folder / f"{name}.parquet").row(0)[0] for name in NAMES}


def test_a_killed_writer_leaves_the_old_tables_or_the_new_ones(tmp_path: pathlib.Path) -> None:
    folder, number = tmp_path / "data", 0
    _write(folder, 1)
    while killed_at(number, lambda: _write(folder, 2), tmp_path):
        assert _held(folder) in ({1}, {2})
        _write(folder, 1)
        number += 1
    assert number > 5
    assert _held(folder) == {2}
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("other", ["notes.txt", "interactions_old/a.parquet"])
def test_what_else_is_in_the_folder_stays(other: str, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "data"
    _write(folder, 1)
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("mine")
    _write(folder, 2)
    assert _held(folder) == {2}
    assert (folder / other).read_text() == "mine"


def test_the_working_directory_stays_and_a_folder_keeps_its_mode(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o2775)
    _write(folder, 1)
    assert folder.stat().st_mode & 0o7777 == 0o2775
    monkeypatch.chdir(folder)
    _write(pathlib.Path(), 2)
    assert pathlib.Path.cwd() == folder
    assert _held(pathlib.Path()) == _held(folder) == {2}
