"""The settings that stand on a row of a feature table: their limits, which the config's have too."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from recsys_tft.errors import InputError

# The least and the largest value. An embedding table of a million rows of the largest width has 32 GB.
LIMITS = {"dim": (1, 8192), "n_oov": (1, 10**6), "min_count": (0, 10**12), "max_size": (1, 10**9)}
MOST_BOUNDARIES = 1000  # each is a token, and a column where they are one-hot


def increasing(values: Sequence[float]) -> Sequence[float]:
    """Boundaries as they are.

    Raises:
        ValueError: if they do not increase, in float32 too, as the graph holds them.
    """
    if not all(map(math.isfinite, values)) or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"must be finite and increase, such as [1, 2, 3], not {list(values)}")
    with np.errstate(over="ignore"):
        rounded = np.array(values, np.float32)
    if not np.isfinite(rounded).all() or (np.diff(rounded) <= 0).any():
        raise ValueError(f"must differ, and be finite, as 32-bit floats too, not {list(values)}")
    return values


def check_boundaries(what: str, values: Sequence[float]) -> None:
    """Refuse boundaries on a row that are wrong; none are left to the config.

    Raises:
        InputError: naming `what` has them.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(values) > MOST_BOUNDARIES:
        raise InputError(f"{what}: boundaries must be numbers, {MOST_BOUNDARIES} at most, not {list(values)[:10]}.")
    try:
        increasing(values)
    except ValueError as error:
        raise InputError(f"{what}: boundaries {error}.") from None


def check_options(what: str, **options: int | None) -> None:
    """Refuse options on a row, by their names in LIMITS, that are not whole numbers within the limits; None is unset.

    Raises:
        InputError: naming `what` has them, and all that is wrong.
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
