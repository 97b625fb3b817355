"""The site is built without a warning, asks no other host for anything, and fits a phone."""

import functools
import http.server
import os
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from browser import opened, overflows

from docs_hooks import settings_page
from docs_hooks.commands_page import parsers
from recsys_tft.commands.config_command import schema

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent
LOOKED_AT = ("", "reference/settings/", "reference/commands/", "reference/api/", "serving/", "architecture/")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: pathlib.Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def text_of(site: pathlib.Path, page: str) -> str:
    return re.sub(r"<[^>]+>", "", (site / page / "index.html").read_text())


def test_every_command_setting_and_public_name_has_its_place(site: pathlib.Path) -> None:
    import recsys_tft

    for name in parsers():
        assert f'id="{name}"' in (site / "reference/commands/index.html").read_text()
    settings = text_of(site, "reference/settings")
    for name, definition in schema()["$defs"].items():
        for field in definition.get("properties", {}) if name != "Pair" else ():
            assert field in settings
    api = (site / "reference/api/index.html").read_text()
    for name in recsys_tft.__all__:
        assert re.search(rf'id="recsys_tft\.[\w.]*\b{name}"', api), name


def test_comments_of_the_config_belong_to_their_settings() -> None:
    above = "# command\n\n# Above,\n# twice.\na: 1\n\n# A section.\n"
    config = f"{above}b:\n  c: 2 # behind\n  # above\n  d: 3 # behind\n  e: 4\n"
    assert settings_page.comments(config) == {
        ("a",): "Above, twice.",
        ("b",): "A section.",
        ("b", "c"): "behind",
        ("b", "d"): "above behind",
    }


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (400, "light")])
def test_pages_fit_and_load_nothing_from_elsewhere(address: str, width: int, scheme: str) -> None:
    with opened(f"{address}/index.html", width, scheme) as page:
        for name in LOOKED_AT:
            page.goto(f"{address}/{name}")
            assert not overflows(page), name
            assert page.locator("h1").first.is_visible()
        page.evaluate("document.querySelector('#__search').click()")
        page.locator("input.md-search__input").fill("exploration_share")
        page.locator(".md-search-result__link").first.wait_for()
