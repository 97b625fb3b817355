"""Events that several processes share in Redis: each counts once, none that was acknowledged is lost."""

import dataclasses
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys_tft.errors import InputError
from recsys_tft.online import redis_log
from recsys_tft.online.redis_log import LostError, RedisLog
from recsys_tft.recommending import live_store
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.recommending.live_store import LiveStore, Observed
from recsys_tft.serving import serving_folders

Client = Any


@dataclasses.dataclass(frozen=True)
class Server:
    """A Redis that was started."""

    process: subprocess.Popen
    address: str

    @property
    def client(self) -> Client:
        import redis

        return redis.Redis.from_url(self.address)


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[Server]:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program, "these tests start a Redis: apt-get install redis-server"
    socket = tmp_path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        found = Server(process, f"unix://{socket}")
        while not socket.exists():
            time.sleep(0.01)
        yield found
        process.kill()


@dataclasses.dataclass(frozen=True)
class Home:
    """Stores of one run, as processes that serve it would open them."""

    root: pathlib.Path
    entities: EntityStore
    graph: str
    end: int

    def open(self, address: str | None, is_patient: bool = False) -> LiveStore:
        return live_store.open_store(str(self.root), self.graph, self.entities, address, is_patient)

    def event(self, user: int, video: int, after: int = 10, kind: str = "like", **more: Any) -> dict[str, Any]:
        ids = {"user_id": user, "video_id": video}
        return {**ids, "interaction_time": self.end + after, "interaction_type": kind, **more}

    def known(self, store: LiveStore, user: int) -> dict[str, Any]:
        return store.user(self.entities.user(user), user, self.end + 10**6).to_pylist()[0]


@pytest.fixture
def home(served: pathlib.Path) -> Home:
    folder = serving_folders.hold(str(served)).folder / serving_folders.STORE / "1"
    times = pq.read_table(served / "raw" / "interactions.parquet")["interaction_time"].cast(pa.int64())
    graph = serving_folders.description(folder)["transform_graph"]
    return Home(served, EntityStore(folder), graph, pc.max(times).as_py() + 1)


def test_what_one_process_observes_all_others_know(home: Home, server: Server) -> None:
    one, other, alone = home.open(server.address), home.open(server.address), home.open(None)
    events = [home.event(3, 5, device="tv"), home.event(3, 6, 20, watch_time=0.1), home.event(10**6, 7, event_id="a")]
    assert one.observe(events) == alone.observe(events) == Observed(3, 0)
    assert other.observe(events[::-1]) == Observed(0, 3)
    later = home.open(server.address)
    for store in (one, other, later):
        for user in (3, 10**6, 4):
            assert home.known(store, user) == home.known(alone, user)
        assert store.seen(3).equals(alone.seen(3))
        videos = Candidates.of_rows(home.entities.videos([5, 6, 7]))
        told, expected = (each.videos(videos, home.end + 10**6).table() for each in (store, alone))
        assert told.equals(expected)
    assert server.client.hlen("{recsys_tft}:user:3") == 2
    assert sorted(map(bytes.decode, server.client.keys("*:user:*"))) == [
        "{recsys_tft}:user:1000000",
        "{recsys_tft}:user:3",
    ]


def test_what_comes_too_late_is_so_for_all(home: Home, server: Server) -> None:
    one, other = home.open(server.address), home.open(server.address)
    week = 7 * 86_400_000_000
    assert one.observe([home.event(3, 5, week), home.event(3, 6, week - 60_000_000)]) == Observed(2, 0)
    late = other.observe([home.event(4, 5), home.event(4, 6, week)])
    assert (late.applied, [rejection.index for rejection in late.rejected]) == (1, [0])
    assert late.rejected[0].reason.endswith("and so too late to be counted")
    assert home.known(one, 4) == home.known(other, 4) == home.known(home.open(server.address), 4)


def test_processes_that_send_the_same_events_at_once_count_each_once(
    home: Home, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "_AT_ONCE", 3)
    monkeypatch.setattr(redis_log, "_READ", 7)
    stores = [home.open(server.address) for _ in range(4)]
    before = home.known(stores[0], 3)["user_events_1d"]
    events = [home.event(3, 5 + number % 3, 10 + number, "click", event_id=number) for number in range(60)]
    found: list[Observed] = []
    threads = [
        threading.Thread(target=lambda s=store, k=place: found.append(s.observe(events[k * 10 :] + events[: k * 10])))
        for place, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.applied for each in found) == 60
    assert sum(each.repeated for each in found) == 180
    assert {home.known(store, 3)["user_events_1d"] for store in stores} == {before + 60}


