"""`recsys-tft init`: what it writes, and that it replaces nothing."""

import pathlib
import subprocess
import sys

import pytest

from recsys_tft.cli import main
from recsys_tft.commands import init_project

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.slow
def test_what_it_writes_passes_its_own_test_and_names_its_table(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], forgetful: None
) -> None:
    folder = tmp_path / "my shop"
    assert main(["init", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == set(init_project.FILES)
    assert f"Next: cd '{folder}' && pytest" in printed
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
    assert main(["features", "--config", str(folder / "config.yaml")]) == 0
    assert "resolution_share" in capsys.readouterr().out


@pytest.mark.parametrize("name", init_project.FILES)
def test_a_folder_with_such_a_file_is_refused(
    name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["init", str(tmp_path)]) == 1
    assert f"{tmp_path / name}: exists already and is not replaced" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop").write_text("mine")
    assert main(["init", str(tmp_path / "shop")]) == 1
    assert "cannot write a project there" in capsys.readouterr().err
    assert main(["init", "gs://bucket/shop"]) == 2
    assert "expected a local folder" in capsys.readouterr().err


def test_the_template_is_part_of_the_package() -> None:
    package = (ROOT / "pyproject.toml").read_text()
    assert '"project_template/*"' in package
    assert {path.name for path in init_project.TEMPLATE.iterdir() if path.is_file()} == set(init_project.FILES)
