"""The README shows what the software does, on one page; the map of the modules is whole."""

import contextlib
import io
import pathlib
import re
import runpy

import pytest
import setuptools

from recsys_tft.commands.feature_table import as_markdown
from recsys_tft.default_table import DEFAULT

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAP = (ROOT / "docs" / "architecture.md").read_text()
LINK = re.compile(r"\]\(([^)#]+)")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the README's Python usage prints, and then how many rows the lines of "output.md" read, in a new folder."""
    usage, reading = (
        re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
        for page in (README, (ROOT / "docs" / "output.md").read_text())
    )
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


def test_the_readme_is_a_page() -> None:
    assert len(README.splitlines()) <= 150


def test_the_feature_table_of_the_site_is_the_one_of_the_code() -> None:
    from docs_hooks.hook import generated

    assert as_markdown(DEFAULT) in generated()["reference/features.md"]


def test_every_file_that_it_names_exists() -> None:
    for name in LINK.findall(README):
        assert (ROOT / name).exists(), name


def test_every_module_is_in_the_map() -> None:
    paths = [path for path in (ROOT / "recsys_tft").rglob("*.py") if "project_template" not in path.parts]
    modules = {path.name for path in paths if not path.name.startswith("__")}
    assert {name for name in modules if f"{name}`" not in MAP} == set()


@pytest.mark.parametrize("address", ["", "https://example.org/videos/recsys_tft"])
def test_the_long_description_has_no_relative_links(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: told.update(arguments))
    monkeypatch.setenv("RECSYS_TFT_ADDRESS", address)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    found = LINK.findall(told["long_description"])
    assert len(found) == (len(LINK.findall(README)) if address else 0)
    assert all(re.match(rf"{address}/(blob|raw)/v[\d.]+/\w", link) for link in found)
    assert "# recsys_tft" in told["long_description"]
    assert set(told["project_urls"]) == ({"Source", "Changelog", "Documentation"} if address else set())
