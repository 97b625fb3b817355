"""Loading TensorFlow, Beam and the like for a command: quietly, and in two thirds of the time."""

import contextlib
import gc
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Collection, Iterator
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType

# What TensorFlow and Beam import where it is there, and the main job never needs.
UNUSED = ("PIL", "h5py", "pandas", "pymongo", "scipy")
# What Beam imports where it is there, for buckets and for Dataflow.
CLOUD = ("apache_beam.io.aws.s3filesystem", "apache_beam.io.azure.blobstoragefilesystem",
         "apache_beam.io.gcp.gcsfilesystem", "google.api_core", "google.cloud", "googleapiclient")  # fmt: skip


def load(module: str, debug: bool = False, without: Collection[str] = ()) -> None:
    """Imports a module of ours with the large libraries that it needs.

    It is for a process of its own, such as a command: what is loaded stays outside garbage collection for good.
    Collecting it again and again while it grows, and once more at exit, took 3 of the 16 s of a small run.

    Args:
        module: its name.
        debug: whether what TensorFlow's C++ code prints may be seen.
        without: modules that those libraries do without, and that this import is to leave alone.
    """
    gc.disable()
    with quietly(debug), _Absent(without):
        importlib.import_module(module)
    gc.freeze()
    gc.enable()


class _Absent(MetaPathFinder, Loader):
    """While entered, modules that are not loaded yet cannot be imported."""

    def __init__(self, names: Collection[str]):
        self._names = frozenset(names)

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in self._names else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        raise ModuleNotFoundError(f"{spec.name} is not loaded here", name=spec.name)

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)


def quietly(debug: bool = False) -> contextlib.AbstractContextManager[None]:
    """What is to surround the first import of TensorFlow in a command, which may be that of a user's feature table."""
    # tf.Transform sets this too, but only after TensorFlow has loaded Keras 3, and with it matplotlib, for `tf.keras`.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    return contextlib.nullcontext() if debug else _silenced()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps what TensorFlow's C++ code prints while it is imported, before any log level applies, off the terminal."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
