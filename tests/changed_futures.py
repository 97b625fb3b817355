"""What the oracle says of a history, and events whose future is another one."""

import dataclasses
from typing import Any

import oracle
import random_tables
from hypothesis import strategies as st
from oracle import Row
from random_tables import RawTables, RunSettings


def oracles_history(raw: RawTables, chosen: RunSettings, found: list[oracle.Exposure], e: oracle.Exposure) -> Row:
    """The history columns of an exposure."""
    if not chosen.history_length:
        return {}
    users, videos, _, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    watched = oracle.history(found, e.user_id, e.interaction_time, chosen.history_length)
    if watched:
        known = [oracle.row_at(videos, "video_id", video, e.interaction_time) for video in watched]
        return {"history_video_ids": watched, "history_categories": [video.get("category") for video in known]}
    user = oracle.row_at(users, "user_id", e.user_id, e.interaction_time)
    told = {name: user.get(name) for name in ("history_video_ids", "history_categories")}
    return {name: values and values[: chosen.history_length] for name, values in told.items()}


@st.composite
def with_another_future(draw: st.DrawFn, raw: RawTables, moment: int, *, keep: bool) -> RawTables:
    """The tables with other events from a moment on: new ones, and where not `keep`, old ones altered or deleted."""
    past = [event for event in raw.interactions if event["interaction_time"] < moment]
    future = [event for event in raw.interactions if event["interaction_time"] >= moment]
    copies = draw(st.lists(st.sampled_from(raw.interactions), max_size=12))
    gaps = st.sampled_from((0, *random_tables.GAPS))
    new = [
        copy
        | {
            "interaction_time": moment + draw(gaps),
            "user_id": draw(st.sampled_from(raw.users))["user_id"],
            "video_id": draw(st.sampled_from(raw.videos))["video_id"],
        }
        for copy in copies
    ]
    if not keep:
        future = [event for event in future if draw(st.booleans())]
    return dataclasses.replace(raw, interactions=past + future + new)


def key(row: Row) -> tuple[Any, ...]:
    return row["user_id"], row["video_id"], row["interaction_time"]
