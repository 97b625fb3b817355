"""Columns of rows, from a schema, tf.io's feature specs, or a Parquet file."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError, did_you_mean, readable
from recsys_tft.storage.files import read_text

TYPES = {"INT": pa.int64(), "FLOAT": pa.float32(), "BYTES": pa.binary()}
_OF_DTYPES = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.binary()}


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of the rows.

    Attributes:
        name: of the feature.
        type: int64, float32 or binary.
        shape: of a row's values; () for one value, None for a list of any length.
        default: of rows without values, of that shape or one for all; None if missing values are an error.
    """

    name: str
    type: pa.DataType
    shape: tuple[int, ...] | None = ()
    default: Any = None

    @property
    def size(self) -> int | None:
        """Values per row; None for any number."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def fixed_size(self) -> int:
        """Values per row of a column with a size."""
        if self.size is None:
            raise TypeError(f"{self.name} has lists of any length.")
        return self.size

    @property
    def arrow_type(self) -> pa.DataType:
        """The column's type: values, fixed-size lists (all values of the shape), or lists."""
        if self.shape is None:
            return pa.list_(self.type)
        return pa.list_(self.type, self.size) if self.shape else self.type

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type of its values."""
        return np.dtype(object) if self.type == pa.binary() else np.dtype(self.type.to_pandas_dtype())

    def defaults(self) -> list[Any] | None:
        """The flattened default values."""
        if self.default is None or self.shape is None:
            return None
        default = np.asarray(self.default, self.dtype)
        return np.broadcast_to(default, self.shape).ravel().tolist()


def columns_of(spec: Any) -> dict[str, Column]:
    """Columns by name.

    Args:
        spec: Columns, a mapping from names to tf.io's features, a tensorflow_metadata Schema, or the path of one.

    Raises:
        InputError: if it is none of these, or has a feature without values of one kind.
    """
    if isinstance(spec, str):
        return _schema_columns(read_schema(spec))
    if hasattr(spec, "feature"):
        return _schema_columns(spec)
    if isinstance(spec, Mapping):
        return {
            name: entry if isinstance(entry, Column) else _feature_column(name, entry) for name, entry in spec.items()
        }
    return {column.name: column for column in spec}


def read_schema(path: str) -> Any:
    """The tensorflow_metadata Schema in a text file.

    Raises:
        InputError: if it is not there, or damaged.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    with readable(path, "run the main job again, with --overwrite", text_format.ParseError):
        return text_format.Parse(read_text(path), schema_pb2.Schema())


def chosen(columns: Mapping[str, Column], names: Iterable[str] | None, where: str) -> list[Column]:
    """The named columns, in that order; by default all.

    Raises:
        InputError: if a name is unknown, or no column is left.
    """
    names = list(columns) if names is None else list(dict.fromkeys(names))
    for name in names:
        if name not in columns:
            raise InputError(f"{where}: the rows have no column '{name}'.{did_you_mean(name, columns)}")
    if not names:
        raise InputError(f"{where}: no column is selected; name at least one in columns.")
    return [columns[name] for name in names]


def unreadable(file: str, why: str) -> InputError:
    """The error for a file of rows that cannot be read."""
    return InputError(f"{file}: the rows cannot be read: {why}; write the file again.")


def _schema_columns(schema: Any) -> dict[str, Column]:
    columns = {}
    for feature in schema.feature:
        kind = type(feature).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[feature.type].name
        if kind not in TYPES:
            raise InputError(f"The feature '{feature.name}' has the type {kind}, which is none of {', '.join(TYPES)}.")
        shape = tuple(dim.size for dim in feature.shape.dim) if feature.HasField("shape") else None
        columns[feature.name] = Column(feature.name, TYPES[kind], shape)
    return columns


def _feature_column(name: str, feature: Any) -> Column:
    """From a FixedLenFeature, VarLenFeature, or RaggedFeature without partitions, recognized without TensorFlow."""
    kind = type(feature).__name__
    dtype = _OF_DTYPES.get(getattr(getattr(feature, "dtype", None), "name", ""))
    readable_kind = kind in ("FixedLenFeature", "VarLenFeature") or (kind == "RaggedFeature" and not feature.partitions)
    if dtype is None or not readable_kind:
        raise InputError(
            f"The feature '{name}' is {feature}; only FixedLenFeature, VarLenFeature, and RaggedFeature without "
            "partitions, of int64, float32 or string, can be read."
        )
    if kind != "FixedLenFeature":
        return Column(name, dtype, None)
    return Column(name, dtype, _shape(feature.shape), feature.default_value)


def _shape(shape: Sequence[int] | int) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(int(size) for size in shape)
