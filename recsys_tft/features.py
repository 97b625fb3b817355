"""Feature tables: each engineered feature is one row, and everything else is a view of these rows.

`default_table.DEFAULT` is ours; a user's table extends it, and the settings name it: docs/your-own-features.md.
"""

import dataclasses
import enum
import functools
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from recsys_tft.columns import AT_EXPOSURE, BOOL, STRING, TABLES, TYPES, UPDATED, Accuracy, Column
from recsys_tft.errors import did_you_mean, findings
from recsys_tft.ops import Op
from recsys_tft.signals import MOST, Signal, SignalBits
from recsys_tft.vocabularies import Vocabulary

if TYPE_CHECKING:
    from recsys_tft.configuration.settings import Settings


class Use(enum.Enum):
    """Who reads a feature."""

    QUERY = "query tower"
    CANDIDATE = "candidate tower"
    RANKER = "ranker"


class Entity(enum.Enum):
    """What a feature is a property of: each entity is transformed once, and rows are joined from the results."""

    USER = "user"
    VIDEO = "video"
    EXPOSURE = "exposure"
    PAIR = "pair"  # of a user in context and a video: what an op that `joins` makes of both


QUERY, CANDIDATE, RANKER = Use.QUERY, Use.CANDIDATE, Use.RANKER
# What rows have besides features: keys, times and labels.
ROW_COLUMNS = ("user_id", "video_id", "interaction_time", "candidate_row", "label", "weight", "source", "log_q")


def entity_of(column: Column) -> Entity:
    """The entity whose rows carry a column; what is computed as of an exposure belongs to the exposure."""
    if column.accuracy is Accuracy.AS_OF or column.table == "interactions":
        return Entity.EXPOSURE
    return Entity.USER if column.table == "users" else Entity.VIDEO


