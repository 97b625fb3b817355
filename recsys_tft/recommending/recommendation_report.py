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


def table(result: "Recommendations", reasons: Reasons | None = None) -> Listing:
    """One row per recommended video."""
    listing = Listing()
    listing.add_numbers("", "video_id")
    listing.add_texts(TITLE, "category")
    listing.add_numbers("retrieval", "ranker", "score", "rank")
    listing.add_texts("moved by")
    if reasons is not None:
        listing.add_texts("because of")
    for place, item in enumerate(result.items, 1):
        scores = (f"{score:.3f}" for score in (item.retrieval_score, item.rank_score, item.score))
        because = [] if reasons is None else [Text(because_of(reasons[place - 1]))]
        texts = [Text(ids.printed(item.video_id)), Text(item.title or ""), Text(item.category or "")]
        rules = ", ".join(item.rules)
        listing.add_row(str(place), *texts, *scores, str(item.rank), rules, *because)
    return listing


def because_of(reasons: Sequence[tuple[str, float]]) -> str:
    """The largest contributions, such as `category +0.31, age -0.12`."""
    return ", ".join(f"{columns} {value:+.2f}" for columns, value in reasons[:_MOST_REASONS])


def stages(result: "Recommendations", timed: bool = True) -> str:
    """One line about the four stages; timed: with their durations, which differ each time."""
    removed = ", ".join(f"{count} {rule}" for rule, count in result.removed.items() if count) or "none"
    spent = ", ".join(f"{stage} {seconds * 1e3:.1f} ms" for stage, seconds in result.seconds.items())
    text = f"{result.candidates} candidates, removed: {removed}, {result.ranked} ranked"
    return f"{text} ({spent})" if timed else text


def as_json(result: "Recommendations", version: int, reasons: Reasons | None = None) -> dict[str, Any]:
    """The result as plain values."""
    items = [dict(vars(item)) for item in result.items]
    for item, because in zip(items, reasons or [], strict=bool(reasons)):
        item["because_of"] = [{"columns": columns, "contribution": value} for columns, value in because]
    rest = {field.name: getattr(result, field.name) for field in dataclasses.fields(result) if field.name != "items"}
    return {"version": version, "items": items, **rest}
