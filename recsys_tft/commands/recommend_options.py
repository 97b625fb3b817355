"""The options of `recommend`, which depend on the export. This module imports nothing that `--help` does not need."""

import argparse
import contextlib
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence

from recsys_tft.errors import InputError
from recsys_tft.serving import serving_folders

GIVEN = "given_"  # prefix of columns among the options, which may have the same names
_SHIELD = "\0"  # before an id that argparse would take for an option; no argument contains it
_SHIELDED = ("--user-id", "--history-video-ids")
Taken = tuple[str, bool, Callable | None]  # a column, whether it is a list, and its parser


def add(parser: argparse.ArgumentParser, user: Callable | None, columns: Iterable[Taken]) -> None:
    """Add all options.

    Args:
        parser: gets them.
        user: parser of user ids.
        columns: of the user and the moment.
    """
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of the export (default: output)")
    parser.add_argument(
        "--user-id", type=user or str, metavar="U", help="id of the user; without it, an anonymous user"
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="number of videos (default: 10)")
    parser.add_argument("--config", metavar="FILE", help="YAML with `recommender` options (default: the run's)")
    parser.add_argument(
        "--index", choices=["hnsw", "ivf"], help="search an exported approximate index instead of all videos"
    )
    parser.add_argument("--version", type=int, metavar="N", help="version of the export (default: the newest)")
    parser.add_argument(
        "--time",
        metavar="TIME",
        help="time in UTC, such as 2025-03-01T12:00 (default: now); with a fixed time the output is reproducible",
    )
    parser.add_argument(
        "--explain", action="store_true", help="show the columns that contributed most to the ranker's score"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    for name, is_list, read in columns:
        parser.add_argument(
            option(name),
            dest=f"{GIVEN}{name}",
            type=read or str,
            nargs="*" if is_list else None,
            action="extend" if is_list else "store",
            metavar="X",
            help=f"{name}, overriding the stored value",
        )


def option(name: str) -> str:
    """The option of a column."""
    return f"--{name.replace('_', '-')}"


def shielded(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with ids that begin with a dash marked as values.

    Ids that begin with two dashes, or like the option -k, have to be written as `--user-id=--x`.
    """
    if arguments[:1] != ["recommend"]:
        return list(arguments)
    result, before = [], ""
    for argument in arguments:
        is_id = before in _SHIELDED and re.match(r"-(?!-|k\d*$|h$|[\d.]+$)", argument)
        result.append(f"{_SHIELD}{argument}" if is_id else argument)
        before = argument if argument.startswith("--") else before if before == _SHIELDED[1] else ""
    return result


def unshielded(text: str) -> str:
    """The argument as it was given."""
    return text.removeprefix(_SHIELD)


def store(arguments: Sequence[str]) -> pathlib.Path | None:
    """The store of the named export; None without one, which is reported later."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--output-dir", default="output")
    parser.add_argument("--version", type=int)
    with contextlib.suppress(argparse.ArgumentError, InputError, OSError):
        options, _ = parser.parse_known_args(arguments)
        root = serving_folders.serving_folder(options.output_dir)
        return root / serving_folders.STORE / str(serving_folders.latest(root, options.version))
    return None


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the arguments can only lead to the help of this command, or to an error of argparse."""
    return arguments[:1] == ["recommend"] and not {"-h", "--help"}.isdisjoint(arguments) and "--" not in arguments


def add_for_help(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> bool:
    """Add the options from the description of the export, if help is requested for one; return whether it was."""
    if not asks_for_help(arguments):
        return False
    with contextlib.suppress(InputError, LookupError, TypeError, AttributeError):
        if folder := store(arguments):
            entries = serving_folders.description(folder)["columns"]
            columns = [(column["name"], column["type"].startswith("list"), None) for column in entries]
            add(parser, None, columns)
            return True
    return False
