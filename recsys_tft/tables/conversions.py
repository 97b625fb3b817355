"""Lossless conversions of values: pure functions over Arrow arrays.

Each returns the values, null if missing or not convertible, and by reason a mask [n] bool of those that are not. A
reason follows the name of a column: `age is no whole number`.
"""

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.ids import UUID_PATTERN
from recsys_tft.tables.arrow_kinds import is_text

Faults = dict[str, np.ndarray]
Converted = tuple[pa.Array, Faults]

LEAST = -(2**63)  # NumPy's NaT as an integer, which counts as missing everywhere
NOT_WHOLE = "is no whole number"
NOT_EXACT = "is 2^53 or more, where a float is not exact"
TOO_LARGE = "is no 64-bit integer"
NOT_A_NUMBER = "is no number"
NOT_A_FLAG = "is neither true nor false, nor 1 or 0"
NOT_A_TIME = "is no time such as 2025-03-01 12:00:00"
TIME_TOO_FAR = "is a time that microseconds in 64 bits do not reach"
NOT_TEXT = "is not UTF-8"
NOT_A_UUID = "is no UUID"
NOT_A_LIST = "is no list such as a|b or a JSON array"
UUID_TEXT = f"^{UUID_PATTERN}$"
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_DASHES = (8, 13, 18, 23)  # places in the text of a UUID
_WHOLE_TEXT = r"^-?(0|[1-9]\d*)(\.0*)?$"
_EXACT = 2**53
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NUMBER = r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[nN]a[nN]|-?[iI]nf(inity)?"
_TIME = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<zone>[Zz]|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>\d\d)(?::?(?P<zone_minute>\d\d))?)?)?$"
)
_DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def mask_of(values: pa.Array) -> np.ndarray:
    """[n] bool of Arrow booleans; null is False."""
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)


def _where(good: np.ndarray, values: np.ndarray | pa.Array, kind: pa.DataType) -> pa.Array:
    return pa.array(np.where(good, values, 0), kind, mask=~good)


def whole_from_floats(values: pa.Array) -> Converted:
    """Floats as int64; NaN is missing, and so is the least int64, NumPy's missing time."""
    numbers = _present(values)
    large = np.abs(numbers) >= _EXACT
    broken = ~np.isnan(numbers) & ~large & (numbers != np.trunc(numbers))
    broken |= np.isinf(numbers)
    large &= ~np.isinf(numbers)
    good = ~(np.isnan(numbers) | large | broken)
    return _where(good, numbers, pa.int64()), {NOT_WHOLE: broken, NOT_EXACT: large}


def whole_from_decimals(values: pa.Array) -> Converted:
    """Decimals of any width as int64."""
    wide = values.cast(pa.decimal256(76, values.type.scale), safe=False)
    truncated = pc.trunc(wide)
    broken = mask_of(pc.not_equal(truncated, wide))
    whole, limit = truncated.cast(pa.decimal256(76, 0), safe=False), pa.scalar(2**63, pa.decimal256(76, 0))
    large = mask_of(pc.or_(pc.greater_equal(whole, limit), pc.less(whole, pc.negate(limit)))) & ~broken
    kept = pc.if_else(pa.array(broken | large), None, whole)
    return kept.cast(pa.int64()), {NOT_WHOLE: broken, TOO_LARGE: large}


def whole_from_unsigned(values: pa.Array) -> Converted:
    """uint64 as int64."""
    large = mask_of(pc.greater(values, pa.scalar(2**63 - 1, pa.uint64())))
    return pc.if_else(pa.array(large), None, values).cast(pa.int64()), {TOO_LARGE: large}


def whole_from_text(values: pa.Array) -> Converted:
    """Digits as int64, optionally followed by `.0`; empty text is missing, and text such as 007 is no number."""
    text = _trimmed(values)
    good = mask_of(pc.match_substring_regex(text, _WHOLE_TEXT))
    broken = mask_of(text.is_valid()) & ~good
    digits = pc.replace_substring_regex(pc.if_else(pa.array(good), text, None), r"\.0*$", "")
    size = pc.utf8_length(pc.utf8_ltrim(digits, "-"))
    limit = pc.if_else(pc.starts_with(digits, "-"), f"-{2**63}", str(2**63 - 1))
    too_long = pc.greater(size, 19)
    large = mask_of(pc.or_(too_long, pc.and_(pc.equal(size, 19), pc.greater(digits, limit))))
    kept = pc.if_else(pa.array(large), None, digits)
    return kept.cast(pa.int64()), {NOT_WHOLE: broken, TOO_LARGE: large}


def floats_from_text(values: pa.Array) -> Converted:
    """Numbers in text as float64; an empty text is missing."""
    text = _trimmed(values)
    good = mask_of(pc.match_substring_regex(text, f"^({_NUMBER})$"))
    broken = mask_of(text.is_valid()) & ~good
    return pc.if_else(pa.array(good), text, None).cast(pa.float64()), {NOT_A_NUMBER: broken}


