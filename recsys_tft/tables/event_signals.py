"""Signals of interactions: from raw columns to bits of an event, and back."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.signals import SignalBits


def events_of(rows: pa.Table, is_long: bool, bits: SignalBits) -> pa.Table:
    """Raw interactions as events: their other columns, followed by `signals`, of `bits.dtype`.

    Args:
        rows: usable interactions as `raw_tables.read` returns them.
        is_long: whether `interaction_type` names a signal; otherwise a row is an impression. Flags add to either.
        bits: of the table's signals.
    """
    signals = (_types if is_long else _impressions)(rows, bits) | _flags(rows, bits)
    return rows.drop_columns(["interaction_type", *bits.flags]).append_column("signals", pa.array(signals))


def _types(rows: pa.Table, bits: SignalBits) -> np.ndarray:
    return bits.each[pc.index_in(rows["interaction_type"], pa.array(bits.names).cast(pa.binary())).to_numpy()]


def _impressions(rows: pa.Table, bits: SignalBits) -> np.ndarray:
    watched = pc.fill_null(pc.greater(rows["watch_time"], 0), False).to_numpy()
    return bits.mask("impression") | bits.mask("watch") * watched


def _flags(rows: pa.Table, bits: SignalBits) -> np.ndarray:
    signals = np.zeros(len(rows), bits.dtype)
    for column, name in bits.flags.items():
        if rows[column].null_count < len(rows):
            signals |= bits.mask(name) * pc.fill_null(rows[column], False).to_numpy()
    return signals


def raw_signals(events: pa.Table, is_long: bool, bits: SignalBits, flags: Sequence[str]) -> pa.Table:
    """Convert the signals of events back to raw columns with the same signals.

    The type of an event with several signals is the first one without a flag, or else the first.

    Args:
        events: with `signals`.
        is_long: whether they came from `interaction_type`.
        bits: of the table's signals.
        flags: the boolean columns of the table.
    """
    signals = events["signals"].to_numpy()
    flags_of_events = {
        column: pa.array(signals & bits.mask(name) != 0) for column, name in bits.flags.items() if column in flags
    }
    if not is_long:
        return pa.table(flags_of_events)
    by_flags = bits.mask(*(bits.flags[column] for column in flags_of_events))
    unflagged = np.where(signals & ~by_flags, signals & ~by_flags, signals)
    first = np.searchsorted(bits.each, unflagged & (~unflagged + bits.dtype.type(1)))
    return pa.table({"interaction_type": pa.array(bits.names).take(pa.array(first)), **flags_of_events})


def is_viewing(events: pa.Table, bits: SignalBits) -> np.ndarray:
    """[n] bool: whether the user opened the video, by a signal or by watch time."""
    watched = pc.fill_null(pc.greater(events["watch_time"], 0), False).to_numpy()
    return (events["signals"].to_numpy() & bits.viewing != 0) | watched
