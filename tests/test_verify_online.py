"""`verify --online`: a log that is replayed through the state that takes events gives the rows on disk."""

import pathlib

import numpy as np
import pyarrow as pa
import pytest
from conftest import Ran

from recsys_tft import cli
from recsys_tft.errors import InputError
from recsys_tft.online.live_state import LiveState
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.verifying import replay
from recsys_tft.verifying.verification import verify

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has events folded often."""
    monkeypatch.setattr(replay, "_FOLD_AT", 200)


@pytest.mark.slow
@pytest.mark.usefixtures("few_at_once")
def test_rows_of_runs_are_what_is_known_online(ran: Ran) -> None:
    found = verify(str(ran.root), str(ran.raw), rows=15, online=True)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert {"history_video_ids_tokens", "previously_watched_category_token", "user_excess"} <= set(found.lines)
    assert ("view_count_log_z" in found.lines) == (ran.raw != ran.root / "raw")  # which MovieLens does not tell
    assert sum(found.rows.values()) >= 6 * 15


@pytest.mark.slow
@pytest.mark.usefixtures("few_at_once")
def test_so_are_those_of_ids_that_are_text_and_all_that_is_recent(served_texts: pathlib.Path) -> None:
    found = verify(str(served_texts), rows=15, online=True)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert {"views_1d_log", "user_events_1d_log", "video_age_log", "history_cooccurrence"} <= set(found.lines)


@pytest.mark.slow
def test_an_event_that_is_lost_is_told_with_feature_row_and_both_values(
    served: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    observe = LiveState.observe

    def lose_likes(live: LiveState, events: pa.Table) -> np.ndarray:
        observe(live, events.filter(pa.array(events["signals"].to_numpy() & 8 == 0)))
        return np.zeros(len(events), np.int8)

    monkeypatch.setattr(LiveState, "observe", lose_likes)
    assert cli.main(["verify", "--output-dir", str(served), "--online", "--rows", "5"]) == 1
    printed = capsys.readouterr().out
    assert "Training and serving disagree." in printed
    line = next(line for line in printed.splitlines() if line.startswith("DIFFERENT: "))
    for part in ("of user_id ", "video_id ", "interaction_time ", " on disk, ", "on online values"):
        assert part in printed[printed.index(line) :]


def test_exposures_that_are_cut_for_each_user_are_refused() -> None:
    from recsys_tft.configuration.settings import parse

    settings = parse({"split": {"kind": "time_per_user"}}, "the test")
    asked = replay.RowKeys(*[np.zeros(1, np.int64)] * 3)
    with pytest.raises(InputError, match=r"split\.kind is time_per_user, which cuts the exposures of a user"):
        replay.replay(RawRows(*[pa.table({})] * 3, None), None, settings, asked)
