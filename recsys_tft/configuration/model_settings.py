"""Settings of both models and their trainers."""

from typing import Annotated, Literal

import pydantic

from recsys_tft.configuration.setting_types import Positive, Section, Share


class EmbeddingSettings(Section):
    """Widths of the embedding tables that the two-tower model learns."""

    user_id_dim: pydantic.PositiveInt = 32
    video_id_dim: pydantic.PositiveInt = 32
    category_dim: pydantic.PositiveInt = 32
    country_dim: pydantic.PositiveInt = 8
    language_dim: pydantic.PositiveInt = 16
    previously_watched_category_dim: pydantic.PositiveInt = 32
    tags_dim: pydantic.PositiveInt = 32
    age_bucket_dim: pydantic.PositiveInt = 8
    video_duration_bucket_dim: pydantic.PositiveInt = 8
    default_dim: pydantic.PositiveInt = 16

    def width(self, table: str) -> int:
        """Of the table of a vocabulary, or of a feature that numbers its categories itself."""
        return getattr(self, f"{table}_dim", self.default_dim)


class RankerSettings(Section):
    """What a ranker example is, and how CatBoost is trained on them."""

    negative_sample_ratio: pydantic.NonNegativeInt = 3
    min_watch_ratio: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.4
    popularity_alpha: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    objective: Literal["classifier", "yetirank"] = "classifier"
    iterations: pydantic.PositiveInt = 200
    learning_rate: Positive = 0.15
    depth: Annotated[int, pydantic.Field(ge=1, le=16)] = 6
    l2_leaf_reg: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 3.0
    max_ctr_complexity: Annotated[int, pydantic.Field(ge=1, le=4)] = 2
    early_stopping_rounds: pydantic.PositiveInt = 30
    shap_rows: pydantic.PositiveInt = 5000


class TwoTowerSettings(Section):
    """How the two-tower model is built and trained."""

    dim: pydantic.PositiveInt = 32
    hidden: tuple[pydantic.PositiveInt, ...] = ()
    title: bool = True
    title_dim: pydantic.PositiveInt = 32
    compare_title: bool = True
    normalize: bool = False
    temperature: Positive = 1.0
    sampling_correction: bool = True
    batch_size: Annotated[int, pydantic.Field(ge=2)] = 1024
    epochs: pydantic.PositiveInt = 50
    patience: pydantic.PositiveInt = 3
    learning_rate: Positive = 0.003
    weight_decay: Share = 0.0
    dropout: Share = 0.4
    unseen: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 1.0
    history_dropout: Share = 0.2
    shuffle_rows: pydantic.PositiveInt = 2_000_000
    eval_users: pydantic.PositiveInt = 10_000


# What of `ranker` may differ between a run and a training on its rows.
RANKER_TRAINING = frozenset(
    (
        "objective",
        "iterations",
        "learning_rate",
        "depth",
        "l2_leaf_reg",
        "max_ctr_complexity",
        "early_stopping_rounds",
        "shap_rows",
    )
)
