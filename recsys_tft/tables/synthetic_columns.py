"""Values for custom columns and signals, by their types alone.

    string      one of eight words, the first by far the most frequent; like all others, missing in one row of twenty
    bool        true in three rows of ten
    number      at least the column's minimum, with a long tail above it
    time        within a year before the events
    list        none to four such values

In interactions a value is the same for a whole session, like a device. A custom signal follows a click in up to one of
twenty exposures, the better the video matches; a negative one an exposure without a click, the worse it matches.
"""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.columns import TIMESTAMP, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import FeatureTable
from recsys_tft.signals import Signal
from recsys_tft.tables import synthetic_words as words
from recsys_tft.tables.synthetic_world import DAY, START, Array, drawn

_STREAM = 7  # of the seeds, beside those of the tables
_WORDS = 8
_MISSING = 0.05
OFTEN = 0.05  # the largest probability of a signal


def own_columns(features: FeatureTable, table: str) -> list[Column]:
    """The custom columns of one table, without those of signals."""
    default_columns = DEFAULT.columns_of(table)
    return [
        c
        for name, c in features.columns_of(table).items()
        if name not in default_columns and name not in features.flags
    ]


def own_signals(features: FeatureTable) -> list[Signal]:
    """The custom signals."""
    default_names = {signal.name for signal in DEFAULT.signals}
    return [signal for signal in features.signals if signal.name not in default_names]


def values(columns: Sequence[Column], n: int, seed: int, *stream: int) -> dict[str, pa.Array]:
    """[n] values of each column, by name.

    Args:
        columns: to generate.
        n: how many.
        seed: of the tables.
        stream: further numbers that the values depend on.
    """
    columns_by_name = {}
    for column in columns:
        rng = np.random.default_rng([seed, _STREAM, zlib.crc32(f"{column.table}.{column.name}".encode()), *stream])
        drawn_values = _lists(column, n, rng) if column.is_list else _single(column, column.type, n, rng)
        columns_by_name[column.name] = words.some_missing(rng, drawn_values, 0 if column.required else _MISSING)
    return columns_by_name


def _lists(column: Column, n: int, rng: np.random.Generator) -> pa.Array:
    counts = rng.integers(5, size=n)
    flat = _single(column, column.type.value_type, int(counts.sum()), rng)
    return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(counts)), pa.int32()), flat)


def _single(column: Column, kind: pa.DataType, n: int, rng: np.random.Generator) -> pa.Array:
    if pa.types.is_string(kind):
        names = [f"{column.name}_{number}" for number in range(1, _WORDS + 1)]
        return words.named(names, drawn(rng, 1 / np.arange(1, _WORDS + 1) ** 1.5, n))
    if pa.types.is_boolean(kind):
        return pa.array(rng.random(n) < 0.3)
    if pa.types.is_timestamp(kind):
        return pa.array(START - (rng.random(n) * 365 * DAY).astype(np.int64)).cast(TIMESTAMP)
    numbers = (column.minimum or 0) + rng.lognormal(2, 1, n)
    return pa.array(np.ceil(numbers).astype(np.int64) if pa.types.is_integer(kind) else numbers.astype(np.float32))


def happening(signals: Sequence[Signal], clicked: Array, liking: Array, rng: np.random.Generator) -> Array:
    """[n, signals] bool: which of the signals an exposure has."""
    return np.stack(list(_happening(signals, clicked, liking, rng)), axis=1)


def _happening(signals: Sequence[Signal], clicked: Array, liking: Array, rng: np.random.Generator) -> Iterator[Array]:
    for signal in signals:
        chance = np.where(clicked, 0, 1 - liking) if signal.negative else np.where(clicked, liking, 0)
        yield rng.random(len(liking)) < OFTEN * chance
