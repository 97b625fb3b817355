"""Settings of the recommender: its four stages."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import pydantic

from recsys_tft import ids
from recsys_tft.columns import IdKind
from recsys_tft.configuration.setting_types import Count, Id, NotNegative, Number, Positive, Section
from recsys_tft.errors import FindingsError


def country_key(name: str) -> str:
    """The normalized spelling of a country, without case and surrounding blanks."""
    return name.strip().casefold()


class BlockSettings(Section):
    """Videos that are not shown: by id, category, child category or channel.

    Ids are integers or strings, as in the tables. A number in quotes may stand for an integer.
    """

    videos: tuple[Id, ...] = ()
    categories: tuple[str, ...] = ()
    channels: tuple[Id, ...] = ()

    def wrong_ids(self, kinds: Mapping[str, IdKind]) -> Iterator[str]:
        """A sentence for each list with an id of another kind than its key's, if that is known."""
        for name, key in _BLOCKED.items():
            kind = kinds.get(key)
            wrong = [value for value in getattr(self, name) if kind is not None and not _is_of_kind(value, kind)]
            if kind is not None and wrong:
                quotes = ", in quotes" if kind is IdKind.STRING else ""
                yield f"{name} holds {wrong[0]!r}; expected {ids.WANTED[kind]}{quotes}, as the tables have as {key}"

    def as_rows(self, kinds: Mapping[str, IdKind]) -> "BlockSettings":
        """The same with ids as rows have them."""
        lists = {name: [_as_row(value, kinds[key]) for value in getattr(self, name)] for name, key in _BLOCKED.items()}
        return self.model_copy(update={name: tuple(values) for name, values in lists.items()})


_BLOCKED = {"videos": "video_id", "channels": "channel_id"}


def _as_row(value: int | str, kind: IdKind) -> int | str:
    """An id as rows have it.

    Raises:
        ValueError: if it is not of this kind.
    """
    if kind.is_text:
        return ids.text_of(value, kind)
    if int(value) not in range(-(2**63), 2**63):
        raise ValueError("beyond 64 bits")
    return int(value)


def _is_of_kind(value: int | str, kind: IdKind) -> bool:
    try:
        _as_row(value, kind)
    except ValueError:
        return False
    return True


class FilterSettings(Section):
    """Filters that remove candidates."""

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

    def wrong_ids(self, kinds: Mapping[str, IdKind]) -> list[str]:
        """Like `BlockSettings.wrong_ids`, over all lists."""
        lists = {"blocked": self.blocked} | {f"unavailable.{name}": block for name, block in self.unavailable.items()}
        return [f"{place}.{text}" for place, block in lists.items() for text in block.wrong_ids(kinds)]

    def as_rows(self, kinds: Mapping[str, IdKind]) -> "FilterSettings":
        """The same with ids as rows have them."""
        countries = {name: block.as_rows(kinds) for name, block in self.unavailable.items()}
        return self.model_copy(update={"blocked": self.blocked.as_rows(kinds), "unavailable": countries})


class OrderSettings(Section):
    """Order of the candidates after ranking."""

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

    def wrong_ids(self, kinds: Mapping[str, IdKind]) -> list[str]:
        """A sentence for each list with an id of another kind than its key's, if that is known."""
        return [f"filters.{text}" for text in self.filters.wrong_ids(kinds)]

    def as_rows(self, kinds: Mapping[str, IdKind]) -> "RecommenderSettings":
        """The same with ids as rows have them; `kinds` has all keys, and no id is wrong."""
        return self.model_copy(update={"filters": self.filters.as_rows(kinds)})
