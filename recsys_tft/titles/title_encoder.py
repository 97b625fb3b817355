"""Title encoders by the setting `title_encoder`: from a `Spec` to a function from titles to vectors.

Importing this module does not import TensorFlow.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.errors import InputError
from recsys_tft.titles import minilm, multilingual
from recsys_tft.titles.encoder_spec import MINILM, MULTILINGUAL, NONE, Pair, Spec, parse, whole
from recsys_tft.titles.minilm import export_minilm

if TYPE_CHECKING:
    from recsys_tft.titles.hub_encoder import HubEncoder

_ATTENTION = 1 << 22  # most pairs of tokens in a batch of `encode`, which bounds its memory
_MOST_TOKENS = 256  # of a title


def resolve(value: Spec, precision: str = "float32", say: Callable[[str], object] = lambda text: None) -> Spec:
    """The same encoder by its address: a name becomes the path of its SavedModel, exported now if need be."""
    spec = parse(value)
    if spec == MINILM:
        return export_minilm(precision=precision, say=say)
    if spec == MULTILINGUAL:
        return multilingual.export(say=say)
    return whole(spec)


def load(value: Spec, precision: str = "float32") -> "HubEncoder":
    """A tf.Module: [n] tf.string to [n, width] float32, with the attribute `width`.

    Raises:
        InputError: it cannot be loaded, or does not map strings to vectors.
    """
    spec = resolve(value, precision)
    if spec == NONE:
        raise InputError("title_encoder is none, so titles cannot be encoded.")
    from recsys_tft.titles.hub_encoder import HubEncoder

    return HubEncoder(spec)


def width(value: Spec, precision: str = "float32") -> int:
    """The width of the vectors."""
    spec = parse(value)
    if spec in (MINILM, MULTILINGUAL):
        return minilm.WIDTH if spec == MINILM else multilingual.WIDTH
    return _loaded(spec, precision).width


def encode(value: Spec, titles: pa.Array, batch_size: int = 256, precision: str = "float32") -> np.ndarray:
    """[n, width] float32 vectors of [n] strings or bytes without nulls; the model stays loaded for the next call.

    Titles of similar length are encoded together. A vector depends on its batch by rounding only: less than 1e-6 in
    float32, 1e-3 in bfloat16.
    """
    model = _loaded(parse(value), precision)
    vectors = np.empty((len(titles), model.width), np.float32)
    lengths = pc.binary_length(titles).to_numpy(zero_copy_only=False)
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = min(lengths[order[start : start + batch_size][-1]] + 2, _MOST_TOKENS)
        rows = order[start : start + min(batch_size, _ATTENTION // int(longest) ** 2)]
        vectors[rows] = model.vectors(titles.take(pa.array(rows)).to_pylist())
        start += len(rows)
    return vectors


def fingerprint(value: Spec, precision: str = "float32") -> str:
    """32 hex digits that identify the encoder: of the weights and code for `minilm`, of the files for any other model.

    Raises:
        InputError: the model's files cannot be read.
    """
    spec = whole(parse(value))
    if spec == NONE:
        return hashlib.sha256(b"none").hexdigest()[:32]
    if spec == MINILM:
        return minilm.fingerprint(precision)
    if spec == MULTILINGUAL:
        return multilingual.fingerprint()
    if isinstance(spec, Pair):
        parts = [_files_fingerprint(spec.preprocessor), _files_fingerprint(spec.encoder), spec.pooling]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return _files_fingerprint(spec)


@functools.lru_cache(maxsize=4)
def _loaded(spec: Spec, precision: str) -> "HubEncoder":
    return load(spec, precision)


@functools.lru_cache(maxsize=8)
def _files_fingerprint(handle: str) -> str:
    from recsys_tft.titles.hub_encoder import folder_fingerprint

    return folder_fingerprint(handle)
