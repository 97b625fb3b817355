"""The reference of commands, from the parsers that the command line itself uses."""

import argparse
import re
from collections.abc import Iterator

from recsys_tft import cli

HEAD = """# Commands

`recsys-tft COMMAND --help` prints the same. Every command exits with 0, with 1 on an error, which is one sentence on
stderr, and with 2 for wrong arguments. `python -m recsys_tft` is the same program.
"""


def text() -> str:
    """The page."""
    return HEAD + "".join(f"\n## {name}\n\n{_section(parser)}" for name, parser in parsers().items())


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    (commands,) = (action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(commands.choices)


def _section(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=74)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    rows = [f"| {_names(action)} | {_cell(formatter._expand_help(action))} |\n" for action in _shown(parser)]
    usage = f"```text\n{formatter.format_help().strip()}\n```"
    options = "".join(["| option | |\n|---|---|\n", *rows])
    return f"{parser.description}\n\n{usage}\n\n{options}\n{_epilog(parser.epilog)}"


def _shown(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if action.help not in (None, argparse.SUPPRESS) and "--help" not in action.option_strings:
            yield action


def _names(action: argparse.Action) -> str:
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"`{value}`"
    name = max(action.option_strings, key=len)
    return f"`{name}`" if action.nargs == 0 else f"`{name} {value}`"


def _cell(help_text: str) -> str:
    return help_text.replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;")


def _epilog(epilog: str | None) -> str:
    """The text after the options, in which what is indented is commands."""
    found = re.sub(r"^examples?:\n", "", epilog or "")
    return re.sub(r"(?m)(?:^  .*\n?)+", lambda block: f"```sh\n{_dedented(block[0])}\n```\n", found)


def _dedented(block: str) -> str:
    return "\n".join(line[2:] for line in block.rstrip().splitlines())
