"""Every setting, its default and its limits; all are checked before any data is read."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic

from recsys_tft import feature_tables, table_records
from recsys_tft.columns import IdKind
from recsys_tft.configuration import column_settings, config_files, durations, row_overrides
from recsys_tft.configuration.column_settings import ColumnSettings
from recsys_tft.configuration.expectations import expected
from recsys_tft.configuration.job_settings import (
    CooccurrenceSettings,
    CounterSettings,
    HistorySettings,
    IdSettings,
    LabelSettings,
    OutputSettings,
    PopularitySettings,
    PositiveRatesSettings,
    RecentSettings,
    SplitSettings,
    VocabularySettings,
)
from recsys_tft.configuration.model_settings import RankerSettings, TwoTowerSettings
from recsys_tft.configuration.monitoring_settings import DriftSettings, StatisticsSettings
from recsys_tft.configuration.recommender_settings import RecommenderSettings
from recsys_tft.configuration.setting_types import Duration, Section, Word
from recsys_tft.configuration.yaml_text import OtherBase
from recsys_tft.errors import FindingsError, InputError, did_you_mean, findings, redacted
from recsys_tft.features import FeatureTable
from recsys_tft.storage import places
from recsys_tft.titles.encoder_spec import Pair as EncoderPair
from recsys_tft.titles.encoder_spec import parse as parse_encoder

_LONGEST_SHOWN = 60  # characters of a value


def _beam_value(value: Any) -> Any:
    values = value if isinstance(value, list) and value else [value]
    if not all(isinstance(one, bool | int | float | str) for one in values):
        raise ValueError(f"must be a word, a number, true or false, or a list of words, not {_shown(value)}")
    return [str(one) for one in value] if isinstance(value, list) else value


BeamValue = Annotated[Any, pydantic.AfterValidator(_beam_value)]
TextEncoder = Annotated[str | EncoderPair, pydantic.BeforeValidator(lambda value: parse_encoder(value, ""))]


def _table_of(info: pydantic.ValidationInfo) -> FeatureTable | None:
    """The feature table of the settings being checked; None if it is wrong itself."""
    return feature_tables.load(info.data["features"]) if "features" in info.data else None


_OVERRIDES: dict[str, Callable[[dict[str, Any], FeatureTable], dict[str, Any]]] = {
    "embeddings": row_overrides.widths,
    "buckets": row_overrides.boundaries,
    "vocabularies": row_overrides.vocabularies,
}


class Settings(Section):
    """All settings of a run; `recsys-tft config` prints each with its default."""

    features: Word | None = None
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**63)] = 0
    columns: dict[str, dict[str, str | ColumnSettings]] = pydantic.Field(default_factory=dict)
    ids: IdSettings = IdSettings()
    max_rejected_fraction: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.05
    late: Duration = "0s"
    retire_after: Duration | None = None
    embeddings: row_overrides.Widths = pydantic.Field(default_factory=dict, validate_default=True)
    buckets: row_overrides.Boundaries = pydantic.Field(default_factory=dict, validate_default=True)
    popularity: PopularitySettings = PopularitySettings()
    vocabularies: row_overrides.Vocabularies = pydantic.Field(default_factory=dict)
    title_encoder: Annotated[str | EncoderPair, pydantic.BeforeValidator(parse_encoder)] = "minilm"
    text_encoders: dict[str, TextEncoder] = pydantic.Field(default_factory=dict)
    title_precision: Literal["float32", "bfloat16"] = "float32"
    encoder_cache: Word | None = None
    labels: LabelSettings = LabelSettings()
    counters: CounterSettings = CounterSettings()
    history: HistorySettings = HistorySettings()
    recent: RecentSettings = RecentSettings()
    positive_rates: PositiveRatesSettings = PositiveRatesSettings()
    cooccurrence: CooccurrenceSettings = CooccurrenceSettings()
    split: SplitSettings = SplitSettings()
    ranker: RankerSettings = RankerSettings()
    two_tower: TwoTowerSettings = TwoTowerSettings()
    output: OutputSettings = OutputSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    drift: DriftSettings = DriftSettings()
    recommender: RecommenderSettings = RecommenderSettings()
    beam: dict[str, BeamValue] = pydantic.Field(default_factory=dict)

    @pydantic.field_serializer("title_encoder", "text_encoders", "encoder_cache", when_used="json")
    @classmethod
    def _without_tokens(cls, value: Any) -> Any:
        """Remove tokens from addresses, so that manifests and models contain no secrets."""
        if isinstance(value, dict):
            return {name: cls._without_tokens(encoder) for name, encoder in value.items()}
        if isinstance(value, EncoderPair):
            return {name: redacted(text) for name, text in dataclasses.asdict(value).items()}
        return redacted(value) if isinstance(value, str) else value

    @pydantic.field_serializer("buckets")
    def _own_boundaries(self, buckets: dict[str, Any], info: pydantic.SerializationInfo) -> dict[str, Any]:
        """Leave out boundaries of rows if only explicit settings are dumped; read again, they would become floats."""
        rows = self.table.boundaries if info.exclude_unset else {}
        return {name: values for name, values in buckets.items() if values is not rows.get(name)}

    @pydantic.field_validator("features")
    @classmethod
    def _known_table(cls, features: str | None, info: pydantic.ValidationInfo) -> str | None:
        """A name by which the module is found from any working folder."""
        if features is None:
            return None
        name = feature_tables.place_of(features, (info.context or {}).get("folder")).name
        table = feature_tables.load(name)
        if info.context is not None:
            info.context["table"] = table  # for sections, which do not see one another
        return name

    @pydantic.field_validator("columns", mode="before")
    @classmethod
    def _known_columns(cls, columns: Any, info: pydantic.ValidationInfo) -> Any:
        table = _table_of(info)
        return columns if table is None else column_settings.check(columns, table)

    @pydantic.field_validator("embeddings", "buckets", "vocabularies")
    @classmethod
    def _known_rows(cls, overrides: dict[str, Any], info: pydantic.ValidationInfo) -> dict[str, Any]:
        table = _table_of(info)
        return overrides if table is None else _OVERRIDES[str(info.field_name)](overrides, table)

    @pydantic.field_validator("text_encoders")
    @classmethod
    def _known_texts(cls, encoders: dict[str, Any], info: pydantic.ValidationInfo) -> dict[str, Any]:
        table = _table_of(info)
        names = [feature.name for feature in table.features if feature.op.embeds_text] if table else [*encoders]
        unknown = [name for name in encoders if name not in names]
        features = table.by_name if table else {}
        FindingsError.check(
            [
                f"names '{name}', which embeds no text; those that do are {', '.join(names) or 'none'}."
                if name in features
                else f"names the unknown feature '{name}'.{did_you_mean(name, names)}"
                for name in unknown
            ]
        )
        return encoders

    @pydantic.field_validator("drift")
    @classmethod
    def _known_drifts(cls, drift: DriftSettings, info: pydantic.ValidationInfo) -> DriftSettings:
        if table := _table_of(info):
            drift.check(table)
        return drift

    @pydantic.field_validator("labels")
    @classmethod
    def _known_rules(cls, labels: LabelSettings, info: pydantic.ValidationInfo) -> LabelSettings:
        if table := _table_of(info):
            labels.check(table)
        return labels

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        FindingsError.check([f"recommender.{text}" for text in self.recommender.wrong_ids(self.ids.kinds)])
        if self.cooccurrence.enabled and not self.history.length:
            raise ValueError("cooccurrence.enabled needs a history: history.length must be above 0")
        if self.retire_after is not None and not durations.microseconds(self.retire_after):
            raise ValueError(f"retire_after must be above 0, such as 90d, not '{self.retire_after}'")
        if self.retire_after is not None and self.split.kind != "time":
            raise ValueError("retire_after needs split.kind: time, as otherwise training has no end")
        return self

    @property
    def table(self) -> FeatureTable:
        """The feature table named by `features`, with the encoders and kinds of ids of these settings.

        Raises:
            InputError: if it no longer exists, or a worker lacks it.
        """
        try:
            table = feature_tables.load(self.features).with_encoders(tuple(self.text_encoders.items()))
            return table.with_ids(self.ids.kinds)
        except FindingsError as error:
            raise findings("the settings", [f"features {text}." for text in error.sentences]) from error

    @property
    def late_microseconds(self) -> int:
        """How much earlier than the end of the state an event may be and still be taken by a refresh."""
        return durations.microseconds(self.late)

    @property
    def default_vocabulary(self) -> VocabularySettings:
        """The settings of vocabularies that have none on their rows or in `vocabularies`."""
        return self.vocabularies.get("default") or VocabularySettings()

    def vocabulary(self, name: str) -> VocabularySettings:
        """The settings of one vocabulary of the table; see `Vocabulary.options`."""
        return {vocabulary.name: vocabulary for vocabulary in self.table.vocabularies}[name].options(self)

    def embedding_width(self, name: str) -> int:
        """The width of an embedding table: of a vocabulary, or of a feature that numbers its categories itself."""
        return self.embeddings.get(f"{name}_dim", self.embeddings[row_overrides.DEFAULT_DIM])

    @property
    def beam_arguments(self) -> tuple[str, ...]:
        """The options of `beam` as on a command line; a list is an option given several times."""
        return tuple(argument for name, value in self.beam.items() for argument in _arguments(name, value))

    def replace(self, changes: dict[str, Any]) -> "Settings":
        """A checked copy with e.g. `{"seed": 1, "ranker": {"negative_sample_ratio": 5}}` changed."""
        return parse(_merge(self.model_dump(exclude_unset=True), changes), "the options")


def _arguments(name: str, value: Any) -> list[str]:
    name = name.replace("-", "_")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    return [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def parse(
    values: Any,
    source: str,
    written: Mapping[tuple[str | int, ...], str] | None = None,
    folder: str | None = None,
) -> Settings:
    """Settings from a mapping of the differences from the defaults.

    Args:
        values: the mapping.
        source: where it is from, for errors.
        written: the original text of values that are not text, by path; taken where a setting is text.
        folder: searched first for the module that `features` names.

    Raises:
        InputError: naming `source`, each key that is wrong, and what would be right.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: expected a mapping of settings, found {type(values).__name__}.")
    written = written or {}
    try:
        context = {} if values.get("features") else {"table": feature_tables.load(None)}
        return Settings.model_validate(values, context={"folder": folder, **context})
    except pydantic.ValidationError as error:
        wrong = error.errors()
    texts = [e["loc"] for e in wrong if e["type"] == "string_type" and e["loc"] in written]
    if texts:
        for path in texts:
            _put(values, path, written[path])
        return parse(values, source, {path: text for path, text in written.items() if path not in texts}, folder)
    raise findings(source, [sentence for error in wrong for sentence in _explain(error, written)])