def test_a_process_that_is_killed_has_lost_nothing_that_it_acknowledged(home: Home, server: Server) -> None:
    code = (
        "import sys, time; from recsys_tft.serving import serving_folders as f;"
        "from recsys_tft.recommending import live_store, entity_store; root, address, end = sys.argv[1:];"
        "folder = f.hold(root).folder / 'store' / '1'; graph = f.description(folder)['transform_graph'];"
        "store = live_store.open_store(root, graph, entity_store.EntityStore(folder), address)\n"
        "for n in range(10**6):\n"
        "    event = dict(user_id=3, video_id=5, interaction_time=int(end) + n, interaction_type='click')\n"
        "    print(store.observe([event]).applied, flush=True)"
    )
    arguments = [sys.executable, "-c", code, str(home.root), server.address, str(home.end)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        acknowledged = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.readlines()
    assert set(acknowledged) == {"1\n"}
    before = home.known(home.open(None), 3)["user_events_1d"]
    known = home.known(home.open(server.address), 3)["user_events_1d"] - before
    assert known in (len(acknowledged), len(acknowledged) + 1)  # one may have been added and not been acknowledged


@pytest.mark.parametrize("way", [signal.SIGSTOP, signal.SIGKILL])
def test_a_redis_that_does_not_answer_is_an_error_or_what_is_known_is_told(
    home: Home, server: Server, way: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_store, "SECONDS", 0.2)
    strict, patient = home.open(server.address), home.open(server.address, is_patient=True)
    assert strict.observe([home.event(3, 5)]) == Observed(1, 0)
    known = home.known(patient, 3)
    server.process.send_signal(way)
    for ask in (lambda: home.known(strict, 3), lambda: strict.seen(3), lambda: strict.observe([home.event(3, 6, 20)])):
        _is_lost(ask, server)
    assert home.known(patient, 3) == known
    assert patient.seen(3).equals(patient.seen(3))
    _is_lost(lambda: patient.observe([home.event(3, 6, 20)]), server)
    _is_lost(lambda: home.open(server.address), server)
    server.process.send_signal(signal.SIGCONT)


def test_a_redis_that_was_emptied_is_told_of(home: Home, server: Server) -> None:
    store = home.open(server.address)
    server.client.flushall()
    with pytest.raises(LostError, match="Redis refuses: it was emptied since this process began; start the process"):
        store.observe([home.event(3, 5)])
    assert home.open(server.address).observe([home.event(3, 5)]) == Observed(1, 0)


def test_what_a_newer_state_holds_is_removed_and_who_lacks_it_is_told(
    home: Home, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "_AT_ONCE", 4)
    one, idle = home.open(server.address), home.open(server.address)
    events = [home.event(3 + number % 2, 5, 10 * number, "click", event_id=number) for number in range(12)]
    assert one.observe(events) == Observed(12, 0)
    run = server.client.hget("{recsys_tft}:meta", "run").decode()
    newer = [
        RedisLog(server.address, run, home.end + 95, 10**12) for _ in range(2)
    ]  # the second finds nothing to remove
    assert server.client.xlen("{recsys_tft}:events") == 2
    assert [server.client.hlen("{recsys_tft}:user:" + user) for user in "34"] == [1, 1]
    schema = one._schema
    assert [
        [row["interaction_time"] for row in batch.to_pylist()] for log in newer for batch in log.unread(schema)
    ] == [[home.end + 100, home.end + 110]] * 2
    late = newer[1].add(one._reader.read(events).events)
    assert late.tolist() == [2] * 10 + [1] * 2  # those that are held, and those that are there
    assert home.known(one, 3)["user_events_1d"] > 0  # who has read all goes on
    assert one.observe([home.event(3, 6, 200)]) == Observed(1, 0)
    with pytest.raises(LostError, match="this process has not read were removed, as a newer state holds them; start"):
        home.known(idle, 3)
    with pytest.raises(InputError, match="before the end of a newer state, and the state here is older; refresh here"):
        home.open(server.address)


def _is_lost(ask: Callable[[], object], server: Server) -> None:
    with pytest.raises(LostError, match="Redis does not answer: ") as caught:
        ask()
    assert str(caught.value).startswith(server.address)


def test_events_of_another_run_and_what_is_no_address_are_refused(server: Server) -> None:
    RedisLog(server.address, "first", 10, 5)
    with pytest.raises(InputError, match="holds events of the run first, and the export is of the run second; name"):
        RedisLog(server.address, "second", 10, 5)
    with pytest.raises(InputError, match="localhost:6379 is no address of Redis: "):
        RedisLog("localhost:6379", "first", 10, 5)
    RedisLog(server.address, "first", 20, 5)  # after a refresh
    RedisLog(server.address, "first", 15, 5)
    assert server.client.hgetall("{recsys_tft}:meta") == {b"run": b"first", b"since": b"20", b"latest": b"20"}
