"""Reads a YAML file of settings as plain values: no code, no repeated keys, no unbounded aliases.

Keys are the text as written, so that Norway's `NO` is no boolean. Values that YAML does not read as text keep their
text beside them, for settings that are text.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import yaml

LARGEST = 16 << 20  # bytes of a file
DEEPEST = 64  # levels of brackets and indentation; Python's own limit is a thousand
MOST_ALIASED = 100_000  # values that aliases may add: eleven lines of ten aliases each would make 10^11
_TAG = "tag:yaml.org,2002:"
_PLAIN = tuple(_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge"))
_OTHER_BASE = re.compile(r"[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """PyYAML's rules for plain scalars, plus numbers such as 1e11, which it takes for text."""


_Loader.add_implicit_resolver(
    _TAG + "float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


class WrongYamlError(ValueError):
    """An error in a YAML text, with its line."""


class OtherBase:
    """A number that YAML reads to an unexpected base: 010 is 8, and 1:30 is 90."""

    def __init__(self, text: str):
        self._text = text

    def __repr__(self) -> str:
        return self._text


@dataclasses.dataclass(frozen=True)
class Document:
    """The contents of a file.

    Attributes:
        values: mappings, lists, text, numbers, booleans, dates, or an OtherBase; None for an empty file.
        written: the original text of each value that is not text, by path.
    """

    values: Any
    written: dict[Path, str]


def read(text: str) -> Document:
    """The one document of a text.

    Raises:
        WrongYamlError: naming the line, if it is not YAML, has a key twice, a tag other than of plain values, or too
            many levels, documents or aliased values.
    """
    try:
        _check_depth(text)
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        raise WrongYamlError(_described(error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise WrongYamlError(f"line {line}: the character {chr(error.character)!r} is not allowed") from None
    written: dict[Path, str] = {}
    if root is None:
        return Document(None, written)
    _check_size(root)
    return Document(_Values(written).of(root, ()), written)


def _described(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    text = " ".join(part for part in (error.context, error.problem) if part)
    return f"{where}{text}{'; indent with spaces' if chr(92) + 't' in text else ''}"


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise WrongYamlError(f"line {_line(event)}: more than {DEEPEST} nested levels")


def _line(marked: yaml.Node | yaml.Event) -> int:
    assert marked.start_mark is not None
    return int(marked.start_mark.line) + 1


def _check_size(root: yaml.Node) -> None:
    """Refuse aliases that expand to too much, or to themselves, before any is followed."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise WrongYamlError(f"line {_line(node)}: the anchor contains an alias of itself")
        if id(node) not in sizes:
            sizes[id(node)] = 1 + sum(size(below, (*above, id(node))) for below in _below(node))
        return sizes[id(node)]

    expanded = size(root, ())
    if expanded - len(sizes) > MOST_ALIASED:
        raise WrongYamlError(
            f"its aliases expand to {expanded:,} values, more than the limit of {MOST_ALIASED:,}; write the values out"
        )


def _below(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


class _Values:
    """Converts nodes to values, and keeps their text."""

    def __init__(self, written: dict[Path, str]):
        self._written = written
        self._loader = _Loader("")

    def of(self, node: yaml.Node, path: Path) -> Any:
        """The value of a node at a path."""
        if len(path) > DEEPEST:
            raise WrongYamlError(f"line {_line(node)}: aliases that make more than {DEEPEST} nested levels")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        _check_tag(node, (_TAG + ("map" if isinstance(node, yaml.MappingNode) else "seq"),))
        if isinstance(node, yaml.MappingNode):
            return {name: self.of(value, (*path, name)) for name, value in _entries(node).items()}
        return [self.of(value, (*path, place)) for place, value in enumerate(node.value)]

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        _check_tag(node, _PLAIN)
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind in ("str", "value", "merge"):
            return text
        if kind != "null":
            self._written[path] = text
        if (kind == "int" and _OTHER_BASE.fullmatch(text)) or (kind == "float" and ":" in text):
            return OtherBase(text)
        try:
            value = self._loader.construct_object(node)
        except (ValueError, OverflowError, KeyError, AttributeError, yaml.YAMLError):
            return text  # such as 2025-02-30, or more digits than Python reads
        return value + 0.0 if kind == "float" else value  # turns -0.0 into 0.0


def _check_tag(node: yaml.Node, allowed: tuple[str, ...]) -> None:
    if node.tag not in allowed:
        name = node.tag.replace(_TAG, "!!")
        raise WrongYamlError(f"line {_line(node)}: the tag {name} is not allowed; settings are plain values")


def _entries(mapping: yaml.MappingNode) -> dict[str, yaml.Node]:
    """The value of each key; a mapping's own override those merged by `<<`, and earlier merged ones later ones.

    Repeated keys are refused.
    """
    lines: dict[str, tuple[int, yaml.Node]] = {}
    merged: list[yaml.Node] = []
    for key, value in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            raise WrongYamlError(f"line {_line(key)}: a key has to be a single word")
        if key.value in lines:
            first = lines[key.value][0]
            where = f"lines {first} and {_line(key)}" if first != _line(key) else f"line {first}"
            raise WrongYamlError(f"the key '{key.value}' exists twice, in {where}")
        lines[key.value] = _line(key), value
        if key.tag == _TAG + "merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    entries = {name: value for name, (_, value) in lines.items()}
    if merged:
        del entries["<<"]
    for other in merged:
        if not isinstance(other, yaml.MappingNode):
            raise WrongYamlError(f"line {_line(other)}: << takes a mapping, or a list of mappings")
        entries = entries | {name: value for name, value in _entries(other).items() if name not in entries}
    return entries
