"""The README shows what the software does."""

import contextlib
import io
import pathlib
import re
from typing import Any

import pytest
from user_project import HEAD

from recsys_tft.commands.feature_table import as_markdown
from recsys_tft.default_table import DEFAULT

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the README's Python usage prints, and then how many rows its ten lines read, both in a new folder."""
    usage, reading = (next(block for block in BLOCKS if word in block) for word in ("ProcessingPipe", "TFRecordDat"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("readme"))
        return [printed_by(code) for code in (usage, reading + "\nprint(sum(1 for _ in rows.unbatch()))")]


def printed_by(code: str) -> str:
    """What a block prints that sees the names of no other."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        exec(code, {})
    return text.getvalue()


@pytest.mark.slow
def test_the_python_usage_runs_as_it_stands(printed: list[str]) -> None:
    assert "(256,)" in printed[0]
    assert "sampled" in printed[0]


@pytest.mark.slow
def test_the_ten_lines_read_the_rows(printed: list[str]) -> None:
    assert int(printed[1]) > 1000


def test_the_feature_table_is_the_one_of_the_code() -> None:
    assert as_markdown(DEFAULT) in README


def test_every_file_that_it_names_exists() -> None:
    for name in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / name).exists(), name


def test_the_table_of_ones_own_is_a_table() -> None:
    names: dict[str, Any] = {}
    exec(HEAD + next(block for block in BLOCKS if "TABLE = DEFAULT.extend(" in block), names)
    assert "surface_token" in names["TABLE"].by_name


def test_every_module_is_in_the_map() -> None:
    paths = [path for path in (ROOT / "recsys_tft").rglob("*.py") if "project_template" not in path.parts]
    modules = {path.name for path in paths if not path.name.startswith("__")}
    assert {name for name in modules if f"{name}`" not in README} == set()
