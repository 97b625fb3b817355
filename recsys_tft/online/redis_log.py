"""Events in Redis or Valkey, shared by several processes, which all read them in the same order.

    {recsys_tft}:events     stream: `event`, JSON of the columns that count; all processes apply it in this order
    {recsys_tft}:user:ID    hash of each user: the key of each event, and its time in microseconds
    {recsys_tft}:meta       hash: `run`; `since` and `latest`, which decide whether an event is too late; `trimmed`, the
                            last entry that was removed from the stream; `held`, the end of the state that has it

A process with a newer state trims from the stream the events which that state has, and their keys: such events are too
late from then on. A process that has not read them yet, or starts with an older state, raises an error.

A script handles each event atomically: it is too late, a duplicate, or added. So an event counts once, however often it
is sent, and to whichever process.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError, redacted
from recsys_tft.online.snapshot import EVENT

_NAME = "{recsys_tft}:"  # in braces, so that a cluster keeps all of it on one node
_EVENTS, _META = f"{_NAME}events", f"{_NAME}meta"
_AT_ONCE = 1000  # events per call of a script, so that other processes wait for about a millisecond
_READ = 10_000
_ADD = """
local since = tonumber(redis.call('HGET', KEYS[2], 'since') or '')
local latest = tonumber(redis.call('HGET', KEYS[2], 'latest') or '')
if not (since and latest) then
  return redis.error_reply('it was emptied since this process began; start the process again')
end
local found = {}
for i = 3, #ARGV, 4 do
  local time = tonumber(ARGV[i + 2])
  if time < math.max(since, latest - tonumber(ARGV[2])) then
    found[#found + 1] = 2
  elseif redis.call('HSETNX', ARGV[1] .. ARGV[i], ARGV[i + 1], ARGV[i + 2]) == 0 then
    found[#found + 1] = 1
  else
    redis.call('XADD', KEYS[1], '*', 'event', ARGV[i + 3])
    latest = math.max(latest, time)
    found[#found + 1] = 0
  end
end
redis.call('HSET', KEYS[2], 'latest', string.format('%.0f', latest))
return found
"""

_BEGIN = """
for _, name in ipairs({'since', 'latest'}) do
  if tonumber(redis.call('HGET', KEYS[1], name) or '-1') < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], name, ARGV[1])
  end
end
"""  # for a process with a newer state, which has all earlier events


_TRIM = """
for i = 4, #ARGV, 2 do
  redis.call('HDEL', ARGV[i], ARGV[i + 1])
end
if redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1]) > 0 then
  redis.call('HSET', KEYS[2], 'trimmed', ARGV[2])
  if tonumber(redis.call('HGET', KEYS[2], 'held') or '-1') < tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[2], 'held', ARGV[3])
  end
