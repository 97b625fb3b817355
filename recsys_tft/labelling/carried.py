"""What is known of users at a moment, from which their later examples follow without the events before it.

Of each user that is a few numbers, and those of the videos that they saw; docs/daily.md says what is in each table.
"""

import dataclasses

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import history, labels, outcomes, recent
from recsys_tft.labelling.exposures import exposure_starts, sort_events
from recsys_tft.labelling.splits import Cuts
from recsys_tft.point_in_time import ends
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.event_signals import is_viewing

_USER, _VIDEO = ("user_id", pa.int64()), ("video_id", pa.int64())
SCHEMAS = {
    "viewed": pa.schema([_USER, _VIDEO, ("time", pa.int64())]),
    "positives": pa.schema([_USER, _VIDEO, ("since", pa.int64())]),
    "pairs": pa.schema([_USER, _VIDEO, ("positive", pa.bool_()), ("seen", pa.bool_())]),
    "counts": recent.COUNT_SCHEMA,
    "steps": outcomes.STEP_SCHEMA,
}


@dataclasses.dataclass(frozen=True)
class Carried:
    """What is known of users.

    Attributes:
        until: of events strictly before this moment.
        events: those of exposures that later ones may belong to, sorted as by `exposures.sort_events`.
        viewed: the last video that each user opened.
        positives: the videos of the history of each user, and since when they are there.
        pairs: videos on which a user was positive, and that a user has seen.
        counts: of recent.COUNT_SCHEMA.
        steps: of outcomes.STEP_SCHEMA.
    """

    until: int
    events: pa.Table
    viewed: pa.Table
    positives: pa.Table
    pairs: pa.Table
    counts: pa.Table
    steps: pa.Table

    @property
    def tables(self) -> dict[str, pa.Table]:
        """All of them by name."""
        return {"events": self.events, **{name: getattr(self, name) for name in SCHEMAS}}

    @property
    def cuts(self) -> Cuts:
        """The windows of what comes later: number 1 is all of it."""
        return self.until, None

    @property
    def positive_pairs(self) -> pa.Table:
        """user_id and video_id of pairs in which the user was positive."""
        return self.pairs.filter(self.pairs["positive"]).select(["user_id", "video_id"])

    def pairs_beside(self, exposures: pa.Table) -> pa.Table:
        """user_id, video_id and window of the pairs in which the users of some exposures were positive."""
        pairs = self.positive_pairs
        pairs = pairs.filter(pa.array(np.isin(pairs["user_id"].to_numpy(), exposures["user_id"].to_numpy())))
        return pairs.append_column("window", pa.array(np.zeros(len(pairs), np.int8)))

    def with_events(self, events: pa.Table, settings: Settings) -> pa.Table:
        """Later events, together with those of exposures that they may belong to."""
        return sort_events(pa.concat_tables([self.events, events]), settings) if len(self.events) else events


