"""The reference of settings: their types, limits and defaults from the models, their words from the shipped config."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from recsys_tft.commands.config_command import schema
from recsys_tft.configuration import presets

HEAD = """# Settings

A config is a YAML file with the differences from these defaults; an unknown key is an error. `recsys-tft config`
prints all settings as a file with comments, and `recsys-tft config --schema` the JSON schema with which editors
complete and check it.
"""
_KEY = re.compile(r"(?P<indent> *)(?P<name>[\w.]+):(?P<rest>.*)")
_LEAST, _MOST = -(2**53), 2**53  # beyond which a limit is only that of the type


def text() -> str:
    """The page: single settings first, then a table for each section."""
    whole = schema()
    words = comments(presets.files()[presets.ALL_SETTINGS].read_text("utf-8"))
    sections = {name: section for name, found in whole["properties"].items() if (section := _section(found, whole))}
    single = {"properties": {name: found for name, found in whole["properties"].items() if name not in sections}}
    parts = [HEAD, "\n## Single settings\n\n", _table(dict(_leaves(single, whole)), (), words, whole)]
    for name, section in sections.items():
        described = words.get((name,)) or section["description"].partition("\n")[0]
        parts.append(f"\n## {name}\n\n{_plain(described)}\n\n")
        parts.append(_table(dict(_leaves(section, whole)), (name,), words, whole))
    return "".join(parts)


def comments(config: str) -> dict[tuple[str, ...], str]:
    """What a config says of each key: the comment above it and the one behind it."""
    found: dict[tuple[str, ...], str] = {}
    above: list[str] = []
    path: list[str] = []
    last: tuple[str, ...] | None = None
    for line in config.partition("\n\n")[2].splitlines():
        content = line.strip()
        if content.startswith("#"):
            above.append(content.lstrip("# "))
        elif match := _KEY.fullmatch(line):
            path[len(match["indent"]) // 2 :] = [match["name"]]
            last, behind = tuple(path), match["rest"].partition(" #")[2].strip()
            found[last] = " ".join(filter(None, [*above, behind]))
            above = []
        else:
            above = []
    return {key: words for key, words in found.items() if words}


def _section(found: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any] | None:
    """The definition of a section, None of another setting."""
    target = whole["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else {}
    return target if "properties" in target else None


def _leaves(
    section: Mapping[str, Any], whole: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings of a section and of those within it, by dotted names."""
    for name, found in section["properties"].items():
        if inner := _section(found, whole):
            yield from _leaves(inner, whole, f"{above}{name}.")
        else:
            yield f"{above}{name}", found
            yield from _of_each(found, whole, f"{above}{name}.NAME")


def _of_each(found: Mapping[str, Any], whole: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings of the sections that a mapping holds, such as {country: {n_oov: 2}}."""
    inner = found.get("additionalProperties")
    for one in inner.get("anyOf", [inner]) if isinstance(inner, dict) else []:
        if section := _section(one, whole):
            yield from _leaves(section, whole, f"{name}.")
        else:
            yield from _of_each(one, whole, f"{name}.NAME")


def _table(
    settings: Mapping[str, Any], above: tuple[str, ...], words: Mapping[tuple[str, ...], str], whole: Mapping[str, Any]
) -> str:
    lines = ["| setting | takes | |\n|---|---|---|\n"]
    for name, found in settings.items():
        said = _plain(words.get((*above, *name.split(".")), ""))
        default = f"<br>default {_code(json.dumps(found['default']))}" if "default" in found else ""
        lines.append(f"| `{name}` | {takes(found, whole)}{default} | {said} |\n")
    return "".join(lines)


def takes(found: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """What values a setting may have, in words."""
    if "$ref" in found:
        return takes(whole["$defs"][found["$ref"].rpartition("/")[2]], whole)
    if "enum" in found:
        return ", ".join(_code(str(value)) for value in found["enum"])
    if "anyOf" in found:
        return " or ".join(dict.fromkeys(takes(one, whole) for one in found["anyOf"]))
    kind = found.get("type", "any value")
    if kind == "array":
        return f"list of {takes(found['items'], whole)}" if "items" in found else "list"
    if kind == "object":
        inner = found.get("additionalProperties")
        return f"mapping to {takes(inner, whole)}" if isinstance(inner, dict) and inner else "mapping"
    if kind == "boolean":
        return "`true` or `false`"
    return {"string": "text", "null": "`null`"}.get(kind, kind) + _limits(found)


def _limits(found: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    told = {sign: found[name] for name, sign in signs.items() if _LEAST < found.get(name, _MOST) < _MOST}
    limits = [f"{sign} {limit:,}" for sign, limit in told.items()]
    return f" {', '.join(limits)}" if limits else ""


def _code(value: str) -> str:
    return f"`{value}`"


def _plain(words: str) -> str:
    """A comment as Markdown: a sentence with links to pages, whose code stays as it is."""
    texts = [re.sub(r"([*_|<])", r"\\\1", text) if i % 2 == 0 else text for i, text in enumerate(words.split("`"))]
    linked = re.sub(r"docs/([\w-]+)\.md", r"[\1](../\1.md)", "`".join(texts))
    return f"{linked[:1].upper()}{linked[1:]}"
