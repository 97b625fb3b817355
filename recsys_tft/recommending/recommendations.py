"""The result of the four stages, and the time they took."""

import dataclasses
import time

from recsys_tft.recommending.ordering import Recommendation


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The result of the four stages.

    Attributes:
        items: the best first.
        is_known: whether the store has the user; otherwise only the given columns are used.
        candidates: number of videos found by stage 1.
        removed: number of videos that each rule of stage 2 removed; `seen` counts all that the user opened, which
            stage 1 excludes; a video removed by several rules counts for each.
        ranked: number of videos ranked by stage 3.
        seconds: of each stage.
    """

    items: tuple[Recommendation, ...]
    is_known: bool
    candidates: int
    removed: dict[str, int]
    ranked: int
    seconds: dict[str, float]


class Clock:
    """A stopwatch with named laps.

    Attributes:
        seconds: by the name of the lap.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now
