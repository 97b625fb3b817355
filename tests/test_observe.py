"""What a recommender knows after events, of tables with integers and with strings as ids."""

import copy
import dataclasses
import datetime
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import Ran
from loaded_graphs import recommender_of
from odd_ids import text

from recsys_tft import Recommender
from recsys_tft.configuration.settings import from_manifest
from recsys_tft.errors import InputError
from recsys_tft.exporting import stored_entities
from recsys_tft.online.opening import open_live
from recsys_tft.raw_replay import raw_counters, raw_rows
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.recommending.live_store import LiveStore, Observed
from recsys_tft.recommending.request import Wanted
from recsys_tft.run_layout import run_folders
from recsys_tft.serving import serving_folders

DAY = 86_400_000_000


@dataclasses.dataclass(frozen=True)
class Home:
    """A recommender that has seen no event, of tables with ids of some kind.

    Attributes:
        recommender: on the models of one that other tests use.
        has_texts: whether ids are strings.
        end: the first moment after the last event of the tables.
    """

    recommender: Recommender
    has_texts: bool
    end: int

    def id(self, number: int) -> int | str:
        """The id that stands where in the tables with integers the number does."""
        return text(number) if self.has_texts else number

    def stored(self, number: int) -> int | bytes:
        """The same as rows have it."""
        return text(number).encode() if self.has_texts else number

    def event(self, user: int, video: int, after: int, kind: str = "like", **more: Any) -> dict[str, Any]:
        """An event so many microseconds after the end."""
        ids = {"user_id": self.id(user), "video_id": self.id(video)}
        return {**ids, "interaction_time": self.end + after, "interaction_type": kind, **more}

    def known(self, user: int, after: int) -> dict[str, Any]:
        """What is known of a user then."""
        found = self.recommender.known(self.recommender.request(self.id(user), self.end + after))
        return {name: values[0].as_py() for name, values in found.items()}

    def video(self, number: int, after: int) -> dict[str, Any]:
        """What is known of a video then."""
        (row,) = self.recommender.candidates([self.stored(number)], self.end + after).table().to_pylist()
        return row


@pytest.fixture(params=["served", "served_texts"])
def home(request: pytest.FixtureRequest) -> Home:
    root = request.getfixturevalue(request.param)
    fresh = copy.copy(recommender_of(root))
    fresh._live = None
    times = pq.read_table(root / "raw" / "interactions.parquet")["interaction_time"].cast(pa.int64())
    return Home(fresh, request.param == "served_texts", pc.max(times).as_py() + 1)


def test_without_an_event_all_is_as_the_export_has_it(home: Home) -> None:
    store, ids = home.recommender.store, home.recommender.store.video_ids
    before = [home.known(user, 0) for user in range(10)]
    seen = [home.recommender.seen(home.recommender.request(home.id(user))) for user in range(10)]
    home.recommender.live  # noqa: B018
    assert [home.known(user, 0) for user in range(10)] == before
    for user, videos in enumerate(seen):
        found = home.recommender.seen(home.recommender.request(home.id(user)))
        assert sorted(found.to_pylist()) == sorted(videos.to_pylist())
        assert found.type == videos.type
    assert home.recommender.candidates(ids, home.end).table().equals(store.videos(ids))


@pytest.mark.slow
def test_at_the_end_the_state_of_a_run_tells_what_an_export_stores(ran: Ran, tmp_path: pathlib.Path) -> None:
    manifest = run_folders.manifest(str(ran.root))
    settings = from_manifest(manifest, "the run")
    rows, cuts = raw_rows.read(str(ran.raw), settings), raw_rows.cuts_of(manifest)
    dated = raw_counters.dated_videos(rows, cuts, settings)
    videos = stored_entities.current_videos(rows, dated)
    stored_entities.write(tmp_path / "store", rows, videos, dated.counts, cuts, settings)
    entities = EntityStore(tmp_path / "store")
    opened = open_live(str(ran.root), run_folders.fingerprint(str(ran.root)))
    live = LiveStore(opened.state, opened.rules, entities)
    every = Candidates.of_rows(entities.all_videos)
    assert live.videos(every, opened.until).table().equals(every.table())
    for user in rows.latest_users["user_id"].to_pylist()[:100]:
        stored = entities.user(user)
        assert live.user(stored, user, opened.until).select(stored.column_names).to_pylist() == stored.to_pylist()
        assert sorted(live.seen(user).to_pylist()) == sorted(entities.seen(user).to_pylist())


