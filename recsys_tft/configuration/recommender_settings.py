"""Settings of the recommender: its four stages."""

from typing import Annotated

import pydantic

from recsys_tft.configuration.setting_types import Positive, Section


class BlockSettings(Section):
    """Videos that are not shown: by id, by category or child category, by channel."""

    videos: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()


class FilterSettings(Section):
    """Which candidates a recommender leaves out."""

    seen: bool = True
    max_age_days: Positive | None = None
    blocked: BlockSettings = BlockSettings()
    unavailable: dict[str, BlockSettings] = pydantic.Field(default_factory=dict)


class OrderSettings(Section):
    """How a recommender orders what the ranker has scored."""

    first: pydantic.PositiveInt = 10
    per_channel: pydantic.PositiveInt | None = 2
    per_category: pydantic.PositiveInt | None = 5
    freshness_boost: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.05
    freshness_half_life_days: Positive = 7.0
    exploration_share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1
    cold_below_events: pydantic.NonNegativeInt = 5


class RecommenderSettings(Section):
    """The four stages: how many candidates are retrieved and ranked, which are filtered out, and their order."""

    candidates: pydantic.PositiveInt = 500
    ranked: pydantic.PositiveInt = 200
    filters: FilterSettings = FilterSettings()
    order: OrderSettings = OrderSettings()
