"""The commands of bench/: that all of them are given options that they have, and where their data is."""

import pathlib

import pytest

from bench import all as everything
from bench import folders

BENCH = pathlib.Path(everything.__file__).parent


@pytest.mark.parametrize("name", everything.MEASUREMENTS)
def test_each_measurement_is_given_options_that_it_has(name: str, tmp_path: pathlib.Path):
    (tmp_path / "export-5").mkdir()  # which is not made anew then
    module, *options = everything.command(name, [2, 3], 5, tmp_path)[2:]
    text = (BENCH / f"{module.removeprefix('bench.')}.py").read_text()
    for option in options:
        assert not option.isupper(), "a place that nothing has filled"
        assert not option.startswith("--") or f'add_argument("{option}"' in text


def test_a_folder_that_is_not_there_is_made_and_kept(tmp_path: pathlib.Path):
    with folders.chosen(tmp_path / "some" / "where") as folder:
        (folder / "data").touch()
    assert (tmp_path / "some" / "where" / "data").exists()
    with folders.chosen(folder) as again:
        assert [file.name for file in again.iterdir()] == ["data"]


def test_without_a_folder_there_is_a_temporary_one():
    with folders.chosen(None) as folder:
        (folder / "data").touch()
    assert not folder.exists()
