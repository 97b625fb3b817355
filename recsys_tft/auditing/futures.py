"""Other futures of the same past, with which a leak audit replaces all events from a cut on.

Interactions from the cut on, and versions of users, videos and channels (rows with `updated_at`) from the cut on that
have an earlier one of their key, are removed, shuffled in time among themselves, altered, or delayed. All else stays.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from recsys_tft import ids
from recsys_tft.auditing.audit_sample import Tables
from recsys_tft.columns import KEYS
from recsys_tft.configuration.job_settings import LabelSettings
from recsys_tft.features import FeatureTable
from recsys_tft.storage.hashing import keyed_hash

TIME, VERSION = "interaction_time", "updated_at"
_SECONDS = 10_000.0  # more than `min_watch_ratio` of most videos
_LATEST = 7 * 86_400 * 10**6  # microseconds


@dataclasses.dataclass(frozen=True)
class Cut:
    """The moment at which the future begins.

    Attributes:
        time: microseconds since 1970; what happens at it is future.
        delay: microseconds until an event shows in the counters of its video.
        labels: which exposures are positive, and where one ends.
        table: the columns and signals of the run.
        ends_training: whether the training split ends here.
    """

    time: int
    delay: int
    labels: LabelSettings
    table: FeatureTable
    ends_training: bool

    @property
    def gap(self) -> int:
        """Microseconds without an event after which a new exposure begins."""
        return self.labels.exposure_gap

    @property
    def strongest(self) -> list[str]:
        """The interaction types that are positive by themselves, by decreasing weight."""
        positive = self.labels.positive
        names = [name for name in self.table.bits.names if name in positive and name != "watch"]
        return sorted(names, key=lambda name: -positive[name])

    @property
    def negative(self) -> list[str]:
        """The interaction types that say that a user does not want a video."""
        return [signal.name for signal in self.table.signals if signal.negative]


def crowded(tables: Tables, cut: Cut, seed: int) -> Tables:
    """The tables with a future crowded at the cut, so that every tie there is tested.

    The next interaction of each user from the cut on, and the next one on another video, are moved to the cut itself,
    and made positive; users in the middle of an exposure continue it, half of them with a negative signal if there are
    any. Half of the others are *watchers*: their later interactions are moved to the cut plus the delay of counters.
    The next version of each user, video and channel is moved to the cut.
    """
    rows = _in_order(tables["interactions"], cut, seed).with_columns(later=pl.col(TIME) >= cut.time)
    last_video = pl.col("video_id").filter(~pl.col("later")).last().over("user_id")
    rows = rows.with_columns(first=_is_first(pl.col("later")), last_video=last_video)
    video = pl.when(pl.col("first") & pl.col("goes_on")).then("last_video").otherwise("video_id")
    rows = rows.with_columns(video.alias("video_id"))
    first_video = pl.col("video_id").filter("first").first().over("user_id")
    rows = rows.with_columns(other=pl.col("later") & (pl.col("video_id") != first_video))
    rows = rows.with_columns(at_cut=pl.col("first") | _is_first(pl.col("other")))
    delayed = _is_first(pl.col("later") & ~pl.col("at_cut")) & pl.col("watches")
    time = pl.when("at_cut").then(cut.time).when(delayed).then(cut.time + cut.delay).otherwise(TIME)
    rows = rows.with_columns(_where(pl.col("at_cut"), _positive_signals(cut), rows))
    rows = rows.with_columns(_where(pl.col("first") & pl.col("dislikes"), _negative_signals(cut), rows))
    events = rows.with_columns(time.cast(pl.Int64).alias(TIME)).select(tables["interactions"].columns)
    return {**_versions(tables, cut, _next_at(cut.time)), "interactions": events}


def _is_first(condition: pl.Expr) -> pl.Expr:
    """Whether a row is the first of its user in which a condition holds."""
    return condition & (condition.cum_sum().over("user_id") == 1)


def removed(tables: Tables, cut: Cut, seed: int) -> Tables:
    """The tables without the future."""
    events = tables["interactions"].filter(pl.col(TIME) < cut.time)
    return {**_versions(tables, cut, lambda rows, _: rows.filter(~pl.col("later"))), "interactions": events}


def shuffled(tables: Tables, cut: Cut, seed: int) -> Tables:
    """The tables with the times of the future in another order."""
    random = np.random.default_rng(seed)

    def permute(rows: pl.DataFrame, name: str) -> pl.DataFrame:
        places = np.arange(len(rows))
        later = rows["later"].to_numpy()
        places[later] = random.permutation(places[later])
        return rows.with_columns(rows[name].gather(places))

    events = permute(tables["interactions"].with_columns(later=pl.col(TIME) >= cut.time), TIME).drop("later")
    return {**_versions(tables, cut, lambda rows, _: permute(rows, VERSION)), "interactions": events}


def altered(tables: Tables, cut: Cut, seed: int) -> Tables:
    """The tables with other values in the future: videos, signals, watch times and context of interactions.

    Interactions of watchers until the cut plus the delay stay, so that there are rows that must not notice what others
    do; the others do it on the watchers' videos.
    """
    rows = _in_order(tables["interactions"], cut, seed)
    later = pl.col(TIME) >= cut.time
    stays = later & pl.col("watches") & (pl.col(TIME) <= cut.time + cut.delay)
    offered = rows.filter(stays)["video_id"]
    offered = offered if len(offered) else rows.filter(later)["video_id"]
    values = {
        "video_id": pl.lit(_other_videos(rows["video_id"], offered)),
        **_other_signals(cut),
        "watch_time": pl.col("watch_time").fill_null(0) + pl.lit(_SECONDS, pl.Float32),
        **{c.name: _other_value(c.name, rows.schema[c.name]) for c in cut.table.context if c.name in rows.columns},
    }
    rows = rows.with_columns(_where(later & ~stays, values, rows))
    return {**_versions(tables, cut, _other_values), "interactions": rows.select(tables["interactions"].columns)}


def delayed(tables: Tables, cut: Cut, seed: int) -> Tables:
    """The tables with a future that comes later than it did, each row of it by up to _LATEST."""

    def delay(rows: pl.DataFrame, name: str) -> pl.DataFrame:
        drawn = keyed_hash(seed, cut.time, np.arange(len(rows))) % np.uint64(_LATEST) + np.uint64(1)
        later = pl.col(name) + pl.Series(drawn.astype(np.int64))
        return rows.with_columns(pl.when("later").then(later).otherwise(name).alias(name))

    events = delay(tables["interactions"].with_columns(later=pl.col(TIME) >= cut.time), TIME).drop("later")
    return {**_versions(tables, cut, lambda rows, _: delay(rows, VERSION)), "interactions": events}


FUTURES: dict[str, Callable[[Tables, Cut, int], Tables]] = {
    "removed": removed,
    "shuffled": shuffled,
    "altered": altered,
    "delayed": delayed,
}


def _in_order(events: pl.DataFrame, cut: Cut, seed: int) -> pl.DataFrame:
    """Interactions by time, with whether their users are in an exposure at the cut, will end it with a dislike, or are
    watchers; all of that depends on the past alone."""
    last = pl.col(TIME).filter(pl.col(TIME) < cut.time).max().over("user_id")
    rows = events.with_columns(goes_on=(cut.time - last < cut.gap).fill_null(False))
    users = ids.codes_of(events["user_id"].to_arrow(compat_level=pl.CompatLevel.oldest()))
    even = pl.Series(keyed_hash(seed, cut.time, users.to_numpy()) % np.uint64(2) == 0)
    goes_on = pl.col("goes_on")
    return rows.with_columns(watches=even & ~goes_on, dislikes=even & goes_on).sort(TIME, maintain_order=True)


def _where(condition: pl.Expr, values: Mapping[str, pl.Expr], rows: pl.DataFrame) -> list[pl.Expr]:
    """Other values of the existing columns, where a condition holds."""
    return [
        pl.when(condition).then(value).otherwise(name).cast(rows.schema[name]).alias(name)
        for name, value in values.items()
        if name in rows.columns
    ]


def _other_videos(videos: pl.Series, offered: pl.Series) -> pl.Series:
    """For each row one of the offered videos, if possible not its own."""
    if not len(offered):
        return videos
    places = np.arange(len(videos)) % len(offered)
    is_own = (offered.gather(places) == videos).to_numpy()
    return offered.gather((places + is_own) % len(offered))


def _positive_signals(cut: Cut) -> dict[str, pl.Expr]:
    """The strongest positive signal, or watch time if only that is positive; no negative flag."""
    unset = {column: pl.lit(False) for column, name in cut.table.flags.items() if name in cut.negative}
    if not cut.strongest:
        return {"watch_time": pl.lit(_SECONDS), "interaction_type": pl.lit(b"watch"), **unset}
    return {**_signal_columns(cut, cut.strongest[0]), **unset}


def _negative_signals(cut: Cut) -> dict[str, pl.Expr]:
    """The first negative signal; None without one."""
    return _signal_columns(cut, cut.negative[0]) if cut.negative else {}


def _signal_columns(cut: Cut, signal: str) -> dict[str, pl.Expr]:
    """A type, and its flag."""
    flags = {column: pl.lit(True) for column, name in cut.table.flags.items() if name == signal}
    return {"interaction_type": pl.lit(signal.encode()), **flags}


def _other_signals(cut: Cut) -> dict[str, pl.Expr]:
    """Other interaction types or flags, positive ones if there are any.

    At most half of the users get a negative flag, none of whom ended an exposure by a negative signal, so that there
    are rows that must not notice it.
    """
    first, second = (name.encode() for name in [*cut.strongest, "watch", "watch"][:2])
    kind = pl.col("interaction_type")
    flags = {column: ~pl.col(column).fill_null(False) for column in cut.table.flags}
    for column, name in cut.table.flags.items():
        if name in cut.strongest[1:2]:
            flags[column] = pl.lit(True)
        if name in cut.negative:
            flags[column] &= ~pl.col("watches") & ~pl.col("dislikes")
    return {"interaction_type": pl.when(kind == first).then(pl.lit(second)).otherwise(pl.lit(first)), **flags}


Change = Callable[[pl.DataFrame, str], pl.DataFrame]  # of rows, with a column `later`, and the name of their key


def _versions(tables: Tables, cut: Cut, change: Change) -> Tables:
    """The tables of entities, with versions after the cut changed if their key has an earlier one.

    Without an earlier one the first version serves all rows before it, and has to stay the first.
    """
    changed = dict(tables)
    for name, key in KEYS.items():
        if VERSION in tables[name].columns:
            since = pl.col(VERSION).fill_null(np.iinfo(np.int64).min)
            later = (since >= cut.time) & (since.min().over(key) < cut.time)
            changed[name] = change(tables[name].with_columns(later=later), key).drop("later")
    return changed


def _next_at(time: int) -> Change:
    """Move the first later version of each key to a time."""

    def change(rows: pl.DataFrame, key: str) -> pl.DataFrame:
        first = pl.col(VERSION).filter("later").min().over(key)
        moved = pl.when(pl.col("later") & (pl.col(VERSION) == first)).then(pl.lit(time, pl.Int64))
        return rows.with_columns(moved.otherwise(VERSION).alias(VERSION))

    return change


def _other_values(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Other values of all columns but the key and the time: numbers, strings, booleans, and lists of other rows."""
    changed = []
    for name, kind in rows.schema.items():
        if name in (key, VERSION, "later"):
            continue
        changed.append(pl.when("later").then(_other_value(name, kind)).otherwise(name).cast(kind).alias(name))
    return rows.with_columns(changed)


def _other_value(name: str, kind: pl.DataType) -> pl.Expr:
    """Another value of a column than its own."""
    if isinstance(kind, pl.List):
        return pl.col(name).shift(1)
    if kind == pl.Boolean:
        return ~pl.col(name)
    if kind == pl.Binary and name in KEYS.values():  # an id with another last character, of whatever kind it is
        text = pl.col(name).cast(pl.String)
        other = pl.when(text.str.ends_with("0")).then(pl.lit("1")).otherwise(pl.lit("0"))
        return (text.str.head(-1) + other).cast(pl.Binary)
    return pl.col(name) + b" altered" if kind == pl.Binary else pl.col(name) * 2 + 1
