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

        found = preview.check(options.data_dir, options.config, progress.say)
    for part in _parts(found):
        progress.console.print(part, soft_wrap=isinstance(part, str), markup=False)
    return 1 if found.stops else 0


def _parts(found: "Preview") -> Iterator["RenderableType"]:
    yield _tables(found)
    yield from _columns(found)
    yield from _rejected(found)
    if found.estimate:
        yield from _made(found)
    yield from (f"warning: {sentence}" for sentence in found.warnings)
    yield from (f"A run would stop: {sentence}" for sentence in found.stops)
    if not found.stops:
        yield "A run would take these tables."


def _tables(found: "Preview") -> "RenderableType":
    from recsys_tft.commands.summary import numbers_table

    shown = numbers_table("Raw tables", "table", "files", "rows", "read", "rejected")
    for name, table in found.tables.items():
        read = found.counts[f"rows/{name}/in"]
        rejected = sum(n for reason, n in found.counts.items() if reason.startswith(f"rejected/{name}/"))
        numbers = f"{len(table.fingerprint):,}", f"{table.rows:,}", f"{read:,}", f"{rejected:,}"
        shown.add_row(name, *numbers)
    return shown


def _columns(found: "Preview") -> Iterator[str]:
    yield "\nColumns"
    for name, table in found.tables.items():
        columns = [column for column in table.columns if column not in table.absent]
        named = (f"{column} (called {table.own_names[column]})" if column in table.own_names else column
                 for column in columns)  # fmt: skip
        others = table.possible_flags if table.is_long else ("interaction_type",)  # which say the same in another way
        absent = ", ".join(column for column in table.absent if name != "interactions" or column not in others)
        yield f"{name}: {', '.join(named)}" + (f"; absent: {absent}" if absent else "")


def _rejected(found: "Preview") -> Iterator["RenderableType"]:
    from recsys_tft.commands.summary import numbers_table

    counts = {name: number for name, number in sorted(found.counts.items()) if name.startswith("rejected/") and number}
    if not counts:
        return
    shown = numbers_table("\nRejected rows", "table and reason", "of those read", "of all, about")
    for name, number in counts.items():
        _, table, reason = name.split("/", 2)
        shown.add_row(f"{table}: {reason}", f"{number:,}", f"{_rounded(number * found.scale(table)):,}")
    yield shown


def _made(found: "Preview") -> Iterator["RenderableType"]:
    from recsys_tft.commands.summary import numbers_table

    made = found.estimate
    assert made is not None
    shown = numbers_table("\nRows that a run would write", "data set", "rows, about", "MB, about")
    for name, rows in made.rows.items():
        shown.add_row(name, f"{_rounded(rows):,}", f"{_rounded(made.bytes[name] / 1e6):,}")
    yield shown
    if found.splits:
        yield "\n".join(f"{name.replace('_', ' ')} {time or 'never'}" for name, time in found.splits.items())
    threads = f"{made.threads} thread{'s' * (made.threads > 1)}"
    yield f"About {_rounded(made.seconds):,} s on {threads} of this machine, and {made.memory / 1e9:.1f} GB of memory."


def _rounded(number: float) -> int:
    """Two digits, as nobody knows more."""
    return int(float(f"{number:.2g}")) if number >= 1 else round(number)
