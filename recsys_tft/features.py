"""Feature tables: each engineered feature is one row, and everything else is a view of these rows.

`default_table.DEFAULT` is the default; a user's table extends it, and the settings name it: docs/your-own-features.md.
"""

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys_tft.columns import BOOL, UPDATED, Column, IdKind
from recsys_tft.errors import did_you_mean, findings
from recsys_tft.feature import CANDIDATE, QUERY, RANKER, Entity, Feature, Use, entity_of, raw_columns
from recsys_tft.feature_checks import problems
from recsys_tft.ops import replaced
from recsys_tft.signals import Signal, SignalBits
from recsys_tft.vocabularies import Vocabulary

if TYPE_CHECKING:
    from recsys_tft.configuration.settings import Settings

__all__ = [
    "CANDIDATE",
    "QUERY",
    "RANKER",
    "Entity",
    "Feature",
    "FeatureTable",
    "Use",
    "context_columns",
    "entity_of",
    "flag_columns",
    "raw_columns",
]


def context_columns(settings: "Settings") -> tuple[Column, ...]:
    """The context columns of features with enabled options, in the order of the table."""
    return _context_columns(_Itself(settings))


class _Itself:
    """Settings hashed by identity, as comparing them takes longer than the cached computation."""

    def __init__(self, settings: "Settings"):
        self.settings = settings

    def __hash__(self) -> int:
        return id(self.settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.settings is other.settings


@functools.lru_cache(maxsize=16)
def _context_columns(key: _Itself) -> tuple[Column, ...]:
    table = key.settings.table
    read = {column.name for column in raw_columns(table.switched_on(key.settings))}
    return tuple(column for column in table.context if column.name in read)


def flag_columns(signals: Iterable[Signal]) -> tuple[Column, ...]:
    """The boolean columns of interactions for signals."""
    return tuple(Column(signal.flag, "interactions", BOOL) for signal in signals if signal.flag)


def _as_tuple(values: Any) -> tuple[Any, ...]:
    """Turn one value, or several, into a tuple."""
    return (values,) if isinstance(values, str | Column | Signal | Feature) else tuple(values)


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """The table of all raw columns, signals and features of a run.

    Attributes:
        columns: of all four tables, and those that the job computes.
        signals: the kinds of interactions, in the order of their bits.
        features: bound to their columns.

    Raises:
        InputError: with all errors: duplicate names, unknown sources, sources of several entities without an op that
            joins them, features that their readers cannot read.
    """

    columns: tuple[Column, ...]
    signals: tuple[Signal, ...]
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        if wrong := problems(self):
            raise findings("the feature table", wrong)
        bound = (dataclasses.replace(f, columns=tuple(self.raw[name] for name in f.sources)) for f in self.features)
        object.__setattr__(self, "features", tuple(bound))

    def extend(
        self,
        columns: Sequence[Column] | Column = (),
        signals: Sequence[Signal | str] | Signal | str = (),
        features: Sequence[Feature] | Feature = (),
        without: Sequence[str] | str = (),
    ) -> "FeatureTable":
        """Add columns, signals and features, and drop some features; returns a new table.

        A single one need not be in a list.

        Args:
            columns: additional raw columns.
            signals: additional kinds of interactions; a name alone is `Signal(name)`.
            features: additional rows.
            without: names of features to drop; `features` may contain a new one of that name.

        Raises:
            InputError: with all errors.

        Examples:
            >>> from recsys_tft.default_table import DEFAULT
            >>> table = DEFAULT.extend(signals=["follow"], without=["popularity_onehot"])
            >>> table.signals[-1].flag
            'follow'
        """
        without = _as_tuple(without)
        unknown = [
            f"`without` names the unknown feature '{name}'.{did_you_mean(name, self.by_name)}"
            for name in without
            if name not in self.by_name
        ]
        if unknown:
            raise findings("the feature table", unknown)
        more = tuple(Signal(signal) if isinstance(signal, str) else signal for signal in _as_tuple(signals))
        kept = tuple(feature for feature in self.features if feature.name not in without)
        columns = (*self.columns, *_as_tuple(columns), *flag_columns(more))
        return FeatureTable(columns, (*self.signals, *more), (*kept, *_as_tuple(features)))

    @functools.cached_property
    def raw(self) -> Mapping[str, Column]:
        """Raw columns by name. Keys appear in several tables; their first row is the entity's own.

        UPDATED is left out, as it is not a property of an entity.
        """
        return {column.name: column for column in reversed(self.columns) if column.name != UPDATED}

    @functools.cached_property
    def by_name(self) -> Mapping[str, Feature]:
        """The features by name."""
        return {feature.name: feature for feature in self.features}

    @functools.cached_property
    def vocabularies(self) -> tuple[Vocabulary, ...]:
        """Each vocabulary once, in the order of the features."""
        return tuple(dict.fromkeys(feature.vocabulary for feature in self.features if feature.vocabulary))

    @functools.cached_property
    def embedding_tables(self) -> Mapping[str, int | None]:
        """The width of each embedding table by name, from the rows; None without one."""
        widths: dict[str, int | None] = {}
        for feature in self.features:
            if feature.embedding_table:
                widths[feature.embedding_table] = (feature.vocabulary or feature.op).dim
        return widths

    @functools.cached_property
    def boundaries(self) -> Mapping[str, tuple[float, ...]]:
        """The boundaries on rows, by their names below `buckets` of the settings."""
        values_by_name: dict[str, tuple[float, ...]] = {}
        for feature in self.features:
            for name, values in feature.op.boundaries_by_name().items():
                values_by_name[name] = values_by_name.get(name) or values
        return values_by_name

    def columns_of(self, table: str) -> dict[str, Column]:
        """The columns of one of the TABLES, by name."""
        return {column.name: column for column in self.columns if column.table == table and not column.computed}

    def select(self, *uses: Use, entity: Entity | None = None) -> tuple[Feature, ...]:
        """The rows that any of `uses` reads (without one all rows), optionally of one entity."""
        return tuple(
            feature
            for feature in self.features
            if (not uses or set(uses) & set(feature.used_by)) and entity in (None, feature.entity)
        )

    def switched_on(self, settings: "Settings") -> tuple[Feature, ...]:
        """The rows with enabled options."""
        return tuple(feature for feature in self.features if feature.is_on(settings))

    def active(self, settings: "Settings") -> tuple[Feature, ...]:
        """The active rows: those switched on whose op has something to do."""
        return tuple(feature for feature in self.features if feature.is_active(settings))

    def with_encoders(self, encoders: tuple[tuple[str, Hashable], ...]) -> "FeatureTable":
        """This table with other text encoders by feature, as in the setting `text_encoders`."""
        if not encoders:
            return self
        if encoders not in self._encoded:
            ops = {name: replaced(self.by_name[name].op, encoder=encoder) for name, encoder in encoders}
            features = (dataclasses.replace(f, op=ops.get(f.name, f.op)) for f in self.features)
            self._encoded[encoders] = dataclasses.replace(self, features=tuple(features))
        return self._encoded[encoders]

    def with_ids(self, kinds: Mapping[str, IdKind]) -> "FeatureTable":
        """This table for ids of these kinds, by key: with their columns and vocabularies.

        Raises:
            InputError: if a feature cannot read ids of these kinds.
        """
        chosen = tuple(sorted(kinds.items()))
        if all(column.kind is kinds.get(column.key, column.kind) for column in self.columns if column.key):
            return self
        if chosen not in self._of_kinds:
            columns = (
                column.of_kind(kinds.get(column.key, column.kind)) if column.key else column for column in self.columns
            )
            features = (_with_id_kinds(feature, kinds) for feature in self.features)
            self._of_kinds[chosen] = FeatureTable(tuple(columns), self.signals, tuple(features))
        return self._of_kinds[chosen]

    @functools.cached_property
    def _of_kinds(self) -> dict[Hashable, "FeatureTable"]:
        return {}

    @functools.cached_property
    def _encoded(self) -> dict[Hashable, "FeatureTable"]:
        return {}

    @functools.cached_property
    def context(self) -> tuple[Column, ...]:
        """The columns of interactions that are read by features, but not by the job itself."""
        columns = self.columns_of("interactions").values()
        return tuple(column for column in columns if not column.built_in and column.name not in self.flags)

    @property
    def flags(self) -> Mapping[str, str]:
        """The signals by the boolean columns that stand for them."""
        return self.bits.flags

    @functools.cached_property
    def bits(self) -> SignalBits:
        """The signals as bits of an event."""
        return SignalBits(self.signals)


def _with_id_kinds(feature: Feature, kinds: Mapping[str, IdKind]) -> Feature:
    """The feature with a vocabulary for the kind of its ids; other features unchanged."""
    are_text = [kinds[column.key].is_text for column in feature.columns if column.key and column.key in kinds]
    fields: tuple[dataclasses.Field[Any], ...] = (
        dataclasses.fields(feature.op) if dataclasses.is_dataclass(feature.op) else ()
    )
    if not are_text or not feature.vocabulary or "vocabulary" not in {field.name for field in fields if field.init}:
        return feature  # which says by itself what it cannot read
    vocabulary = dataclasses.replace(feature.vocabulary, integers=not are_text[0], ids=are_text[0])
    return dataclasses.replace(feature, op=replaced(feature.op, vocabulary=vocabulary))
