"""Loads TensorFlow, Beam and the like for a command, quietly and in two thirds of the time."""

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from types import ModuleType

# Optional imports of TensorFlow and Beam that we do not need.
UNUSED = ("PIL", "h5py", "pandas", "pymongo", "scipy")
UNSERVED = (*UNUSED, "googleapiclient")  # without Beam
# Optional imports of Beam, for buckets and for Dataflow.
CLOUD = ("apache_beam.io.aws.s3filesystem", "apache_beam.io.azure.blobstoragefilesystem",
         "apache_beam.io.gcp.bigquery", "apache_beam.io.gcp.gcsfilesystem", "apitools", "google.api_core",
         "google.auth", "google.cloud", "googleapiclient")  # fmt: skip

_NEW = 10_000  # objects, of which garbage collection looks through 700 at a time by default


def load(module: str, debug: bool = False, without: Collection[str] = ()) -> None:
    """Import a module of ours with the large libraries that it needs.

    It is for a process of its own, such as a command: what is loaded stays outside garbage collection for good.
    Collecting it again and again while it grows, and once more at exit, took 3 of the 16 s of a small run. Afterwards
    new objects are looked through by 10,000, which takes 0.03 s of such a run, and took 0.18.

    Args:
        module: its name.
        debug: whether what TensorFlow's C++ code prints may be seen.
        without: libraries that are left out as `absent` does, such as UNUSED.
    """
    gc.disable()
    with quietly(debug), absent(without):
        importlib.import_module(module)
    gc.freeze()
    gc.set_threshold(_NEW, *gc.get_threshold()[1:])
    gc.enable()


@contextlib.contextmanager
def absent(names: Collection[str]) -> Iterator[None]:
    """Hide libraries that are not loaded yet, as if they were not installed, while the block runs.

    For those that others import inside `try`. Modules imported in the block stay without them.
    """
    finder = _Absent(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds libraries, for code that only checks whether they exist, but does not load them."""

    def __init__(self, names: Collection[str]):
        self._names = frozenset(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in self._names else None
        if spec is not None:
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        raise ModuleNotFoundError(f"{module.__name__} is left out", name=module.__name__)


def arrow_without_pandas() -> None:
    """Keep Arrow from importing pandas, in a process that does not convert from or to pandas.

    Arrow imports it once, when it makes its first array, to recognize a Series.
    """
    with absent({"pandas"}):
        import pyarrow as pa

        pa.array([0])


def quietly(debug: bool = False) -> contextlib.AbstractContextManager[None]:
    """The context for the first import of TensorFlow in a command, perhaps by a user's feature table."""
    # tf.Transform sets this too, but only after TensorFlow has loaded Keras 3, and with it matplotlib, for `tf.keras`.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    return contextlib.nullcontext() if debug else _silenced()


_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextlib.contextmanager
def first_import() -> Iterator[None]:
    """The context for a possible import of TensorFlow when our package is used as a library.

    TensorFlow's C++ code prints lines that nobody can act upon. They are kept off the terminal for good, unless its
    log level is set (TF_CPP_MIN_LOG_LEVEL) or TensorFlow is imported already. Python's logging and the environment stay
    unchanged.
    """
    if "tensorflow" in sys.modules or _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "3"  # which is read once
    try:
        with _silenced():
            yield
    finally:
        os.environ.pop(_LEVEL, None)


@contextlib.contextmanager
def logging_as_it_is() -> Iterator[None]:
    """Keep Beam from configuring the user's logging, which it does if nobody else has, and from printing there."""
    root, nothing = logging.getLogger(), logging.NullHandler()
    if root.handlers:
        yield
        return
    root.addHandler(nothing)
    try:
        yield
    finally:
        root.removeHandler(nothing)


_terminal: list[int] = []  # the real stderr, while file descriptor 2 is redirected
_noise = [os.devnull]  # files for the output of C++ code; the last one is in use


@contextlib.contextmanager
def noise_in(path: str) -> Iterator[None]:
    """Write the output that `quietly` keeps off the terminal to a file, while the block runs."""
    _noise.append(path)
    try:
        yield
    finally:
        _noise.pop()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep output of TensorFlow's C++ code during import, where log levels do not apply yet, off the terminal."""
    kept = os.dup(2)
    _terminal.append(kept)
    with open(_noise[-1], "ab") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        _terminal.remove(kept)
        os.close(kept)


def warn(text: str) -> None:
    """Write a line to stderr, even while it is redirected."""
    if _terminal:
        os.write(_terminal[0], f"{text}\n".encode())
    else:
        print(text, file=sys.stderr)
