"""The server's description in OpenAPI 3.1, with the columns of the served export."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from recsys_tft.columns import Column
from recsys_tft.default_table import TITLE
from recsys_tft.recommending.recommender import Recommender
from recsys_tft.server.bodies import EVENTS, EXPLAIN, GIVEN, MOST_ASKED, MOST_EVENTS, TIME, USER, K

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MOMENT: Schema = {
    "description": "a time such as 2025-03-01T12:00 (UTC), or its microseconds since 1970 UTC; now without it",
    "type": ["string", "integer", "null"],
}


def describe(recommender: Recommender) -> dict[str, Any]:
    """The description, of `GET /openapi.json`."""
    return {
        "openapi": "3.1.0",
        "info": dict(title="recsys_tft", version=importlib.metadata.version("recsys_tft")),
        "paths": {
            "/recommend": {"post": _post("The best videos for a user.", "Wanted", "Recommendations")},
            "/events": {"post": _post("Events of users, which affect the next recommendations.", "Events", "Observed")},
            "/healthz": {"get": _get("Whether the server is healthy.", "Health")},
            "/known": {"get": _get("The columns of a request, with usual values.", "Known")},
            "/metrics": {"get": {"summary": "What Prometheus reads.", "responses": {"200": _plain("text/plain")}}},
            "/openapi.json": {"get": {"summary": "This.", "responses": {"200": _plain("application/json")}}},
            "/": {"get": {"summary": "A web page.", "responses": {"200": _plain("text/html")}}},
        },
        "components": {"schemas": schemas(recommender)},
    }


def schemas(recommender: Recommender) -> dict[str, Schema]:
    """JSON schemas of requests and responses, by name."""
    user, video = (_id(recommender, key) for key in (USER, "video_id"))
    columns = {column.name: _column(column) for column in recommender.columns}
    reason = _object({"columns": _TEXT, "contribution": _NUMBER})
    item = {
        "video_id": video,
        TITLE: {"type": ["string", "null"]},
        "category": {"type": ["string", "null"]},
        "video_duration": {"type": ["number", "null"], "description": "seconds"},
        "retrieval_score": _NUMBER,
        "rank_score": _NUMBER,
        "score": _NUMBER,
        "rank": {"type": "integer", "minimum": 1},
        "rules": {"type": "array", "items": _TEXT},
    }
    because = {"because_of": {"type": "array", "items": reason}}
    event = {
        "type": "object",
        "required": [USER, "video_id"],
        "properties": {
            USER: user,
            "video_id": video,
            "interaction_time": _MOMENT,
            "interaction_type": _TEXT,
            "watch_time": {"type": ["number", "null"], "description": "seconds"},
            "event_id": {"description": "distinguishes events with the same user, video, time and signals"},
        },
        "description": "the columns of interactions, as the tables have them",
    }
    return {
        "Wanted": _object(
            {
                USER: {
                    **user,
                    "type": [user["type"], "null"],
                    "description": "null or unknown: a cold start from the given columns",
                },
                K: {"type": "integer", "minimum": 1, "maximum": MOST_ASKED, "default": 10},
                TIME: _MOMENT,
                GIVEN: _object(columns, (), "override the stored values; null: missing"),
                EXPLAIN: {"type": "boolean", "default": False, "description": "with `because_of` of each item"},
            },
            (),
        ),
        "Recommendations": _object(
            {
                "version": {"type": "integer"},
                "items": {"type": "array", "items": _object({**item, **because}, tuple(item))},
                "is_known": {"type": "boolean"},
                "candidates": _COUNT,
                "removed": {"type": "object", "additionalProperties": _COUNT},
                "ranked": _COUNT,
                "seconds": {"type": "object", "additionalProperties": _NUMBER},
            }
        ),
        "Events": _object({EVENTS: {"type": "array", "maxItems": MOST_EVENTS, "items": event}}),
        "Observed": _object(
            {
                "applied": _COUNT,
                "repeated": _COUNT,
                "rejected": {"type": "array", "items": _object({"index": _COUNT, "reason": _TEXT})},
            }
        ),
        "Health": _object({"status": _TEXT, "version": {"type": "integer"}}),
        "Known": {"type": "object"},
        "Error": {
            "type": "object",
            "properties": {"error": {"type": "string", "description": "one sentence"}},
            "required": ["error"],
        },
    }


def _id(recommender: Recommender, key: str) -> Schema:
    return {"type": "string" if recommender.kinds[key].is_text else "integer"}


def _column(column: Column) -> Schema:
    value = column.type.value_type if column.is_list else column.type
    kinds = {pa.bool_(): "boolean", pa.int64(): "integer", pa.float32(): "number"}
    kind: Schema = {"type": [kinds.get(value, "string"), "null"]}
    if pa.types.is_timestamp(value):
        kind = {"type": ["string", "integer", "null"]}
    if column.minimum is not None:
        kind["minimum"] = column.minimum
    return {"type": ["array", "null"], "items": kind} if column.is_list else kind


def _object(fields: Mapping[str, Schema], required: tuple[str, ...] | None = None, text: str = "") -> Schema:
    schema: Schema = {"type": "object", "properties": dict(fields), "additionalProperties": False}
    needed = tuple(fields) if required is None else required
    return schema | ({"required": list(needed)} if needed else {}) | ({"description": text} if text else {})


def _plain(kind: str) -> Schema:
    return {"description": "the answer", "content": {kind: {}}}


def _json(name: str, text: str = "the answer") -> Schema:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _get(text: str, answer: str) -> Schema:
    return {"summary": text, "responses": {"200": _json(answer)}}


def _post(text: str, body: str, answer: str) -> Schema:
    refused = {
        "400": "the body is not JSON",
        "408": "the body did not arrive in time",
        "413": "the body, or the number of events, is too large",
        "415": "the content type is not application/json",
        "422": "a field is wrong",
        "501": "there is no state for events",
        "503": "too many requests are waiting",
    }
    return {
        "summary": text,
        "requestBody": {"required": True, **_json(body)},
        "responses": {"200": _json(answer), **{status: _json("Error", why) for status, why in refused.items()}},
    }
