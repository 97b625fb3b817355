"""Lengths of time in settings, such as `90s`, `15m`, `6h` or `1d`."""

import functools
import re
from fractions import Fraction

_MICROSECONDS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_FORM = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([smhd])")
LONGEST = 36_500 * _MICROSECONDS["d"]


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


@functools.lru_cache(maxsize=256)
def microseconds(text: str) -> int:
    """Convert a duration to microseconds.

    Raises:
        ValueError: if it is not a number and one of s, m, h, d, or more than 100 years.
    """
    match = _FORM.fullmatch(text.strip())
    if not match:
        raise ValueError(f"must be a number with its unit s, m, h or d, such as 90s, 15m, 6h or 1d, not {_short(text)}")
    length = round(Fraction(match[1]) * _MICROSECONDS[match[2]])
    if length > LONGEST:
        raise ValueError(f"must be at most 36500d, not {_short(text)}")
    return length
