"""Elements of HTML and SVG, in which every text is escaped."""

import html
from collections.abc import Iterable
from typing import TypeAlias

Child: TypeAlias = "Markup | str | int | float | Iterable[Child] | None"


class Markup(str):
    """Text that is HTML already, made only by `element`, and by `raw` from the package's own files."""


def element(tag: str, *children: "Child", **attributes: object) -> Markup:
    """An element; of its attributes `class_` is class, `_` is `-`, and None and False are left out.

    Examples:
        >>> element("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(_value(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    inside = "".join(map(_rendered, children))
    return Markup(f"<{tag}{text}>{inside}</{tag}>")


def titled(text: str) -> Markup:
    """The title of a time span or a picture."""
    return Markup(f"<title>{_rendered(text)}</title>")


def joined(*children: "Child") -> Markup:
    """Several elements, one after the other."""
    return Markup("".join(map(_rendered, children)))


def raw(text: str) -> Markup:
    """A text that is inserted unchanged."""
    return Markup(text)


def _value(value: object) -> str:
    if value is True:
        return ""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else _shown(str(value))


def _rendered(child: "Child") -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int | float):
        return html.escape(_shown(str(child)))
    return "".join(map(_rendered, child))


def _shown(text: str) -> str:
    """Text without characters that HTML forbids: surrogates, and control characters except white space."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
