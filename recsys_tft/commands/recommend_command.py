"""The command `recommend`, with the columns of the export as options.

It is loaded only for this command, as its options need Arrow.
"""

import argparse
import contextlib
import functools
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from recsys_tft import libraries
from recsys_tft.columns import Column, IdKind
from recsys_tft.commands import ready, recommend_options
from recsys_tft.commands.recommend_options import GIVEN, unshielded
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError, UsageError, did_you_mean
from recsys_tft.recommending import request_columns


def add(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Add the options of `recommend`; those of the user and the moment are columns of the export.

    Args:
        parser: gets them.
        arguments: of the command, which name the export.
    """
    columns, kinds = _read_export(arguments)
    parser.set_defaults(columns=columns, kinds=kinds)
    taken = ((column.name, column.is_list, _reader(column)) for column in columns)
    recommend_options.add(parser, _user_reader(kinds), taken)


def _user_reader(kinds: Mapping[str, IdKind] | None) -> Callable[[str], int | str]:
    """The function that parses a user id; without an export, integers and texts are accepted."""
    if kinds is None:
        return _integer_or_text
    return unshielded if kinds["user_id"].is_text else _integer


def _integer(text: str) -> int:
    try:
        return int(unshielded(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"is {unshielded(text)!r}; expected a whole number") from None


def _integer_or_text(text: str) -> int | str:
    try:
        return _integer(text)
    except argparse.ArgumentTypeError:
        return unshielded(text)


def _read_export(arguments: Sequence[str]) -> tuple[tuple[Column, ...], dict[str, IdKind] | None]:
    """The columns of the export and its kinds of ids; without an export, which is reported later, the default columns
    and None."""
    with contextlib.suppress(InputError, OSError):
        if store := recommend_options.store(arguments):
            return request_columns.read_columns(store), request_columns.read_id_kinds(store)
    return request_columns.columns_of_table(DEFAULT), None


def _reader(column: Column) -> Callable[[str], Any]:
    """The function that parses an argument as a value of the column."""
    kind = column.type.value_type if column.is_list else column.type
    if pa.types.is_timestamp(kind):
        return functools.partial(ready.microseconds, recommend_options.option(column.name))
    if pa.types.is_boolean(kind):
        return _truth
    readers: dict[pa.DataType, Callable[[str], Any]] = {pa.int64(): _integer, pa.float32(): float}
    return readers.get(kind, unshielded)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"is {text!r}; expected true or false")
    return text.lower() in ("true", "1")


def recommend(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """The four stages for one user."""
    from recsys_tft import terminal
    from recsys_tft.configuration import settings
    from recsys_tft.recommending import recommendation_report as report
    from recsys_tft.recommending.request import Request, now

    if rest:
        ready.export_there(options.output_dir, options.version, options.index)
        names = (recommend_options.option(column.name) for column in options.columns)
        raise UsageError(f"{rest[0]} is not an option of this export.{did_you_mean(rest[0], names)}")
    values = {column.name: getattr(options, f"{GIVEN}{column.name}") for column in options.columns}
    values = {name: value for name, value in values.items() if value is not None}
    ready.within("-k", options.k, 1, ready.MOST_SHOWN)
    if isinstance(options.user_id, int):
        ready.within("--user-id", options.user_id, ready.LEAST)
    for column in options.columns:
        if str(column.graph_type) == "int64":
            _check_numbers(recommend_options.option(column.name), values.get(column.name))
    time = now() if options.time is None else ready.microseconds("--time", options.time)
    ready.folder("--config", options.config)
    if options.kinds is None and isinstance(options.user_id, str):
        ready.export_there(options.output_dir, options.version, options.index)
    kinds = options.kinds or {}
    if options.config is not None:
        settings.load_recommender(options.config, kinds)
    try:
        Request(options.user_id, values, time, options.columns, kinds.get("user_id", IdKind.INTEGER))
    except InputError as error:
        raise UsageError(str(error)) from None
    ready.export_there(options.output_dir, options.version, options.index)
    console = terminal.console()
    with console.status("Loading the models"):
        libraries.load("recsys_tft.recommending.recommender", options.debug)
        module = importlib.import_module("recsys_tft.recommending.recommender")
        with libraries.quietly(options.debug):
            recommender = module.Recommender(options.output_dir, options.config, options.version, options.index)
        for sentence in recommender.warnings:
            print(f"warning: {sentence}", file=sys.stderr)
        recommendations = recommender.recommend(options.user_id, options.k, time, **values)
        ids = [item.video_id for item in recommendations.items]
        reasons = recommender.explain(options.user_id, ids, time, **values) if options.explain else None
    if options.json:
        document = report.as_json(recommendations, recommender.version, reasons)
        if options.time is not None:
            del document["seconds"]
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return 0
    if not recommendations.is_known:
        console.print("The user is unknown: a cold start from the given columns.", style="yellow")
    console.print(report.table(recommendations, reasons))
    console.print(report.stages(recommendations, timed=options.time is None), style="dim")
    return 0


def _check_numbers(option: str, value: int | list[int] | None) -> None:
    for number in value if isinstance(value, list) else [value]:
        ready.within(option, number, ready.LEAST)