def flags_from_numbers(values: pa.Array) -> Converted:
    """1 and 0 as true and false; NaN is missing."""
    numbers = values.cast(pa.float64(), safe=False)
    present = mask_of(values.is_valid()) & ~mask_of(pc.is_nan(numbers))
    yes, no = (mask_of(pc.equal(numbers, flag)) for flag in (1.0, 0.0))
    return pa.array(yes, mask=~(yes | no)), {NOT_A_FLAG: present & ~yes & ~no}


def flags_from_text(values: pa.Array) -> Converted:
    """true, t, 1 and false, f, 0 in any case; an empty text is missing."""
    text = pc.utf8_lower(_trimmed(values))
    yes, no = (
        mask_of(pc.is_in(text, pa.array(words))) for words in (["true", "t", "1", "1.0"], ["false", "f", "0", "0.0"])
    )
    return pa.array(yes, mask=~(yes | no)), {NOT_A_FLAG: mask_of(text.is_valid()) & ~yes & ~no}


def times_from_text(values: pa.Array) -> Converted:
    """ISO 8601 dates and times as microseconds since 1970 UTC, int64; without a zone they are UTC."""
    text = _trimmed(values)
    parts = pc.extract_regex(text, _TIME)
    matched = mask_of(parts.is_valid())
    field = {name: _digits(parts, name) for name in ("year", "month", "day", "hour", "minute", "second")}
    shift = _digits(parts, "zone_hour") * 60 + _digits(parts, "zone_minute")
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.struct_field(parts, "fraction"), 6, "0"), 0, 6)
    year, month, day = field["year"], field["month"], field["day"]
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = _DAYS[np.clip(month, 1, 12) - 1] + (leap & (month == 2))
    good = matched & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= last)
    good &= (field["hour"] < 24) & (field["minute"] < 60) & (field["second"] < 60) & (shift < 24 * 60)
    good &= _digits(parts, "zone_minute") < 60
    sign = np.where(mask_of(pc.equal(pc.struct_field(parts, "sign"), "-")), -1, 1)
    minutes = _days(year, month, day) * 1440 + field["hour"] * 60 + field["minute"] - sign * shift
    micros = (minutes * 60 + field["second"]) * 1_000_000 + _integers(fraction)
    return _where(good, micros, pa.int64()), {NOT_A_TIME: mask_of(text.is_valid()) & ~good}


def _digits(parts: pa.StructArray, name: str) -> np.ndarray:
    return _integers(pc.struct_field(parts, name))


