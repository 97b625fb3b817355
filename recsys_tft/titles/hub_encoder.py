"""Title encoders that are SavedModels: from strings to vectors, in one model or a pair."""

import contextlib
import hashlib
import importlib
import inspect
import json
import os
import pathlib
import posixpath
import socket
import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from recsys_tft.errors import InputError, redacted
from recsys_tft.storage import ownership
from recsys_tft.storage.temporary import without_pattern
from recsys_tft.titles import minilm
from recsys_tft.titles.minilm import RECORD

if TYPE_CHECKING:
    from recsys_tft.titles.encoder_spec import Spec

importlib.import_module("tensorflow_text")  # registers the ops that most text models are made of

_HUB_CACHE = "TFHUB_CACHE_DIR"  # of tensorflow-hub, whose default is shared by all users of the machine
PATIENCE = 20.0  # seconds without an answer of a server
HUB_PACKAGES = "'tensorflow-hub>=0.16,<0.17' 'setuptools<82'"  # setuptools 82 lacks pkg_resources, which hub imports
_V1_MODULE = "tfhub_module.pb"  # in TensorFlow 1's Hub format, whose graph has no tags
_FAILURES = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    AttributeError,
    EOFError,
    tarfile.TarError,
    tf.errors.OpError,
)


class HubEncoder(tf.Module):
    """Callable: [n] tf.string to [n, width] float32.

    Attributes:
        models: one or two loaded models.
        pooling: of a pair; otherwise None.
        width: of the vectors.

    Raises:
        InputError: a model cannot be loaded, or has other inputs or outputs.
    """

    def __init__(self, spec: "Spec") -> None:
        super().__init__(name="title_encoder")
        handles = (spec,) if isinstance(spec, str) else (spec.preprocessor, spec.encoder)
        self.pooling = None if isinstance(spec, str) else spec.pooling
        self.models = [_load(handle) for handle in handles]
        with _explained(" and ".join(handles)):
            vectors = self._encode(tf.constant(["a title"]))
            if not tf.is_tensor(vectors) or not vectors.dtype.is_floating or vectors.shape.rank != 2:
                raise TypeError(f"it maps strings to {_described(vectors)}, not to [batch, width] floats")
            self.width = int(vectors.shape[1])

    def __call__(self, titles: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.cast(self._encode(titles), tf.float32), [None, self.width])

    def vectors(self, titles: Sequence[str | bytes]) -> np.ndarray:
        """Encode titles outside of a graph."""
        return self(tf.constant(titles, tf.string, shape=[len(titles)])).numpy()

    def _encode(self, titles: tf.Tensor) -> tf.Tensor:
        result = _call(self.models[0], titles)
        if self.pooling is None:
            return next(iter(result.values())) if isinstance(result, Mapping) and len(result) == 1 else result
        outputs = _call(self.models[1], result)
        if self.pooling == "pooled_output":
            return _entry(outputs, "pooled_output")
        return _mean(_entry(outputs, "sequence_output"), _entry(result, "input_mask"))


def folder_fingerprint(handle: str) -> str:
    """32 hex digits from the model's files; copies of an export of `minilm` have the digits of the export.

    Raises:
        InputError: they cannot be read.
    """
    with _explained(handle):
        folder = _folder(handle)
        if not tf.io.gfile.isdir(folder):
            raise OSError(f"{folder} does not exist")
        digests = {name: _digest(posixpath.join(folder, name)) for name in _names(folder)}
        if digests.pop(RECORD, None):
            record = json.loads(tf.io.gfile.GFile(posixpath.join(folder, RECORD)).read())
            if record["files"] == digests:
                return record["fingerprint"]
        return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()[:32]


def _names(folder: str) -> list[str]:
    """The sorted relative paths of all files below a folder."""
    walked = tf.io.gfile.walk(folder)
    return sorted(posixpath.relpath(posixpath.join(path, name), folder) for path, _, names in walked for name in names)


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def _load(handle: str) -> Any:
    with _explained(handle):
        folder = _folder(handle)
        is_v1 = tf.io.gfile.exists(posixpath.join(folder, _V1_MODULE))
        return tf.saved_model.load(without_pattern(folder), tags=[] if is_v1 else None)


def _folder(handle: str) -> str:
    """The folder of the model's files; an address that is not a folder is downloaded and cached by tensorflow_hub."""
    is_url = handle.startswith(("http://", "https://"))
    is_archive = handle.startswith("gs://") and handle.endswith((".tar", ".tar.gz", ".tgz"))
    return _downloaded(handle) if is_url or is_archive else handle


def _tensorflow_hub(handle: str) -> ModuleType:
    """Import tensorflow_hub, only for downloads, as it needs an old setuptools.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that pkg_resources is deprecated
            return importlib.import_module("tensorflow_hub")
    except ImportError as error:
        raise InputError(
            f"title_encoder: {handle} is downloaded by tensorflow_hub, which cannot be imported here ({error}): "
            f"run `pip install {HUB_PACKAGES}`, or name the folder of a local copy."
        ) from error


def _downloaded(handle: str) -> str:
    """The local folder of a model, in a private cache; its description there shows no token."""
    if not os.environ.get(_HUB_CACHE):
        os.environ[_HUB_CACHE] = str(ownership.private_folder(minilm.CACHE, minilm.cache_folder() / "tfhub"))
    folder = _tensorflow_hub(handle).resolve(handle)
    described = pathlib.Path(f"{folder}.descriptor.txt")
    if redacted(handle) != handle and described.is_file():
        described.write_text(redacted(described.read_text()))
    return folder


@contextlib.contextmanager
def _explained(handle: str) -> Iterator[None]:
    """Turn errors of a model into one sentence, and limit the wait for servers."""
    kept = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    except InputError:
        raise
    except _FAILURES as error:
        why = " ".join(str(error).split())[:300].rstrip(". ")
        raise InputError(
            f"title_encoder: could not load {handle} ({type(error).__name__}: {why}); to use a local copy, "
            "download and unpack the model where there is internet, and name the folder with saved_model.pb."
        ) from error
    finally:
        socket.setdefaulttimeout(kept)


def _call(model: Any, inputs: Any) -> Any:
    """Call the model, with `training=False` if it has that argument."""
    if not callable(model):
        (signature,) = model.signatures.values()
        (name,) = signature.structured_input_signature[1]
        return signature(**{name: inputs})
    # Checked first: a tf.function called with an unknown argument never releases its lock, which blocks other threads.
    spec = inspect.getfullargspec(model.__call__)
    return model(inputs, **({"training": False} if "training" in (*spec.args, *spec.kwonlyargs) else {}))


def _entry(values: Any, name: str) -> tf.Tensor:
    if not isinstance(values, Mapping) or name not in values:
        raise TypeError(f"expected a dict with {name}, got {_described(values)}")
    return values[name]


def _described(values: Any) -> str:
    if isinstance(values, Mapping):
        return f"a dict of {', '.join(sorted(map(str, values)))}"
    return f"{values.dtype.name} {values.shape}" if tf.is_tensor(values) else type(values).__name__


def _mean(states: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """[batch, length, width] and [batch, length] to [batch, width]: over the tokens where the mask isn't 0."""
    weight = tf.cast(mask, states.dtype)[:, :, tf.newaxis]
    return tf.reduce_sum(states * weight, axis=1) / tf.maximum(tf.reduce_sum(weight, axis=1), 1)
