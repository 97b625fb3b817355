"""Errors of argparse, each as a sentence with what would be right."""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import NoReturn

from recsys_tft.errors import did_you_mean

_KINDS = {"int": "a whole number", "float": "a number"}


class Parser(argparse.ArgumentParser):
    """A parser whose errors, and those of its subcommands, are one sentence."""

    def error(self, message: str) -> NoReturn:
        options = [option for action in self._actions for option in action.option_strings]
        self.exit(2, f"error: {sentence(message, options)} See `{self.prog} --help`.\n")


def sentence(message: str, options: Iterable[str] = ()) -> str:
    """One of argparse's messages in our words.

    Args:
        message: as `ArgumentParser.error` gets it.
        options: that exist, for suggestions.

    Example:
        >>> sentence("argument --users: invalid int value: 'many'")
        "--users is 'many'; expected a whole number."
    """
    for pattern, text in _SAID:
        if match := re.fullmatch(pattern, message, re.DOTALL):
            return text(match, options)
    name, separated, rest = message.removeprefix("argument ").partition(": ")
    return f"{name} {rest}." if separated else f"{message}."


def _unknown(match: re.Match[str], options: Iterable[str]) -> str:
    first = match[1].split()[0]
    if not first.startswith("-"):
        return f"'{first}' is not the value of an option."
    hint = did_you_mean(first.partition("=")[0], options)
    return f"there is no option {first}.{hint if 'mean' in hint else ''}"


def _choice(match: re.Match[str], options: Iterable[str]) -> str:
    name, value, choices = match[1], match[2].strip("'"), re.findall(r"[\w.-]+", match[3])
    hint = did_you_mean(value, choices)
    close = hint if "mean" in hint else ""
    if name == "COMMAND":
        return f"there is no command '{value}'.{close}"
    return f"{name} is '{value}'; expected {' or '.join(choices)}.{close}"


_Said = Callable[[re.Match[str], Iterable[str]], str]
_SAID: tuple[tuple[str, _Said], ...] = (
    (r"unrecognized arguments: (.+)", _unknown),
    (r"argument (\S+): invalid choice: (.+?) \(choose from (.+)\)", _choice),
    (
        r"argument (\S+): invalid (\w+) value: (.+)",
        lambda found, _: f"{found[1].split('/')[-1]} is {found[3]}; expected {_KINDS.get(found[2], 'another value')}.",
    ),
    (r"argument (\S+): expected (?:one|at least one|\d+) arguments?", lambda found, _: f"{found[1]} needs a value."),
    (
        r"argument (\S+): ignored explicit argument (.+)",
        lambda found, _: f"{found[1]} takes no value; found {found[2]}.",
    ),
    (
        r"argument (\S+): not allowed with argument (\S+)",
        lambda found, _: f"{found[1]} and {found[2]} exclude each other; give one of them.",
    ),
    (
        r"the following arguments are required: (.+)",
        lambda found, _: f"{found[1].replace(', ', ' and ')} {'are' if ',' in found[1] else 'is'} missing.",
    ),
    (
        r"one of the arguments (.+) is required",
        lambda found, _: f"one of these is missing: {' or '.join(found[1].split())}.",
    ),
)
