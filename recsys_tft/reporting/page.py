"""The page: all sections, styles and scripts in a single file without dependencies."""

import datetime
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.describing import statistics_files
from recsys_tft.reporting import data_sections, features_section, model_sections
from recsys_tft.reporting.elements import Markup, element, joined, raw, titled
from recsys_tft.reporting.numbers import count
from recsys_tft.reporting.parts import section, table
from recsys_tft.run_layout import run_folders
from recsys_tft.run_layout.periods import REFRESH
from recsys_tft.storage.files import write_text

_SECTIONS = {
    "input": "Input", "rows": "Rows", "labels": "Labels", "features": "Features", "two-tower": "Retrieval",
    "ranker": "Ranker", "serving": "Serving", "settings": "Settings",
}  # fmt: skip


def write(output_dir: str, path: str) -> None:
    """Write the page about an output; the file appears whole.

    Args:
        output_dir: of a run or a refresh.
        path: of the file.

    Raises:
        InputError: if there is no run, or its manifest or statistics are damaged.
    """
    write_text(path, build(output_dir))


def build(output_dir: str) -> str:
    """The page, as text.

    Args:
        output_dir: of a run or a refresh; only its manifest, statistics and models' metrics are read.

    Raises:
        InputError: as `write`.

    Examples:
        >>> build("out")  # doctest: +SKIP
        '<!DOCTYPE html>...'
    """
    manifest = run_folders.manifest(output_dir)
    figures = statistics_files.read(output_dir) if statistics_files.path_in(output_dir).exists() else None
    name = manifest.get(REFRESH, {}).get("name")
    title = f"Period {name}" if name else "Run report"
    sections = (
        _head(title, output_dir, manifest, figures),
        data_sections.inputs(manifest),
        data_sections.rows(manifest, figures),
        data_sections.labels(manifest),
        features_section.build(figures, output_dir),
        model_sections.two_tower(output_dir),
        model_sections.ranker(output_dir),
        model_sections.serving(output_dir),
        _settings(manifest),
    )
    return document(f"{title} · {manifest.get('run', '')}", _SECTIONS, sections)


def document(title: str, links: Mapping[str, str], sections: Sequence[Markup]) -> str:
    """A whole page.

    Args:
        title: of the window.
        links: to sections, their texts by their names.
        sections: one after the other.
    """
    body = element("div", _navigation(links), element("main", sections), class_="page")
    files = importlib.resources.files("recsys_tft.reporting")
    style, program = (raw((files / name).read_text("utf-8")) for name in ("page.css", "page.js"))
    head = element(
        "head",
        raw('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        raw('<link rel="icon" href="data:,">'),
        titled(title),
        element("style", style),
    )
    page = element("html", head, element("body", body, element("script", program)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _navigation(sections: Mapping[str, str]) -> Markup:
    links = [element("a", text, href=f"#{name}") for name, text in sections.items()]
    theme = element("button", "Theme", id="theme", type="button", title="light, dark, or as the system has it")
    return element("nav", element("div", links, class_="links"), theme, aria_label="Sections")


def _head(title: str, output_dir: str, manifest: Mapping[str, Any], figures: Mapping[str, Any] | None) -> Markup:
    counts, times = manifest["counts"], manifest.get("times", {})
    finished = times.get("finished", "")
    when = f"{datetime.datetime.fromisoformat(finished):%Y-%m-%d %H:%M} UTC" if finished else ""
    described = 0 if figures is None else sum(len(own["columns"]) for own in figures["data_sets"].values())
    tiles = {
        "interactions used": counts.get("rows/interactions/used", 0),
        "users": counts.get("written/users", 0),
        "videos": counts.get("written/videos", 0),
        "ranker rows": sum(n for name, n in counts.items() if name.startswith("written/ranker/")),
        "columns described": described,
        "warnings": len(manifest.get("warnings", [])),
    }
    shown = [element("div", element("b", count(value)), element("span", name)) for name, value in tiles.items()]
    lead = " · ".join(filter(None, (output_dir, f"run {manifest.get('run', '')}", when)))
    return element(
        "header", element("h1", title), element("p", lead, class_="lead"), element("div", shown, class_="tiles")
    )


def _settings(manifest: Mapping[str, Any]) -> Markup:
    """Settings that differ from the defaults, all settings, and versions."""
    from recsys_tft.configuration.settings import Settings

    default = Settings().model_dump(mode="json")
    differ = sorted(_differences(manifest["settings"], default))
    rows = [[element("code", name), _json(now), _json(usual)] for name, now, usual in differ]
    changed = table(["setting", "here", "default"], rows, texts=3) if rows else element("p", "All are the defaults.")
    every = element("pre", json.dumps(manifest["settings"], indent=2, ensure_ascii=False), tabindex=0)
    versions = table(["library", "version"], list(manifest.get("versions", {}).items()), texts=2)
    return section(
        "settings", "Settings", changed,
        joined(
            element("details", element("summary", "All settings"), every, class_="plain"),
            element("details", element("summary", "Versions"), versions, class_="plain"),
        ),
    )  # fmt: skip


def _differences(value: Any, default: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(value, dict) and isinstance(default, dict):
        keys = [key for key in value if key not in default or value[key] != default[key]]
        keys += [key for key in default if key not in value]
        return [
            difference
            for key in keys
            for difference in _differences(value.get(key), default.get(key), f"{name}.{key}" if name else key)
        ]
    return [(name, value, default)]


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
