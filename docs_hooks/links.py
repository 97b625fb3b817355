"""Links between Markdown files of the repository, as the site needs them."""

import pathlib
import posixpath
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parent.parent
FILES = "files"  # the folder of the site with files from outside docs/
# Pages that lie beside docs/, as that is where people and tools look for them.
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def relinked(text: str, source: str) -> str:
    """The text of a file, by its path from the root, with links as they have to be on the site."""
    page = _place(source)

    def moved(match: re.Match[str]) -> str:
        return posixpath.relpath(_place(_target(match[1], source)), posixpath.dirname(page) or ".")

    return _LINK.sub(moved, text)


def outside() -> set[str]:
    """The files of the repository, neither in docs/ nor pages of the site, that a page links to."""
    found = {_target(link, source) for source in sources() for link in links(source)}
    return {path for path in found if _place(path).startswith(f"{FILES}/") and (ROOT / path).is_file()}


def links(source: str) -> list[str]:
    """The relative links of a Markdown file, by its path from the root."""
    return _LINK.findall((ROOT / source).read_text("utf-8"))


def sources() -> Iterator[str]:
    """The Markdown files that are pages, by their paths from the root."""
    yield from ROOT_PAGES
    for file in sorted((ROOT / "docs").rglob("*.md")):
        yield file.relative_to(ROOT).as_posix()


def _target(link: str, source: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _place(path: str) -> str:
    """Where a file is on the site, from its path in the repository."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{FILES}/{path}"
