"""The result of the four stages, and the time they took."""

import dataclasses
import time

from recsys_tft.recommending.ordering import Recommendation


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The result of the four stages.

    Attributes:
        items: the best first.
        is_known: whether the store has the user; else what was given about the user is all that is known.
        candidates: how many stage 1 brought.
        removed: how many videos each rule of stage 2 left out; `seen` ones, which stage 1 does not even bring, are all
            that the user has opened; one that several rules leave out counts for each.
        ranked: how many stage 3 ranked.
        seconds: of each stage.
    """

    items: tuple[Recommendation, ...]
    is_known: bool
    candidates: int
    removed: dict[str, int]
    ranked: int
    seconds: dict[str, float]


class Clock:
    """Seconds of the parts of something.

    Attributes:
        seconds: by the name of the part.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends a part."""
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now
