"""Settings of the recommender: its four stages."""

from typing import Annotated

import pydantic

from recsys_tft.configuration.setting_types import Count, Id, NotNegative, Number, Positive, Section
from recsys_tft.errors import FindingsError


def country_key(name: str) -> str:
    """By which two spellings of a country are one: upper and lower case, and blanks around it, make no difference."""
    return name.strip().casefold()


class BlockSettings(Section):
    """Videos that are not shown: by id, by category or child category, by channel."""

    videos: tuple[Id, ...] = ()
    categories: tuple[str, ...] = ()
    channels: tuple[Id, ...] = ()


class FilterSettings(Section):
    """Which candidates a recommender leaves out."""

    seen: bool = True
    max_age_days: Positive | None = None
    blocked: BlockSettings = BlockSettings()
    unavailable: dict[str, BlockSettings] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("unavailable")
    @classmethod
    def _one_country_each(cls, unavailable: dict[str, BlockSettings]) -> dict[str, BlockSettings]:
        spelled: dict[str, str] = {}
        FindingsError.check(
            [
                f"names one country as '{spelled[country_key(name)]}' and as '{name}'"
                for name in unavailable
                if spelled.setdefault(country_key(name), name) != name
            ]
        )
        return unavailable


class OrderSettings(Section):
    """How a recommender orders what the ranker has scored."""

    first: Count = 10
    per_channel: Count | None = 2
    per_category: Count | None = 5
    freshness_boost: NotNegative = 0.05
    freshness_half_life_days: Positive = 7.0
    exploration_share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1
    cold_below_events: Number = 5


class RecommenderSettings(Section):
    """The four stages: how many candidates are retrieved and ranked, which are filtered out, and their order."""

    candidates: Count = 500
    ranked: Count = 200
    filters: FilterSettings = FilterSettings()
    order: OrderSettings = OrderSettings()
