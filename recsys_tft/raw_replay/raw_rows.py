"""The raw rows of a data folder in memory, as the main job takes them: usable rows alone."""

import dataclasses
import datetime
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import KEYS, IdKind
from recsys_tft.configuration import settings as settings_module
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.labelling.split_times import PERIODS, Cuts
from recsys_tft.point_in_time import counters, outcomes
from recsys_tft.raw_replay import stages
from recsys_tft.raw_replay.stages import Stage
from recsys_tft.run_layout.periods import REFRESH
from recsys_tft.run_layout.state_files import ENTITIES
from recsys_tft.tables import raw_tables, versions
from recsys_tft.tables.entities import VideoLookup, add_channels, drop_duplicates, known_durations, with_earlier
from recsys_tft.tables.event_signals import events_of
from recsys_tft.tables.raw_tables import ROW, RawTable


@dataclasses.dataclass(frozen=True)
class RawRows:
    """Raw users, videos and events.

    Attributes:
        users: all columns of the table, by increasing `user_id`, or versions of them.
        videos: all columns of the table and those of its channel, by increasing `video_id`, or versions of them.
        events: as `exposures.sort_events` leaves them.
        lookup: what labels, history and tallies need of the videos.
        counted: the columns of videos that the run counts from the events, or does without, instead of reading them.
        stages: which tables label which events, where these are of several days; none: `lookup` labels all.
    """

    users: pa.Table
    videos: pa.Table
    events: pa.Table
    lookup: VideoLookup
    counted: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()

    @property
    def latest_users(self) -> pa.Table:
        """The latest row of each user."""
        return versions.latest(self.users, "user_id")

    @property
    def latest_videos(self) -> pa.Table:
        """The latest row of each video."""
        return versions.latest(self.videos, "video_id")

    def of_users(self, user_ids: pa.Array) -> "RawRows":
        """The same with these users and their events only."""
        users, events = (table.filter(pc.is_in(table["user_id"], user_ids)) for table in (self.users, self.events))
        return dataclasses.replace(self, users=users, events=events)


Days = str | Sequence[str]  # a folder of raw tables, or those of a run and of each of its periods, in order
_EVENTS = "interactions"


def raw_days(output_dir: str, data_dir: Days | None, manifest: Mapping[str, Any]) -> list[str]:
    """The folders of the raw tables of a run or of a period, by its manifest.

    It is one with the tables of all days, or that of the run and those of all periods up to this one.

    Raises:
        InputError: as `raw_folder`, or if there are other numbers of folders.
    """
    begun = manifest["splits"].get(PERIODS, ())
    if data_dir is None and begun:
        raise InputError(
            f"{output_dir} does not have the raw tables of all days; name with --data-dir the folder of the run "
            f"and those of all {len(begun):,} periods in order, or one with the tables of all days."
        )
    given = raw_folder(output_dir, None, manifest) if data_dir is None else data_dir
    found = [given] if isinstance(given, str) else list(given)
    if len(found) not in (1, 1 + len(begun)):
        wanted = f"those of the run and of {len(begun):,} periods, in order, or " if begun else ""
        raise InputError(f"--data-dir names {len(found):,} folders; expected {wanted}one with all tables.")
    return found


def raw_folder(output_dir: str, data_dir: str | None, manifest: Mapping[str, Any]) -> str:
    """The folder of a run's raw tables, by its manifest.

    Raises:
        InputError: if that has to be said: OUTPUT_DIR/raw is not there, or holds those of an earlier run.
    """
    if data_dir is not None:
        return data_dir
    own = pathlib.Path(output_dir, "raw")
    if not own.is_dir():
        raise InputError(f"{output_dir} has no raw tables; name their folder with --data-dir.")
    chosen = settings_module.from_manifest(manifest, f"{output_dir}/artifacts/manifest.json")
    tables = find(str(own), chosen)
    if {name: [list(file) for file in table.fingerprint] for name, table in tables.items()} != manifest["inputs"]:
        raise InputError(f"{own}: not the tables of the run; name their folder with --data-dir.")
    return str(own)


def find(data_dir: str, settings: Settings, optional: Collection[str] = ()) -> dict[str, RawTable]:
    """The four tables, to be read as a run has read its own; one of the `optional` ones that is not there has no rows.

    Raises:
        InputError: as `raw_tables.find`; and where they cannot be read so because their ids are of another kind.
    """
    try:
        return raw_tables.find(data_dir, settings.columns, settings.table, optional)
    except InputError as error:
        _check_kinds(data_dir, settings, error)
        raise


def _check_kinds(data_dir: str, settings: Settings, error: InputError) -> None:
    """Raise an error that names the ids, if the tables can be read with ids of other kinds than the run's."""
    unknown = settings.replace({"ids": dict.fromkeys(KEYS.values(), IdKind.AUTO)})
    try:
        found = raw_tables.id_settings(raw_tables.find(data_dir, settings.columns, unknown.table))
    except InputError:
        return
    for key, kind in found.items():
        own = getattr(settings.ids, key)
        if kind is not own:
            raise InputError(
                f"{data_dir}: the {key}s there are of the kind {kind}, but those of the run are of the kind {own}; "
                "name the tables of the run with --data-dir."
            ) from error


