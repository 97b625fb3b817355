"""Reads safetensors files, which hold arrays by name: no pickle, no code, no extra package.

The package of that name is no faster (decision 50).

References:
    https://github.com/huggingface/safetensors#format
"""

import json
import math
import os
import pathlib

import ml_dtypes
import numpy as np

from recsys_tft.errors import InputError

_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays by name: views of one buffer, little-endian as in the file.

    Raises:
        InputError: the file ends early, or its header is not valid.
    """
    data = pathlib.Path(path).read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:begin])
        header.pop("__metadata__", None)
        return {name: _array(memoryview(data)[begin:], entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} of {len(data)} bytes is not a complete safetensors file: {error!r}.") from error


def _array(data: memoryview, entry: dict) -> np.ndarray:
    kind, shape, (begin, end) = np.dtype(_TYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
    if not 0 <= begin <= end <= len(data) or end - begin != kind.itemsize * math.prod(shape):
        raise ValueError(f"offsets {begin} to {end} of {len(data)} bytes do not fit {entry['dtype']} {shape}")
    return np.frombuffer(data[begin:end], kind).reshape(shape)
