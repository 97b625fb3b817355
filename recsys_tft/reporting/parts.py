"""Parts shared by sections: headings, tables, notes, legends."""

from collections.abc import Sequence
from typing import Any

from recsys_tft.reporting.elements import Child, Markup, element, joined


def section(name: str, title: str, *children: Child, note: str = "") -> Markup:
    """A section that links can point to."""
    lead = element("p", note, class_="lead") if note else None
    return element("section", element("h2", title), lead, *children, id=name)


def block(title: str, *children: Child, note: str = "") -> Markup:
    """A part of a section with a heading of its own."""
    lead = element("p", note, class_="note") if note else None
    return element("div", element("h3", title), lead, *children, class_="block")


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]], texts: int = 1, last: bool = False) -> Markup:
    """A table whose first columns are texts and whose others are numbers; it scrolls if it is too wide.

    Args:
        headings: of the columns.
        rows: cells.
        texts: how many columns are texts.
        last: whether the last column is a text too.
    """

    def style(place: int) -> str | None:
        return None if place < texts or (last and place == len(headings) - 1) else "n"

    head = [element("th", name, class_=style(i), scope="col") for i, name in enumerate(headings)]
    body = [element("tr", [element("td", cell, class_=style(i)) for i, cell in enumerate(row)]) for row in rows]
    inside = element("table", element("thead", element("tr", head)), element("tbody", body))
    return element("div", inside, class_="scroll", tabindex=0)


def absent(what: str, command: str) -> Markup:
    """Name the command that makes a missing part."""
    return element("p", f"{what} ", element("code", command), class_="absent")


def legend(*names: str) -> Markup:
    """The legend of the splits' colours."""
    return element("p", [element("span", element("i", class_=f"key {name}"), name) for name in names], class_="legend")


def columns(*children: Child, narrow: bool = False) -> Markup:
    """Blocks side by side, two or if narrow three, where there is room."""
    return element("div", joined(*children), class_=f"columns{' narrow' if narrow else ''}")