@dataclasses.dataclass(frozen=True)
class Feature:
    """One row of a feature table.

    Attributes:
        name: `<column>_<what it is now>`.
        sources: the raw columns that it reads, in the order that the op wants; one may stand by itself.
        op: what becomes of them.
        used_by: who reads it; one may stand by itself.
        option: the section of the settings that has to be enabled for it; None: it is always there.
        columns: the sources, as the table that holds the feature knows them.
    """

    name: str
    sources: tuple[str, ...]
    op: Op
    used_by: tuple[Use, ...]
    option: str | None = None
    columns: tuple[Column, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for field in ("sources", "used_by"):
            value = getattr(self, field)
            object.__setattr__(self, field, (value,) if isinstance(value, str | Use) else tuple(value))

    @property
    def entity(self) -> Entity:
        return Entity.PAIR if self.op.joins else entity_of(self.columns[0])

    def is_on(self, settings: "Settings") -> bool:
        """Whether its option and those of its sources are enabled; else the graph does not even ask for these."""
        options = {self.option, *(column.option for column in self.columns)} - {None}
        return all(getattr(settings, option).enabled for option in options)

    def is_active(self, settings: "Settings") -> bool:
        """Whether the settings ask for it."""
        return self.is_on(settings) and self.op.is_active(settings)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary whose tokens it holds."""
        return self.op.vocabulary

    @property
    def fitted_name(self) -> str:
        """What its statistic's result is called: as its vocabulary, which others may share, else as itself."""
        return self.vocabulary.name if self.vocabulary else self.name

    @property
    def embedding_table(self) -> str | None:
        """The embedding table of a categorical feature: its vocabulary's, which others may share, or its own."""
        return self.fitted_name if self.is_categorical else None

    @property
    def is_categorical(self) -> bool:
        """Whether it numbers categories, as CatBoost's native categorical features do."""
        return self.op.is_categorical

    @property
    def is_stored_once(self) -> bool:
        """Whether joined rows may point to it, in the row of their video, rather than hold it."""
        return self.op.is_large and self.entity is Entity.VIDEO

    @property
    def accuracy(self) -> Accuracy:
        """As of when it is known: the least certain of its sources."""
        found = {column.accuracy for column in self.columns}
        order = (Accuracy.SNAPSHOT, Accuracy.COUNTED, Accuracy.VERSIONED, Accuracy.AS_OF, Accuracy.STATIC)
        return next(accuracy for accuracy in order if accuracy in found)

    @property
    def is_counted(self) -> bool:
        """Whether it changes with the counters of a video, so that the video's versions have it."""
        return any(column.accuracy is Accuracy.COUNTED for column in self.columns)

    @property
    def is_versioned(self) -> bool:
        """Whether it is of a moment, so that the versions of a video alone have it."""
        return any(column.accuracy is Accuracy.VERSIONED for column in self.columns)


def raw_columns(features: Iterable[Feature]) -> tuple[Column, ...]:
    """The raw columns that features of a table read, each once, in their order."""
    found: dict[str, Column] = {}
    for feature in features:
        for column in feature.columns:
            found.setdefault(column.name, column)
    return tuple(found.values())


def context_columns(settings: "Settings") -> tuple[Column, ...]:
    """The context columns that any feature reads whose option is enabled, in the order of the table."""
    read = {column.name for column in raw_columns(settings.table.switched_on(settings))}
    return tuple(column for column in settings.table.context if column.name in read)


def flag_columns(signals: Iterable[Signal]) -> tuple[Column, ...]:
    """The boolean columns of interactions that stand for signals."""
    return tuple(Column(signal.flag, "interactions", BOOL) for signal in signals if signal.flag)


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """All raw columns, signals and features that a run knows.

    Attributes:
        columns: of all four tables, and what the job computes.
        signals: the kinds of interactions, in the order of their bits.
        features: bound to their columns.

    Raises:
        InputError: with all that is wrong: names that occur twice, unknown sources, sources of several entities
            without an op that joins them, features that their readers cannot take.
    """

    columns: tuple[Column, ...]
    signals: tuple[Signal, ...]
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        checks = (_wrong_columns, _wrong_signals, _wrong_features)
        problems = _strangers(self) or [problem for check in checks for problem in check(self)]
        problems = problems or [*_shared_names(self)]
        if problems:
            raise findings("the feature table", problems)
        bound = (dataclasses.replace(f, columns=tuple(self.raw[name] for name in f.sources)) for f in self.features)
        object.__setattr__(self, "features", tuple(bound))

    def extend(
        self,
        columns: Sequence[Column] = (),
        signals: Sequence[Signal | str] = (),
        features: Sequence[Feature] = (),
        without: Sequence[str] = (),
    ) -> "FeatureTable":
        """This table with more columns, signals and features, and without some features.

        Args:
            columns: raw columns that tables have besides.
            signals: kinds of interactions besides; a name alone is `Signal(name)`.
            features: rows besides.
            without: names of features that are left out; one of the same name may be among `features`.

        Raises:
            InputError: with all that is wrong.

        Example:
            >>> from recsys_tft.default_table import DEFAULT
            >>> table = DEFAULT.extend(signals=["follow"], without=["popularity_onehot"])
            >>> table.signals[-1].flag
            'follow'
        """
        unknown = [
            f"`without` names the unknown feature '{name}'.{did_you_mean(name, self.by_name)}"
            for name in without
            if name not in self.by_name
        ]
        if unknown:
            raise findings("the feature table", unknown)
        more = tuple(Signal(signal) if isinstance(signal, str) else signal for signal in signals)
        kept = tuple(feature for feature in self.features if feature.name not in without)
        return FeatureTable((*self.columns, *columns, *flag_columns(more)), (*self.signals, *more), (*kept, *features))

    @functools.cached_property
    def raw(self) -> Mapping[str, Column]:
        """Raw columns by name. Keys appear in several tables; their first row is the entity's own.

        UPDATED says which row of an entity holds, and is a property of none.
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
        """The width of each embedding table by its name, as the rows say; None where they do not."""
        found: dict[str, int | None] = {}
        for feature in self.features:
            if feature.embedding_table:
                found[feature.embedding_table] = (feature.vocabulary or feature.op).dim
        return found

    @functools.cached_property
    def boundaries(self) -> Mapping[str, tuple[float, ...]]:
        """The boundaries that rows say, by their names below `buckets` of the settings."""
        found: dict[str, tuple[float, ...]] = {}
        for feature in self.features:
            for name, values in feature.op.boundaries_by_name().items():
                found[name] = found.get(name) or values
        return found

    def columns_of(self, table: str) -> dict[str, Column]:
        """The columns that one of the TABLES may have, by name."""
        return {column.name: column for column in self.columns if column.table == table and not column.computed}

    def select(self, *uses: Use, entity: Entity | None = None) -> tuple[Feature, ...]:
        """The rows that any of `uses` reads (all rows without one), of one entity if it is named."""
        return tuple(
            feature
            for feature in self.features
            if (not uses or set(uses) & set(feature.used_by)) and entity in (None, feature.entity)
        )

    def switched_on(self, settings: "Settings") -> tuple[Feature, ...]:
        """The rows whose options are enabled."""
        return tuple(feature for feature in self.features if feature.is_on(settings))

    def with_encoders(self, encoders: tuple[tuple[str, Hashable], ...]) -> "FeatureTable":
        """This table with other encoders of texts by the names of features, as the setting `text_encoders` has them."""
        if not encoders:
            return self
        if encoders not in self._encoded:
            ops = {name: dataclasses.replace(self.by_name[name].op, encoder=encoder) for name, encoder in encoders}
            features = (dataclasses.replace(f, op=ops.get(f.name, f.op)) for f in self.features)
            self._encoded[encoders] = dataclasses.replace(self, features=tuple(features))
        return self._encoded[encoders]

    @functools.cached_property
    def _encoded(self) -> dict[Hashable, "FeatureTable"]:
        return {}

    @functools.cached_property
    def context(self) -> tuple[Column, ...]:
        """The columns of interactions that arrive at the exposure and that the job itself does not read."""
        own = self.columns_of("interactions").values()
        return tuple(column for column in own if not column.built_in and column.name not in self.flags)

    @property
    def flags(self) -> Mapping[str, str]:
        """The signals by the boolean columns that stand for them."""
        return self.bits.flags

    @functools.cached_property
    def bits(self) -> SignalBits:
        """The signals as bits of an event."""
        return SignalBits(self.signals)


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of what stands in a graph and in names of files


def _twice(what: str, names: Iterable[Hashable]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} '{name}' is there {count} times; names have to differ."


def _unusable(what: str, name: object) -> Iterator[str]:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        yield f"{what} {name!r} is no usable name; take letters, digits and underscores, a letter first."


def _strangers(table: FeatureTable) -> list[str]:
    """What is none of the kinds that a table is made of."""
    kinds = {"columns": Column, "signals": Signal, "features": Feature}
    return [
        f"{field} holds {one!r}, which is no {kind.__name__}."
        for field, kind in kinds.items()
        for one in getattr(table, field)
        if not isinstance(one, kind)
    ]


def _wrong_columns(table: FeatureTable) -> Iterator[str]:
    yield from _twice("the column", (f"{column.table}.{column.name}" for column in table.columns))
    tables: dict[str, set[str]] = {}
    for column in table.columns:
        tables.setdefault(column.name, set()).add(column.table)
        yield from _unusable("the column", column.name)
        if column.table not in TABLES:
            hint = did_you_mean(column.table, TABLES)
            yield f"the column '{column.name}' is of the unknown table '{column.table}'.{hint}"
        if column.type not in TYPES:
            known = ", ".join(map(str, TYPES))
            yield f"the column '{column.name}' is of the type {column.type}; expected one of {known}."
        if column.at_exposure not in AT_EXPOSURE:
            hint = did_you_mean(column.at_exposure, AT_EXPOSURE)
            known = " or ".join(AT_EXPOSURE)
            yield f"the column '{column.name}' has at_exposure '{column.at_exposure}', not {known}.{hint}"
    for column in table.columns:
        if len(tables[column.name]) > 1 and not column.built_in:
            yield (
                f"the column '{column.name}' of {column.table} has the name of a column of another table, from which "
                "a feature could not tell it; call it otherwise."
            )


def _wrong_signals(table: FeatureTable) -> Iterator[str]:
    yield from _twice("the signal", (signal.name for signal in table.signals))
    for signal in table.signals:
        yield from _unusable("the signal", signal.name)
    if len(table.signals) > MOST:
        yield f"there are {len(table.signals)} signals; an event holds {MOST} at most."


def _wrong_features(table: FeatureTable) -> Iterator[str]:
    yield from _twice("the feature", (feature.name for feature in table.features))
    for feature in table.features:
        yield from _unusable("the feature", feature.name)
        if feature.name in ROW_COLUMNS:
            yield f"the feature '{feature.name}' has the name of a column that each row has; call it otherwise."
        if not isinstance(feature.op, Op):
            yield f"the feature '{feature.name}' has {feature.op!r} as its op, which is no instance of an Op."
        elif not feature.sources:
            yield f"the feature '{feature.name}' reads no column."
        else:
            yield from _wrong_sources(feature, table)
            yield from _wrong_texts(feature, table) if feature.op.embeds_text else ()


def _wrong_sources(feature: Feature, table: FeatureTable) -> Iterator[str]:
    unknown = [source for source in feature.sources if source not in table.raw]
    for source in unknown:
        yield f"the feature '{feature.name}' reads the unknown column '{source}'.{did_you_mean(source, table.raw)}"
    if unknown:
        return
    entities = {entity_of(table.raw[source]) for source in feature.sources}
    if len(entities) > 1 and not feature.op.joins:
        of = " and ".join(sorted(f"{entity.value}s" for entity in entities))
        yield (
            f"the feature '{feature.name}' reads columns of {of}, which its op {type(feature.op).__name__} does not "
            "join; an op that joins them says so with `joins = True`."
        )
    elif not feature.used_by:
        yield f"the feature '{feature.name}' is used by nobody; name QUERY, CANDIDATE or RANKER."
    else:
        entity = Entity.PAIR if feature.op.joins else entities.pop()
        yield from (
            f"the feature '{feature.name}' is of {entity.value}s, so the {use.value} cannot read it; it reads features "
            f"of {' and '.join(f'{one.value}s' for one in _READ[use])}."
            for use in feature.used_by
            if use in _READ and entity not in _READ[use]
        )


def _wrong_texts(feature: Feature, table: FeatureTable) -> Iterator[str]:
    kinds = {source: table.raw[source].type for source in feature.sources if source in table.raw}
    if len(feature.sources) != 1 or any(kind != STRING for kind in kinds.values()):
        found = ", ".join(f"{source} ({kinds.get(source)})" for source in feature.sources)
        yield f"the feature '{feature.name}' embeds a text: it reads one column of type string, not {found}."


_READ = {QUERY: (Entity.USER, Entity.EXPOSURE), CANDIDATE: (Entity.VIDEO,)}  # by towers; the ranker reads all


def _shared_names(table: FeatureTable) -> Iterator[str]:
    """Names that rows share, of vocabularies and of boundaries, although they do not mean the same."""
    vocabularies: dict[str, set[Vocabulary]] = {}
    boundaries: dict[str, set[tuple[float, ...]]] = {}
    others = {feature.name for feature in table.features if not feature.vocabulary}
    for feature in table.features:
        if feature.vocabulary:
            vocabularies.setdefault(feature.vocabulary.name, set()).add(feature.vocabulary)
        for name, values in feature.op.boundaries_by_name().items():
            boundaries.setdefault(name, set()).update([values] if values else [])
    for name, own in vocabularies.items():
        if len(own) > 1:
            yield f"the vocabulary '{name}' is there with different options: {' and '.join(sorted(map(str, own)))}."
        if name in others:
            yield f"the vocabulary '{name}' has the name of a feature that does not look up in it; call it otherwise."
    for name, values in boundaries.items():
        if len(values) > 1:
            yield f"the boundaries '{name}' differ: {' and '.join(str(list(one)) for one in sorted(values))}."
