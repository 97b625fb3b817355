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

from recsys_tft.columns import BOOL, TABLES, TAKEN, TYPES, UPDATED, Accuracy, Column
from recsys_tft.errors import did_you_mean, findings
from recsys_tft.ops import Op
from recsys_tft.signals import Signal
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
        """Whether its option is enabled, without which the graph does not even ask for its sources."""
        return self.option is None or getattr(settings, self.option).enabled

    def is_active(self, settings: "Settings") -> bool:
        """Whether the settings ask for it."""
        return self.is_on(settings) and self.op.is_active(settings)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary whose tokens it holds."""
        return self.op.vocabulary

    @property
    def is_categorical(self) -> bool:
        """Whether it numbers categories, as CatBoost's native categorical features do."""
        return self.op.is_categorical

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
        problems = _strangers(self) or [*_wrong_columns(self), *_wrong_signals(self), *_wrong_features(self)]
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

    @functools.cached_property
    def context(self) -> tuple[Column, ...]:
        """The columns of interactions that arrive at the exposure and that the job itself does not read."""
        flags = {signal.flag for signal in self.signals}
        return tuple(c for c in self.columns_of("interactions").values() if not c.built_in and c.name not in flags)

    @functools.cached_property
    def flags(self) -> Mapping[str, str]:
        """The signals by the boolean columns that stand for them."""
        return {signal.flag: signal.name for signal in self.signals if signal.flag}


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of what stands in a graph and in names of files
_SIGNALS = 64  # that an event has bits for


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
        if column.name in TAKEN:
            yield f"the column '{column.name}' has a name that rows or options have already; call it otherwise."
        if column.table not in TABLES:
            hint = did_you_mean(column.table, TABLES)
            yield f"the column '{column.name}' is of the unknown table '{column.table}'.{hint}"
        if column.type not in TYPES:
            known = ", ".join(map(str, TYPES))
            yield f"the column '{column.name}' is of the type {column.type}; expected one of {known}."
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
    if len(table.signals) > _SIGNALS:
        yield f"there are {len(table.signals)} signals; an event holds {_SIGNALS} at most."


def _wrong_features(table: FeatureTable) -> Iterator[str]:
    yield from _twice("the feature", (feature.name for feature in table.features))
    for feature in table.features:
        yield from _unusable("the feature", feature.name)
        if feature.name in table.raw:
            yield f"the feature '{feature.name}' has the name of a raw column; call it by what becomes of that."
        elif feature.name in ROW_COLUMNS:
            yield f"the feature '{feature.name}' has the name of a column that each row has; call it otherwise."
        if not isinstance(feature.op, Op):
            yield f"the feature '{feature.name}' has {feature.op!r} as its op, which is no instance of an Op."
        elif not feature.sources:
            yield f"the feature '{feature.name}' reads no column."
        else:
            yield from _wrong_sources(feature, table)


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


_READ = {QUERY: (Entity.USER, Entity.EXPOSURE), CANDIDATE: (Entity.VIDEO,)}  # by towers; the ranker reads all
