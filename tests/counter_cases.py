"""Views of a few videos, and the settings by which they are counted."""

import numpy as np
import pyarrow as pa
import random_tables
from hypothesis import settings

from recsys_tft.point_in_time import counters

DAY = 86_400_000_000
quick = settings(deadline=None, derandomize=True, max_examples=100)
EVERY = {"1m": 60_000_000, "1h": 3_600_000_000, "1d": DAY}
START = random_tables.START
IDS = np.array(sorted(random_tables.IDS))
HOUR = 3_600_000_000


def table_of(increments: list[tuple[int, int, int]]) -> pa.Table:
    video, time, counter = np.array(increments, np.int64).reshape(-1, 3).T
    return pa.table([video, time, counter.astype(np.int8), np.ones(len(video), bool)], counters.INCREMENT_SCHEMA)
