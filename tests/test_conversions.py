"""Each conversion against plain Python, value by value."""

import datetime
import decimal
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.tables import conversions
from recsys_tft.tables.conversions import Converted

quick = settings(deadline=None, derandomize=True, max_examples=60)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)


def lists(values: st.SearchStrategy) -> st.SearchStrategy[list]:
    return st.lists(st.none() | values, max_size=12)


def told(found: Converted) -> list[tuple[object, str | None]]:
    """Of each value what it became, and what is wrong with it."""
    values, faults = found
    reasons = [next((name for name, bad in faults.items() if bad[row]), None) for row in range(len(values))]
    return list(zip(values.to_pylist(), reasons, strict=True))


@quick
@given(lists(st.integers(-(2**64), 2**65) | st.sampled_from([0, -(2**63), -(2**63) - 1, 2**63, 2**64 - 1, 2**64])))
def test_whole_numbers_of_64_bits_in_text_are_one_text_each(values: list[int | None]) -> None:
    def expected(value: int | None) -> tuple[str | None, str | None]:
        if value is None:
            return None, None
        return (str(value), None) if -(2**63) <= value < 2**64 else (None, conversions.TOO_LARGE)

    for form in ("{}", " {} ", "{}.0"):
        texts = [None if value is None else form.format(value) for value in values]
        assert told(conversions.wide_whole(pa.array(texts, pa.string()))) == list(map(expected, values))
    small = [value for value in values if value is not None and 0 <= value < 2**64]
    found, _ = conversions.wide_whole(pa.array(small, pa.uint64()))
    assert found.to_pylist() == list(map(str, small))


def test_other_text_is_no_whole_number() -> None:
    texts = ["", "-0", "007", "7.5", "1e3", "abc", "7_0"]
    found, faults = conversions.wide_whole(pa.array(texts))
    assert found.to_pylist() == [None, "0", None, None, None, None, None]
    assert faults[conversions.NOT_WHOLE].tolist() == [False, False, True, True, True, True, True]
    floats, faults = conversions.wide_whole(pa.array([7.0, None, float("nan"), 0.5, 2.0**63]))
    assert floats.to_pylist() == ["7", None, None, None, None]
    assert [faults[name].tolist().index(True) for name in (conversions.NOT_WHOLE, conversions.NOT_EXACT)] == [3, 4]


@quick
@given(lists(st.floats() | st.integers(-(2**54), 2**54).map(float) | st.sampled_from([0.5, -0.0, 2.0**53 - 1])))
def test_whole_floats_are_integers_and_others_are_faults(values: list[float | None]) -> None:
    def expected(value: float | None) -> tuple[int | None, str | None]:
        if value is None or math.isnan(value):
            return None, None
        if math.isinf(value):
            return None, conversions.NOT_WHOLE
        if abs(value) >= 2**53:
            return None, conversions.NOT_EXACT
        return (int(value), None) if value.is_integer() else (None, conversions.NOT_WHOLE)

    found = conversions.whole_from_floats(pa.array(values, pa.float64()))
    assert told(found) == [expected(value) for value in values]


@quick
@given(lists(st.decimals(min_value=-(10**20), max_value=10**20, places=3)))
def test_whole_decimals_are_integers_and_others_are_faults(values: list[decimal.Decimal | None]) -> None:
    def expected(value: decimal.Decimal | None) -> tuple[int | None, str | None]:
        if value is None:
            return None, None
        if value != value.to_integral_value():
            return None, conversions.NOT_WHOLE
        return (int(value), None) if -(2**63) <= value < 2**63 else (None, conversions.TOO_LARGE)

    found = conversions.whole_from_decimals(pa.array(values, pa.decimal128(38, 3)))
    assert told(found) == [expected(value) for value in values]


@quick
@given(lists(st.integers(0, 2**64 - 1)))
def test_unsigned_integers_are_taken_up_to_the_largest_signed_one(values: list[int | None]) -> None:
    found = conversions.whole_from_unsigned(pa.array(values, pa.uint64()))
    large = [value is not None and value >= 2**63 for value in values]
    assert told(found) == [
        (None, conversions.TOO_LARGE) if bad else (value, None) for value, bad in zip(values, large, strict=True)
    ]


