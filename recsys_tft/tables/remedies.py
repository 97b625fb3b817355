"""Advice in pandas for a column whose type or values are not accepted."""

import pyarrow as pa

from recsys_tft.columns import Column, IdKind
from recsys_tft.tables.arrow_kinds import is_binary, is_list, is_number, is_short_float, is_text, value_type
from recsys_tft.tables.conversions import NOT_A_TIME, NOT_EXACT, NOT_TEXT

_types = pa.types


def remedy(theirs: str, stored: pa.DataType, column: Column, table: str, reason: str = "") -> str:
    """Advice for a type, or values, that are not accepted, as the end of a sentence."""
    stored, expected, cell = value_type(stored), column.type, f'df["{theirs}"]'
    if reason.endswith(NOT_EXACT):
        return f'keep it from becoming a float, as by pd.read_csv(path, dtype={{"{theirs}": "Int64"}})'
    if column.key and not column.is_list and reason.endswith(NOT_TEXT):
        return f"cast it in pandas: {cell} = {cell}.map(bytes.hex)"
    one = value_type(stored.value_type) if is_list(stored) and column.is_list else stored
    if column.key and (is_text(one) or is_binary(one) or (column.kind is IdKind.UUID and is_number(one))):
        other = IdKind.UUID if one == pa.binary(16) else IdKind.STRING
        return f"if they are other ids, say so in the config, as by `ids: {{{column.key}: {other}}}`"
    if (
        _types.is_timestamp(expected)
        and is_number(stored)
        and reason in ("", NOT_A_TIME)
        and not is_short_float(stored)
    ):
        setting = f"columns: {{{table}: {{{theirs}: {{name: {column.name}, unit: s}}}}}}"
        cast = f'{cell} = pd.to_datetime({cell}, unit="s", utc=True)'
        return f"say in the config what it counts, such as `{setting}` (or ms, us, ns), or cast it in pandas: {cast}"
    return f"cast it in pandas: {cell} = {_cast(cell, stored, expected)}"


def _cast(cell: str, stored: pa.DataType, expected: pa.DataType) -> str:
    if (_types.is_duration(stored) or _types.is_time(stored)) and not _types.is_list(expected):
        span = cell if _types.is_duration(stored) else f"pd.to_timedelta({cell}.astype(str))"
        if _types.is_timestamp(expected):
            return f'pd.Timestamp("2025-03-01", tz="UTC") + {span}, which takes it for the time since that day'
        return f"{span}.dt.total_seconds()" + (".round().astype('Int64')" if _types.is_integer(expected) else "")
    if _types.is_list(expected) and is_text(stored):
        return f"{cell}.map(json.dumps), of lists"
    if _types.is_list(expected):
        inner = "str" if _types.is_string(expected.value_type) else "int"
        if is_list(stored) and is_list(stored.value_type):
            return f"{cell}.map(lambda row: [{inner}(value) for part in row for value in part])"
        return f"{cell}.map(lambda row: [{inner}(value) for value in row])"
    if is_list(stored):
        return f"{cell}.str[0]"
    if _types.is_timestamp(expected):
        if is_short_float(stored):
            return f'pd.to_datetime({cell}.astype("float64"), unit="s", utc=True), from where it was no float32 yet'
        how = 'unit="s", errors="coerce"' if is_number(stored) else 'format="mixed"'
        return f"pd.to_datetime({cell}, utc=True, {how})"
    if _types.is_string(expected):
        return f'{cell}.str.decode("utf-8", errors="replace")' if is_binary(stored) else f'{cell}.astype("string")'
    if _types.is_boolean(expected):
        if is_text(stored):
            return f'{cell}.map({{"yes": True, "no": False}}), which lists its words'
        return f"{cell} > 0, which takes it for a count" if is_number(stored) else f"{cell}.astype('boolean')"
    if not (is_text(stored) or is_number(stored) or _types.is_boolean(stored)):
        return f"{cell}.map({'float' if _types.is_float32(expected) else 'int'}), which takes what is in it"
    number = f'pd.to_numeric({cell}, errors="coerce")' if is_text(stored) else cell
    if _types.is_float32(expected):
        return number if is_text(stored) else f'{cell}.astype("float32")'
    if stored == pa.uint64():
        return f'{cell}.astype("int64"), which wraps, the same in every table'
    return f'{number}.astype("Int64")' if _types.is_boolean(stored) else f'{number}.round().astype("Int64")'
