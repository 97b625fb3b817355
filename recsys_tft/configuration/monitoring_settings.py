"""Settings of statistics, and of limits for drift."""

from typing import Annotated

import pydantic

from recsys_tft.configuration.setting_types import Section
from recsys_tft.errors import FindingsError, did_you_mean
from recsys_tft.features import FeatureTable

Limit = Annotated[float, pydantic.Field(gt=0, le=100)]


class StatisticsSettings(Section):
    """Statistics that a run writes about its raw columns and features."""

    enabled: bool = True


class DriftLimits(Section):
    """Values above which an alarm is raised; None: never."""

    jensen_shannon: Limit | None = 0.1
    psi: Limit | None = 0.25
    infinity_norm: Limit | None = 0.05
    missing_change: Limit | None = 0.05
    oov_change: Limit | None = 0.05
    new_values: Limit | None = 0.01


class DriftSettings(DriftLimits):
    """The limits of all columns and features, with exceptions by name."""

    features: dict[str, DriftLimits] = pydantic.Field(default_factory=dict)

    def of(self, name: str) -> DriftLimits:
        """The limits of a raw column or a feature: its own, completed by the general ones."""
        limits = self.features[name].model_dump(exclude_unset=True) if name in self.features else {}
        return DriftLimits(**(self.model_dump(include=set(DriftLimits.model_fields)) | limits))

    def check(self, table: FeatureTable) -> None:
        """Refuse names that the table does not know."""
        names = [*table.raw, *table.by_name, "label", "source", "weight", "log_q", "watch_share", *OF_EVENTS]
        unknown = [name for name in self.features if name not in names]
        FindingsError.check(
            [f"names the unknown column or feature '{name}'.{did_you_mean(name, names)}" for name in unknown],
            below="features",
        )


OF_EVENTS = ("signals", "repeated", "seconds_since_last")  # described of events besides their columns
