"""Arrow types: those accepted for each column, and how they are read.

docs/input.md has the table. What is taken loses nothing; a value that would is a fault of its row.
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


def is_taken(found: pa.DataType, wanted: pa.DataType, unit: str | None = None, kind: IdKind = IdKind.AUTO) -> bool:
    """Whether a column of the found type can be read as the wanted one, and holds ids of the kind."""
    found = value_type(found)
    if _types.is_null(found):
        return True
    if _types.is_list(wanted):
        return is_text(found) or (is_list(found) and is_taken(found.value_type, wanted.value_type, kind=kind))
    if _types.is_timestamp(wanted):
        is_time = _types.is_timestamp(found) or _types.is_date(found) or is_text(found)
        return is_time or (unit is not None and is_number(found) and not is_short_float(found))
    if _types.is_string(wanted):
        is_bytes, is_numeric = is_binary(found) and kind is not IdKind.UINT64, is_number(found)
        return is_text(found) or is_bytes or (is_numeric and kind is not IdKind.UUID)
    if _types.is_boolean(wanted) and _types.is_boolean(found):
        return True
    return is_number(found) or is_text(found)


def depends_on_values(found: pa.DataType, wanted: pa.DataType, kind: IdKind = IdKind.AUTO) -> bool:
    """Whether some values of the found type, which is taken, cannot be read as the wanted one, or ids of the kind."""
    found = value_type(found)
    if _types.is_list(wanted):
        return is_text(found) or (is_list(found) and depends_on_values(found.value_type, wanted.value_type, kind))
    if _types.is_null(found) or found == wanted:
        return is_text(found) and kind in (IdKind.UUID, IdKind.UINT64)
    if _types.is_timestamp(wanted):
        return not _types.is_timestamp(found)
    if _types.is_string(wanted):
        return not (is_text(found) or _types.is_integer(found))
    if _types.is_float32(wanted):
        return is_text(found)
    return not _types.is_integer(found) or found == pa.uint64() or _types.is_boolean(wanted)


def read(values: pa.ChunkedArray | pa.Array, column: Column, unit: str | None = None) -> Converted:
    """The values as a column holds them, and by reason a mask [n] bool of those that cannot be.

    Times keep their unit, as their range is still to be checked. What needs no conversion is not touched.

    Args:
        values: of a type that `is_taken`.
        column: the column.
        unit: of times that are numbers, s, ms, us or ns.
    """
    of_ids = _OF_IDS.get(column.kind)
    if not _types.is_dictionary(values.type) and values.type == column.type and not column.is_list and not of_ids:
        return values, {}
    found = value_type(values.type)
    if values.type != found:
        values = values.cast(found)
    if of_ids and not _types.is_null(found):
        whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return _lists(whole, lambda flat: of_ids(flat.cast(value_type(flat.type)))) if column.is_list else of_ids(whole)
    if _is_as_it_is(values, column):
        return values.cast(column.type, safe=not _types.is_float32(column.type)), {}
    if _types.is_timestamp(column.type) and _types.is_timestamp(found) and found.unit in ("us", "ns"):
        return values, {}
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return _converter(found, column.type, unit)(whole)


def _is_as_it_is(values: pa.ChunkedArray | pa.Array, column: Column) -> bool:
    found, wanted = values.type, column.type
    if _types.is_null(found):
        return True
    if _types.is_list(wanted):
        return found == wanted and not _inner_nulls(values)
    if _types.is_float32(wanted):
        return _types.is_floating(found) or _types.is_integer(found)
    if _types.is_string(wanted):
        return is_text(found)
    return wanted == pa.int64() and _types.is_integer(found) and found != pa.uint64()


def _inner_nulls(lists: pa.ChunkedArray | pa.Array) -> int:
    return sum(part.values.null_count for part in (lists.chunks if isinstance(lists, pa.ChunkedArray) else [lists]))


def _converter(found: pa.DataType, wanted: pa.DataType, unit: str | None) -> Callable[[pa.Array], Converted]:
    """The function that converts values of the found type."""
    found = value_type(found)
    if _types.is_list(wanted):
        return functools.partial(_lists, convert=functools.partial(_flat, wanted=wanted.value_type))
    if _types.is_timestamp(wanted):
        return functools.partial(_times, unit=unit)
    if _types.is_string(wanted):
        return _text
    if _types.is_float32(wanted):
        return _floats
    if _types.is_boolean(wanted):
        return _flags
    return _integers


def _lists(values: pa.Array, convert: Callable[[pa.Array], Converted]) -> Converted:
    faults: conversions.Faults = {}
    if is_text(values.type):
        values, faults = conversions.lists_from_text(values.cast(pa.string()))
    found, of_values = conversions.in_lists(values, convert)
    return found, faults | of_values


# What converts ids of kinds whose text has a form.
_OF_IDS = {IdKind.UUID: conversions.uuids, IdKind.UINT64: conversions.wide_whole}


def _flat(values: pa.Array, wanted: pa.DataType) -> Converted:
    found = value_type(values.type)
    values = values.cast(found) if values.type != found else values
    if found == wanted or _types.is_null(found):
        return values.cast(wanted), {}
    if _types.is_float32(wanted):
        return _floats(values)
    return _text(values) if _types.is_string(wanted) else _integers(values)


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
    """Times in text; where a unit is given, numbers too."""
    micros, faults = conversions.times_from_text(values)
    if unit is None:
        return micros, faults
    broken = faults[conversions.NOT_A_TIME]
    numbers = pc.if_else(pa.array(broken), values, None)
    whole, of_whole = conversions.whole_from_text(numbers)
    counted, far = conversions.times_from_whole(whole, unit)
    floats, of_floats = conversions.floats_from_text(
        pc.if_else(pa.array(of_whole[conversions.NOT_WHOLE]), values, None)
    )
    split, far_floats = conversions.times_from_floats(floats, unit)
    found = pc.coalesce(micros, counted, split)
    return found, {
        conversions.NOT_A_TIME: of_floats[conversions.NOT_A_NUMBER],
        conversions.TOO_LARGE: of_whole[conversions.TOO_LARGE],
        conversions.TIME_TOO_FAR: far.get(conversions.TIME_TOO_FAR, False) | far_floats[conversions.TIME_TOO_FAR],
        conversions.NOT_EXACT: far_floats[conversions.NOT_EXACT],
    }
