"""Kinds of Arrow types, each of which has several representations."""

import pyarrow as pa

_types = pa.types


def value_type(kind: pa.DataType) -> pa.DataType:
    """The logical type, without dictionaries and extensions, which only affect storage."""
    if isinstance(kind, pa.BaseExtensionType):
        return value_type(kind.storage_type)
    return value_type(kind.value_type) if _types.is_dictionary(kind) else kind


def is_short_float(kind: pa.DataType) -> bool:
    """Whether it is a float that is too short for a time in seconds."""
    return _types.is_float16(kind) or _types.is_float32(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings."""
    return _types.is_string(kind) or _types.is_large_string(kind) or _types.is_string_view(kind)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes, which may be strings."""
    views = _types.is_binary_view(kind) or _types.is_fixed_size_binary(kind)
    return views or _types.is_binary(kind) or _types.is_large_binary(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether values are integers, floats or decimals."""
    return _types.is_integer(kind) or _types.is_floating(kind) or _types.is_decimal(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether each value is a list."""
    lists = (_types.is_list, _types.is_large_list, _types.is_fixed_size_list)
    return any(test(kind) for test in (*lists, _types.is_list_view, _types.is_large_list_view))
