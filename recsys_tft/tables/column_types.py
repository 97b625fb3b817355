"""Arrow types: those accepted for each column, and how they are read.

docs/input.md has the table. Accepted types are read without loss; a value that would lose something is a fault of its
row.
"""

import functools
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import TIMESTAMP, Column, IdKind
from recsys_tft.tables import conversions
from recsys_tft.tables.arrow_kinds import is_binary, is_list, is_number, is_short_float, is_text, value_type
from recsys_tft.tables.conversions import Converted

_types = pa.types


def is_taken(stored: pa.DataType, expected: pa.DataType, unit: str | None = None, kind: IdKind = IdKind.AUTO) -> bool:
    """Whether a column of the stored type can be read as the expected one, with ids of the kind."""
    stored = value_type(stored)
    if _types.is_null(stored):
        return True
    if _types.is_list(expected):
        return is_text(stored) or (is_list(stored) and is_taken(stored.value_type, expected.value_type, kind=kind))
    if _types.is_timestamp(expected):
        is_time = _types.is_timestamp(stored) or _types.is_date(stored) or is_text(stored)
        return is_time or (unit is not None and is_number(stored) and not is_short_float(stored))
    if _types.is_string(expected):
        is_bytes, is_numeric = is_binary(stored) and kind is not IdKind.UINT64, is_number(stored)
        return is_text(stored) or is_bytes or (is_numeric and kind is not IdKind.UUID)
    if _types.is_boolean(expected) and _types.is_boolean(stored):
        return True
    return is_number(stored) or is_text(stored)


def depends_on_values(stored: pa.DataType, expected: pa.DataType, kind: IdKind = IdKind.AUTO) -> bool:
    """Whether some values of an accepted stored type cannot be read as the expected one, or as ids of the kind."""
    stored = value_type(stored)
    if _types.is_list(expected):
        return is_text(stored) or (is_list(stored) and depends_on_values(stored.value_type, expected.value_type, kind))
    if _types.is_null(stored) or stored == expected:
        return is_text(stored) and kind in (IdKind.UUID, IdKind.UINT64)
    if _types.is_timestamp(expected):
        return not _types.is_timestamp(stored)
    if _types.is_string(expected):
        return not (is_text(stored) or _types.is_integer(stored))
    if _types.is_float32(expected):
        return is_text(stored)
    return not _types.is_integer(stored) or stored == pa.uint64() or _types.is_boolean(expected)


def read(values: pa.ChunkedArray | pa.Array, column: Column, unit: str | None = None) -> Converted:
    """Convert values to the type of a column; and by reason a mask [n] bool of those that cannot be converted.

    Times keep their unit, as their range is checked later. Values of the right type are unchanged.

    Args:
        values: of a type that `is_taken`.
        column: the column.
        unit: of times that are numbers, s, ms, us or ns.
    """
    convert_ids = _OF_IDS.get(column.kind)
    if not _types.is_dictionary(values.type) and values.type == column.type and not column.is_list and not convert_ids:
        return values, {}
    stored = value_type(values.type)
    if values.type != stored:
        values = values.cast(stored)
    if convert_ids and not _types.is_null(stored):
        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return (
            _lists(whole, lambda flat: convert_ids(flat.cast(value_type(flat.type))))
            if column.is_list
            else convert_ids(whole)
        )
    if _is_plain_cast(values, column):
        return values.cast(column.type, safe=not _types.is_float32(column.type)), {}
    if _types.is_timestamp(column.type) and _types.is_timestamp(stored) and stored.unit in ("us", "ns"):
        return values, {}
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return _converter(stored, column.type, unit)(whole)


def _is_plain_cast(values: pa.ChunkedArray | pa.Array, column: Column) -> bool:
    stored, expected = values.type, column.type
    if _types.is_null(stored):
        return True
    if _types.is_list(expected):
        return stored == expected and not _inner_nulls(values)
    if _types.is_float32(expected):
        return _types.is_floating(stored) or _types.is_integer(stored)
    if _types.is_string(expected):
        return is_text(stored)
    return expected == pa.int64() and _types.is_integer(stored) and stored != pa.uint64()


def _inner_nulls(lists: pa.ChunkedArray | pa.Array) -> int:
    return sum(part.values.null_count for part in (lists.chunks if isinstance(lists, pa.ChunkedArray) else [lists]))


