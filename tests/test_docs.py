"""Every command and block of code in the pages of the docs is one; those that no other test runs are run here."""

import json
import pathlib
import re
import shlex
from typing import Any

import pytest
import yaml
from user_project import HEAD

from docs_hooks import commands_page, links
from recsys_tft import cli
from recsys_tft.beam_pipelines.options import beam_options
from recsys_tft.commands import refresh_command
from recsys_tft.configuration.settings import parse
from recsys_tft.default_table import DEFAULT

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [page for page in links.sources() if "decisions/" not in page]
Block = tuple[str, str]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, as (language, text)."""
    return re.findall(r"^```([a-z]*)\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


BLOCKS = {page: blocks(page) for page in PAGES}
# Of Python, by the test that runs them, or why none can; the others run below.
RUN = {
    "README.md": "test_readme.py",
    "docs/daily.md": "test_refresh.py",
    "docs/frameworks.md": "test_frameworks.py",
    "docs/output.md": "test_readme.py",
    "docs/reading.md": "test_reading_page.py",
    "docs/tutorial.md": "test_tutorial.py",
    "docs/vectors.md": "test_vectors.py",
    "docs/your-own-features.md": "test_your_own_features.py",
}
NOT_RUN = {
    "from feast import": ".ci/feast does the like, in an environment of its own",
    "import grpc": "test_wire.py does, with the port of its server",
    'recommender = Recommender("out", redis=': "test_redis.py does, with the address of its Redis",
    "import tensorflow_data_validation": "cannot be installed beside TensorFlow 2.21",
    "from airflow.sdk": "Airflow is the reader's; its commands are looked at as all are",
}
SERVED = [
    text for page in ("docs/serving.md", "docs/tour.md") for kind, text in BLOCKS[page] if kind == "python"
    and not text.startswith(tuple(NOT_RUN)) and "DEFAULT" not in text
]  # fmt: skip
TFX = [text for _, text in BLOCKS["docs/tfx.md"] if text.startswith("Transform(")]
KNOWN = set(commands_page.parsers())
TABLES = [(page, text) for page in PAGES for _, text in BLOCKS[page] if re.match(r"(#.*\n)?TABLE = ", text)]


def commands(page: str, program: str) -> list[list[str]]:
    """The arguments of each call of a program in the blocks of a page, as a shell would give them."""
    text = "\n".join(text.replace("\\\n", " ") for _, text in BLOCKS[page])
    calls = re.findall(rf"^[$ ]*{program} (.*)$", text, re.MULTILINE) + re.findall(
        rf'return "{program} (.*)"$', text, re.M
    )
    words = [
        shlex.split(re.split(r" (?:[>&;]|\|\|)", re.sub(r"\{\{.*?\}\}", "X", call))[0], comments=True) for call in calls
    ]
    return [call for call in words if call]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one(page: str) -> None:
    for arguments in commands(page, "recsys-tft"):
        options, rest = cli._parser(arguments).parse_known_args(arguments)
        if options.command in (cli.run, refresh_command.refresh):
            beam_options(rest)  # refuses what Beam does not know
        elif options.command is not cli.recommend:  # whose options are the columns of the export
            assert not rest, arguments
    assert set(re.findall(r"`recsys-tft ([a-z]+)", (ROOT / page).read_text())) <= KNOWN


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_and_every_measurement_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
    for module in re.findall(r"python -m bench\.(\w+)", text):
        assert (ROOT / "bench" / f"{module}.py").is_file(), module


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    kinds = {kind for found in BLOCKS.values() for kind, _ in found}
    assert kinds - {"nginx", "sql"} <= {"", "sh", "console", "text", "python", "yaml", "json"}


@pytest.mark.parametrize("page", PAGES)
def test_settings_and_requests_are_read(page: str) -> None:
    for kind, text in BLOCKS[page]:
        if kind == "json":
            json.loads(text)
        elif kind == "yaml" and "shop.features" not in text:  # which test_your_own_features.py runs with
            parse(yaml.safe_load(text), page)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_is_run_by_some_test(page: str) -> None:
    code = [text for kind, text in BLOCKS[page] if kind == "python"]
    for text in code:
        compile(text, page, "exec")
    if page in RUN:
        name = page.rpartition("/")[2]
        assert code
        assert f'"{name}"' in (ROOT / "tests" / RUN[page]).read_text()
    else:
        here = {*SERVED, *(text for _, text in TABLES), *TFX}
        assert not [text for text in code if text not in here and not text.startswith(tuple(NOT_RUN))]


@pytest.mark.parametrize(("page", "text"), TABLES, ids=[page for page, _ in TABLES])
def test_a_table_of_ones_own_is_a_table(page: str, text: str) -> None:
    names: dict[str, Any] = {}
    exec(HEAD + text, names)
    assert len(names["TABLE"].signals) > len(DEFAULT.signals)


def test_the_component_of_tfx_is_given_settings_and_a_module_file() -> None:
    (code,) = TFX
    given: dict[str, Any] = {}
    exec(code, {"Transform": lambda **arguments: given.update(arguments)})
    assert (ROOT / given["module_file"]).is_file()
    assert list(given["custom_config"]) == ["config"]


@pytest.mark.slow
def test_what_is_served_is_asked_as_the_pages_ask(
    served: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").symlink_to(served)
    monkeypatch.chdir(tmp_path)
    for text in SERVED:
        exec(text, {})
    assert len(SERVED) == 4
    assert capsys.readouterr().out.count("\n") > 10  # the ten best, and the nearest by retrieval
