"""Errors that a user can act on: one sentence each."""

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence


class InputError(ValueError):
    """What the user gave cannot be used; the message says what, where, and what would be right."""


class UsageError(InputError):
    """An option of a command is wrong."""


class StillRunning(InputError):
    """A job that runs elsewhere is no longer waited for; what it has staged must stay."""


class Problems(InputError):
    """Several things that are wrong with something, told at once: a line that counts them, and a sentence each."""

    def __init__(self, what: str, sentences: Sequence[str]):
        super().__init__("\n".join([f"{len(sentences)} problems with {what}:", *sentences]))


def require_local(output_dir: str) -> None:
    """Refuses what is not on this machine.

    Raises:
        InputError: if the folder is on another filesystem, as `gs://...`.
    """
    if "://" in output_dir:
        raise InputError(f"{output_dir}: only the main job works there; copy its output into a local folder.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest known name, else ` Known: a, b, c.`"""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(known)}."


def sentence_of(error: BaseException) -> str | None:
    """The InputError's sentence inside `error`, also where a runner wrapped it in text of its own."""
    found = re.search(
        r"(?:Input|Usage)Error: (.+?)(?: \[while running.*)?(?:\\n|\n|$)", f"{type(error).__name__}: {error}"
    )
    return found.group(1) if found else None


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Lets an InputError leave as one of its sentence alone, also where a runner wrapped it in text of its own."""
    try:
        yield
    except (UsageError, StillRunning, Problems):
        raise
    except Exception as error:  # of any kind, as runners differ
        sentence = sentence_of(error)
        if sentence is None:
            raise
        raise InputError(sentence) from error
