"""Every setting, its default and its limits; all are checked before any data is read."""

import os
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import yaml

from recsys_tft.configuration import column_settings
from recsys_tft.configuration.column_settings import ColumnSettings
from recsys_tft.configuration.job_settings import (
    BucketSettings,
    CooccurrenceSettings,
    CounterSettings,
    HistorySettings,
    LabelSettings,
    OutputSettings,
    PopularitySettings,
    RecentSettings,
    SplitSettings,
    VocabularySettings,
)
from recsys_tft.configuration.model_settings import EmbeddingSettings, RankerSettings, TwoTowerSettings
from recsys_tft.configuration.recommender_settings import RecommenderSettings
from recsys_tft.configuration.setting_types import Section
from recsys_tft.errors import InputError, did_you_mean
from recsys_tft.storage.output import read_text
from recsys_tft.titles.title_encoder import Pair as EncoderPair

BeamValue = bool | int | float | str | list[str]


class Settings(Section):
    """All settings of a run; `configs/processing_config.yaml` shows each with its default."""

    seed: Annotated[int, pydantic.Field(ge=0, lt=2**63)] = 0
    columns: dict[str, dict[str, str | ColumnSettings]] = pydantic.Field(default_factory=dict)
    max_rejected_fraction: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.05
    embeddings: EmbeddingSettings = EmbeddingSettings()
    buckets: BucketSettings = BucketSettings()
    popularity: PopularitySettings = PopularitySettings()
    vocabularies: dict[str, VocabularySettings] = pydantic.Field(default_factory=dict)
    title_encoder: Annotated[str, pydantic.Field(min_length=1)] | EncoderPair = "minilm"
    title_precision: Literal["float32", "bfloat16"] = "float32"
    encoder_cache: str | None = None
    labels: LabelSettings = LabelSettings()
    counters: CounterSettings = CounterSettings()
    history: HistorySettings = HistorySettings()
    recent: RecentSettings = RecentSettings()
    cooccurrence: CooccurrenceSettings = CooccurrenceSettings()
    split: SplitSettings = SplitSettings()
    ranker: RankerSettings = RankerSettings()
    two_tower: TwoTowerSettings = TwoTowerSettings()
    output: OutputSettings = OutputSettings()
    recommender: RecommenderSettings = RecommenderSettings()
    beam: dict[str, BeamValue] = pydantic.Field(default_factory=dict)

    @pydantic.field_validator("columns", mode="before")
    @classmethod
    def _known_columns(cls, columns: Any) -> Any:
        return column_settings.check(columns)

    @pydantic.field_validator("vocabularies")
    @classmethod
    def _known_vocabularies(cls, vocabularies: dict[str, Any]) -> dict[str, Any]:
        from recsys_tft.features import VOCABULARIES

        known = ["default", *(vocabulary.name for vocabulary in VOCABULARIES)]
        for name in vocabularies:
            if name not in known:
                raise ValueError(f"has the unknown vocabulary '{name}'.{did_you_mean(name, known)}")
        return vocabularies

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        if self.cooccurrence.enabled and not self.history.length:
            raise ValueError("cooccurrence.enabled needs a history: history.length must be above 0")
        return self

    def vocabulary(self, name: str) -> VocabularySettings:
        """The settings of one vocabulary: its own, else `default`'s, else the defaults."""
        return self.vocabularies.get(name) or self.vocabularies.get("default") or VocabularySettings()

    @property
    def beam_arguments(self) -> tuple[str, ...]:
        """The options of `beam` as on a command line; a list is an option given several times."""
        return tuple(argument for name, value in self.beam.items() for argument in _arguments(name, value))

    def replace(self, changes: dict[str, Any]) -> "Settings":
        """A checked copy with e.g. `{"seed": 1, "ranker": {"negative_sample_ratio": 5}}` changed."""
        return parse(_merge(self.model_dump(exclude_unset=True), changes), "the options")


def _arguments(name: str, value: "BeamValue") -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    return [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def parse(values: Any, source: str) -> Settings:
    """Settings from a mapping that holds what differs from the defaults.

    Raises:
        InputError: naming `source`, the key and what would be right, for the first setting that is wrong.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: expected a mapping of settings, found {type(values).__name__}.")
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise InputError(f"{source}: {_explain(error.errors()[0])}") from None


def _explain(error: dict[str, Any]) -> str:
    path = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown setting '{path}'.{did_you_mean(str(error['loc'][-1]), _known_keys(error['loc'][:-1]))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{path} {message}".strip() + ("" if message[-1] in ".?" else ".")
    return f"{path} is {error['input']!r}: {message[0].lower()}{message[1:]}."


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    section: Any = Settings
    for name in path:
        is_mapping = get_origin(section) is dict
        section = get_args(section)[1] if is_mapping else section.model_fields[str(name)].annotation
    return list(section.model_fields)


def _text(path: str | os.PathLike[str]) -> str:
    if "://" in str(path):
        return read_text(str(path))
    with open(path, encoding="utf-8") as file:  # without importing Beam, which takes seconds
        return file.read()


def load(path: str | os.PathLike[str]) -> Settings:
    """Settings from a YAML file, local or on any Beam filesystem.

    Raises:
        InputError: if the file cannot be read, is not YAML, or holds a wrong setting.
    """
    try:
        values = yaml.safe_load(_text(path))
    except OSError as error:
        raise InputError(f"{path}: cannot read the config ({error.strerror or error}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())}).") from None
    return parse({} if values is None else values, str(path))
