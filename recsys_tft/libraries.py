"""Loading TensorFlow, Beam and the like for a command: quietly, and in two thirds of the time."""

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator


def load(module: str, debug: bool = False) -> None:
    """Imports a module of ours with the large libraries that it needs.

    It is for a process of its own, such as a command: what is loaded stays outside garbage collection for good.
    Collecting it again and again while it grows, and once more at exit, took 3 of the 16 s of a small run.

    Args:
        module: its name.
        debug: whether what TensorFlow's C++ code prints may be seen.
    """
    gc.disable()
    with quietly(debug):
        importlib.import_module(module)
    gc.freeze()
    gc.enable()


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
