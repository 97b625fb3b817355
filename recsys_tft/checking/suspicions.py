"""Legal but suspicious values in a sample: each finding is a sentence that says where to look."""

import datetime
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.checking.sampling import Joined, Sample
from recsys_tft.default_table import AGE
from recsys_tft.labelling import split_times
from recsys_tft.tables.raw_tables import RawTable

_YEAR_1990 = 631_152_000_000_000  # microseconds
_AHEAD = datetime.timedelta(days=2)
_OLDEST = 120  # years
_LATE_SHARE = 0.1  # of exposures that may be before the publication of their video
_FEW = 1000  # events below which shares say little


def find(sample: Sample, joined: Joined, tables: Mapping[str, RawTable], now: datetime.datetime) -> list[str]:
    """All findings.

    Args:
        sample: of the tables.
        joined: its interactions.
        tables: as `raw_tables.find` returns them.
        now: times after it are in the future.
    """
    return [
        *_nulls(sample, tables),
        *_times(sample, now),
        *_ages(sample.rows["users"]),
        *_publication(joined),
        *_nobody(sample, joined),
    ]


def _nulls(sample: Sample, tables: Mapping[str, RawTable]) -> Iterable[str]:
    for name, rows in sample.rows.items():
        present = [column for column in rows.column_names if column in tables[name].columns]
        for column in (column for column in present if column not in tables[name].absent):
            if len(rows) and rows[column].null_count == len(rows):
                yield f"{column} of {name} is missing in all {len(rows):,} rows that were read"


def _times(sample: Sample, now: datetime.datetime) -> Iterable[str]:
    latest = int((now + _AHEAD).timestamp() * 1e6)
    for name, column in (("interactions", "interaction_time"), ("videos", "published_at")):
        rows = sample.rows[name]
        times = rows[column].drop_null().to_numpy() if column in rows.column_names else np.zeros(0, np.int64)
        for bad, where in ((times < _YEAR_1990, "before 1990"), (times > latest, "in the future")):
            if number := int(bad.sum()):
                yield (
                    f"{column} of {name} is {where} in {number:,} of {len(times):,} rows, such as "
                    f"{split_times.describe(int(times[bad][0]))}; is its unit right?"
                )


def _ages(users: pa.Table) -> Iterable[str]:
    if AGE in users.column_names:
        ages = users[AGE].drop_null().to_numpy()
        if number := int((ages > _OLDEST).sum()):
            what = "; are these years of birth?" if np.median(ages) > 1900 else ""
            yield f"age of users is above {_OLDEST} in {number:,} of {len(ages):,} rows{what}"


def _publication(joined: Joined) -> Iterable[str]:
    videos = joined.videos
    if "published_at" not in videos.column_names or not len(joined.events):
        return
    video, time = (joined.events[name].to_numpy() for name in ("video_id", "interaction_time"))
    row = np.searchsorted(videos["video_id"].to_numpy(), video)
    published = pc.fill_null(videos["published_at"], 0).to_numpy()[row]
    early = int((published > time).sum())
    if early > _LATE_SHARE * len(time):
        yield f"{early:,} of {len(time):,} interactions are before published_at of their video"


def _nobody(sample: Sample, joined: Joined) -> Iterable[str]:
    """Too many users or videos without interactions, if all interactions were read."""
    if "interactions" not in sample.whole or len(joined.events) < _FEW:
        return
    for name, key, rows in (("users", "user_id", joined.users), ("videos", "video_id", joined.videos)):
        keys = np.unique(rows[key].to_numpy())
        idle = len(keys) - len(np.unique(joined.events[key].to_numpy()))
        if 2 * idle > len(keys):
            yield f"{idle:,} of {len(keys):,} {name} have no interaction"
