"""`recsys-tft vocabulary`: differences between the vocabularies of two outputs."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

from recsys_tft.errors import InputError, require_local

EXAMPLE = """example:
  recsys-tft vocabulary diff out out/periods/2025-03-02

OLD and NEW are outputs of runs or refreshes. A moved value has another token in NEW, which a model trained on OLD takes
for another value; a refresh never moves one."""
_SHOWN = 10  # values of each kind and vocabulary


@dataclasses.dataclass(frozen=True)
class Difference:
    """Changes of a vocabulary.

    Attributes:
        name: of the vocabulary.
        sizes: tokens before and after.
        came: the new values, in order.
        left: the removed values.
        moved: the values with another token.
    """

    name: str
    sizes: tuple[int, int]
    came: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[str, ...]


def differences(old: str, new: str) -> list[Difference]:
    """Compare the vocabularies of two outputs, by name.

    Raises:
        InputError: if one is no output of a run.
    """
    before, after = (_vocabularies(folder) for folder in (old, new))
    result = []
    for name in sorted(before.keys() | after.keys()):
        tokens = [{value: token for token, value in enumerate(lists.get(name, []))} for lists in (before, after)]
        came, left = ([v for v in one if v not in other] for one, other in (tokens[::-1], tokens))
        moved = [value for value, token in tokens[0].items() if tokens[1].get(value, token) != token]
        result.append(Difference(name, (len(tokens[0]), len(tokens[1])), tuple(came), tuple(left), tuple(moved)))
    return result


def _vocabularies(output_dir: str) -> dict[str, list[str]]:
    require_local(output_dir)
    folder = pathlib.Path(output_dir, "artifacts", "vocabularies")
    if not folder.is_dir():
        raise InputError(f"{folder}: there are no vocabularies; name an output of recsys-tft run or refresh.")
    return {path.stem: path.read_text("utf-8").split("\n")[:-1] for path in sorted(folder.glob("*.txt"))}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("action", choices=["diff"], help="compare two vocabularies")
    parser.add_argument("old", metavar="OLD", help="output of a run or refresh")
    parser.add_argument("new", metavar="NEW", help="a later output")


def vocabulary(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Print the added, removed and moved values."""
    from rich.text import Text

    from recsys_tft import terminal
    from recsys_tft.terminal import Listing

    changes = differences(options.old, options.new)
    table = Listing()
    table.add_names("vocabulary")
    table.add_numbers("tokens before", "after", "came", "left", "moved")
    for difference in changes:
        numbers = (*difference.sizes, *map(len, (difference.came, difference.left, difference.moved)))
        table.add_row(Text(difference.name), *(f"{number:,}" for number in numbers))
    console = terminal.console()
    console.print(table)
    for difference in changes:
        for what in ("came", "left", "moved"):
            if values := getattr(difference, what):
                console.print(Text(f"{difference.name}: {what}: {_listed(values)}"))
    return 0


def _listed(values: Sequence[str]) -> str:
    from recsys_tft import ids

    more = len(values) - _SHOWN
    return ", ".join(map(ids.printed, values[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