def test_an_event_is_known_from_the_next_request_on(home: Home) -> None:
    before, video = home.known(3, 20), home.video(5, 20)
    assert home.recommender.observe([home.event(3, 5, 10, device="tv")]) == Observed(1, 0)
    assert home.known(3, 10) | {"interaction_time": 0} == before | {
        "interaction_time": 0
    }  # at the instant it is not yet
    found, of_video = home.known(3, 11), home.video(5, 11)
    assert found["history_video_ids"][0] == home.stored(5)
    assert found["previously_watched_category"] == found["history_categories"][0] == of_video["category"]
    for name in ("user_shown_count", "user_positive_count", "user_events_1d", "user_view_count", "user_like_count"):
        assert found[name] == before[name] + 1
    place = found["of_group/category"].index(of_video["category"])
    tallies = dict(zip(before["of_group/category"], before["of_group/category/user_category_shown_count"], strict=True))
    assert found["of_group/category/user_category_shown_count"][place] == tallies.get(of_video["category"], 0) + 1
    assert of_video["events"] == video["events"] + 1
    late = home.video(5, 3 * DAY)  # counts are seen at the end of a day at the latest
    exact = 1 + max(video["shown_count"], 0)
    assert late["shown_count"] >= exact
    recommended = home.recommender.recommend(home.id(3), 300, time=home.end + 20)
    assert home.id(5) not in {item.video_id for item in recommended.items}
    assert home.recommender.explain(home.id(3), [home.id(7)], home.end + 20)


def test_requests_are_answered_together_as_each_is_alone(home: Home) -> None:
    assert home.recommender.observe([home.event(user, 5, 10) for user in (3, 4, 10**6)]) == Observed(3, 0)
    asked = [
        (home.id(3), 20),
        (home.id(10**6), 30),
        (None, 40),
        (home.id(10**7), 50),
        (home.id(4), DAY),
        (home.id(3), 5),
    ]
    wanted = [Wanted(home.recommender.request(user, home.end + after), 20) for user, after in asked]
    together = [each.items for each in home.recommender.recommend_each(wanted)]
    assert together == [home.recommender.recommend_each([each])[0].items for each in wanted]


def test_someone_new_has_a_history_after_one_event(home: Home) -> None:
    nobody = home.recommender.recommend(home.id(10**6), 5, time=home.end + 20)
    assert home.recommender.observe([home.event(10**6, 5, 10)]) == Observed(1, 0)
    assert home.known(10**6, 20)["history_video_ids"] == [home.stored(5)]
    assert home.known(10**6, 20)["user_positive_count"] == 1
    found = home.recommender.recommend(home.id(10**6), 5, time=home.end + 20)
    assert not found.is_known
    assert found.items != nobody.items
    assert "history_video_ids" not in home.known(10**6 + 1, 20)


def test_an_event_counts_once(home: Home) -> None:
    events = [home.event(3, 5, 10), home.event(3, 5, 10), home.event(3, 5, 10, "watch", watch_time=3.0)]
    assert home.recommender.observe(events) == Observed(2, 1)
    assert home.recommender.observe(events) == Observed(0, 3)
    shared = [home.event(4, 5, 10, event_id=number) for number in (uuid.UUID(int=1), "b", "b", 7)]
    assert home.recommender.observe(shared) == Observed(3, 1)
    assert home.recommender.observe(shared[::-1]) == Observed(0, 4)
    late = [home.event(5, 7, -home.end, event_id="c"), home.event(5, 7, 10, event_id="c")]
    found = home.recommender.observe(late)
    assert (found.applied, found.repeated, len(found.rejected)) == (1, 0, 1)
    before = home.known(5, 11)["user_events_1d"]
    table = pa.Table.from_pylist([home.event(5, 6, after) for after in range(11, 16)])
    assert home.recommender.observe(table) == Observed(5, 0)
    assert home.recommender.observe(table.to_pylist()) == Observed(0, 5)
    assert home.known(5, 20)["user_events_1d"] == before + 5


