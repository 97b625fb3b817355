"""What became of earlier exposures, counted one by one."""

from collections.abc import Iterable

from oracle import Exposure


def tally(exposures: Iterable[Exposure], moment: int) -> tuple[int, int, int | None]:
    """How many of them are before a moment, how many are positive then, and when the last one was."""
    before = [e.interaction_time for e in exposures if e.interaction_time < moment]
    since = [e for e in exposures if e.positive_since is not None and e.positive_since < moment]
    positive = [e for e in since if e.positive_until is None or e.positive_until >= moment]
    return len(before), len(positive), max(before, default=None)
