"""Chromium as the system has it, driven by Playwright, which brings no browser of its own here."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Where it is; skips the test where there is none."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    return path


@contextlib.contextmanager
def opened(url: str, width: int = 1280, scheme: str = "light", expected: str | None = None) -> Iterator[Page]:
    """A page in a new browser; the block fails if the page has printed an error or asked for something elsewhere.

    Args:
        url: of the page.
        width: of the window.
        scheme: light or dark.
        expected: what an error that may be printed holds.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if not _is_near(request.url, url) else None)
        page.goto(url)
        try:
            yield page
        finally:
            browser.close()
        assert [text for text in wrong if expected is None or expected not in text] == []


def _is_near(asked: str, url: str) -> bool:
    """Whether what is asked for is on the page's own server, or in the page."""
    return asked.startswith("data:") or asked.split("/")[:3] == url.split("/")[:3]


def overflows(page: Page) -> bool:
    """Whether something is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
