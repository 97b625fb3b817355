"""Parses JSON bodies to requests of a recommender; errors are one sentence."""

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from recsys_tft.errors import InputError, did_you_mean, redacted
from recsys_tft.recommending.recommender import Recommender
from recsys_tft.recommending.request import Request, Wanted, now

MOST_ASKED = 1000  # videos of one answer
MOST_EVENTS = 1000  # of one request
EVENTS, _HAPPENED = "events", "interaction_time"
USER, K, TIME, GIVEN, EXPLAIN = "user_id", "k", "time", "given", "explain"
_KNOWN = (USER, K, TIME, GIVEN, EXPLAIN)
_LONGEST = 500  # characters of a sentence, which may quote the request


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        sentence: the error, and what would be right.
        more: fields of the response.
    """

    def __init__(self, status: int, sentence: str, more: Mapping[str, Any] | None = None):
        shown = sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}..."
        super().__init__(redacted(shown))
        self.status, self.more = status, dict(more or {})


def parsed(body: bytes) -> dict[str, Any]:
    """Parse the object of a body.

    Raises:
        Refused: 400 if it is not JSON, 422 if it is not an object.
    """
    try:
        value = json.loads(body, parse_constant=_no_number)
    except RecursionError:
        raise Refused(400, "The body is nested too deeply to be read.") from None
    except ValueError as error:  # of UTF-8 and of JSON
        raise Refused(400, f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise Refused(422, f"The body is {_kind(value)}; expected an object such as {{}}.")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def read_request(body: Mapping[str, Any], recommender: Recommender) -> Wanted:
    """The request for recommendations of a body.

    Raises:
        Refused: 422 naming the field, what it is, and what would be right.
    """
    only(body, _KNOWN, "A recommendation")
    k = body.get(K, 10)
    if not _is_integer(k) or not 1 <= k <= MOST_ASKED:
        raise Refused(422, f"{K} is {shown(k)}; expected an integer from 1 to {MOST_ASKED}.")
    columns = body.get(GIVEN, {})
    if not isinstance(columns, dict):
        raise Refused(422, f'{GIVEN} is {_kind(columns)}; expected an object such as {{"age": 30}}.')
    explains(body)
    user = body.get(USER)
    if isinstance(user, bool | list | dict):
        expected = "a string" if recommender.kinds[USER].is_text else "an integer"
        raise Refused(422, f"{USER} is {shown(user)}; expected {expected}, or null for someone unknown.")
    time = moment(body.get(TIME))
    try:
        request = Request(user, columns, now() if time is None else time, recommender.columns, recommender.kinds[USER])
    except InputError as error:
        raise Refused(422, str(error)) from None
    return Wanted(request, k)


def events(body: Mapping[str, Any]) -> list[Any]:
    """The events of a body; the default time is now.

    Raises:
        Refused: 422 if there is no list of them, 413 if it is too long.
    """
    only(body, (EVENTS,), "A request of events")
    entries = body.get(EVENTS)
    if not isinstance(entries, list):
        raise Refused(422, f'{EVENTS} is {_kind(entries)}; expected a list such as [{{"user_id": 5, "video_id": 3}}].')
    if len(entries) > MOST_EVENTS:
        raise Refused(413, f"There are {len(entries):,} {EVENTS}; send at most {MOST_EVENTS:,} at once.")
    moment = now()
    return [{_HAPPENED: moment, **event} if isinstance(event, dict) else event for event in entries]


def explains(body: Mapping[str, Any]) -> bool:
    """Whether reasons are requested.

    Raises:
        Refused: 422 if that is neither true nor false.
    """
    explain = body.get(EXPLAIN, False)
    if not isinstance(explain, bool):
        raise Refused(422, f"{EXPLAIN} is {shown(explain)}; expected true or false.")
    return explain


def moment(value: Any) -> int | None:
    """Microseconds since 1970 UTC, from the same or from ISO text; None for null.

    Raises:
        Refused: 422 if it is neither.
    """
    if value is None or _is_integer(value):
        return value
    try:
        time = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        expected = "a time such as 2025-03-01T12:00, or its microseconds since 1970 UTC"
        raise Refused(422, f"{TIME} is {shown(value)}; expected {expected}.") from None
    aware = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    return (aware - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


def only(body: Mapping[str, Any], allowed: Iterable[str], what: str) -> None:
    """Refuse unknown fields.

    Raises:
        Refused: 422 naming the first one.
    """
    allowed = tuple(allowed)
    for name in body:
        if name not in allowed:
            raise Refused(422, f"{what} has no '{name[:100]}'.{did_you_mean(name[:100], allowed)}")


def shown(value: Any) -> str:
    """A value as JSON, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    names = {
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
        dict: "an object",
    }
    return names.get(type(value), "null")
