"""`recsys-tft compare`: drift between two outputs."""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from recsys_tft.comparing.comparison import Compared, Comparison

EXAMPLE = """example:
  recsys-tft compare out out/periods/2025-03-02
  recsys-tft compare yesterday today --config limits.yaml --json
  recsys-tft compare out out --new-split test
  recsys-tft compare out requests           # written by `recsys-tft serve --log-requests requests`

OLD and NEW are outputs of runs or refreshes, of which only the statistics are read; or NEW is a folder of logged
requests, which go through the models exported from OLD. The exit code is 1 if the drift of a column is above its limit
(`drift` in the config), and 0 otherwise."""
_COLUMNS = {"jensen_shannon": "JS", "psi": "PSI", "infinity_norm": "L-inf", "missing_change": "missing",
            "oov_change": "OOV", "new_values": "new"}  # fmt: skip
_SHOWN = 10  # columns that are shown where nothing has drifted


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("old", metavar="OLD", help="output of a run or refresh")
    parser.add_argument("new", metavar="NEW", help="a later output, or a folder of logged requests")
    parser.add_argument("--old-split", metavar="SPLIT", help="split of OLD: train, val or test (default: train)")
    parser.add_argument("--new-split", metavar="SPLIT", help="split of NEW (default: train, which is all of a refresh)")
    parser.add_argument("--config", metavar="FILE", help="YAML with the limits, under drift (default: those of OLD)")
    parser.add_argument("--all", action="store_true", help="show all columns, not only the drifted ones")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with both distributions of every column")
    parser.add_argument("--anomalies", metavar="DIR", help="write the alarms as TFDV's Anomalies, DIR/DATA_SET.pbtxt")


def compare(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Print the changes, the worst first; exit with 1 above a limit."""
    from recsys_tft.comparing import comparison
    from recsys_tft.configuration import settings
    from recsys_tft.describing import statistics_files
    from recsys_tft.recommending import request_log

    comparison.check_outputs(options.old, options.new)
    drift = settings.load(options.config).drift if options.config else comparison.limits_of(options.old)
    are_requests = bool(request_log.files(options.new))
    figures = statistics_files.read(options.old), _new_figures(options, are_requests)
    splits = options.old_split or comparison.TRAIN, options.new_split or comparison.TRAIN
    changes = comparison.compare_figures(*figures, drift, *splits)
    if are_requests:  # which say nothing of videos
        changes = dataclasses.replace(changes, only_old=())
    if options.anomalies:
        _write_anomalies(changes, pathlib.Path(options.anomalies))
    if options.html:
        _write_page(changes, figures, options)
    if options.json:
        print(json.dumps(changes.to_json(), ensure_ascii=False, indent=2))
    else:
        _show(changes, options.all)
    return 1 if changes.drifted else 0


def _new_figures(options: argparse.Namespace, are_requests: bool) -> Mapping[str, Any]:
    """The statistics of NEW; those of requests are computed by the models of OLD, which need TensorFlow."""
    from recsys_tft.describing import statistics_files

    if not are_requests:
        return statistics_files.read(options.new)
    from recsys_tft.comparing import served_requests

    return served_requests.figures_of(options.new, options.old)


def _write_anomalies(changes: "Comparison", folder: pathlib.Path) -> None:
    from google.protobuf import text_format

    from recsys_tft.comparing import anomalies
    from recsys_tft.storage.files import write_text

    folder.mkdir(parents=True, exist_ok=True)
    for data_set in changes.rows:
        text = text_format.MessageToString(anomalies.to_proto(changes, data_set), as_utf8=True)
        write_text(str(folder / f"{data_set}.pbtxt"), text)


def _write_page(changes: "Comparison", figures: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    from recsys_tft.reporting import comparison_page
    from recsys_tft.storage.files import write_text

    splits = (options.old_split, options.new_split)
    write_text(options.html, comparison_page.build((options.old, options.new), figures, splits, changes))


def _show(changes: "Comparison", every: bool) -> None:
    from rich.text import Text

    from recsys_tft import terminal
    from recsys_tft.comparing.anomalies import sentence

    console = terminal.console()
    drifted = changes.drifted
    shown = changes.columns if every else drifted or changes.columns[:_SHOWN]
    console.print(_table(shown))
    for column in drifted:
        for measured in column.alarms:
            console.print(Text(f"{column.data_set} {column.column}: {_printed(sentence(measured))}"))
    for words, names in (("no longer described", changes.only_old), ("new", changes.only_new)):
        if names:
            console.print(Text(f"{words}: {', '.join(names)}"))
    rows = [f"{name} {old:,} → {new:,}" for name, (old, new) in changes.rows.items()]
    console.print(Text(f"Rows: {', '.join(rows)}"))
    console.print(Text(f"{len(drifted):,} of {len(changes.columns):,} columns have drifted."))


def _table(columns: "Sequence[Compared]") -> "Table":
    from rich.text import Text

    from recsys_tft.terminal import Listing

    table = Listing()
    table.add_names("column")
    table.add_numbers(*_COLUMNS.values())
    for column in columns:
        worst = {name: max((m for m in column.measures if m.measure == name), key=lambda m: m.ratio, default=None)
                 for name in _COLUMNS}  # fmt: skip
        cells = [
            Text("-", "dim")
            if m is None
            else Text(f"{m.value:.3f}{'!' if m.is_alarm else ' '}", "bold red" if m.is_alarm else "")
            for m in worst.values()
        ]
        table.add_row(Text.assemble(_printed(column.column), (f" {column.data_set}", "dim")), *cells)
    return table


def _printed(text: str) -> str:
    from recsys_tft import ids

    return ids.printed(text)
