"""The options of a recommender: of a file, or else of the exported run."""

import pathlib
from collections.abc import Iterator, Mapping

from recsys_tft.columns import IdKind
from recsys_tft.configuration import settings
from recsys_tft.configuration.recommender_settings import RecommenderSettings, country_key
from recsys_tft.errors import did_you_mean
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.serving import serving_folders


def read_settings(store: pathlib.Path, config: str | None, kinds: Mapping[str, IdKind]) -> RecommenderSettings:
    """The options, with ids as rows have them.

    Args:
        store: of the export.
        config: a YAML file whose options replace the run's.
        kinds: of ids, by key.

    Raises:
        InputError: if one is wrong.
    """
    if config is not None:
        return settings.load_recommender(config, kinds).as_rows(kinds)
    path = store / serving_folders.DESCRIPTION
    return settings.parse_recommender(serving_folders.description(store)["settings"], str(path)).as_rows(kinds)


def unknown_countries(chosen: RecommenderSettings, store: EntityStore) -> Iterator[str]:
    """A sentence for each country of `filters.unavailable` that no user has."""
    if not chosen.filters.unavailable:
        return
    countries = store.countries()
    keys = {country_key(country) for country in countries}
    for name in chosen.filters.unavailable:
        if country_key(name) not in keys:
            hint = did_you_mean(name, sorted(countries)[:10])
            yield f"recommender.filters.unavailable names the country '{name}', which no user has.{hint}"
