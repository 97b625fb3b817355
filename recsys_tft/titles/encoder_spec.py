"""Values of `title_encoder` in the settings: a word, or the addresses of one or two models.

A `Spec` is `minilm` (the default) or `multilingual`, see the modules of these names, `none`, the handle of a model on
TensorFlow Hub, the path of a SavedModel on this machine or in a bucket, or a `Pair` of models of TensorFlow Hub's BERT
form.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from recsys_tft.errors import HIDDEN, InputError, did_you_mean, redacted

Pooling = Literal["pooled_output", "mean"]
ADDRESSES_VARIABLE = "RECSYS_TFT_TITLE_ENCODER"  # of the one or two models, between blanks
MINILM, MULTILINGUAL, NONE = "minilm", "multilingual", "none"
SCRIPTS = {
    MINILM: ("Latin",),
    MULTILINGUAL: ("Latin", "Cyrillic", "Arabic", "Han", "Hiragana", "Katakana", "Hangul", "Thai"),
}  # that an encoder was trained on, as Unicode calls them
_SCHEMES = ("http", "https", "gs", "ram")  # that TensorFlow reads a model from; the last one is its memory


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


def parse(value: str | Pair | Mapping[str, str], name: str = "title_encoder") -> Spec:
    """Parse a value of the settings; a mapping becomes a Pair.

    Raises:
        InputError: the value has an unknown form.
    """
    if (isinstance(value, str) and value.strip() and value.isprintable()) or isinstance(value, Pair):
        return value
    keys = [field.name for field in dataclasses.fields(Pair)]
    if isinstance(value, Mapping) and {"preprocessor", "encoder"} <= set(value) <= set(keys):
        return Pair(**cast(dict[str, Any], value))
    problem = f"{name} is {value!r}".strip()
    raise InputError(f"{problem}; expected minilm, multilingual, none, a handle or path, or {{{', '.join(keys)}}}.")


def check(value: Spec, name: str = "title_encoder") -> None:
    """Refuse an address that TensorFlow cannot read, without loading any library.

    Raises:
        InputError: naming the address, and what can be read.
    """
    for address in (value.preprocessor, value.encoder) if isinstance(value, Pair) else (value,):
        scheme = address.partition("://")[0] if "://" in address else None
        if scheme not in (None, *_SCHEMES):
            raise InputError(
                f"{name}: {address} cannot be loaded: models are loaded from local folders, gs:// and https://, "
                f"not from {scheme}://."
            )
        if scheme is None and address.startswith((".", "/")) and not pathlib.Path(address).is_dir():
            raise InputError(
                f"{name}: {address} cannot be loaded: there is no such folder; name the folder of a local copy "
                "with saved_model.pb."
            )


def whole(spec: Spec) -> Spec:
    """The spec with the tokens of its addresses, which a manifest lacks, from ADDRESSES_VARIABLE.

    Raises:
        InputError: if an address with a token is not in the variable.
    """
    if isinstance(spec, Pair):
        return dataclasses.replace(spec, preprocessor=_whole(spec.preprocessor), encoder=_whole(spec.encoder))
    return _whole(spec)


def _whole(spec: str) -> str:
    if HIDDEN not in spec:
        return spec
    for address in os.environ.get(ADDRESSES_VARIABLE, "").split():
        if redacted(address) == spec:
            return address
    raise InputError(
        f"title_encoder: {spec} had a token, which the manifest does not contain; put the whole address into the "
        f"environment variable {ADDRESSES_VARIABLE}."
    )
