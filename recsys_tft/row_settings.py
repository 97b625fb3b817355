"""Limits of settings on rows of a feature table, which the config has too."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from recsys_tft.errors import InputError

# The least and the largest value. An embedding table of a million rows of the largest width has 32 GB.
LIMITS = {"dim": (1, 8192), "n_oov": (1, 10**6), "min_count": (0, 10**12), "max_size": (1, 10**9)}
MOST_BOUNDARIES = 1000  # each is a token, and a column where they are one-hot


def increasing(values: Sequence[float]) -> Sequence[float]:
    """Check boundaries, and return them.

    Raises:
        ValueError: if they do not increase, also as float32, the type in the graph.
    """
    if not all(map(math.isfinite, values)) or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"must be finite and increase, such as [1, 2, 3], not {list(values)}")
    with np.errstate(over="ignore"):
        rounded = np.array(values, np.float32)
    if not np.isfinite(rounded).all() or (np.diff(rounded) <= 0).any():
        raise ValueError(f"must differ, and be finite, as 32-bit floats too, not {list(values)}")
    return values


def check_boundaries(what: str, values: Sequence[float]) -> None:
    """Refuse wrong boundaries on a row; if empty, they come from the config.

    Raises:
        InputError: naming `what`, which has them.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(values) > MOST_BOUNDARIES:
        raise InputError(f"{what}: boundaries must be numbers, {MOST_BOUNDARIES} at most, not {list(values)[:10]}.")
    try:
        increasing(values)
    except ValueError as error:
        raise InputError(f"{what}: boundaries {error}.") from None


def check_options(what: str, **options: int | None) -> None:
    """Refuse options on a row that are not integers within their LIMITS; None: not set.

    Raises:
        InputError: naming `what`, which has them, and all errors.
    """
    wrong = [
        f"{name} is {value!r}, expected a whole number from {LIMITS[name][0]:,} to {LIMITS[name][1]:,}"
        for name, value in options.items()
        if value is not None and not _is_within(value, *LIMITS[name])
    ]
    if wrong:
        raise InputError(f"{what}: {'; '.join(wrong)}.")


def _is_within(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
