"""What sections of the settings are made of."""

import itertools
import math
from typing import Annotated

import pydantic

from recsys_tft.configuration import durations


class Section(pydantic.BaseModel):
    """A mapping of settings, which knows all of its keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def _duration(text: str) -> str:
    durations.microseconds(text)
    return text


def _increasing(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(map(math.isfinite, values)) or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"must be finite and increase, such as [1, 2, 3], not {list(values)}")
    return values


Increasing = Annotated[tuple[float, ...], pydantic.Field(min_length=1), pydantic.AfterValidator(_increasing)]
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]
Duration = Annotated[str, pydantic.AfterValidator(_duration)]
