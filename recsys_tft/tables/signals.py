"""Signals of interactions: from raw columns to bits of an event, and back."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.default_table import INTERACTION_TYPES, WIDE_SIGNALS

# Signals are bits of an event: bit i stands for INTERACTION_TYPES[i].
SIGNAL = {name: np.uint8(1 << bit) for bit, name in enumerate(INTERACTION_TYPES)}


def events_of(rows: pa.Table, is_long: bool) -> pa.Table:
    """Raw interactions as events, of EVENT_SCHEMA followed by the rows' other columns.

    Args:
        rows: usable interactions as `raw_tables.read` returns them.
        is_long: whether `interaction_type` names a signal; else a row is an impression. Flags add to either.
    """
    signals = pa.array((_types if is_long else _impressions)(rows) | _flags(rows), pa.uint8())
    return rows.drop_columns(["interaction_type", *WIDE_SIGNALS]).append_column("signals", signals)


def _types(rows: pa.Table) -> np.ndarray:
    names = pa.array(INTERACTION_TYPES, pa.binary())
    return np.uint8(1) << pc.index_in(rows["interaction_type"], names).to_numpy().astype(np.uint8)


def _impressions(rows: pa.Table) -> np.ndarray:
    watched = pc.fill_null(pc.greater(rows["watch_time"], 0), False).to_numpy()
    return SIGNAL["impression"] | SIGNAL["watch"] * watched


def _flags(rows: pa.Table) -> np.ndarray:
    signals = np.zeros(len(rows), np.uint8)
    for column, name in WIDE_SIGNALS.items():
        if rows[column].null_count < len(rows):
            signals |= SIGNAL[name] * pc.fill_null(rows[column], False).to_numpy()
    return signals


def raw_signals(events: pa.Table, is_long: bool, flags: Sequence[str] = tuple(WIDE_SIGNALS)) -> pa.Table:
    """The signals of events as raw columns that give the same signals.

    An event whose type and flags say more than one thing has, of the types that may have been its own, the first that
    no flag says, else the first.

    Args:
        events: with `signals`.
        is_long: whether they came from `interaction_type`.
        flags: the boolean columns that the table has, beside that or in its place.
    """
    bits = events["signals"].to_numpy()
    told = {column: pa.array(bits & SIGNAL[name] != 0) for column, name in WIDE_SIGNALS.items() if column in flags}
    if not is_long:
        return pa.table(told)
    by_flags = np.uint8(sum(int(SIGNAL[WIDE_SIGNALS[column]]) for column in told))
    own = np.where(bits & ~by_flags, bits & ~by_flags, bits)
    kind = np.log2(np.maximum(own & -own, 1)).astype(np.int64)
    return pa.table({"interaction_type": pa.array(INTERACTION_TYPES).take(pa.array(kind)), **told})


def is_viewing(events: pa.Table) -> np.ndarray:
    """[n] bool: whether the user opened the video: any signal but an impression, or some watch time."""
    watched = pc.fill_null(pc.greater(events["watch_time"], 0), False).to_numpy()
    return (events["signals"].to_numpy() & ~SIGNAL["impression"] != 0) | watched
