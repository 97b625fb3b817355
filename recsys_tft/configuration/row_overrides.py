"""The settings that override those of rows of the feature table by name: widths, boundaries and vocabularies.

Once checked, each is completed by the values of the rows, so that a manifest and a model's description contain every
value that they were made with.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import pydantic

from recsys_tft.configuration.job_settings import VocabularySettings
from recsys_tft.configuration.setting_types import Increasing, Width
from recsys_tft.errors import FindingsError, did_you_mean
from recsys_tft.features import FeatureTable

DEFAULT_DIM = "default_dim"
_SUFFIX = "_dim"
_WIDTH = 16  # of an embedding table without a width on its row or in the config


def _no_booleans(values: Any) -> Any:
    wrong = {name: value for name, value in values.items() if isinstance(value, bool)} if _is_mapping(values) else {}
    FindingsError.check([f"has {value} for '{name}'; expected a number" for name, value in wrong.items()])
    return values


def _is_mapping(values: Any) -> bool:
    return isinstance(values, Mapping)


Widths = Annotated[dict[str, Width], pydantic.BeforeValidator(_no_booleans)]
Boundaries = dict[str, Increasing]
Vocabularies = dict[str, VocabularySettings]


def widths(overrides: Mapping[str, int], table: FeatureTable) -> dict[str, int]:
    """The widths of embedding tables as `NAME_dim`, `default_dim` among them.

    Raises:
        FindingsError: naming each that belongs to no embedding table.
    """
    rows = {f"{name}{_SUFFIX}": dim for name, dim in table.embedding_tables.items()}
    FindingsError.check(list(_wrong_widths(overrides, table, [*rows, DEFAULT_DIM])))
    return {name: dim for name, dim in rows.items() if dim is not None} | {DEFAULT_DIM: _WIDTH} | dict(overrides)


def _wrong_widths(overrides: Iterable[str], table: FeatureTable, names: list[str]) -> Iterable[str]:
    for key in overrides:
        name = key.removesuffix(_SUFFIX)
        if key in names:
            continue
        if key.endswith(_SUFFIX) and name in table.by_name:
            owner = table.by_name[name].embedding_table
            reason = f"its table is '{owner}'" if owner else "it is no category"
            yield f"has '{key}', but the feature '{name}' has no embedding table of its own: {reason}"
        else:
            yield f"has the unknown width '{key}'.{did_you_mean(key, names)}"


def boundaries(overrides: Mapping[str, tuple[float, ...]], table: FeatureTable) -> dict[str, tuple[float, ...]]:
    """The boundaries of all buckets by name.

    Raises:
        FindingsError: naming each that no row reads, and each row without any.
    """
    rows = table.boundaries
    problems = [f"has the unknown name '{name}'.{did_you_mean(name, rows)}" for name in overrides if name not in rows]
    problems += [
        f"lacks the boundaries of '{name}', which its row does not say either"
        for name, values in rows.items()
        if not values and name not in overrides
    ]
    FindingsError.check(problems)
    return {**rows, **overrides}


def vocabularies(overrides: Mapping[str, VocabularySettings], table: FeatureTable) -> dict[str, VocabularySettings]:
    """Vocabulary settings of the config by name, completed by those of the vocabularies' rows.

    Raises:
        FindingsError: naming each that the table does not have.
    """
    rows = {vocabulary.name: vocabulary.own_options for vocabulary in table.vocabularies}
    names = ["default", *rows]
    FindingsError.check(
        [f"has the unknown vocabulary '{name}'.{did_you_mean(name, names)}" for name in overrides if name not in names]
    )
    return {name: _completed(options, rows.get(name, {})) for name, options in overrides.items()}


def _completed(options: VocabularySettings, row: Mapping[str, int]) -> VocabularySettings:
    unsaid = {name: value for name, value in row.items() if name not in options.model_fields_set}
    return options.model_copy(update=unsaid)
