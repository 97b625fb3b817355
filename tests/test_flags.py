"""Signals as bits of events, any number of them: from types, from flags of interactions, or from both."""

import numpy as np
import own_signals
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import FeatureTable
from recsys_tft.signals import Signal, SignalBits
from recsys_tft.tables.event_signals import events_of, is_viewing, raw_signals

quick = settings(deadline=None, derandomize=True, max_examples=60)
MANY = DEFAULT.extend(signals=[Signal(f"own_{number}") for number in range(58)])
Rows = list[tuple[str, dict[str, bool | None], float | None]]


def rows_of(table: FeatureTable) -> st.SearchStrategy[Rows]:
    flags = st.dictionaries(st.sampled_from(tuple(table.flags)), st.sampled_from([True, False, None]))
    return st.lists(st.tuples(st.sampled_from(table.bits.names), flags, st.sampled_from([None, 0.0, 3.0])), max_size=20)


CASES = st.sampled_from((DEFAULT, own_signals.TABLE, MANY)).flatmap(lambda t: st.tuples(st.just(t), rows_of(t)))
Case = tuple[FeatureTable, Rows]


def table_of(rows: Rows, table: FeatureTable = DEFAULT) -> pa.Table:
    types = pa.array([kind for kind, _, _ in rows], pa.string()).cast(pa.binary())
    flags = {name: pa.array([told.get(name) for _, told, _ in rows], pa.bool_()) for name in table.flags}
    times = pa.array([time for _, _, time in rows], pa.float32())
    return pa.table({"interaction_type": types, **flags, "watch_time": times})


def signals_of(rows: pa.Table, is_long: bool, table: FeatureTable = DEFAULT) -> list[int]:
    return events_of(rows, is_long, table.bits)["signals"].to_pylist()


@quick
@given(CASES)
def test_a_row_with_a_type_has_its_types_signal_and_those_of_its_flags(case: Case) -> None:
    table, rows = case
    expected = []
    for kind, told, _ in rows:
        said = {kind, *(table.flags[name] for name, is_set in told.items() if is_set)}
        expected.append(sum(1 << table.bits.names.index(name) for name in said))
    assert signals_of(table_of(rows, table), True, table) == expected


@quick
@given(CASES)
def test_a_row_without_a_type_is_an_impression_with_the_signals_of_its_flags_and_of_its_watch_time(case: Case) -> None:
    table, rows = case
    expected = []
    for _, told, time in rows:
        said = {"impression", *(table.flags[name] for name, is_set in told.items() if is_set)}
        said |= {"watch"} if time else set()
        expected.append(sum(1 << table.bits.names.index(name) for name in said))
    assert signals_of(table_of(rows, table), False, table) == expected


@quick
@given(CASES, st.booleans())
def test_signals_written_as_columns_are_the_same_signals_when_read_again(case: Case, is_long: bool) -> None:
    of, rows = case
    table = table_of(rows, of)
    events = events_of(table, is_long, of.bits)
    again = raw_signals(events, is_long, of.bits, tuple(of.flags))
    missing = {name: table[name] for name in table.column_names if name not in again.column_names}
    both = pa.table({**missing, **dict(zip(again.column_names, again.columns, strict=True))})
    assert signals_of(both, is_long, of) == events["signals"].to_pylist()


@pytest.mark.parametrize("kind", [*own_signals.TABLE.bits.names, "own_0", "own_57"])
def test_without_flags_a_type_is_written_as_it_was(kind: str) -> None:
    bits = (MANY if kind.startswith("own") else own_signals.TABLE).bits
    rows = pa.table(
        {"interaction_type": [kind.encode()], **{flag: pa.array([None], pa.bool_()) for flag in bits.flags}}
    )
    assert raw_signals(events_of(rows, True, bits), True, bits, ()).to_pylist() == [{"interaction_type": kind}]


def test_beside_flags_the_type_is_the_one_that_no_flag_says() -> None:
    rows = table_of([("watch", {"liked": True}, None), ("like", {}, None)])
    events = events_of(rows, True, DEFAULT.bits)
    assert raw_signals(events, True, DEFAULT.bits, ("liked",)).to_pylist() == [
        {"interaction_type": "watch", "liked": True},
        {"interaction_type": "like", "liked": True},
    ]


def test_an_event_takes_the_smallest_integer_that_holds_the_signals() -> None:
    sizes = {1: 8, 6: 8, 8: 8, 9: 16, 16: 16, 17: 32, 33: 64, 64: 64}
    for count, size in sizes.items():
        bits = SignalBits(tuple(Signal(str(number)) for number in range(count)))
        assert bits.dtype == np.dtype(f"uint{size}")
        assert bits.each.tolist() == [1 << number for number in range(count)]
    assert DEFAULT.bits.each.tolist() == own_signals.TABLE.bits.each[:6].tolist() == [1, 2, 4, 8, 16, 32]


def test_a_65th_signal_is_refused_and_so_is_one_that_exists() -> None:
    with pytest.raises(InputError, match="there are 65 signals; an event holds 64 at most"):
        MANY.extend(signals=["one_more"])
    with pytest.raises(InputError, match="the signal 'like' occurs 2 times"):
        DEFAULT.extend(signals=["like"])


def test_viewing_are_all_but_impressions_negative_signals_and_those_that_say_so() -> None:
    bits = own_signals.TABLE.bits
    events = pa.table({"signals": bits.each, "watch_time": pa.nulls(len(bits.names), pa.float32())})
    viewed = np.array(bits.names)[is_viewing(events, bits)]
    assert set(viewed) == own_signals.VIEWING
    watched = events.set_column(1, "watch_time", pa.array([1.0] * len(events), pa.float32()))
    assert is_viewing(watched, bits).all()
    assert {name for name in bits.names if bits.negative & bits.mask(name)} == own_signals.NEGATIVE
    assert DEFAULT.bits.negative == 0
