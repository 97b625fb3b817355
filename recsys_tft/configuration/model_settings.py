"""Settings of both models and their trainers."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import pydantic

from recsys_tft.configuration.setting_types import Count, NotNegative, Positive, Rate, Section, Share, Steps, Width


class DcnSettings(Section):
    """Architecture and training of the neural ranker."""

    embedding_dim: Width = 8
    cross_layers: Annotated[int, pydantic.Field(ge=0, le=8)] = 2
    hidden: Annotated[tuple[Width, ...], pydantic.Field(max_length=32)] = (64, 32)
    dropout: Share = 0.2
    batch_size: Annotated[int, pydantic.Field(ge=2, le=65_536)] = 1024
    epochs: Steps = 30
    patience: Steps = 3
    learning_rate: Rate = 0.001
    weight_decay: Share = 0.001
    watch_weight: NotNegative = 0.2


class RankerSettings(Section):
    """Examples of the ranker, and its training."""

    negative_sample_ratio: Annotated[int, pydantic.Field(ge=0, le=1000)] = 3
    min_watch_ratio: NotNegative = 0.4
    popularity_alpha: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    watch_share: bool = False
    model: Literal["catboost", "xgboost", "dcn"] = "catboost"
    objective: Literal["classifier", "yetirank"] = "classifier"
    sampled_weight: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.01
    iterations: Steps = 300
    learning_rate: Rate = 0.1
    depth: Annotated[int, pydantic.Field(ge=1, le=16)] = 6
    l2_leaf_reg: NotNegative = 10.0
    max_ctr_complexity: Annotated[int, pydantic.Field(ge=1, le=4)] = 2
    early_stopping_rounds: Steps = 30
    shap_rows: Count = 5000
    refit: bool = False
    dcn: DcnSettings = DcnSettings()

    @pydantic.model_validator(mode="after")
    def _yetirank_is_catboosts(self) -> "RankerSettings":
        if self.objective == "yetirank" and self.model != "catboost":
            raise ValueError(f"has the objective yetirank, which is catboost's, and the model {self.model}")
        return self


class TwoTowerSettings(Section):
    """Architecture and training of the two-tower model."""

    renamed: ClassVar[Mapping[str, str]] = {"unseen": "oov_dropout"}

    dim: Width = 32
    hidden: Annotated[tuple[Width, ...], pydantic.Field(max_length=32)] = ()
    title: bool = True
    title_dim: Width = 32
    compare_title: bool = True
    normalize: bool = False
    temperature: Positive = 1.0
    history_encoder: Literal["bag", "weighted", "attention", "gru"] = "attention"
    negatives: Literal["in_batch", "mixed", "uniform"] = "in_batch"
    uniform_negatives: Annotated[int, pydantic.Field(ge=1, le=65_536)] = 1024
    sampling_correction: bool = True
    batch_size: Annotated[int, pydantic.Field(ge=2, le=65_536)] = 1024  # logits are the square of it
    epochs: Steps = 50
    patience: Steps = 6
    learning_rate: Rate = 0.003
    weight_decay: Share = 0.0
    dropout: Share = 0.4
    oov_dropout: NotNegative = 1.0
    history_dropout: Share = 0.2
    shuffle_rows: Count = 2_000_000
    eval_users: Count = 10_000
    refit: bool = False
    warm_start: bool = True
    replay: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5
    capacity_step: Count = 1


# Settings of `ranker` that may differ between a run and a training on its rows.
RANKER_TRAINING = frozenset(
    (
        "model",
        "objective",
        "sampled_weight",
        "iterations",
        "learning_rate",
        "depth",
        "l2_leaf_reg",
        "max_ctr_complexity",
        "early_stopping_rounds",
        "shap_rows",
        "refit",
        "dcn",
    )
)