def read(data_dir: str, settings: Settings) -> RawRows:
    """All usable rows of the four tables.

    Raises:
        InputError: as `find` and `raw_tables.read`.
    """
    tables = find(data_dir, settings)
    return _joined(_of_day(tables, settings), tables["videos"], settings)


def read_days(days: Sequence[str], manifest: Mapping[str, Any], settings: Settings) -> RawRows:
    """The same of the folders of a run and its periods, each as its refresh has read it.

    A row takes the place of the one with its key from its day on: earlier events are labelled by what was known then.
    Events that came too late, or before their user or video, are not used.

    Args:
        days: as `raw_days` returns them.
        manifest: of the last one.
        settings: of the run.

    Raises:
        InputError: as `read`.
    """
    if len(days) == 1:
        return read(days[0], settings)
    first = find(days[0], settings)
    day = _of_day(first, settings)
    known = [_known(day, settings)]
    begins = [_time(text) for text in manifest["splits"][PERIODS]]
    for folder, begin in zip(days[1:], begins, strict=True):
        found = find(folder, settings, ENTITIES)
        tables = {n: dataclasses.replace(table, is_versioned=first[n].is_versioned) for n, table in found.items()}
        own = _of_day(tables, settings)
        day = own | {name: _with(own[name], day[name], name) for name in ENTITIES}
        since = max(begin - settings.late_microseconds, begins[0])
        day[_EVENTS] = own[_EVENTS].filter(pc.greater_equal(own[_EVENTS]["interaction_time"], since))
        known.append(_known(day, settings))
    lookups, events = zip(*known, strict=True)
    rows = _joined({**day, _EVENTS: pa.concat_tables(events)}, first["videos"], settings)
    return dataclasses.replace(rows, stages=stages.of_days(begins, lookups, settings.late_microseconds))


def _with(rows: pa.Table, earlier: pa.Table, name: str) -> pa.Table:
    return with_earlier(rows, earlier.drop_columns([ROW]), KEYS[name])


def _of_day(tables: Mapping[str, RawTable], settings: Settings) -> dict[str, pa.Table]:
    """The usable rows of each table of a folder."""
    found = {name: _rows(table) for name, table in tables.items()}
    return found | {_EVENTS: events_of(found[_EVENTS], tables[_EVENTS].is_long, settings.table.bits)}


def _known(day: Mapping[str, pa.Table], settings: Settings) -> tuple[VideoLookup, pa.Table]:
    """The lookup of videos that are known by then, and the events of these and of known users."""
    (videos, channels), users = _videos(day), drop_duplicates(day["users"], KEYS["users"])[0]
    lookup = VideoLookup.of(videos, channels, settings.ids.video_id, outcomes.groups(settings))
    user, video = examples.first_rows_of(day[_EVENTS], users, lookup)
    return lookup, day[_EVENTS].filter(pa.array((user >= 0) & (video >= 0)))


def _videos(day: Mapping[str, pa.Table]) -> tuple[pa.Table, pa.Table]:
    """One row, or one of each version, of each video and channel."""
    channels, _ = drop_duplicates(day["channels"], KEYS["channels"])
    videos, _ = drop_duplicates(day["videos"], KEYS["videos"])
    return known_durations(videos)[0], channels


def _joined(day: Mapping[str, pa.Table], videos_table: RawTable, settings: Settings) -> RawRows:
    videos, channels = _videos(day)
    lookup = VideoLookup.of(videos, channels, settings.ids.video_id, outcomes.groups(settings))
    videos = add_channels(videos.drop_columns([ROW]), channels).combine_chunks()
    found = examples.gather_events(day[_EVENTS], day["users"], lookup, settings)
    counted = counters.computed_columns(settings.counters, videos_table.absent)
    return RawRows(found.users.drop_columns([ROW]).combine_chunks(), videos, found.events, lookup, counted)


def _rows(table: RawTable) -> pa.Table:
    keep = list(table.columns)
    parts = [raw_tables.read(table, source, keep)[0] for source in table.sources]
    return pa.concat_tables([*parts, raw_tables.empty(table.known, keep)])


def cuts_of(manifest: Mapping[str, Any]) -> Cuts | None:
    """The split times of a run, by its manifest; None if each user has their own."""
    splits = manifest["splits"]
    periods = [_time(text) for text in splits.get(PERIODS, ())]
    found = [_time(splits[name]) for name in ("val_from", "test_from") if splits.get(name)]
    if periods and not found:
        return (None, None, *periods, _time(manifest[REFRESH]["until"]))
    if periods:  # a split that had not begun then never did, and what comes after the period is another one
        return (*(cut for cut in found if cut < periods[0]), *periods, _time(manifest[REFRESH]["until"]))
    return (found[0], found[1] if found[1:] else None) if found else None


def _time(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=datetime.UTC)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