def _converter(stored: pa.DataType, expected: pa.DataType, unit: str | None) -> Callable[[pa.Array], Converted]:
    """The function that converts values of the stored type."""
    stored = value_type(stored)
    if _types.is_list(expected):
        return functools.partial(_lists, convert=functools.partial(_flat, expected=expected.value_type))
    if _types.is_timestamp(expected):
        return functools.partial(_times, unit=unit)
    if _types.is_string(expected):
        return _text
    if _types.is_float32(expected):
        return _floats
    if _types.is_boolean(expected):
        return _flags
    return _integers


def _lists(values: pa.Array, convert: Callable[[pa.Array], Converted]) -> Converted:
    faults: conversions.Faults = {}
    if is_text(values.type):
        values, faults = conversions.lists_from_text(values.cast(pa.string()))
    lists, value_faults = conversions.in_lists(values, convert)
    return lists, faults | value_faults


# Converters of ids whose text has a form.
_OF_IDS = {IdKind.UUID: conversions.uuids, IdKind.UINT64: conversions.wide_whole}


def _flat(values: pa.Array, expected: pa.DataType) -> Converted:
    stored = value_type(values.type)
    values = values.cast(stored) if values.type != stored else values
    if stored == expected or _types.is_null(stored):
        return values.cast(expected), {}
    if _types.is_float32(expected):
        return _floats(values)
    return _text(values) if _types.is_string(expected) else _integers(values)


def _integers(values: pa.Array) -> Converted:
    if is_text(values.type):
        return conversions.whole_from_text(values.cast(pa.string()))
    if _types.is_floating(values.type):
        return conversions.whole_from_floats(values)
    if _types.is_decimal(values.type):
        return conversions.whole_from_decimals(values)
    return conversions.whole_from_unsigned(values) if values.type == pa.uint64() else (values.cast(pa.int64()), {})


def _floats(values: pa.Array) -> Converted:
    faults: conversions.Faults = {}
    if is_text(values.type):
        values, faults = conversions.floats_from_text(values.cast(pa.string()))
    return values.cast(pa.float64(), safe=False).cast(pa.float32(), safe=False), faults


def _flags(values: pa.Array) -> Converted:
    if is_text(values.type):
        return conversions.flags_from_text(values.cast(pa.string()))
    return conversions.flags_from_numbers(values.cast(pa.float64(), safe=False))


def _text(values: pa.Array) -> Converted:
    if is_text(values.type):
        return values.cast(pa.string()), {}
    if is_binary(values.type):
        return conversions.text_from_binary(values)
    whole, faults = _integers(values) if values.type != pa.uint64() else (values, {})
    return whole.cast(pa.string()), faults


def _times(values: pa.Array, unit: str | None) -> Converted:
    kind = values.type
    if _types.is_timestamp(kind) or _types.is_date(kind):
        if _types.is_date(kind):
            values = values.cast(pa.timestamp("s" if kind == pa.date32() else "ms"))
        micros, faults = conversions.times_from_whole(values.cast(pa.int64()), values.type.unit)
    elif is_text(kind):
        micros, faults = _times_from_text(values.cast(pa.string()), unit)
    elif _types.is_integer(kind):
        whole, faults = _integers(values)
        micros, more = conversions.times_from_whole(whole, unit or "us")
        faults |= more
    else:
        micros, faults = conversions.times_from_floats(values.cast(pa.float64(), safe=False), unit or "us")
    return micros.cast(pa.timestamp("us")).cast(TIMESTAMP), faults


def _times_from_text(values: pa.Array, unit: str | None) -> Converted:
    """Times in text, or with a unit numbers in text."""
    micros, faults = conversions.times_from_text(values)
    if unit is None:
        return micros, faults
    broken = faults[conversions.NOT_A_TIME]
    numbers = pc.if_else(pa.array(broken), values, None)
    whole, whole_faults = conversions.whole_from_text(numbers)
    counted, far = conversions.times_from_whole(whole, unit)
    floats, float_faults = conversions.floats_from_text(
        pc.if_else(pa.array(whole_faults[conversions.NOT_WHOLE]), values, None)
    )
    split, far_floats = conversions.times_from_floats(floats, unit)
    times = pc.coalesce(micros, counted, split)
    return times, {
        conversions.NOT_A_TIME: float_faults[conversions.NOT_A_NUMBER],
        conversions.TOO_LARGE: whole_faults[conversions.TOO_LARGE],
        conversions.TIME_TOO_FAR: far.get(conversions.TIME_TOO_FAR, False) | far_floats[conversions.TIME_TOO_FAR],
        conversions.NOT_EXACT: far_floats[conversions.NOT_EXACT],
    }
