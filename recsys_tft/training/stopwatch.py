"""Timing of parts of a training."""

import time


class Stopwatch:
    """Seconds spent inside it, as in `with watch:`; nested time counts once.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth, self._begun, self._made = 0, 0.0, time.monotonic()

    def __enter__(self) -> "Stopwatch":
        if not self._depth:
            self._begun = time.monotonic()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.seconds += time.monotonic() - self._begun

    def described(self) -> dict[str, float]:
        """The seconds of reading, and their share of the time since construction, for metrics.json."""
        share = self.seconds / max(time.monotonic() - self._made, 1e-9)
        return {"reading_seconds": self.seconds, "reading_share": share}


def sentence(training: dict[str, float]) -> str:
    """The result of `described` as text."""
    return f"Reading: {training['reading_seconds']:.1f} s, {training['reading_share']:.1%} of the time"
