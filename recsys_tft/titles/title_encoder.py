"""What `title_encoder` in the settings names: from a word or an address to a function from titles to vectors.

A `Spec` is `minilm` (the default, see `recsys_tft.titles.minilm`), `none`, the handle of a model on TensorFlow Hub, the
path of a SavedModel on this machine or in a bucket, or a `Pair` of models of TensorFlow Hub's BERT form. Importing this
module does not import TensorFlow.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.errors import HIDDEN, InputError, did_you_mean, redacted
from recsys_tft.titles import minilm
from recsys_tft.titles.minilm import export_minilm

if TYPE_CHECKING:
    from recsys_tft.titles.hub_encoder import HubEncoder

Pooling = Literal["pooled_output", "mean"]
ADDRESSES_VARIABLE = "RECSYS_TFT_TITLE_ENCODER"  # of the one or two models, between blanks
MINILM, NONE = "minilm", "none"
_SCHEMES = ("http", "https", "gs", "ram")  # that TensorFlow reads a model from; the last one is its memory
_ATTENTION = 1 << 22  # how many pairs of tokens a batch of `encode` may have, which bounds its memory
_MOST_TOKENS = 256  # of a title


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two models of TensorFlow Hub's BERT form: strings to a dict of token ids, and that to a dict of vectors.

    Attributes:
        preprocessor: handle or path.
        encoder: handle or path.
        pooling: `pooled_output` takes the encoder's vector of that name; `mean` averages `sequence_output` over the
            tokens of `input_mask`.
    """

    preprocessor: str
    encoder: str
    pooling: Pooling = "pooled_output"

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Pooling):
            raise InputError(
                f"title_encoder: pooling is {self.pooling!r}." + did_you_mean(self.pooling, get_args(Pooling))
            )


Spec = str | Pair


def parse(value: str | Pair | Mapping[str, str]) -> Spec:
    """The settings' value as a Spec; a mapping becomes a Pair.

    Raises:
        InputError: the value is of no known form.
    """
    if (isinstance(value, str) and value.strip() and value.isprintable()) or isinstance(value, Pair):
        return value
    keys = [field.name for field in dataclasses.fields(Pair)]
    if isinstance(value, Mapping) and {"preprocessor", "encoder"} <= set(value) <= set(keys):
        return Pair(**value)
    raise InputError(f"title_encoder is {value!r}; expected minilm, none, a handle or path, or {{{', '.join(keys)}}}.")


def check(value: Spec) -> None:
    """Refuses an address that TensorFlow has no way to read, which needs no library to be loaded.

    Raises:
        InputError: naming the address, and what is read.
    """
    for address in (value.preprocessor, value.encoder) if isinstance(value, Pair) else (value,):
        scheme = address.partition("://")[0] if "://" in address else None
        if scheme not in (None, *_SCHEMES):
            raise InputError(
                f"title_encoder: {address} cannot be loaded: models are read from folders of this machine, gs:// and "
                f"https://, not from {scheme}://."
            )
        if scheme is None and address.startswith((".", "/")) and not pathlib.Path(address).is_dir():
            raise InputError(
                f"title_encoder: {address} cannot be loaded: there is no such folder; name that of a local copy, which "
                "holds saved_model.pb."
            )


def resolve(value: Spec, precision: str = "float32", say: Callable[[str], object] = lambda text: None) -> Spec:
    """The same encoder by its address: `minilm` becomes the path of its SavedModel, exported now if need be."""
    spec = parse(value)
    if spec == MINILM:
        return export_minilm(precision=precision, say=say)
    return whole(spec)


def whole(spec: Spec) -> Spec:
    """The addresses of a spec with the tokens that a manifest does not hold, out of ADDRESSES_VARIABLE.

    Raises:
        InputError: if such an address is not there.
    """
    if isinstance(spec, Pair):
        return dataclasses.replace(spec, preprocessor=whole(spec.preprocessor), encoder=whole(spec.encoder))
    if HIDDEN not in spec:
        return spec
    for address in os.environ.get(ADDRESSES_VARIABLE, "").split():
        if redacted(address) == spec:
            return address
    raise InputError(
        f"title_encoder: {spec} has had a token, which no manifest holds; name the whole address in the environment "
        f"variable {ADDRESSES_VARIABLE}."
    )


def load(value: Spec, precision: str = "float32") -> "HubEncoder":
    """A tf.Module: [n] tf.string to [n, width] float32, with the attribute `width`.

    Raises:
        InputError: it cannot be loaded, or does not map strings to vectors.
    """
    spec = resolve(value, precision)
    if spec == NONE:
        raise InputError("title_encoder is none, so there is nothing to encode titles with.")
    from recsys_tft.titles.hub_encoder import HubEncoder

    return HubEncoder(spec)


def width(value: Spec, precision: str = "float32") -> int:
    """Of the vectors."""
    spec = parse(value)
    return minilm.WIDTH if spec == MINILM else _loaded(spec, precision).width


def encode(value: Spec, titles: pa.Array, batch_size: int = 256, precision: str = "float32") -> np.ndarray:
    """[n, width] float32 vectors of [n] strings or bytes without nulls; the model stays loaded for the next call.

    Titles of like length go through the encoder together. A title's vector depends on its batch by rounding only:
    less than 1e-6 in float32, 1e-3 in bfloat16.
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
    if isinstance(spec, Pair):
        parts = [_files_fingerprint(spec.preprocessor), _files_fingerprint(spec.encoder), spec.pooling]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return _files_fingerprint(spec)


@functools.lru_cache(maxsize=2)
def _loaded(spec: Spec, precision: str) -> "HubEncoder":
    return load(spec, precision)


@functools.lru_cache(maxsize=8)
def _files_fingerprint(handle: str) -> str:
    from recsys_tft.titles.hub_encoder import folder_fingerprint

    return folder_fingerprint(handle)
