"""The raw rows of a data folder in memory, as the main job takes them: usable rows alone."""

import dataclasses
import datetime
import pathlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import KEYS, IdKind
from recsys_tft.configuration import settings as settings_module
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.labelling import counters, examples, outcomes
from recsys_tft.labelling.splits import PERIODS, Cuts
from recsys_tft.run_layout.periods import REFRESH
from recsys_tft.tables import raw_tables, versions
from recsys_tft.tables.entities import VideoLookup, add_channels, drop_duplicates, known_durations
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
    """

    users: pa.Table
    videos: pa.Table
    events: pa.Table
    lookup: VideoLookup
    counted: tuple[str, ...] = ()

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


def raw_folder(output_dir: str, data_dir: str | None, manifest: Mapping[str, Any]) -> str:
    """Where the raw tables of a run are, whose manifest is given.

    Raises:
        InputError: if that has to be said: OUTPUT_DIR/raw is not there, or holds those of an earlier run.
    """
    if data_dir is not None:
        return data_dir
    own = pathlib.Path(output_dir, "raw")
    if not own.is_dir():
        raise InputError(f"{output_dir} holds no raw tables; name their folder with --data-dir.")
    chosen = settings_module.of_run(manifest, f"{output_dir}/artifacts/manifest.json")
    tables = find(str(own), chosen)
    if {name: [list(file) for file in table.fingerprint] for name, table in tables.items()} != manifest["inputs"]:
        raise InputError(f"{own}: not the tables that the run has read; name their folder with --data-dir.")
    return str(own)


def find(data_dir: str, settings: Settings) -> dict[str, RawTable]:
    """The four tables, to be read as a run has read its own.

    Raises:
        InputError: as `raw_tables.find`; and where they cannot be read so because their ids are of another kind.
    """
    try:
        return raw_tables.find(data_dir, settings.columns, settings.table)
    except InputError as error:
        _check_kinds(data_dir, settings, error)
        raise


def _check_kinds(data_dir: str, settings: Settings, error: InputError) -> None:
    """Raises an error that names the ids, if the tables can be read with ids of other kinds than the run's."""
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
                "name the tables that the run has read with --data-dir."
            ) from error


def read(data_dir: str, settings: Settings) -> RawRows:
    """All usable rows of the four tables.

    Raises:
        InputError: as `find` and `raw_tables.read`.
    """
    tables = find(data_dir, settings)
    channels, _ = drop_duplicates(_rows(tables["channels"]), "channel_id")
    videos, _ = drop_duplicates(_rows(tables["videos"]), "video_id")
    videos, _ = known_durations(videos)
    lookup = VideoLookup.of(videos, channels, settings.ids.video_id, outcomes.groups(settings))
    videos = add_channels(videos.drop_columns([ROW]), channels).combine_chunks()
    events = events_of(_rows(tables["interactions"]), tables["interactions"].is_long, settings.table.bits)
    found = examples.gather_events(events, _rows(tables["users"]), lookup, settings)
    counted = counters.computed_columns(settings.counters, tables["videos"].absent)
    return RawRows(found.users.drop_columns([ROW]).combine_chunks(), videos, found.events, lookup, counted)


def _rows(table: RawTable) -> pa.Table:
    keep = list(table.columns)
    parts = [raw_tables.read(table, source, keep)[0] for source in table.sources]
    return pa.concat_tables([*parts, raw_tables.empty(table.known, keep)])


def cuts_of(manifest: Mapping[str, Any]) -> Cuts | None:
    """Where the windows of a run end, by its manifest; None where each user has ends of their own.

    Raises:
        InputError: for a refresh of a run where each user has.
    """
    windows = manifest["windows"]
    periods = [_time(text) for text in windows.get(PERIODS, ())]
    found = [_time(windows[name]) for name in ("val_from", "test_from") if windows.get(name)]
    if periods and not found:
        raise InputError(
            f"The period {manifest[REFRESH]['name']} is a refresh of a run with split.kind "
            f"{manifest['settings']['split']['kind']}; raw tables do not tell how that divided each user's exposures."
        )
    if periods:  # a window that had not begun then never did, and what comes after the period is another one
        return (*(cut for cut in found if cut < periods[0]), *periods, _time(manifest[REFRESH]["until"]))
    return (found[0], found[1] if found[1:] else None) if found else None


def _time(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=datetime.UTC)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
