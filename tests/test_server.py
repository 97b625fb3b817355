"""`recsys-tft serve`: a server of its own process, asked over HTTP as clients and browsers ask it."""

import concurrent.futures
import http.client
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jsonschema
import pyarrow.parquet as pq
import pytest
from browser import opened, overflows
from loaded_graphs import recommender_of
from prometheus_client.parser import text_string_to_metric_families

from recsys_tft import Recommender
from recsys_tft.cli import main
from recsys_tft.recommending import recommendation_report as report
from recsys_tft.serving import serving_folders

MOMENT = 1_740_000_000_000_000
JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    status: int
    body: Any


class Server:
    """A server that runs.

    Attributes:
        process: of it.
        port: at which it listens.
        said: the lines that it has printed.
    """

    def __init__(self, root: pathlib.Path, *options: str):
        command = [sys.executable, "-m", "recsys_tft", "serve", "--output-dir", str(root), "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said: list[str] = []
        while not self.said or not self.said[-1].startswith("Serving version"):
            line = self.process.stdout.readline()
            assert line, self.said
            self.said.append(line.rstrip())
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)$", self.said[-1]).group(1))

    def ask(self, path: str, body: Any = None, method: str | None = None, headers: dict | None = None) -> Answer:
        """The answer to a request; a body that is no bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        chosen = JSON if headers is None else headers
        connection.request(method or ("GET" if data is None else "POST"), path, data, chosen)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = answer.headers["Content-Type"] == "application/json"
        return Answer(answer.status, json.loads(text) if is_json else text.decode())

    def recommend(self, **body: Any) -> dict[str, Any]:
        answer = self.ask("/recommend", body)
        assert answer.status == 200, answer
        return answer.body

    def end(self) -> int:
        """The exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        text, _ = self.process.communicate(timeout=60)
        self.said += text.splitlines()
        return self.process.returncode


