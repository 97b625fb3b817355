"""Whether the state of a refreshed run, opened to take events, is that of all its events."""

import json
import pathlib

import numpy as np
import pyarrow as pa

from recsys_tft.columns import HISTORY
from recsys_tft.configuration.settings import from_manifest
from recsys_tft.labelling.exposures import event_columns
from recsys_tft.online import opening
from recsys_tft.online.live_state import REPEATED
from recsys_tft.online.opening import open_live
from recsys_tft.online.snapshot import EVENT
from recsys_tft.raw_replay import raw_rows
from recsys_tft.run_layout import run_folders, state_files
from recsys_tft.verifying import replay


def check_state(out: pathlib.Path, last: pathlib.Path, raw: pathlib.Path) -> None:
    """The state of the last period, opened to take events, is that of all events one after the other."""
    manifest = json.loads((last / "artifacts/manifest.json").read_text())
    settings = from_manifest(manifest, "the run")
    live = open_live(str(out), run_folders.fingerprint(str(last)))
    rows, users = raw_rows.read(str(raw), settings), live.rules.users["user_id"].to_numpy()
    asked = replay.RowKeys(users, np.resize(live.state.video_ids, len(users)), np.full(len(users), live.until))
    wanted = replay.replay(rows, raw_rows.cuts_of(manifest), settings, asked)
    known = live.state.known_of(users, live.until)
    for name in set(known.column_names) & set(wanted.users.column_names) - {*HISTORY}:
        assert known[name].to_pylist() == wanted.users[name].to_pylist(), name
    found = live.state.values(asked.videos, live.until)
    assert {name: values.tolist() for name, values in wanted.videos.items()} == {
        name: values.tolist() for name, values in found.items()
    }
    check_late(live, rows, str(last))


def check_late(live: opening.Opened, rows: raw_rows.RawRows, last: str) -> None:
    """Events come too late online that would to the next refresh; those that the state holds count once."""
    bounds, settings = state_files.open_state(last, last).bounds, live.rules.settings
    assert live.since == max(live.until - settings.late_microseconds, bounds[0]) < live.until
    assert live.rules.lateness == settings.late_microseconds
    events = rows.events.select(event_columns(settings))
    held = events.filter(pa.array(events["interaction_time"].to_numpy() >= live.since))
    held = held.append_column(EVENT, pa.array(range(len(held))))
    assert len(held)
    assert (live.state.observe(held) == REPEATED).all()
