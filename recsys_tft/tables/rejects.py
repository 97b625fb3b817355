"""Rejected rows: their columns, and the limit of their number."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import TABLES
from recsys_tft.errors import InputError
from recsys_tft.tables.event_signals import raw_signals
from recsys_tft.tables.raw_tables import ROW, RawTable


def rejected_rows(rows: pa.Table, table: RawTable) -> pa.Table:
    """Rows that a later step rejected, with a `reason`, and their file and row in it.

    Args:
        rows: with ROW and `reason`; for interactions events.
        table: of the rows.
    """
    if "signals" in rows.column_names:
        signals = raw_signals(rows, table.is_long, table.bits, table.flags if table.is_long else table.possible_flags)
        for name in signals.column_names:
            rows = rows.append_column(name, signals[name])
        rows = rows.drop_columns(["signals"])
    rows = ids.shown(rows)
    numbers = rows[ROW].to_numpy()
    firsts = np.array([source.first_row for source in table.sources])
    sources_of_rows = np.searchsorted(firsts, numbers, side="right") - 1
    in_file = (
        numbers - firsts[sources_of_rows] + np.array([source.file_row for source in table.sources])[sources_of_rows]
    )
    paths = pa.array([source.path for source in table.sources]).take(pa.array(sources_of_rows))
    ours = [name for name in table.known if name in rows.column_names]
    kept = rows.select(ours).append_column("source_file", paths).append_column("source_row", pa.array(in_file))
    return kept.append_column("reason", rows["reason"])


def check_fractions(counts: Mapping[str, int], limit: float) -> None:
    """Refuse to go on if too large a share of a table was rejected.

    Raises:
        InputError: naming the table, how many rows, and the most frequent reason.
    """
    for table in TABLES:
        rows = counts.get(f"rows/{table}/in", 0)
        reasons = {name.split("/", 2)[2]: n for name, n in counts.items() if name.startswith(f"rejected/{table}/")}
        rejected = sum(reasons.values())
        if rejected > limit * rows:
            reason = max(sorted(reasons), key=reasons.__getitem__)
            raise InputError(
                f"{rejected:,} of {rows:,} rows of {table} are unusable, mostly because {reason} "
                f"({reasons[reason]:,} rows); max_rejected_fraction allows {limit:g} of a table."
            )