@quick
@given(
    lists(st.integers(-(2**65), 2**65).map(str) | st.sampled_from(["", " 7 ", "007", "1.0", "1.5", "1e3", "+1", "x"]))
)
def test_text_is_an_integer_where_its_digits_are(values: list[str | None]) -> None:
    others = {"": (None, None), " 7 ": (7, None), "1.0": (1, None)}
    others |= dict.fromkeys(("007", "1.5", "1e3", "+1", "x"), (None, conversions.NOT_WHOLE))

    def expected(value: str | None) -> tuple[int | None, str | None]:
        if value is None or value in others:
            return others.get(value or "", (None, None))
        return (int(value), None) if -(2**63) <= int(value) < 2**63 else (None, conversions.TOO_LARGE)

    assert told(conversions.whole_from_text(pa.array(values, pa.string()))) == [expected(value) for value in values]


@quick
@given(lists(st.floats(allow_nan=False).map(repr) | st.sampled_from(["", ".5", "5.", "1,5", "ten", "0x1", "1_0"])))
def test_text_is_a_float_where_python_reads_one(values: list[str | None]) -> None:
    def expected(value: str | None) -> tuple[float | None, str | None]:
        if not value:
            return None, None
        if value in ("1,5", "ten", "0x1", "1_0"):
            return None, conversions.NOT_A_NUMBER
        return float(value), None

    assert told(conversions.floats_from_text(pa.array(values, pa.string()))) == [expected(value) for value in values]


@quick
@given(lists(st.sampled_from([0, 1, 2, -1, 0.5, math.nan])))
def test_only_0_and_1_are_flags(values: list[float | None]) -> None:
    def expected(value: float | None) -> tuple[bool | None, str | None]:
        if value is None or math.isnan(value):
            return None, None
        return (bool(value), None) if value in (0, 1) else (None, conversions.NOT_A_FLAG)

    found = conversions.flags_from_numbers(pa.array(values, pa.float64()))
    assert told(found) == [expected(value) for value in values]


def test_true_and_false_are_flags_in_any_case() -> None:
    values = pa.array(["True", "FALSE", "t", "f", "1", "0", "1.0", " true ", "", None, "yes", "2"])
    found = told(conversions.flags_from_text(values))
    assert [flag for flag, _ in found] == [True, False, True, False, True, False, True, True, None, None, None, None]
    assert [reason for _, reason in found] == [None] * 10 + [conversions.NOT_A_FLAG] * 2


ZONES = st.sampled_from(["", "Z", " UTC", "+02:00", "-0530", "+01"])
MINUTES = {"": 0, "Z": 0, " UTC": 0, "+02:00": 120, "-0530": -330, "+01": 60}
MOMENTS = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))


@quick
@given(st.lists(st.tuples(MOMENTS, st.sampled_from("T "), ZONES), max_size=10))
def test_iso_times_are_the_moments_that_python_reads(chosen: list[tuple[datetime.datetime, str, str]]) -> None:
    texts = [moment.isoformat(between) + zone for moment, between, zone in chosen]
    expected = [
        (moment.replace(tzinfo=datetime.UTC) - datetime.timedelta(minutes=MINUTES[zone]) - EPOCH) // MICROSECOND
        for moment, _, zone in chosen
    ]
    found = conversions.times_from_text(pa.array(texts, pa.string()))
    assert told(found) == [(value, None) for value in expected]


@quick
@given(st.lists(st.dates(), max_size=10))
def test_dates_are_midnights(dates: list[datetime.date]) -> None:
    found = conversions.times_from_text(pa.array([str(date) for date in dates], pa.string()))
    assert told(found) == [((date - EPOCH.date()).days * 86_400_000_000, None) for date in dates]


@pytest.mark.parametrize(
    "text",
    [
        *("2025-02-29", "2025-13-01", "2025-00-10", "2025-01-32", "2025-01-01T24:00", "2025-01-01T10:61", "20250101"),
        *("now", "0000-01-01", "2025-1-1", "01/02/2025", "1740787200", "2025-01-01T10:00:00+25:00"),
    ],
)
def test_what_is_no_time_is_a_fault(text: str) -> None:
    assert told(conversions.times_from_text(pa.array([text, "", None]))) == [
        (None, conversions.NOT_A_TIME),
        (None, None),
        (None, None),
    ]