@dataclasses.dataclass(frozen=True)
class Period:
    """What there was until a moment, and what is known of it.

    Attributes:
        events: of whole exposures, sorted as by `exposures.sort_events`; all of them, or all after `before`.
        keys: user_id, video_id and `label` of the exposures that are after `before`.
        positives: all that histories are made of.
        steps: of outcomes.STEP_SCHEMA, of all.
        before: what was known at the beginning; None: nothing.
    """

    events: pa.Table
    keys: pa.Table
    positives: history.Positives
    steps: pa.Table
    before: Carried | None

    def carry(self, videos: VideoLookup, until: int, settings: Settings) -> Carried:
        """What is known of users at `until`, by which all events are over."""
        known = until - settings.counters.delay_microseconds  # what is before this moment is so for all later lookups
        return Carried(
            until,
            self._open(until, settings),
            self._viewed(videos, settings),
            self._history(videos, settings),
            self._pairs(settings),
            self._counts(known, settings),
            self._steps(videos, known),
        )

    def _earlier(self, name: str) -> pa.Table:
        return getattr(self.before, name) if self.before else SCHEMAS[name].empty_table()

    def _open(self, until: int, settings: Settings) -> pa.Table:
        gap = settings.labels.exposure_gap
        starts = exposure_starts(self.events, gap, None)
        sizes = np.diff(np.append(starts, len(self.events)))
        last = self.events["interaction_time"].to_numpy()[starts + sizes - 1]
        return self.events.filter(pa.array(np.repeat(last > until - gap, sizes)))

    def _viewed(self, videos: VideoLookup, settings: Settings) -> pa.Table:
        viewings = self.events.filter(pa.array(is_viewing(self.events, settings.table.bits)))
        own = viewings.select(["user_id", "video_id", "interaction_time"]).rename_columns(SCHEMAS["viewed"].names)
        found = pa.concat_tables([self._earlier("viewed"), own])
        user, video, time = (column.to_numpy() for column in found.columns)
        order = np.lexsort((videos.order(video), time, user))
        return found.take(pa.array(order[ends(user[order])]))

    def _history(self, videos: VideoLookup, settings: Settings) -> pa.Table:
        """The videos of each history; one that was there until an earlier moment is gone for ever."""
        if not settings.history.length:
            return SCHEMAS["positives"].empty_table()
        found = self.positives
        stays = np.ones(len(found.user), bool) if found.until is None else found.until == recent.NEVER
        own = pa.table([column[stays] for column in (found.user, found.video, found.since)], SCHEMAS["positives"])
        frame = pl.from_arrow(own)
        latest = frame.group_by("user_id", "video_id").agg(pl.max("since"))
        latest = latest.with_columns(order=videos.order(latest["video_id"].to_numpy()))
        latest = latest.sort("user_id", "since", "order", descending=[False, True, True])
        kept = latest.group_by("user_id", maintain_order=True).head(settings.history.length)
        return _as(kept, SCHEMAS["positives"])

    def _pairs(self, settings: Settings) -> pa.Table:
        refused = labels.is_negative(self.events["signals"].to_numpy(), settings)
        seen = self.events.filter(pa.array(is_viewing(self.events, settings.table.bits) | refused))
        positive = self.keys.filter(pa.array(self.keys["label"].to_numpy(zero_copy_only=False).astype(bool)))
        parts = [(seen, False, True), (positive, True, False)]
        frames = [pl.from_arrow(self._earlier("pairs"))]
        for table, is_positive, is_seen in parts:
            pairs = pl.from_arrow(table.select(["user_id", "video_id"]))
            frames.append(pairs.with_columns(positive=pl.lit(is_positive), seen=pl.lit(is_seen)))
        found = pl.concat(frames).group_by("user_id", "video_id").agg(pl.any("positive", "seen"))
        return _as(found.sort("user_id", "video_id"), SCHEMAS["pairs"])

    def _counts(self, known: int, settings: Settings) -> pa.Table:
        if not settings.recent.enabled:
            return SCHEMAS["counts"].empty_table()
        own = recent.counts_of(self.events, settings, self.before.until if self.before else None)
        return recent.folded(pa.concat_tables([self._earlier("counts"), own]), known)

    def _steps(self, videos: VideoLookup, known: int) -> pa.Table:
        """The steps, of which those before `known` are one of each user and video, or version of a video."""
        is_over = self.steps["time"].to_numpy() < known
        over = self.steps.filter(pa.array(is_over))
        video, shown = (over[name].to_numpy() for name in ("video_id", "shown"))
        frame = pl.from_arrow(over).with_columns(position=videos.position(video, shown))
        sums = frame.group_by("user_id", "video_id", "position").agg(
            pl.max("shown"), pl.max("shown").alias("time"), pl.sum("exposures", "positives")
        )
        found = pl.concat([_columns(sums), _columns(pl.from_arrow(self.steps.filter(pa.array(~is_over))))])
        return _as(found.sort("user_id", "time", "video_id", "shown", "exposures", "positives"), SCHEMAS["steps"])


def _columns(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(SCHEMAS["steps"].names).with_columns(pl.col("exposures", "positives").cast(pl.Int32))


def _as(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.select(schema.names).to_arrow().cast(schema)