def test_what_cannot_be_used_is_rejected_alone(home: Home) -> None:
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    good = home.event(3, 5, 10)
    wrong: list[tuple[Any, str]] = [
        (good | {"interaction_type": "lik"}, "interaction_type is 'lik'; expected one of impression, click, "),
        (good | {"watchtime": 3}, "watchtime is no column of interactions; did you mean 'watch_time'?"),
        ({**good, "interaction_type": None}, "says not what happened; expected interaction_type, watch_time, clicked"),
        (good | {"watch_time": -1.0}, "watch_time is negative"),
        (good | {"watch_time": "long"}, "watch_time is no number"),
        (good | {"interaction_time": None}, "interaction_time is null"),
        (good | {"interaction_time": "yesterday"}, "interaction_time is no time such as 2025-03-01 12:00:00"),
        (good | {"interaction_time": [1]}, "interaction_time is [1]; expected timestamp[us, tz=UTC]"),
        (good | {"interaction_time": ahead}, "interaction_time is more than a day ahead of the clock of this machine"),
        (good | {"interaction_time": 5}, "interaction_time is before 2"),
        (good | {"video_id": home.id(10**9)}, "video_id is not in videos"),
        (good | {"event_id": "\ud800"}, "event_id is no text"),
        ({name: value for name, value in good.items() if name != "user_id"}, "user_id is null"),
        ("like", "is no mapping from columns to values"),
    ]
    found = home.recommender.observe([each for each, _ in wrong] + [good])
    assert (found.applied, found.repeated) == (1, 0)
    assert [rejection.index for rejection in found.rejected] == list(range(len(wrong)))
    for rejection, (_, reason) in zip(found.rejected, wrong, strict=True):
        assert rejection.reason.startswith(reason)
    assert home.recommender.observe([]) == Observed(0, 0)
    with pytest.raises(InputError, match=r"events are str; expected a list of mappings or a pyarrow\.Table"):
        home.recommender.observe("like")
    with pytest.raises(InputError, match="the column interaction_time is bool; expected timestamp"):
        home.recommender.observe(pa.table({"interaction_time": [True]}))


def test_lists_of_events_are_taken_together_as_each_is_alone(home: Home) -> None:
    lists = [
        [home.event(3, 5, 10), {**home.event(3, 5, 10), "interaction_type": "lik"}],
        [],
        [7, home.event(4, 5, -home.end), home.event(3, 5, 10), home.event(4, 6, 20)],
        [home.event(4, 6, 20, event_id="\ud800"), home.event(4, 6, 20)],
    ]
    found = home.recommender.live.observe_each(lists)
    assert [(each.applied, each.repeated, [one.index for one in each.rejected]) for each in found] == [
        (1, 0, [1]), (0, 0, []), (1, 1, [0, 1]), (0, 1, [0]),
    ]  # fmt: skip
    home.recommender._live = None
    assert [home.recommender.observe(each) for each in lists] == found


def test_times_are_taken_in_several_forms(home: Home) -> None:
    moment = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=home.end + 10)
    zone = datetime.timezone(datetime.timedelta(hours=5))
    forms = [home.end + 10, moment, moment.astimezone(zone), moment.replace(tzinfo=None), moment.isoformat()]
    events = [home.event(3, 5, 0) | {"interaction_time": form} for form in forms]
    assert home.recommender.observe(events) == Observed(1, 4)


def test_threads_lose_no_event_of_one_user(home: Home) -> None:
    before, live = home.known(3, 10)["user_events_1d"], home.recommender.live
    found: list[Observed] = []

    def send(thread: int) -> None:
        for number in range(5):
            events = [home.event(3, 5, 10 + thread, "click", event_id=f"{thread}-{number}")] * 2
            found.append(live.observe(events))
            home.known(3, 10**6)

    threads = [threading.Thread(target=send, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Observed(1, 1)] * 40
    assert home.known(3, 10**6)["user_events_1d"] == before + 40


def test_a_state_of_another_run_is_refused(served: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="the export is of another run than the one there; run recsys-tft export"):
        open_live(str(served), "0" * 64)
    shutil.copytree(served, tmp_path / "out", symlinks=True)
    shutil.rmtree((tmp_path / "out" / "state").resolve())
    described = serving_folders.description(recommender_of(served)._store_folder)
    with pytest.raises(InputError, match="has no state to start from; run the main job again"):
        open_live(str(tmp_path / "out"), described["transform_graph"])


def test_recommending_alone_loads_nothing_of_it(served: pathlib.Path) -> None:
    code = (
        "import json, sys; from recsys_tft import Recommender; Recommender(sys.argv[1]).recommend(3, 1);"
        "print(json.dumps([name for name in sys.modules if name in ('polars', 'recsys_tft.online.live_state')]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(served)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
