"""Checks of a feature table, which return all errors as sentences."""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from recsys_tft.columns import AT_EXPOSURE, FLOAT, INT64, STRING, STRINGS, TABLES, TAKEN, TYPES, Column
from recsys_tft.errors import did_you_mean
from recsys_tft.feature import CANDIDATE, QUERY, Entity, Feature, Use, entity_of
from recsys_tft.ops import Op
from recsys_tft.signals import MOST, Signal
from recsys_tft.vocabularies import Vocabulary

if TYPE_CHECKING:
    from recsys_tft.features import FeatureTable

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of columns and features, as they name tensors and files


def problems(table: "FeatureTable") -> list[str]:
    """All errors of a table, a sentence each."""
    checks = (_wrong_names, _wrong_columns, _wrong_signals, _wrong_features)
    sentences = _wrong_members(table) or [problem for check in checks for problem in check(table)]
    return sentences or [*_shared_names(table)]


def _twice(what: str, names: Iterable[Hashable]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} '{name}' occurs {count} times; names have to differ."


def _wrong_members(table: "FeatureTable") -> list[str]:
    """Members of a table with a wrong type."""
    kinds = {"columns": Column, "signals": Signal, "features": Feature}
    strangers = [
        f"{field} has {one!r}, which is not a {kind.__name__}."
        for field, kind in kinds.items()
        for one in getattr(table, field)
        if not isinstance(one, kind)
    ]
    return strangers or [
        f"the feature {feature.name!r} is used by {one!r}; expected QUERY, CANDIDATE or RANKER of recsys_tft.features."
        for feature in table.features
        for one in feature.used_by
        if not isinstance(one, Use)
    ]


def _wrong_names(table: "FeatureTable") -> Iterator[str]:
    for signal in table.signals:
        text = signal.name if isinstance(signal.name, str) else ""
        if not text.strip() or not text.isprintable() or "/" in text:
            yield f"the signal {signal.name!r} needs a name without slashes."
    flags = {signal.flag for signal in table.signals}  # which no graph reads
    columns = [column for column in table.columns if column.name not in flags]
    named: dict[str, Sequence[Column | Feature]] = {"column": columns, "feature": table.features}
    for what, rows in named.items():
        for name in dict.fromkeys(row.name for row in rows):
            if not (isinstance(name, str) and _NAME.fullmatch(name)):
                yield f"the {what} {name!r} needs a name of letters, digits and _ that begins with a letter."
            elif name in TAKEN:
                yield f"the {what} '{name}' has a reserved name of rows or options; choose another name."
            elif what == "feature" and name in table.raw:
                yield f"the feature '{name}' has the name of a raw column; add what it is now, such as {name}_bucket."


def _wrong_columns(table: "FeatureTable") -> Iterator[str]:
    yield from _twice("the column", (f"{column.table}.{column.name}" for column in table.columns))
    tables: dict[str, set[str]] = {}
    for column in table.columns:
        tables.setdefault(column.name, set()).add(column.table)
        if column.table not in TABLES:
            hint = did_you_mean(column.table, TABLES)
            yield f"the column '{column.name}' is of the unknown table '{column.table}'.{hint}"
        if not isinstance(column.type, pa.DataType) or column.type not in TYPES:
            expected, kind = ", ".join(map(str, TYPES)), column.type
            kind = kind if isinstance(kind, pa.DataType) else repr(kind)
            yield f"the column '{column.name}' is of the type {kind}; expected one of {expected} of pyarrow."
        elif column.minimum is not None and column.type not in (INT64, FLOAT):
            yield f"the column '{column.name}' has a minimum, but is of the type {column.type}; numbers have one."
        elif column.zero_is_missing and column.type in (STRING, STRINGS):
            yield f"the column '{column.name}' has zero_is_missing, but is of the type {column.type}, which has no 0."
        if column.at_exposure not in AT_EXPOSURE:
            hint = did_you_mean(column.at_exposure, AT_EXPOSURE)
            expected = " or ".join(AT_EXPOSURE)
            yield f"the column '{column.name}' has at_exposure '{column.at_exposure}', not {expected}.{hint}"
    grouping = [c.name for c in table.columns if c.table == "videos" and not (c.is_list and c.key)]
    for column in table.columns:
        if column.of_group and column.of_group.column not in grouping:
            hint = did_you_mean(column.of_group.column, grouping)
            yield (
                f"the column '{column.name}' has groups by '{column.of_group.column}', which is not a column of "
                f"videos, or a list of ids.{hint}"
            )
        if len(tables[column.name]) > 1 and not column.built_in:
            yield (
                f"the column '{column.name}' of {column.table} has the name of a column of another table, from which "
                "a feature could not tell it; choose another name."
            )