@quick
@given(lists(INTEGERS), st.sampled_from([("s", 10**6), ("ms", 10**3), ("us", 1)]))
def test_counted_times_are_microseconds_or_too_far(values: list[int | None], unit: tuple[str, int]) -> None:
    name, scale = unit

    def expected(value: int | None) -> tuple[int | None, str | None]:
        if value in (None, conversions.LEAST):
            return None, None
        far = abs(value) > (2**63 - 1) // scale
        return (None, conversions.TIME_TOO_FAR) if far else (value * scale, None)

    found = conversions.times_from_whole(pa.array(values, pa.int64()), name)
    assert told(found) == [expected(value) for value in values]


@quick
@given(lists(INTEGERS))
def test_nanoseconds_are_rounded_down(values: list[int | None]) -> None:
    found = conversions.times_from_whole(pa.array(values, pa.int64()), "ns")
    missing = (None, conversions.LEAST)
    assert told(found) == [(None if value in missing else value // 1000, None) for value in values]


@quick
@given(lists(st.integers(-(10**15), 4 * 10**15)))
def test_seconds_in_floats_are_exact_to_the_microsecond(micros: list[int | None]) -> None:
    seconds = [None if value is None else value / 10**6 for value in micros]
    found = conversions.times_from_floats(pa.array(seconds, pa.float64()), "s")
    assert told(found) == [(value, None) for value in micros]


@quick
@given(lists(st.binary(max_size=4)))
def test_bytes_are_text_where_they_are_utf8(values: list[bytes | None]) -> None:
    def expected(value: bytes | None) -> tuple[str | None, str | None]:
        try:
            return (None if value is None else value.decode()), None
        except UnicodeDecodeError:
            return None, conversions.NOT_TEXT

    assert told(conversions.text_from_binary(pa.array(values, pa.binary()))) == [expected(value) for value in values]


@quick
@given(lists(st.lists(st.none() | st.text(max_size=3), max_size=4)))
def test_json_arrays_are_lists(values: list[list | None]) -> None:
    texts = [None if value is None else json.dumps(value) for value in values]
    assert told(conversions.lists_from_text(pa.array(texts, pa.string()))) == [(value, None) for value in values]


def test_bars_divide_lists_and_what_is_no_json_is_a_fault() -> None:
    found = told(conversions.lists_from_text(pa.array(["a|b c|", "a", "", "[1, 2]", "['a']", "[[1]]", "[{}]"])))
    assert [value for value, _ in found] == [["a", "b c", ""], ["a"], None, ["1", "2"], None, None, None]
    assert [reason for _, reason in found] == [None] * 4 + [conversions.NOT_A_LIST] * 3


@quick
@given(lists(lists(st.sampled_from([1.0, -3.0, math.nan, 2.5]))))
def test_missing_values_are_left_out_of_lists_and_a_fault_spoils_one(values: list[list | None]) -> None:
    def expected(value: list | None) -> tuple[list | None, bool]:
        if value is None or 2.5 in value:
            return None, value is not None
        return [int(one) for one in value if one is not None and not math.isnan(one)], False

    array = pa.array([None, *values], pa.list_(pa.float64()))[1:]  # a slice, whose values begin later
    found, faults = conversions.in_lists(array, conversions.whole_from_floats)
    bad = np.any(list(faults.values()), axis=0)
    assert list(zip(found.to_pylist(), bad.tolist(), strict=True)) == [expected(value) for value in values]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64()])
def test_the_least_int64_is_a_missing_time_as_numpy_writes_it(unit: str, kind: pa.DataType) -> None:
    convert = conversions.times_from_whole if kind == pa.int64() else conversions.times_from_floats
    values = pa.array([-(2**63), 1_700_000_000, None], pa.int64()).cast(kind, safe=False)
    found, faults = convert(values, unit)
    assert [value is None for value in found.to_pylist()] == [True, False, True]
    assert not any(bad.any() for bad in faults.values())


def test_the_least_int64_that_became_a_float_is_missing() -> None:
    found, faults = conversions.whole_from_floats(pa.array([-(2.0**63), 5.0]))
    assert found.to_pylist() == [None, 5]
    assert not any(bad.any() for bad in faults.values())
