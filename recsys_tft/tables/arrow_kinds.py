"""Kinds of Arrow types, each of which has several representations."""

import pyarrow as pa

_types = pa.types


def value_type(found: pa.DataType) -> pa.DataType:
    """The logical type, without dictionaries and extensions, which only affect storage."""
    if isinstance(found, pa.BaseExtensionType):
        return value_type(found.storage_type)
    return value_type(found.value_type) if _types.is_dictionary(found) else found


def is_short_float(found: pa.DataType) -> bool:
    """Whether it is a float that holds no time to the second."""
    return _types.is_float16(found) or _types.is_float32(found)


def is_text(found: pa.DataType) -> bool:
    """Whether values are strings."""
    return _types.is_string(found) or _types.is_large_string(found) or _types.is_string_view(found)


def is_binary(found: pa.DataType) -> bool:
    """Whether values are bytes, which may be strings."""
    views = _types.is_binary_view(found) or _types.is_fixed_size_binary(found)
    return views or _types.is_binary(found) or _types.is_large_binary(found)


def is_number(found: pa.DataType) -> bool:
    """Whether values are integers, floats or decimals."""
    return _types.is_integer(found) or _types.is_floating(found) or _types.is_decimal(found)


def is_list(found: pa.DataType) -> bool:
    """Whether each value is a list."""
    lists = (_types.is_list, _types.is_large_list, _types.is_fixed_size_list)
    return any(test(found) for test in (*lists, _types.is_list_view, _types.is_large_list_view))
