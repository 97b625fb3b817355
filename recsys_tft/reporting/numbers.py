"""Numbers as text."""

import math

NONE = "\N{EN DASH}"  # for a missing number


def count(value: float) -> str:
    """An integer with thousands separators."""
    return f"{value:,.0f}"


def percent(share: float) -> str:
    """A share as a percentage."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{share * 100:.1f} %"


def short(value: float) -> str:
    """A number of about four digits."""
    if not math.isfinite(value):
        return NONE
    size = abs(value)
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if size >= unit:
            return f"{value / unit:.3g} {name}"
    if size >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.4g}" if size >= 1e-4 or not size else f"{value:.2e}"
    return text.replace("-", "\N{MINUS SIGN}")