def _integers(digits: pa.Array) -> np.ndarray:
    """[n] int64; 0 without digits."""
    present = pc.if_else(pc.equal(digits, ""), None, digits)
    return pc.fill_null(present.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970-01-01 in the Gregorian calendar; computed with years that begin in March, after the leap day."""
    shifted = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719_468


def times_from_whole(values: pa.Array, unit: str) -> Converted:
    """int64 in a unit since 1970 as microseconds; nanoseconds are rounded down; the least int64 is missing."""
    values = pc.if_else(pc.equal(values, LEAST), None, values)
    numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    if unit == "ns":
        return _where(mask_of(values.is_valid()), numbers // 1000, pa.int64()), {}
    scale = _MICROSECONDS[unit]
    limit = (2**63 - 1) // scale
    far = (numbers > limit) | (numbers < -limit)
    good = mask_of(values.is_valid()) & ~far
    return _where(good, np.where(far, 0, numbers) * scale, pa.int64()), {TIME_TOO_FAR: far}


def times_from_floats(values: pa.Array, unit: str) -> Converted:
    """float64 in a unit since 1970 as microseconds, to the nearest; NaN is missing, and so is the least int64."""
    numbers = _present(values)
    large = np.abs(numbers) >= _EXACT
    micros = numbers / 1000 if unit == "ns" else numbers * _MICROSECONDS[unit]
    far = ~large & (np.abs(micros) >= 2.0**63)
    good = ~(np.isnan(numbers) | large | far)
    return _where(good, np.rint(np.where(good, micros, 0)), pa.int64()), {NOT_EXACT: large, TIME_TOO_FAR: far}


def _present(values: pa.Array) -> np.ndarray:
    """[n] float64, NaN where missing."""
    numbers = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    return np.where(numbers == float(LEAST), np.nan, numbers)


def text_from_binary(values: pa.Array) -> Converted:
    """Bytes as text."""
    try:
        return values.cast(pa.binary()).cast(pa.string()), {}
    except pa.ArrowInvalid:  # Arrow does not say which value; there are few such tables
        encoded = values.cast(pa.binary()).dictionary_encode()
    broken = np.array([_is_broken(value.as_py()) for value in encoded.dictionary], bool)
    kept = pc.if_else(pa.array(broken), None, encoded.dictionary).cast(pa.string())
    bad = mask_of(pa.array(broken).take(encoded.indices))
    return kept.take(encoded.indices), {NOT_TEXT: bad}


def _is_broken(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return False


def lists_from_text(values: pa.Array) -> Converted:
    """`a|b` and JSON arrays such as `["a", "b"]` as lists of text; an empty text is missing."""
    text = pc.if_else(pc.equal(values, ""), None, values)
    encoded = text.cast(pa.binary()).dictionary_encode()
    parsed = [_parsed(value.as_py()) for value in encoded.dictionary]  # of each distinct text once
    broken = np.array([value is None for value in parsed], bool)
    kept = pa.array(parsed, pa.list_(pa.string())).take(encoded.indices)
    return kept, {NOT_A_LIST: mask_of(pa.array(broken, pa.bool_()).take(encoded.indices))}


def _parsed(encoded: bytes) -> list[str | None] | None:
    try:
        text = encoded.decode()
        if not text.lstrip().startswith("["):
            return list(text.split("|"))
        values = json.loads(text, parse_float=str, parse_int=str)
        texts = [value for value in values if value is not None]
        "".join(texts).encode()  # which fails for half of a surrogate pair
    except (ValueError, TypeError, RecursionError):
        return None
    return values


def in_lists(lists: pa.Array, convert: Callable[[pa.Array], Converted]) -> Converted:
    """Convert the values of lists; missing ones are dropped, and one that is not convertible spoils its list.

    Views are not cast to lists, as pyarrow 25 turns those read from Parquet into empty lists.
    """
    flat = lists.flatten()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    parents = np.repeat(np.arange(len(lists)), lengths)
    values, faults = convert(flat)
    present = mask_of(values.is_valid())
    sizes = np.bincount(parents[present], minlength=len(lists))
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    spoilt = {reason: np.bincount(parents[bad], minlength=len(lists)) > 0 for reason, bad in faults.items()}
    missing = mask_of(lists.is_null()) | np.any([*spoilt.values(), np.zeros(len(lists), bool)], axis=0)
    converted = pa.ListArray.from_arrays(offsets, values.drop_null(), mask=pa.array(missing))
    return converted, {f"holds a value that {reason}": bad for reason, bad in spoilt.items()}


def _trimmed(values: pa.Array) -> pa.Array:
    try:
        text = pc.utf8_trim_whitespace(values)
    except pa.ArrowInvalid:  # some value is not UTF-8, and so nothing that is written in letters and digits
        kept, faults = text_from_binary(values)
        text = pc.if_else(pa.array(faults[NOT_TEXT]), "\ufffd", pc.utf8_trim_whitespace(kept))
    return pc.if_else(pc.equal(text, ""), None, text)


def uuids(values: pa.Array) -> Converted:
    """16 bytes each, or text, as text of 36 characters in lower case (RFC 9562)."""
    if pa.types.is_null(values.type):
        return values.cast(pa.string()), {}
    if is_text(values.type):
        text = values.cast(pa.string())
        broken = mask_of(pc.invert(pc.match_substring_regex(text, UUID_TEXT)))
        return pc.utf8_lower(pc.if_else(pa.array(broken), None, text)), {NOT_A_UUID: broken}
    binary = values.cast(pa.binary())
    broken = mask_of(pc.not_equal(pc.binary_length(binary), 16))
    good = mask_of(binary.is_valid()) & ~broken
    kept = binary.filter(pa.array(good))
    digits = np.frombuffer(kept.buffers()[2] or b"", np.uint8, 16 * len(kept)).reshape(-1, 16)
    text = np.full((len(digits), 36), ord("-"), np.uint8)
    text[:, np.delete(np.arange(36), _DASHES)] = _HEX[np.stack([digits >> 4, digits & 15], axis=2).reshape(-1, 32)]
    texts = pa.FixedSizeBinaryArray.from_buffers(pa.binary(36), len(text), [None, pa.py_buffer(text.tobytes())])
    places = pa.array(np.cumsum(good) - 1, mask=~good)
    return texts.cast(pa.binary()).cast(pa.string()).take(places), {NOT_A_UUID: broken}


def wide_whole(values: pa.Array) -> Converted:
    """Integers from -2^63 to 2^64 - 1, or their digits in text, as decimal text without leading zeros."""
    if pa.types.is_floating(values.type):
        integers, faults = whole_from_floats(values)
        return integers.cast(pa.string()), faults
    text = _trimmed(values.cast(pa.string()))
    good = mask_of(pc.match_substring_regex(text, _WHOLE_TEXT))
    digits = pc.replace_substring_regex(pc.if_else(pa.array(good), text, None), r"\.0*$", "")
    digits = pc.replace_substring_regex(digits, "^-0$", "0")
    is_negative = mask_of(pc.starts_with(digits, "-"))
    limit = pc.if_else(pa.array(is_negative), str(2**63), str(2**64 - 1))
    places = pc.if_else(pa.array(is_negative), 19, 20)
    number = pc.utf8_ltrim(digits, "-")
    size = pc.utf8_length(number)
    large = mask_of(pc.or_(pc.greater(size, places), pc.and_(pc.equal(size, places), pc.greater(number, limit))))
    kept = pc.if_else(pa.array(large), None, digits)
    return kept, {NOT_WHOLE: mask_of(text.is_valid()) & ~good, TOO_LARGE: large}
