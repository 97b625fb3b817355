"""The page that lists the decisions."""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent.parent / "docs" / "decisions"
HEAD = """# Decisions

Each decision with its reasons and its cost, oldest first. [Contributing](../contributing.md) says how to write one.

| | |
|---|---|
"""


def text() -> str:
    """The page, from the titles of the files."""
    return HEAD + "".join(f"| {number} | [{title}]({name}) |\n" for number, title, name in titles())


def titles() -> list[tuple[str, str, str]]:
    """Number, title and file of each decision.

    Raises:
        ValueError: if a file does not begin with its own number and a title.
    """
    found = []
    for file in sorted(FOLDER.glob("[0-9]*.md")):
        head = file.read_text("utf-8").partition("\n")[0]
        match = re.fullmatch(r"# (\d+)\. (.+)", head)
        if match is None or int(match[1]) != int(file.name[:4]):
            raise ValueError(f"{file.name} begins with {head!r}, not with '# {int(file.name[:4])}. TITLE'")
        found.append((match[1], match[2], file.name))
    return found