@pytest.fixture(scope="module")
def root(served: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of an output, to which exports are added."""
    folder = tmp_path_factory.mktemp("server") / "out"
    shutil.copytree(served, folder, symlinks=True)
    return folder


@pytest.fixture(scope="module")
def server(root: pathlib.Path) -> Iterator[Server]:
    log = root.parent / "requests"
    running = Server(root, "--reload-seconds", "1", "--log-requests", str(log), "--log-rate", "0.5")
    yield running
    assert running.end() == 0
    stopped, logged = running.said[-2:]
    assert re.fullmatch(r"Stopped after [\d,]+ requests", stopped)
    written = sum(pq.read_metadata(file).num_rows for file in log.glob("*"))
    assert logged == f"Logged {written:,} of them in {log}, and lost 0"
    assert written > 10


@pytest.fixture(scope="module")
def recommender(served: pathlib.Path) -> Recommender:
    return recommender_of(served)


def test_answers_of_many_clients_are_those_of_the_recommender(server: Server, recommender: Recommender) -> None:
    asked = [
        {"user_id": [number, 10**12, None][number % 3], "k": 1 + number % 7, "time": MOMENT, "explain": number % 5 == 0}
        | ({"given": {"age": 20 + number, "history_video_ids": [number, 8]}} if number % 2 else {})
        for number in range(40)
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda body: server.recommend(**body), asked))
    for body, found in zip(asked, answers, strict=True):
        given = body.get("given", {})
        expected = recommender.recommend(body["user_id"], body["k"], body["time"], **given)
        ids = [item.video_id for item in expected.items]
        reasons = recommender.explain(body["user_id"], ids, MOMENT, **given) if body["explain"] else None
        plain = json.loads(json.dumps(report.as_json(expected, recommender.version, reasons)))
        assert {**found, "seconds": {}} == {**plain, "seconds": {}}


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"user_id": True}, 422, "user_id is true; expected an integer, or null for someone unknown."),
        ({"user_id": "5"}, 422, "user_id is '5'; expected int64."),
        ({"user_id": 5.5}, 422, "user_id is 5.5; expected int64."),
        ({"user_id": 2**63}, 422, f"user_id is {2**63}, which is no id; expected {1 - 2**63} to {2**63 - 1}."),
        ({"user": 5}, 422, "A recommendation has no 'user'. Did you mean 'user_id'?"),
        ({"k": 0}, 422, "k is 0; expected an integer from 1 to 1000."),
        ({"k": "ten"}, 422, 'k is "ten"; expected an integer from 1 to 1000.'),
        ({"explain": "yes"}, 422, 'explain is "yes"; expected true or false.'),
        ({"given": [1]}, 422, 'given is a list; expected an object such as {"age": 30}.'),
        ({"given": {"aeg": 3}}, 422, "'aeg' is not known of a user or a moment. Did you mean 'age'?"),
        ({"given": {"user_id": 3}}, 422, "'user_id' is not known of a user or a moment."),
        ({"given": {"age": -5}}, 422, "age is -5; it needs to be at least 0."),
        ({"given": {"age": {"a": 1}}}, 422, "age is {'a': 1}; expected int64."),
        ({"given": {"country": "\ud800"}}, 422, "country is '\\ud800'; expected string."),
        ({"time": "noon"}, 422, 'time is "noon"; expected a time such as 2025-03-01T12:00, or its microseconds since'),
        ({"time": -1}, 422, "time is -1; it needs to be microseconds since 1970 UTC, before 2200."),
        ([], 422, "The body is a list; expected an object such as {}."),
        (b"{", 400, "The body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        (b"\xff", 400, "The body is not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'{"k": NaN}', 400, "The body is not JSON: NaN is not a number of JSON."),
        (b'{"k":' + b"[" * 100_000, 400, "The body is nested too deeply to be read."),
        (b"x" * 10_000_000, 413, "The body is larger than 1 MiB; send less at once."),
    ],
)  # fmt: skip
def test_a_wrong_question_is_answered_by_a_sentence(server: Server, body: Any, status: int, sentence: str) -> None:
    answer = server.ask("/recommend", body)
    assert answer.status == status
    assert answer.body["error"].startswith(sentence)
    assert len(answer.body["error"]) < 600
    assert answer.body["error"].endswith((".", "?"))


def test_wrong_paths_methods_and_types_are_answered_by_a_sentence(server: Server) -> None:
    assert server.ask("/recomend") == (404, {"error": "There is no /recomend. Did you mean '/recommend'?"})
    assert server.ask("/recommend") == (405, {"error": "/recommend takes POST, not GET."})
    assert server.ask("/healthz", {}) == (405, {"error": "/healthz takes GET or HEAD, not POST."})
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": ""}):
        answer = server.ask("/events", b'{"events": []}', headers=headers)
        assert answer.status == 415
        assert "expected application/json" in answer.body["error"]


def test_events_change_the_next_answer_and_count_once(server: Server) -> None:
    first = server.recommend(user_id=11, k=1)["items"][0]["video_id"]
    event = {"user_id": 11, "video_id": first, "interaction_type": "like", "event_id": "a"}
    assert server.ask("/events", {"events": [event]}) == (200, {"applied": 1, "repeated": 0, "rejected": []})
    assert server.ask("/events", {"events": [event, event]}).body == {"applied": 0, "repeated": 2, "rejected": []}
    found = server.recommend(user_id=11, k=300)
    assert first not in {item["video_id"] for item in found["items"]}
    wrong = [{**event, "event_id": "b", "video_id": 10**9}, {**event, "event_id": "c"}, 7]
    partly = server.ask("/events", {"events": wrong})
    assert (partly.status, partly.body["applied"]) == (200, 1)
    assert [each["index"] for each in partly.body["rejected"]] == [0, 2]
    refused = server.ask("/events", {"events": wrong[:1]})
    assert (refused.status, refused.body["error"]) == (
        422, "No event can be used; event 0: video_id is not in videos.",
    )  # fmt: skip
    for body, status in (({"events": 5}, 422), ({"event": []}, 422), ({}, 422), ({"events": [event] * 1001}, 413)):
        answer = server.ask("/events", body)
        assert answer.status == status
        assert answer.body["error"].endswith((".", "?"))


def test_a_thousand_events_and_eight_clients_on_one_user_lose_none(server: Server) -> None:
    before = server.recommend(user_id=12, k=1)["removed"]["seen"]
    unseen = [item["video_id"] for item in server.recommend(user_id=12, k=300)["items"]][:80]

    def send(client: int) -> int:
        sent = [{"user_id": 12, "video_id": v, "interaction_type": "like"} for v in unseen[client::8]]
        return sum(server.ask("/events", {"events": [event]}).body["applied"] for event in sent)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(send, range(8))) == 80
    assert server.recommend(user_id=12, k=1)["removed"]["seen"] == before + 80
    many = [{"user_id": u, "video_id": u, "interaction_type": "click", "event_id": str(u)} for u in range(1, 126)] * 8
    many = [{**event, "event_id": str(number)} for number, event in enumerate(many)]
    assert server.ask("/events", {"events": many}) == (200, {"applied": 1000, "repeated": 0, "rejected": []})


def test_what_is_counted_is_what_was_asked(server: Server) -> None:
    def counts() -> dict[tuple, float]:
        families = text_string_to_metric_families(server.ask("/metrics").body)
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}

    before = counts()
    server.recommend(user_id=1)
    server.ask("/recommend", {"k": 0})
    server.ask("/nowhere")
    after = counts()
    for key, more in (
        (("recsys_requests_total", "/recommend", "200"), 1),
        (("recsys_requests_total", "/recommend", "422"), 1),
        (("recsys_requests_total", "other", "404"), 1),
        (("recsys_request_seconds_count", "/recommend"), 2),
        (("recsys_stage_seconds_count", "ranking"), 1),
        (("recsys_batch_sum",), 1),
    ):
        assert after[key] == before.get(key, 0) + more, key
    assert after[("recsys_export_version",)] == server.ask("/healthz").body["version"]
    assert after[("process_resident_memory_bytes",)] > 0


def test_the_description_holds_for_what_is_sent_and_answered(server: Server, recommender: Recommender) -> None:
    described = server.ask("/openapi.json").body
    assert described["openapi"] == "3.1.0"
    schemas = described["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schemas["Wanted"]["properties"]["given"]["properties"]) == {c.name for c in recommender.columns}
    wanted = {
        "user_id": 3,
        "time": "2025-03-01T12:00",
        "given": {"age": None, "history_video_ids": [1]},
        "explain": True,
    }
    jsonschema.validate(wanted, schemas["Wanted"])
    event = {"events": [{"user_id": 3, "video_id": 4, "interaction_type": "click", "interaction_time": MOMENT}]}
    jsonschema.validate(event, schemas["Events"])
    for name, answer in (
        ("Recommendations", server.ask("/recommend", wanted)),
        ("Observed", server.ask("/events", {"events": []})),
        ("Error", server.ask("/recommend", {"k": 0})),
        ("Health", server.ask("/healthz")),
        ("Known", server.ask("/known")),
    ):
        jsonschema.validate(answer.body, schemas[name])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"given": {"age": "old"}}, schemas["Wanted"])
    for path, methods in described["paths"].items():
        assert server.ask(path, {} if "post" in methods else None).status in (200, 422)


# --- A page for people


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_shows_why_and_a_click_changes_what_comes_next(server: Server, width: int, scheme: str) -> None:
    user = 20 + width % 7
    with opened(f"http://127.0.0.1:{server.port}/#user={user}", width, scheme, "status of 422") as page:
        page.wait_for_selector(".item")
        assert page.text_content("#status") == f"For user {user}"
        assert page.locator(".item").count() == 10
        first = page.locator(".item").first
        known = server.recommend(user_id=user, k=1)["items"][0]
        assert first.locator("h2").text_content() == (known["title"] or f"Video {known['video_id']}")
        assert f"{known['rank_score']:.3f}" in first.locator(".scores").text_content()
        first.locator("summary").press("Enter")
        assert first.locator(".why dt").count() == 6
        assert re.search(r"[+\u2212]\d\.\d\d", first.locator(".why").text_content())
        assert not overflows(page)
        first.get_by_role("button", name="Liked").click()
        page.wait_for_selector(".place small")
        assert str(known["video_id"]) not in page.locator(".id").all_text_contents()
        page.fill("#user", "")
        page.click("#described summary")
        page.fill("#given-age", "17")
        page.press("#given-age", "Enter")
        page.wait_for_selector("#status:has-text('For someone unknown')")
        assert page.locator(".acts").count() == 0
        page.fill("#given-age", "-5")
        page.press("#given-age", "Enter")
        page.wait_for_selector("#status:has-text('age is -5; it needs to be at least 0.')")
        assert not overflows(page)
        page.fill("#user", "<b>7</b>")
        page.press("#user", "Enter")
        page.wait_for_selector("#status:has-text('<b>7</b>')")
        assert page.locator("#status b").count() == 0


# --- Beginning, changing, ending


def test_a_newer_export_takes_over_without_a_failed_request(server: Server, root: pathlib.Path) -> None:
    liked = server.recommend(user_id=30, k=1)["items"][0]["video_id"]
    event = {"user_id": 30, "video_id": liked, "interaction_type": "like"}
    assert server.ask("/events", {"events": [event]}).body["applied"] == 1
    old = server.ask("/healthz").body["version"]
    with serving_folders.next_version(str(root)) as (number, folders):
        for name, folder in folders.items():
            shutil.copytree(root / "serving" / name / str(old), folder)
    versions, until = set(), time.monotonic() + 60
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        while number not in versions and time.monotonic() < until:
            versions |= {found["version"] for found in threads.map(lambda u: server.recommend(user_id=u), range(1, 17))}
    assert versions == {old, number}
    assert liked not in {item["video_id"] for item in server.recommend(user_id=30, k=300)["items"]}


def test_what_is_begun_before_sigterm_is_answered_and_no_python_of_tensorflow_is_loaded(root: pathlib.Path) -> None:
    running = Server(root, "--version", "1")
    body = b'{"user_id": 5}'
    head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    begun = [socket.create_connection(("127.0.0.1", running.port), 60) for _ in range(4)]
    for connection in begun:
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # it is being read
    loaded = pathlib.Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "libtensorflow_cc" in loaded
    for library in ("tensorflow/python/", "/pandas/", "/catboost/"):
        assert library not in loaded, library
    running.process.send_signal(signal.SIGTERM)
    with pytest.raises(OSError, match=r"refused|reset|closed"):
        list(iter(lambda: running.ask("/healthz"), None))  # until nobody listens
    for connection in begun:
        connection.sendall(body)
        with connection, connection.makefile("rb") as answer:
            text = answer.read()
        assert text.startswith(b"HTTP/1.1 200 ")
        assert json.loads(text.partition(b"\r\n\r\n")[2])["version"] == 1
    assert running.end() == 0


def test_cheap_mistakes_are_told_before_anything_is_loaded(
    root: pathlib.Path, server: Server, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path
) -> None:
    for options, code, sentence in (
        (["--output-dir", str(tmp_path)], 1, "looked for an exported version, found none"),
        (["--output-dir", str(root), "--port", "70000"], 2, "--port is 70000; it takes at most 65535."),
        (["--output-dir", str(root), "--batch", "0"], 2, "--batch is 0; it needs at least 1."),
        (["--output-dir", str(root), "--port", str(server.port)], 1, "cannot listen there (Address already in use)"),
        (
            ["--output-dir", str(root), "--host", "no.such.host.invalid"],
            1,
            "no.such.host.invalid:8080: cannot listen there",
        ),
        (["--output-dir", str(root), "--version", "99"], 1, "looked for version 99, found versions 1"),
    ):
        assert main(["serve", *options]) == code
        assert sentence in capsys.readouterr().err


# --- Events in Redis


@pytest.fixture
def redis(tmp_path: pathlib.Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A Redis that runs, and its address."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program, "this test starts a Redis: apt-get install redis-server"
    path = tmp_path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < until
        yield process, f"unix://{path}"
        process.kill()


def test_a_killed_server_has_lost_nothing_that_redis_holds(
    root: pathlib.Path, redis: tuple[subprocess.Popen, str]
) -> None:
    first = Server(root, "--redis", redis[1], "--reload-seconds", "0")
    liked = [item["video_id"] for item in first.recommend(user_id=40, k=8)["items"]]
    for video in liked:
        event = {"user_id": 40, "video_id": video, "interaction_type": "like"}
        assert first.ask("/events", {"events": [event]}).body["applied"] == 1
    first.process.kill()
    first.process.communicate()
    second = Server(root, "--redis", redis[1], "--reload-seconds", "0")
    assert not set(liked) & {item["video_id"] for item in second.recommend(user_id=40, k=300)["items"]}
    assert second.ask("/events", {"events": [event]}).body["applied"] == 1  # at another time
    redis[0].kill()
    redis[0].wait()
    for path, body in (("/recommend", {"user_id": 40}), ("/events", {"events": [event]})):
        answer = second.ask(path, body)
        assert answer.status == 503
        assert answer.body["error"].endswith(".")
    assert second.ask("/healthz").status == 200
    assert second.end() == 0
