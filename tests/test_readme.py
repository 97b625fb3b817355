"""The README shows what the software does."""

import pathlib
import re
import subprocess
import sys

import pytest

from recsys_tft.commands.feature_table import as_markdown

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder_with_output(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder in which the README's Python usage has been run, with what it printed in `printed`."""
    folder = tmp_path_factory.mktemp("readme")
    usage = next(block for block in BLOCKS if "ProcessingPipeline" in block)
    run = subprocess.run([sys.executable, "-c", usage], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (folder / "printed").write_text(run.stdout)
    return folder


def test_the_python_usage_runs_as_it_stands(folder_with_output: pathlib.Path) -> None:
    printed = (folder_with_output / "printed").read_text()
    assert "(256,)" in printed
    assert "sampled" in printed


def test_the_ten_lines_read_the_rows(folder_with_output: pathlib.Path) -> None:
    reading = next(block for block in BLOCKS if "TFRecordDataset" in block)
    code = reading + "\nprint(sum(1 for _ in rows.unbatch()))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder_with_output, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 1000


def test_the_feature_table_is_the_one_of_the_code() -> None:
    assert as_markdown() in README


def test_every_file_that_it_names_exists() -> None:
    for name in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / name).exists(), name


def test_the_line_that_adds_a_feature_is_a_feature() -> None:
    from recsys_tft.features import CANDIDATE, RANKER, Feature, Lookup, Vocabulary

    line = next(block for block in BLOCKS if block.startswith("Feature("))
    names = {"Feature": Feature, "Lookup": Lookup, "Vocabulary": Vocabulary, "CANDIDATE": CANDIDATE, "RANKER": RANKER}
    feature = eval(line, names)
    assert feature.name == "channel_id_token"


def test_every_module_is_in_the_map() -> None:
    modules = {path.name for path in (ROOT / "recsys_tft").rglob("*.py") if not path.name.startswith("__")}
    assert {name for name in modules if f"{name}`" not in README} == set()
