"""Sentences for errors of other libraries, and of the machine.

An error is recognized by its type, or by its text if a runner has wrapped it. No library is imported for that: one that
is not loaded cannot have raised anything.
"""

import contextlib
import errno
import re
from collections.abc import Iterator

from recsys_tft.errors import InputError, StillRunning, UsageError, reason, sentence_of

_DISK = "the disk is full; make room, or name a folder on another disk"
_MEMORY = (
    "there is not enough memory; fewer --workers, a smaller output.users_per_shard or, for a training, a smaller "
    "two_tower.batch_size or two_tower.shuffle_rows need less"
)
_REMEDIES = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: "your quota of the disk is used up; make room, or name a folder elsewhere",
    errno.EACCES: "permission denied; allow it, or name another folder",
    errno.EPERM: "not permitted; allow it, or name another folder",
    errno.EROFS: "the filesystem is read-only; name another folder",
    errno.EFBIG: "the file is too large for a limit here; raise that (ulimit -f), or name a folder on another disk",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENAMETOOLONG: "the name is too long for the filesystem; name a shorter one",
}
_IN_TEXT = (
    (re.compile("No space left on device|Disk quota exceeded"), _DISK),
    (
        re.compile(r"MemoryError|bad_alloc|bad allocation|Out of memory|\bOOM\b|Unable to allocate|malloc of size"),
        _MEMORY,
    ),
)
_PACKAGES = {
    "faiss": "pip install 'recsys_tft[faiss]'",
    "redis": "pip install 'recsys_tft[redis]'",
    "xgboost": "pip install 'recsys_tft[xgboost]'",
    **dict.fromkeys(("starlette", "uvicorn", "prometheus_client"), "pip install 'recsys_tft[serve]'"),
    "tensorflow_text": "pip install tensorflow-text, of the version of tensorflow",
    "tensorflow_hub": "pip install tensorflow-hub",
    "pkg_resources": "pip install 'setuptools<81'",
    "boto3": "pip install 'apache-beam[aws]'",
    "azure": "pip install 'apache-beam[azure]'",
    "hdfs": "pip install 'apache-beam[hadoop]'",
    "google": "pip install 'apache-beam[gcp]'",
}


def sentence_for(error: BaseException) -> str | None:
    """The meaning and the remedy of an error; None if it is unknown."""
    for cause in _chain(error):
        for rule in (_system, _memory, _missing_package, _trees, _arrow, _options, _number):
            if sentence := rule(cause):
                return f"{sentence.rstrip('.')}."
    return None


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Reduce InputErrors to their sentence, and turn known errors of other libraries into InputErrors."""
    try:
        yield
    except (UsageError, StillRunning):
        raise
    except Exception as error:  # of any kind, as runners differ
        sentence = sentence_of(error) or sentence_for(error)
        if sentence is None:
            raise
        raise InputError(sentence) from error


def is_interrupt(error: BaseException) -> bool:
    """Whether it is a Ctrl-C that a library has wrapped in its own error, as CatBoost does in a callback."""
    return any("KeyboardInterrupt" in str(one) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _memory(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or ("ResourceExhaustedError" in _kinds(error) and "No space" not in text):
        return f"{_MEMORY} ({reason(error)})" if text else _MEMORY
    return next((f"{meaning} ({reason(error)})" for pattern, meaning in _IN_TEXT if pattern.search(text)), None)


def _missing_package(error: BaseException) -> str | None:
    if not isinstance(error, ImportError):
        return None
    top = (error.name or "").partition(".")[0]
    remedy = _PACKAGES.get(top, f"pip install {top.replace('_', '-')}" if top else "install recsys_tft anew")
    return f"a package is missing or does not fit the others ({reason(error)}): {remedy}"


def _system(error: BaseException) -> str | None:
    """Sentences for errors of the operating system, by number: the cause, and the remedy."""
    if not isinstance(error, OSError) or (error.errno is None and not getattr(error, "exception_details", None)):
        return None
    path = next((str(name) for name in (error.filename, error.filename2) if name not in (None, "")), None)
    remedy = _REMEDIES.get(error.errno or 0, reason(error))
    return f"{path}: {remedy}" if path else remedy


def _trees(error: BaseException) -> str | None:
    for name in ("CatBoost", "XGBoost"):
        if f"{name}Error" in _kinds(error):
            why = reason_of_trees(error)
            return f"{name} stopped ({why}); see the settings under ranker"
    return None


def reason_of_trees(error: BaseException) -> str:
    """The message of CatBoost or XGBoost, without its source line."""
    return re.sub(r"^(\[\S+\] )?\S+:\d+: ", "", reason(error))


def _arrow(error: BaseException) -> str | None:
    if "ArrowException" not in _kinds(error):
        return None
    return f"Arrow cannot read or convert the data ({reason(error)}); look at the types of the columns"


def _options(error: BaseException) -> str | None:
    text = str(error)
    if not isinstance(error, ValueError) or "alidation" not in text or "Pipeline" not in text:
        return None
    return f"Beam rejects its options: {' '.join(text.split())[:300]}"


def _number(error: BaseException) -> str | None:
    if isinstance(error, RecursionError):
        return "something is nested too deeply to be read"
    if isinstance(error, OverflowError):
        return f"a number is too large ({reason(error)}); ids and times have 64 bits"
    return None