def from_manifest(manifest: Mapping[str, Any], source: str) -> Settings:
    """The settings of a run or a model, with the feature table that made it.

    Args:
        manifest: of a run, or the description of a model.
        source: its path, for errors.

    Raises:
        InputError: if the feature table is gone or has changed, naming each difference; or as `parse`.
    """
    table_records.check(manifest, source)
    return parse(manifest["settings"], source)


def _put(values: Any, path: tuple[str | int, ...], value: Any) -> None:
    for name in path[:-1]:
        values = values[name]
    values[path[-1]] = value


def _explain(error: Mapping[str, Any], written: Mapping[tuple[str | int, ...], str]) -> list[str]:
    loc = tuple(part for part in error["loc"] if part != "[key]")
    path = ".".join(_shortened(str(part)) for part in loc)
    if error["type"] == "extra_forbidden":
        return [f"unknown setting '{path}'.{did_you_mean(str(loc[-1]), _known_keys(loc[:-1]))}"]
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        cause = error["ctx"]["error"]
        if isinstance(cause, FindingsError) and cause.below:
            path = f"{path}.{cause.below}"
        messages = cause.sentences if isinstance(cause, FindingsError) else [re.sub(rf"^{path}:? ", "", message)]
        return [f"{path} {text}".strip() + ("" if text[-1] in ".?" else ".") for text in messages]
    if isinstance(error["input"], OtherBase):
        return [f"{path} is {error['input']!r}, which YAML reads to another base; write a decimal number."]
    shown = _shortened(written[loc]) if loc in written else _shown(error["input"])
    return [f"{path} is {shown}; expected {expected(error)}."]


