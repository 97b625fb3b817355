"""Finding the feature table that the settings name."""

from recsys_tft.default_table import DEFAULT
from recsys_tft.features import FeatureTable


def load(name: str | None) -> FeatureTable:
    """The table that `features` of the settings names; None is ours."""
    return DEFAULT
