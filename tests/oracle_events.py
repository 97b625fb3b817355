"""Events and exposures for the oracle."""

from typing import Any

import oracle
from oracle import Exposure, Row

MINUTE = oracle.MINUTE
FAR = 10**15  # a cut that no time reaches
ENGAGEMENT = {"like": 1.0, "watch": 0.8, "click": 0.5}


def event(video: int, time: float, kind: str | None = "impression", *, user: int = 1, **values: Any) -> Row:
    """A long row; time in minutes. Without a kind, a wide one."""
    row = {"user_id": user, "video_id": video, "interaction_time": round(time * MINUTE)} | values
    return row if kind is None else row | {"interaction_type": kind}


def exposures_of(
    events: list[Row],
    *,
    users: list[Row] | None = None,
    videos: list[Row] | None = None,
    val_from: float = FAR,
    test_from: float | None = None,
    positive: dict[str, float] = ENGAGEMENT,
    **values: Any,
) -> list[Exposure]:
    """The exposures of good rows, cuts in minutes; users and videos default to bare ones."""
    user_rows = users or [{"user_id": user_id} for user_id in {row["user_id"] for row in events}]
    video_rows = videos or [{"video_id": video_id} for video_id in {row["video_id"] for row in events}]
    test_time = None if test_from is None else round(test_from * MINUTE)
    return oracle.exposures(
        user_rows,
        video_rows,
        events,
        val_from=round(val_from * MINUTE),
        test_from=test_time,
        positive=positive,
        **values,
    )
