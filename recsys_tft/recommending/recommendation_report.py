"""What `recsys-tft recommend` prints: a table for people, JSON for programs."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from recsys_tft import ids
from recsys_tft.default_table import TITLE
from recsys_tft.terminal import Listing

if TYPE_CHECKING:
    from recsys_tft.recommending.recommender import Recommendations

Reasons = Sequence[Sequence[tuple[str, float]]]  # (raw columns, contribution) of each item
_MOST_REASONS = 4


def table(found: "Recommendations", reasons: Reasons | None = None) -> Listing:
    """One row per recommended video."""
    shown = Listing()
    shown.add_numbers("", "video_id")
    shown.add_texts(TITLE, "category")
    shown.add_numbers("retrieval", "ranker", "score", "rank")
    shown.add_texts("moved by")
    if reasons is not None:
        shown.add_texts("because of")
    for place, item in enumerate(found.items, 1):
        scores = (f"{score:.3f}" for score in (item.retrieval_score, item.rank_score, item.score))
        because = [] if reasons is None else [Text(because_of(reasons[place - 1]))]
        texts = [Text(ids.printed(item.video_id)), Text(item.title or ""), Text(item.category or "")]
        rules = ", ".join(item.rules)
        shown.add_row(str(place), *texts, *scores, str(item.rank), rules, *because)
    return shown


def because_of(reasons: Sequence[tuple[str, float]]) -> str:
    """The weightiest contributions, such as `category +0.31, age -0.12`."""
    return ", ".join(f"{columns} {value:+.2f}" for columns, value in reasons[:_MOST_REASONS])


def stages(found: "Recommendations", timed: bool = True) -> str:
    """What the four stages did, in one line; timed: and how long they took, which differs each time."""
    removed = ", ".join(f"{count} {rule}" for rule, count in found.removed.items() if count) or "none"
    spent = ", ".join(f"{stage} {seconds * 1e3:.1f} ms" for stage, seconds in found.seconds.items())
    told = f"{found.candidates} candidates, removed: {removed}, {found.ranked} ranked"
    return f"{told} ({spent})" if timed else told


def as_json(found: "Recommendations", version: int, reasons: Reasons | None = None) -> dict[str, Any]:
    """All of it in plain values."""
    items = [dict(vars(item)) for item in found.items]
    for item, because in zip(items, reasons or [], strict=bool(reasons)):
        item["because_of"] = [{"columns": columns, "contribution": value} for columns, value in because]
    rest = {field.name: getattr(found, field.name) for field in dataclasses.fields(found) if field.name != "items"}
    return {"version": version, "items": items, **rest}
