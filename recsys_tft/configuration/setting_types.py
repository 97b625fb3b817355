"""Types shared by sections of the settings.

Each number has an upper limit, beyond which something would overflow or take more memory than any machine has.
"""

import datetime
import re
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pydantic

from recsys_tft.configuration import durations
from recsys_tft.errors import RenamedSettingWarning
from recsys_tft.row_settings import LIMITS, MOST_BOUNDARIES, increasing


class Section(pydantic.BaseModel):
    """A mapping of settings that refuses unknown keys; `renamed` maps keys of earlier releases."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _by_their_names_of_today(cls, values: Any) -> Any:
        for old, new in cls.renamed.items():
            if not isinstance(values, dict) or old not in values:
                continue
            if new in values:
                raise ValueError(f"has both {new!r} and {old!r}, its name in earlier releases; remove {old!r}")
            text = f"the setting {old!r} is now called {new!r}; the old name is still read"
            warnings.warn(text, RenamedSettingWarning, stacklevel=2)
            values = {new if name == old else name: value for name, value in values.items()}
        return values

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_booleans(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in [int, float]:
            raise ValueError(f"is {value}; expected a number")
        return value


def _duration(text: str) -> str:
    durations.microseconds(text)
    return text


def moment(value: Any) -> Any:
    """A date or time, or text with one; numbers, which might be seconds or 20250210, are refused."""
    if value is None or isinstance(value, datetime.date):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d([Tt ].*)?", value.strip()):
        raise ValueError(f"is {value!r}; expected a date such as 2025-02-10, or a time such as 2025-02-10T12:00")
    return value.strip()


def word(text: str) -> str:
    """Text that is not blank, without characters that names cannot have."""
    if not text.strip() or not text.isprintable():
        raise ValueError(f"is {text!r}; expected a name or a path")
    return text


def _id(value: Any) -> int | str:
    """An id of any kind; the right kind is known once the tables are."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64):
        return value
    raise ValueError(f"is {value!r}; expected an id: an integer of 64 bits or a string")


Increasing = Annotated[
    tuple[float, ...],
    pydantic.Field(min_length=1, max_length=MOST_BOUNDARIES),
    pydantic.AfterValidator(increasing),
]
# Factors and durations; models and weights are float32, so smaller or larger values are useless.
Positive = Annotated[float, pydantic.Field(ge=1e-6, le=1e6)]
NotNegative = Annotated[float, pydantic.Field(ge=0, le=1e6)]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]
Rate = Annotated[float, pydantic.Field(gt=0, le=10)]  # of learning
Duration = Annotated[str, pydantic.AfterValidator(_duration)]
Moment = Annotated[datetime.datetime | None, pydantic.BeforeValidator(moment)]
Word = Annotated[str, pydantic.AfterValidator(word)]
Width = Annotated[int, pydantic.Field(ge=LIMITS["dim"][0], le=LIMITS["dim"][1])]
Count = Annotated[int, pydantic.Field(ge=1, le=10**9)]  # of rows or videos that are held at a time
Number = Annotated[int, pydantic.Field(ge=0, le=10**12)]  # of events, to compare with
Steps = Annotated[int, pydantic.Field(ge=1, le=100_000)]  # of a training
Id = Annotated[int | str, pydantic.PlainValidator(_id)]