end
"""  # what another process has removed already is not removed again


class LostError(InputError):
    """Redis does not answer in time, or refuses."""


class RedisLog:
    """The events of one run.

    Args:
        address: such as redis://localhost:6379/0, rediss://... or unix:///run/redis.sock.
        run: the id of the run.
        since: microseconds; events before are in the state of the run.
        lateness: microseconds by which an event may come after a later one.
        seconds: how long an answer may take.

    Raises:
        LostError: if nobody answers.
        InputError: if the events there are of another run, or the address is none.
    """

    def __init__(self, address: str, run: str, since: int, lateness: int, seconds: float = 1.0):
        import redis

        self._address, self._lateness = redacted(address), lateness
        self._errors, self._refused = redis.RedisError, redis.ResponseError
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        try:
            self._client = redis.Redis.from_url(address, **limits, retry=None)
        except ValueError as error:
            raise InputError(f"{self._address} is no address of Redis: {error}.") from None
        self._add = self._client.register_script(_ADD)
        self._last = b"0"
        self._ask(self._begin, run, since)
        self._ask(self._trim, since)

    def _begin(self, run: str, since: int) -> None:
        self._client.hsetnx(_META, "run", run)
        there = cast(bytes, self._client.hget(_META, "run")).decode()
        if there != run:
            raise InputError(
                f"{self._address} holds events of the run {there}, and the export is of the run {run}; name another "
                "database, or flush this one."
            )
        held, trimmed = cast(list[bytes | None], self._client.hmget(_META, "held", "trimmed"))
        if int(held or since) > since:
            raise InputError(
                f"{self._address} holds no events any more that are before the end of a newer state, and the state "
                "here is older; refresh here too."
            )
        self._last = trimmed or self._last
        self._client.eval(_BEGIN, 1, _META, since)

    def _trim(self, since: int) -> None:
        """Removes events from the beginning of the stream, up to the first one that the state does not have."""
        while entries := cast(list[tuple[bytes, dict[bytes, bytes]]], self._client.xrange(_EVENTS, count=_AT_ONCE)):
            events = [(number, json.loads(entry[b"event"])) for number, entry in entries]
            held = list(itertools.takewhile(lambda each: each[1]["interaction_time"] < since, events))
            if held:
                last = held[-1][0].decode()
                milliseconds, _, number = last.partition("-")
                keys = [part for _, each in held for part in (f"{_NAME}user:{each['user_id']}", each[EVENT])]
                arguments = [f"{milliseconds}-{int(number) + 1}", last, since, *keys]
                self._client.eval(_TRIM, 2, _EVENTS, _META, *arguments)
                self._last = last.encode()
            if len(held) < len(events):
                return

    def add(self, events: pa.Table) -> np.ndarray:
        """[n] int8: the results of events, as `LiveState.observe`; on return the events are in Redis.

        Args:
            events: [n], as `LiveState.observe` takes them.

        Raises:
            LostError: if Redis does not answer in time; events may have been added then, and can be sent again.
        """
        users, keys, times = (events[name].to_pylist() for name in ("user_id", EVENT, "interaction_time"))
        found: list[int] = []
        rows = list(map(_to_json, events.to_pylist()))
        for first in range(0, len(rows), _AT_ONCE):
            arguments = [f"{_NAME}user:", self._lateness]
            for row in range(first, min(first + _AT_ONCE, len(rows))):
                arguments += [users[row], keys[row], times[row], rows[row]]
            found += self._ask(self._add, [_EVENTS, _META], arguments)
        return np.array(found, np.int8)

    def unread(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The events of all processes that were not returned before, in the order of the stream.

        Args:
            schema: of the events.

        Raises:
            LostError: if Redis does not answer in time.
        """
        while found := self._ask(self._next):
            ((_, entries),) = found
            yield pa.Table.from_pylist([_from_json(entry[b"event"], schema) for _, entry in entries], schema)
            self._last = entries[-1][0]
            if len(entries) < _READ:
                return

    def _next(self) -> list:
        """The next entries of the stream."""
        with self._client.pipeline() as pipeline:
            pipeline.xread({_EVENTS: self._last}, _READ)
            pipeline.hget(_META, "trimmed")
            found, trimmed = pipeline.execute()
        if trimmed is not None and _order(trimmed) > _order(self._last):
            raise LostError(
                f"{self._address}: events that this process has not read were removed, as a newer state holds them; "
                "start the process again."
            )
        return found

    def _ask(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._errors as error:
            text = str(error).rstrip(".")
            if isinstance(error, self._refused):
                raise LostError(f"{self._address}: Redis refuses: {text}.") from error
            raise LostError(f"{self._address}: Redis does not answer: {text}; start it, or try again.") from error


def _order(number: bytes) -> tuple[int, ...]:
    """The sort key of the id of a stream entry."""
    return tuple(map(int, number.split(b"-")))


def _to_json(event: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in event.items() if value is not None}, default=bytes.decode)


def _from_json(text: bytes, schema: pa.Schema) -> dict[str, Any]:
    event = json.loads(text)
    return {name: event.get(name) for name in schema.names}
