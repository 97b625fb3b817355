"""A load on `recsys-tft serve` over loopback: requests a second, latencies, CPU time a request, memory.

`python -m bench.serving DIR --server` runs it. In a closed loop each client asks again when it has its answer; in an
open loop requests come at moments of their own (a Poisson process), and seconds count from the moment at which a
request was due, whether or not a connection was free.
"""

import asyncio
import contextlib
import dataclasses
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence

import numpy as np

from recsys_tft.storage.files import write_text
from recsys_tft.storage.json_files import to_json

_HEAD = "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        port: at which it listens.
    """

    port: int

    def gauges(self) -> dict[str, float]:
        """What it says of its process, such as `cpu_seconds_total`."""
        _, text = asyncio.run(_once(self.port, "GET", "/metrics"))
        return {name: float(value) for name, value in re.findall(r"(?m)^process_(\w+) (\S+)$", text.decode())}


@contextlib.contextmanager
def running(output_dir: str) -> Iterator[Server]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "recsys_tft", "serve", "--output-dir", output_dir, "--port", "0"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        print(f"{line.strip()}, after {time.perf_counter() - begun:.1f} s")
        yield Server(int(line.rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait()


class Connection:
    """One connection that is kept."""

    def __init__(self, port: int):
        self._port = port
        self._reader: asyncio.StreamReader | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """The status and the body of an answer."""
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(_HEAD.format(method=method, path=path, size=len(body)).encode() + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        (size,) = map(int, re.findall(rb"(?i)content-length: (\d+)", head))
        return int(head[9:12]), await self._reader.readexactly(size)


async def _once(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    return await Connection(port).ask(method, path, body)


async def _closed(port: int, bodies: Sequence[bytes], clients: int, path: str = "/recommend") -> list[float]:
    """Seconds of requests, each of which a client sends when it has the answer to its last one."""
    waiting, seconds = iter(bodies), []

    async def client() -> None:
        connection = Connection(port)
        for body in waiting:
            begun = time.perf_counter()
            status, answer = await connection.ask("POST", path, body)
            seconds.append(time.perf_counter() - begun)
            assert status == 200, answer

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds


async def _open(port: int, bodies: Sequence[bytes], rate: float) -> list[float]:
    """Seconds of requests that come `rate` times a second, since each was due."""
    due = np.cumsum(np.random.default_rng(0).exponential(1 / rate, len(bodies)))
    free: list[Connection] = []
    begun = time.perf_counter()

    async def ask(body: bytes, moment: float) -> float:
        connection = free.pop() if free else Connection(port)
        status, _ = await connection.ask("POST", "/recommend", body)
        free.append(connection)
        return time.perf_counter() - begun - moment if status == 200 else math.inf  # of a queue that is full

    tasks = []
    for body, moment in zip(bodies, due.tolist(), strict=True):
        await asyncio.sleep(max(0.0, begun + moment - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(body, moment)))
    return list(await asyncio.gather(*tasks))


def measure(output_dir: str, users: Sequence[int | str], requests: int) -> None:
    """Starts a server, prints what it does under load, and writes the latencies for `recsys-tft report`.

    Args:
        output_dir: of an export.
        users: ids, who ask in turn.
        requests: of the long loop, which shows whether memory grows.
    """
    random = np.random.default_rng(0)

    def bodies(count: int) -> list[bytes]:
        chosen = random.integers(0, len(users), count)
        return [json.dumps({"user_id": users[int(row)], "k": 10}).encode() for row in chosen]

    with running(output_dir) as server:
        asyncio.run(_closed(server.port, bodies(400), 8))
        closed, one = (lambda b, n=clients: _closed(server.port, b, n) for clients in (8, 1))
        found = {
            "8 clients": _timed(server, "closed loop, 8 clients", bodies(3000), closed),
            "1 client": _timed(server, "closed loop, 1 client", bodies(600), one),
            "75 requests/s": _timed(
                server, "open loop, 75 requests/s", bodies(2250), lambda b: _open(server.port, b, 75)
            ),
        }
        for count, at_once, clients in ((50_000, 500, 1), (2_000, 1, 1), (4_000, 1, 8)):
            events(server, users, count, at_once, clients)
        found["8 clients, after events"] = _timed(server, "closed loop, 8 clients, after events", bodies(2000), closed)
        write_text(f"{output_dir}/serving/latency.json", to_json(found))
        for _ in range(10):
            asyncio.run(_closed(server.port, bodies(requests // 10), 8))
            print(f"  resident memory {server.gauges()['resident_memory_bytes'] / 1e6:8,.1f} MB", flush=True)


def _timed(
    server: Server, name: str, bodies: list[bytes], loop: Callable[[list[bytes]], Coroutine[None, None, list[float]]]
) -> dict[str, float]:
    """Prints requests a second, latencies and CPU time of a loop, and returns them as the report shows them."""
    before, own, begun = server.gauges()["cpu_seconds_total"], time.process_time(), time.perf_counter()
    seconds = asyncio.run(loop(bodies))
    took = time.perf_counter() - begun
    cpu = (server.gauges()["cpu_seconds_total"] - before) / len(bodies) * 1e3
    client = (time.process_time() - own) / len(bodies) * 1e3
    p50, p99 = np.quantile(seconds, [0.5, 0.99], method="lower") * 1e3
    print(
        f"{name:<38} {len(bodies) / took:7.1f} requests/s   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   "
        f"CPU {cpu:5.2f} ms a request (client {client:.2f})   load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    figures = {"requests a second": len(bodies) / took, "p50, ms": p50, "p99, ms": p99, "CPU time, ms": cpu}
    return {heading: round(float(value), 2) for heading, value in figures.items()}


def events(server: Server, users: Sequence[int | str], count: int, at_once: int, clients: int) -> None:
    """Sends events of users with videos that were recommended to them, so many in a request, by several clients."""
    random = np.random.default_rng(1)

    async def send() -> float:
        connection = Connection(server.port)
        body = json.dumps({"user_id": users[0], "k": 1000}).encode()
        videos = [
            item["video_id"] for item in json.loads((await connection.ask("POST", "/recommend", body))[1])["items"]
        ]
        first = json.dumps({"events": [_event(users[0], videos[0], 0)]}).encode()
        status, answer = await connection.ask("POST", "/events", first)  # which loads the state
        assert status == 200, answer
        parts = []
        for start in range(0, count, at_once):
            chosen = random.integers(0, [[len(users)], [len(videos)]], (2, at_once)).T.tolist()
            listed = [_event(users[u], videos[v], start + n) for n, (u, v) in enumerate(chosen)]
            parts.append(json.dumps({"events": listed}).encode())
        begun = time.perf_counter()
        await _closed(server.port, parts, clients, "/events")
        return count / (time.perf_counter() - begun)

    before = server.gauges()["cpu_seconds_total"]
    rate, name = asyncio.run(send()), f"{count:,} events, {at_once} a request, {clients} clients"
    cpu = (server.gauges()["cpu_seconds_total"] - before) / count * 1e3
    print(f"{name:<38} {rate:7,.0f} events/s   CPU {cpu:5.2f} ms an event   load {os.getloadavg()[0]:.1f}", flush=True)


def _event(user: int | str, video: int | str, number: int) -> dict:
    kinds = ("impression", "click", "watch", "like")
    event_id = f"{time.time_ns()}-{number}"
    return {"user_id": user, "video_id": video, "interaction_type": kinds[number % 4], "event_id": event_id}