def _shown(value: Any) -> str:
    return _shortened(repr(value)) if not isinstance(value, str) else repr(_shortened(value))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    section: Any = Settings
    for name in path:
        is_mapping = get_origin(section) is dict
        section = get_args(section)[1] if is_mapping else section.model_fields[str(name)].annotation
    return list(section.model_fields)


def load(path: str | os.PathLike[str]) -> Settings:
    """Settings from a YAML file, local or on any Beam filesystem.

    Raises:
        InputError: if the file cannot be read, is not YAML, or holds a wrong setting.
    """
    path = os.fspath(path)
    document = config_files.document(path)
    values = {} if document.values is None else document.values
    if isinstance(values, dict) and isinstance(values.get("beam"), dict):
        config_files.as_written(values["beam"], document.written)
    return parse(values, path, document.written, None if places.scheme(path) else str(pathlib.Path(path).parent))


def load_recommender(path: str | os.PathLike[str], kinds: Mapping[str, IdKind]) -> RecommenderSettings:
    """The section `recommender` of a YAML file, without loading the feature table that the file may name.

    Args:
        path: of the file.
        kinds: of the ids of videos and channels, by key.

    Raises:
        InputError: as `load`, for this section and unknown sections.
    """
    path = os.fspath(path)
    document = config_files.document(path)
    values = {} if document.values is None else document.values
    if isinstance(values, dict):
        others = Settings.model_fields.keys() - {"recommender"}
        values = {name: value for name, value in values.items() if name not in others}
    recommender = parse(values, path, document.written).recommender
    if wrong := recommender.wrong_ids(kinds):
        raise findings(path, [f"recommender.{text}." for text in wrong])
    return recommender


def parse_recommender(values: Mapping[str, Any], source: str) -> RecommenderSettings:
    """The section `recommender` of a run's settings, without loading its feature table.

    Raises:
        InputError: as `parse`.
    """
    return parse({"recommender": values.get("recommender", {})}, source).recommender


def parse_ids(values: Mapping[str, Any], source: str) -> IdSettings:
    """The section `ids` of a run's settings, without loading its feature table.

    Raises:
        InputError: as `parse`.
    """
    return parse({"ids": values.get("ids", {})}, source).ids