def _wrong_signals(table: "FeatureTable") -> Iterator[str]:
    yield from _twice("the signal", (signal.name for signal in table.signals))
    if len(table.signals) > MOST:
        yield f"there are {len(table.signals)} signals; an event holds {MOST} at most."


def _wrong_features(table: "FeatureTable") -> Iterator[str]:
    yield from _twice("the feature", (feature.name for feature in table.features))
    for feature in table.features:
        if not isinstance(feature.op, Op):
            yield f"the feature '{feature.name}' has {feature.op!r} as its op, which is not an Op."
        elif not feature.sources:
            yield f"the feature '{feature.name}' reads no column."
        else:
            yield from _wrong_sources(feature, table)
            yield from _wrong_texts(feature, table) if feature.op.embeds_text else ()


def _wrong_sources(feature: Feature, table: "FeatureTable") -> Iterator[str]:
    unknown = [source for source in feature.sources if source not in table.raw]
    for source in unknown:
        yield f"the feature '{feature.name}' reads the unknown column '{source}'.{did_you_mean(source, table.raw)}"
    if unknown:
        return
    columns = [table.raw[source] for source in feature.sources]
    if reason := feature.op.refuses(columns):
        yield f"the feature '{feature.name}' has an op {type(feature.op).__name__}, which {reason}{_as_text(columns)}."
    entities = set(map(entity_of, columns))
    if len(entities) > 1 and not (feature.op.joins or Entity.PAIR in entities):
        kinds = " and ".join(sorted(f"{entity.value}s" for entity in entities))
        yield (
            f"the feature '{feature.name}' reads columns of {kinds}, which its op {type(feature.op).__name__} does not "
            "join; an op that joins them declares `joins = True`."
        )
    else:
        entity = Entity.PAIR if feature.op.joins or Entity.PAIR in entities else entities.pop()
        yield from (
            f"the feature '{feature.name}' is of {entity.value}s, so the {use.value} cannot read it; it reads features "
            f"of {' and '.join(f'{one.value}s' for one in _READ[use])}."
            for use in feature.used_by
            if use in _READ and entity not in _READ[use]
        )


def _as_text(columns: Iterable[Column]) -> str:
    """A note on ids that are text in the tables, as the end of a sentence."""
    kinds = {column.key: column.kind for column in columns if column.kind.is_text}
    return "".join(f"; the {key}s of the tables are text ({kind})" for key, kind in kinds.items())


def _wrong_texts(feature: Feature, table: "FeatureTable") -> Iterator[str]:
    kinds = {source: table.raw[source].type for source in feature.sources if source in table.raw}
    if len(feature.sources) != 1 or any(kind != STRING for kind in kinds.values()):
        sources = ", ".join(f"{source} ({kinds.get(source)})" for source in feature.sources)
        yield f"the feature '{feature.name}' embeds a text: it reads one column of type string, not {sources}."


_READ = {QUERY: (Entity.USER, Entity.EXPOSURE), CANDIDATE: (Entity.VIDEO,)}  # by towers; the ranker reads all


def _shared_names(table: "FeatureTable") -> Iterator[str]:
    """Names of vocabularies and boundaries that rows share with different options."""
    vocabularies: dict[str, set[Vocabulary]] = {}
    boundaries: dict[str, set[tuple[float, ...]]] = {}
    others = {feature.name for feature in table.features if not feature.vocabulary}
    for feature in table.features:
        if feature.vocabulary:
            vocabularies.setdefault(feature.vocabulary.name, set()).add(feature.vocabulary)
        for name, values in feature.op.boundaries_by_name().items():
            boundaries.setdefault(name, set()).update([values] if values else [])
    for name, options_of_rows in vocabularies.items():
        if len(options_of_rows) > 1:
            readers = (f for f in table.features if f.vocabulary and f.vocabulary.name == name)
            columns = [table.raw[source] for feature in readers for source in feature.sources]
            options = " and ".join(sorted(map(str, options_of_rows)))
            yield f"the vocabulary '{name}' has different options: {options}{_as_text(columns)}."
        if name in others:
            yield f"the vocabulary '{name}' has the name of a feature that does not use it; choose another name."
    for name, different in boundaries.items():
        if len(different) > 1:
            yield f"the boundaries '{name}' differ: {' and '.join(str(list(one)) for one in sorted(different))}."
