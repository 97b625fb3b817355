"""Flags of interactions, in the place of a type and beside one."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.default_table import INTERACTION_TYPES, WIDE_SIGNALS
from recsys_tft.tables.signals import SIGNAL, events_of, raw_signals

quick = settings(deadline=None, derandomize=True, max_examples=60)
FLAGS = st.dictionaries(st.sampled_from(tuple(WIDE_SIGNALS)), st.sampled_from([True, False, None]))
ROWS = st.lists(st.tuples(st.sampled_from(INTERACTION_TYPES), FLAGS, st.sampled_from([None, 0.0, 3.0])), max_size=20)
Rows = list[tuple[str, dict[str, bool | None], float | None]]


def table_of(rows: Rows) -> pa.Table:
    types = pa.array([kind for kind, _, _ in rows], pa.string()).cast(pa.binary())
    flags = {name: pa.array([told.get(name) for _, told, _ in rows], pa.bool_()) for name in WIDE_SIGNALS}
    times = pa.array([time for _, _, time in rows], pa.float32())
    return pa.table({"interaction_type": types, **flags, "watch_time": times})


def signals_of(table: pa.Table, is_long: bool) -> list[int]:
    return events_of(table, is_long)["signals"].to_pylist()


@quick
@given(ROWS)
def test_a_row_with_a_type_has_its_types_signal_and_those_of_its_flags(rows: Rows) -> None:
    expected = []
    for kind, told, _ in rows:
        said = {kind, *(WIDE_SIGNALS[name] for name, is_set in told.items() if is_set)}
        expected.append(sum(int(SIGNAL[name]) for name in said))
    assert signals_of(table_of(rows), is_long=True) == expected


@quick
@given(ROWS, st.booleans())
def test_signals_written_as_columns_are_the_same_signals_when_read_again(rows: Rows, is_long: bool) -> None:
    table = table_of(rows)
    events = events_of(table, is_long)
    again = raw_signals(events, is_long)
    missing = {name: table[name] for name in table.column_names if name not in again.column_names}
    assert signals_of(pa.table({**missing, **dict(zip(again.column_names, again.columns, strict=True))}), is_long) == (
        events["signals"].to_pylist()
    )


@pytest.mark.parametrize("kind", INTERACTION_TYPES)
def test_without_flags_a_type_is_written_as_it_was(kind: str) -> None:
    events = events_of(table_of([(kind, {}, None)]), is_long=True)
    assert raw_signals(events, True, flags=()).to_pylist() == [{"interaction_type": kind}]


def test_beside_flags_the_type_is_the_one_that_no_flag_says() -> None:
    events = events_of(table_of([("watch", {"liked": True}, None), ("like", {}, None)]), is_long=True)
    assert raw_signals(events, True, flags=("liked",)).to_pylist() == [
        {"interaction_type": "watch", "liked": True},
        {"interaction_type": "like", "liked": True},
    ]
