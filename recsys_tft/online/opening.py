"""The state of a run, or of its last refresh, opened to take events."""

import dataclasses

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import HISTORY, KEYS, UPDATED
from recsys_tft.configuration.settings import Settings, from_manifest
from recsys_tft.errors import InputError
from recsys_tft.labelling.exposures import event_columns, sort_events
from recsys_tft.online.changes import between
from recsys_tft.online.live_state import LiveState
from recsys_tft.online.snapshot import Rules, Start
from recsys_tft.point_in_time import carried, counters, outcomes, recent
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.run_layout import periods, run_folders, state_files
from recsys_tft.run_layout.state_files import CHANGES, ENTITIES, FIRST_SEEN, KEPT, WORTH, EarlierState
from recsys_tft.tables.entities import VideoLookup, drop_duplicates, known_durations
from recsys_tft.tables.raw_tables import ROW

LATENESS = 86_400_000_000  # microseconds by which an event may come after a later one, unless `late` is longer


@dataclasses.dataclass(frozen=True)
class Opened:
    """A state that takes events.

    Attributes:
        state: of users and videos.
        rules: by which events count.
        run: the id of the run.
        until: microseconds, when the state ends.
        since: microseconds; earlier events are too late: `until`, or earlier by `late`.
    """

    state: LiveState
    rules: Rules
    run: str
    until: int
    since: int


def open_live(output_dir: str, transform_graph: str) -> Opened:
    """Opens the state at the end of a run, or of its last refresh.

    Args:
        output_dir: of the run.
        transform_graph: the hash of the graph that the export was made with.

    Raises:
        InputError: if there is no state, or the export is of another run.
    """
    manifest = run_folders.manifest(output_dir)
    settings = from_manifest(manifest, f"{output_dir}/artifacts/manifest.json")
    last = list(periods.folders(output_dir).values())[-1:]
    told = last[0] if last else output_dir
    with run_folders.held(output_dir) as run, run_folders.held(told) as newest:
        if transform_graph not in (run_folders.fingerprint(run), run_folders.fingerprint(newest)):
            raise InputError(f"{output_dir}: the export is of another run than the one there; run recsys-tft export.")
        state = state_files.open_state(newest, told)
        rows = {name: _entities(state, name, settings) for name in ENTITIES}
        videos, _ = known_durations(rows["videos"])
        lookup = VideoLookup.of(videos, rows["channels"], settings.ids.video_id, outcomes.groups(settings))
        counted = bool(counters.computed_columns(settings.counters, manifest["absent_columns"]["videos"]))
        start = _start(state, settings, lookup, counted)
    rules = Rules(rows["users"], lookup, settings, counted, max(LATENESS, settings.late_microseconds))
    assert start.since is not None
    return Opened(LiveState(start, rules), rules, str(manifest.get("run")), state.until, start.since)


def _entities(state: EarlierState, name: str, settings: Settings) -> pa.Table:
    """The rows (or versions) of users, videos or channels by key, with the columns that the live state needs."""
    key = KEYS[name]
    wanted = {
        "users": ("previously_watched_category", *HISTORY),
        "videos": ("channel_id", *VideoLookup.told(outcomes.groups(settings))),
        "channels": (),
    }[name]
    rows = _table(state, name)
    kept = [each for each in dict.fromkeys([key, UPDATED, *wanted]) if each in rows.column_names]
    rows = rows.select(ids.beside(kept, rows))
    rows, _ = drop_duplicates(rows.append_column(ROW, pa.array(np.zeros(len(rows), np.int64))), key)
    return rows.drop_columns([ROW]).combine_chunks()


def _table(state: EarlierState, name: str, schema: pa.Schema | None = None) -> pa.Table:
    """The rows of a part of the state; without rows, with the schema, if this run has no such part."""
    nothing = [] if schema is None else [schema.empty_table()]
    return pa.concat_tables(nothing + [state_files.read(file) for file in state.files[name]])


def _start(state: EarlierState, settings: Settings, lookup: VideoLookup, counted: bool) -> Start:
    events = _table(state, "events").select(event_columns(settings))
    if state.files[KEPT]:  # those since the moment as of which the rest is
        events = sort_events(pa.concat_tables([events, _table(state, KEPT).select(events.column_names)]), settings)
    tables = {name: _table(state, name).cast(schema) for name, schema in carried.SCHEMAS.items()}
    before = Carried(state.bounds[0], events, **tables)
    worth = outcomes.WORTH_SCHEMA.empty_table()
    if outcomes.reads_expected(settings):
        worth = _table(state, WORTH).cast(outcomes.WORTH_SCHEMA)
    changes = between(events.slice(0, 0), events, lookup, settings, counted, since=before.until)
    changes = pa.concat_tables([changes, _table(state, CHANGES, counters.CARRIED_SCHEMA)])
    first_seen = _table(state, FIRST_SEEN, recent.FIRST_SEEN_SCHEMA)
    since = max(state.until - settings.late_microseconds, before.until)  # as of a refresh
    return Start(before, (*state.bounds, None), worth, changes, first_seen, since, state.until)
