"""Errors that a user can act on: one sentence each."""

import contextlib
import difflib
import os
import pathlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence

HIDDEN = "***"  # in the place of a secret
# Names of parameters of an address with secrets or signatures.
_NAMES = "token|key|secret|sig|credential|passw|pwd|auth|session|access|jwt|x-amz|x-goog"
_SECRETS = (
    (re.compile(r"(://)[^/\s@'\"]+@"), rf"\1{HIDDEN}@"),  # user and password of an address
    (re.compile(rf"(?<=[?&#;])([\w.%~-]*(?:{_NAMES})[\w.%~-]*=)[^&#;\s'\")]+", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), f"hf_{HIDDEN}"),  # a token of Hugging Face
)


def redacted(text: str) -> str:
    """The text without passwords, tokens and signatures of the addresses in it."""
    if "://" not in text and "hf_" not in text:
        return text
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


class InputError(ValueError):
    """Unusable input; the message names the place, the problem and the remedy, without secrets."""

    def __init__(self, sentence: str):
        super().__init__(redacted(sentence))


class RenamedSettingWarning(FutureWarning):
    """A setting has the name of an earlier release."""


class UsageError(InputError):
    """An option of a command is wrong."""


class StillRunning(InputError):
    """The wait for a remote job ended; its staged files must stay."""


class FindingsError(ValueError):
    """Several problems of one setting.

    Attributes:
        sentences: one for each.
        below: the setting within the section, if it is one.
    """

    def __init__(self, sentences: Sequence[str], below: str = ""):
        super().__init__("; ".join(sentences))
        self.sentences, self.below = tuple(sentences), below

    @classmethod
    def check(cls, sentences: Sequence[str], below: str = "") -> None:
        """Raise the error if there are any sentences."""
        if sentences:
            raise cls(sentences, below)


def findings(source: str, sentences: Sequence[str]) -> InputError:
    """All problems of a file or folder as one error: a sentence, or a line for each of several."""
    return InputError(f"{source}: {sentences[0]}") if len(sentences) == 1 else problems(source, sentences)


def problems(what: str, sentences: Sequence[str]) -> InputError:
    """Several problems as one error: a line that counts them, and a sentence each."""
    return InputError("\n".join([f"{len(sentences)} problems with {what}:", *(f"  {text}" for text in sentences)]))


def reason(error: BaseException) -> str:
    """The reason of an error, in a few words without a full stop: of the system for an OSError, else the first line."""
    details = getattr(error, "exception_details", None)  # of Beam, which has the cause of each path there
    if details:
        return reason(next(iter(details.values())))
    message = error.strerror if isinstance(error, OSError) else None
    lines = [line.strip() for line in str(message or error).splitlines() if line.strip()]
    # TensorFlow begins with a headline, such as `Graph execution error:`.
    chosen = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return chosen.split("[[")[0].rstrip(". ")[:300]


DAMAGE: tuple[type[BaseException], ...] = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    zipfile.BadZipFile,
)


@contextlib.contextmanager
def readable(path: str | os.PathLike[str], remedy: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Turn errors from reading a damaged file into an InputError with a remedy.

    Args:
        path: of the file.
        remedy: advice, as the end of a sentence.
        kinds: of errors besides DAMAGE that reading may raise.
    """
    try:
        yield
    except InputError:
        raise
    except (*DAMAGE, *kinds) as error:
        raise InputError(f"{path}: damaged or not readable ({reason(error)}); {remedy}.") from error


def require_local(output_dir: str) -> None:
    """Refuse an output that is not on this machine.

    Raises:
        InputError: if the folder is on another filesystem, as `gs://...`.
    """
    if "://" in output_dir:
        raise InputError(
            f"{output_dir}: only the main job supports this filesystem; copy its output into a local folder."
        )


def require_inside(folder: pathlib.Path, output_dir: str) -> None:
    """Refuse a folder of an output that is a link out of it.

    Raises:
        InputError: if it is.
    """
    if not folder.resolve().is_relative_to(pathlib.Path(output_dir).resolve()):
        raise InputError(f"{folder}: links out of the output, to {folder.resolve()}; replace the link by a folder.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest known name, else ` Known: a, b, c.`; nothing where none is known."""
    known = list(known)
    if not known:
        return ""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(known)}."


def sentence_of(error: BaseException) -> str | None:
    """The sentence of an InputError, even if a runner wrapped it in its own text; None for other errors."""
    if isinstance(error, InputError):
        return re.sub(r" \[while running.*", "", str(error), flags=re.DOTALL)
    match = re.search(
        r"(?:Input|Usage)Error: (.+?)(?: \[while running.*)?(?:\\n|\n|$)", f"{type(error).__name__}: {error}"
    )
    return match.group(1) if match else None
