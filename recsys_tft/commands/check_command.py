"""`recsys-tft check`: a preview of a run on raw tables."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from recsys_tft import libraries

if TYPE_CHECKING:
    from rich.console import RenderableType

    from recsys_tft.checking.preview import Preview

EXAMPLE = """example:
  recsys-tft check --data-dir data/raw
  recsys-tft check --data-dir data/raw --config my.yaml

Reads the files' footers and about half a million interactions, and writes nothing. Exits with 1 if a run would stop."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="folder of the four raw tables, as for run")
    parser.add_argument("--config", metavar="FILE", help="YAML with settings, as for run")


def check(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Report what a run would read, reject and write."""
    from recsys_tft.progress import Progress

    with Progress() as progress, libraries.quietly(options.debug):
        from recsys_tft.checking import preview

        result = preview.check(options.data_dir, options.config, progress.say)
    for part in _parts(result):
        progress.console.print(part, soft_wrap=isinstance(part, str), markup=False)
    return 1 if result.stops else 0


def _parts(preview: "Preview") -> Iterator["RenderableType"]:
    yield _tables(preview)
    yield from _columns(preview)
    yield from _rejected(preview)
    if preview.estimate:
        yield from _estimate(preview)
    yield from (f"warning: {sentence}" for sentence in preview.warnings)
    yield from (f"A run would stop: {sentence}" for sentence in preview.stops)
    if not preview.stops:
        yield "A run would take these tables."


def _tables(preview: "Preview") -> "RenderableType":
    from recsys_tft.commands.summary import numbers_table

    listing = numbers_table("Raw tables", "table", "files", "rows", "read", "rejected")
    for name, table in preview.tables.items():
        read = preview.counts[f"rows/{name}/in"]
        rejected = sum(n for reason, n in preview.counts.items() if reason.startswith(f"rejected/{name}/"))
        numbers = f"{len(table.fingerprint):,}", f"{table.rows:,}", f"{read:,}", f"{rejected:,}"
        listing.add_row(name, *numbers)
    return listing


def _columns(preview: "Preview") -> Iterator[str]:
    yield "\nColumns"
    for name, table in preview.tables.items():
        if not table.fingerprint:
            continue
        columns = [column for column in table.columns if column not in table.absent]
        named = (f"{column} (called {table.own_names[column]})" if column in table.own_names else column
                 for column in columns)  # fmt: skip
        others = table.possible_flags if table.is_long else ("interaction_type",)  # which say the same in another way
        absent = ", ".join(column for column in table.absent if name != "interactions" or column not in others)
        yield f"{name}: {', '.join(named)}" + (f"; absent: {absent}" if absent else "")


def _rejected(preview: "Preview") -> Iterator["RenderableType"]:
    from recsys_tft.commands.summary import numbers_table

    counts = {name: n for name, n in sorted(preview.counts.items()) if name.startswith("rejected/") and n}
    if not counts:
        return
    listing = numbers_table("\nRejected rows", "table and reason", "of those read", "of all, about")
    for name, n in counts.items():
        _, table, reason = name.split("/", 2)
        listing.add_row(f"{table}: {reason}", f"{n:,}", f"{_rounded(n * preview.scale(table)):,}")
    yield listing


def _estimate(preview: "Preview") -> Iterator["RenderableType"]:
    from recsys_tft.commands.summary import numbers_table

    cost = preview.estimate
    assert cost is not None
    listing = numbers_table("\nRows that a run would write", "data set", "rows, about", "MB, about")
    for name, rows in cost.rows.items():
        listing.add_row(name, f"{_rounded(rows):,}", f"{_rounded(cost.bytes[name] / 1e6):,}")
    yield listing
    if preview.splits:
        yield "\n".join(f"{name.replace('_', ' ')} {time or 'never'}" for name, time in preview.splits.items())
    threads = f"{cost.threads} thread{'s' * (cost.threads > 1)}"
    yield f"About {_rounded(cost.seconds):,} s on {threads} of this machine, and {cost.memory / 1e9:.1f} GB of memory."


def _rounded(number: float) -> int:
    """Two digits, as nobody knows more."""
    return int(float(f"{number:.2g}")) if number >= 1 else round(number)
