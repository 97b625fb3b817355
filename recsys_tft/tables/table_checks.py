"""Checks of whole tables before any row is used; all problems are reported at once."""

import dataclasses
import datetime
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import Column, IdKind
from recsys_tft.configuration.column_settings import UNITS
from recsys_tft.errors import InputError, did_you_mean
from recsys_tft.errors import problems as problems_with
from recsys_tft.signals import Signal
from recsys_tft.tables import column_types, conversions, remedies, stored_rows
from recsys_tft.tables.arrow_kinds import is_text, value_type
from recsys_tft.tables.conversions import NOT_A_TIME, TOO_LARGE, mask_of
from recsys_tft.tables.sources import Described, Source
from recsys_tft.tables.table_files import listed

_IDS = {IdKind.UUID: "UUIDs", IdKind.UINT64: "whole numbers below 2^64"}
_SHOWN = 60  # characters of a value in a sentence
_TOLERATED = 20  # one of this many rows may be unreadable without the column being taken for something else
_SEVERAL = r"[,;\t\n]|^\s*[{(].*[)}]\s*$"  # as other programs write lists
_YEAR_1971, _YEAR_2200 = 31_536_000_000_000, 7_258_118_400_000_000  # microseconds
_USUAL = (631_152_000_000_000, 4_102_444_800_000_000)  # 1990 to 2100, for guesses of units


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem that makes a table unusable: the file, unless the sentence names it, and the rest of the sentence."""

    path: str
    text: str


@dataclasses.dataclass(frozen=True)
class Checked:
    """Findings in the files of a table.

    Attributes:
        present: our names of the columns that any file has.
        problems: that make it unusable.
        notes: sentences on what is not read.
    """

    present: frozenset[str]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def refuse(problems: Iterable[Problem]) -> None:
    """Report all problems at once; one shared by many files names the first.

    Raises:
        InputError: if there are any.
    """
    files: dict[str, list[str]] = {}
    for problem in problems:
        files.setdefault(problem.text, []).append(problem.path)
    sentences = [_sentence(paths, text) for text, paths in files.items()]
    if len(sentences) == 1:
        raise InputError(sentences[0])
    if sentences:
        raise problems_with("the tables", sentences)


def _sentence(paths: Sequence[str], text: str) -> str:
    if not paths[0]:
        return text
    more = f" (and {len(paths) - 1:,} more)" if len(paths) > 1 else ""
    return f"{paths[0]}{more}: {text}"


def check(
    table: str,
    columns: Mapping[str, Column],
    signals: Sequence[Signal],
    files: Sequence[Described],
    own_names: Mapping[str, str],
    units: Mapping[str, str],
    unread_files: Sequence[str],
) -> Checked:
    """Check the columns of all files of a table, their types, and the values of some rows.

    Args:
        table: one of the TABLES.
        columns: that it may have, by our names.
        signals: that interactions may have.
        files: their descriptions.
        own_names: the user's names of columns, by our names, where they differ.
        units: of numeric times, by our names.
        unread_files: names of files that are not read.
    """
    names = stored_rows.stored_names(columns, own_names)
    present = {name for file in files for name in _present(file, names)}
    problems = [Problem("", text) for file in files for text in file.problems]
    for file in files:
        problems += [
            Problem(file.file.path, text) for text in _columns(table, columns, file, names, own_names, units, present)
        ]
        if table == "interactions":
            flags = [signal.flag for signal in signals if signal.flag]
            problems += [Problem(file.file.path, text) for text in _signals(flags, _present(file, names), present)]
    notes = [_unread(table, columns, files, names, present, unread_files)]
    if not problems:
        for path, text, is_problem in _tried(table, columns, files, names, units):
            problems += [Problem(path, text)] if is_problem else []
            notes += [] if is_problem else [f"{path}: {text}"]
    return Checked(frozenset(present), tuple(problems), tuple(note for note in notes if note))


def _present(file: Described, names: Mapping[str, str]) -> set[str]:
    stored = {name for name, _ in file.columns} | dict(file.file.keys).keys()
    return {name for name, theirs in names.items() if theirs in stored}


def _columns(
    table: str,
    columns: Mapping[str, Column],
    file: Described,
    names: Mapping[str, str],
    own_names: Mapping[str, str],
    units: Mapping[str, str],
    present_anywhere: set[str],
) -> Iterator[str]:
    """Problems with the columns of one file."""
    types = dict(file.columns)
    stored = {**dict.fromkeys(dict(file.file.keys), pa.string()), **types}
    for name, column in columns.items():
        theirs = names.get(name)
        if theirs in types:
            if sum(other == theirs for other, _ in file.columns) > 1:
                yield f"column '{theirs}' appears more than once; a table holds a name once."
            elif not column_types.is_taken(types[theirs], column.type, units.get(name), column.kind):
                remedy = remedies.remedy(theirs, types[theirs], column, table)
                yield f"column '{theirs}' is {types[theirs]}, expected {_any_of(column)}; {remedy}."
        elif theirs not in stored and (column.required or name in own_names):
            yield (
                f"the table {table} has no column '{theirs or name}'.{did_you_mean(theirs or name, stored)}"
                f" Name it under `columns: {{{table}: ...}}` in the config if it is called otherwise."
            )
        is_shadowed = name in own_names and theirs != name and name in stored and name not in own_names.values()
        if theirs in stored and is_shadowed:
            yield (
                f"column '{theirs}' is read as '{name}', but there is a column '{name}' too; rename or drop one of "
                "them."
            )


def _signals(flags: Sequence[str], present: set[str], present_anywhere: set[str]) -> Iterator[str]:
    if not present & {"interaction_type", *flags}:
        yield f"interactions need a column 'interaction_type', or boolean columns out of {', '.join(flags)}."
    elif "interaction_type" in present_anywhere - present:
        yield "there is no column 'interaction_type' here, but in other files of the table."


def _unread(
    table: str,
    columns_of_table: Mapping[str, Column],
    files: Sequence[Described],
    names: Mapping[str, str],
    present: set[str],
    unread_files: Sequence[str],
) -> str:
    """One sentence on everything that is not read; empty if everything is."""
    read = set(names.values())
    columns = dict.fromkeys(name for file in files for name, _ in file.columns if name not in read)
    absent = [name for name in columns_of_table if name not in present]
    unread = [_with_hint(name, absent) for name in columns]
    folder_keys = [(key, key in dict(file.columns)) for file in files for key, _ in file.file.keys]
    unread += [f"{key} of its folders" for key in dict.fromkeys(key for key, _ in folder_keys if key not in read)]
    duplicates = dict.fromkeys(key for key, is_column in folder_keys if is_column and key in read)
    unread += [f"{key} of its folders (the files have it)" for key in duplicates]
    if not unread and not unread_files:
        return ""
    parts = [listed(unread)] if unread else []
    parts += [listed(unread_files)] if unread_files else []
    return f"{table}: not read: {'; '.join(parts)}"


def _with_hint(name: str, absent: Sequence[str]) -> str:
    """The name of a column, with the absent one that it may be meant for."""
    plain = {_plain(column): column for column in absent}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.85)
    return f"{name or '(a column without a name)'}" + (f" (did you mean {plain[close[0]]}?)" if close else "")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _tried(
    table: str,
    known: Mapping[str, Column],
    files: Sequence[Described],
    names: Mapping[str, str],
    units: Mapping[str, str],
) -> Iterator[tuple[str, str, bool]]:
    """(file, sentence, whether it is a problem) for values that their column cannot hold.

    It tries some rows of a file of each combination of types, and all values in names of folders.
    """
    tried: set[object] = set()
    for file in files:
        types = dict(file.columns)
        chosen = {
            name: own
            for name, own in names.items()
            if own in types and column_types.depends_on_values(types[own], known[name].type, known[name].kind)
        }
        kind = tuple((own, str(types[own])) for own in chosen.values())
        if chosen and file.sources and kind not in tried:
            tried.add(kind)
            found = stored_rows.read(file.sources[0], chosen, sample=True)
            for name, own in chosen.items():
                trial = _Trial(table, own, known[name], types[own], units.get(name), file.sources[0])
                yield from trial.told(found[name])
        for own, value in file.file.keys:
            held = next((name for name in names if names[name] == own and own not in types), None)
            if held is not None and (own, value) not in tried:
                tried.add((own, value))
                _, faults = column_types.read(pa.array([value], pa.string()), known[held], units.get(held))
                reasons = [reason for reason, bad in faults.items() if bad.any()]
                if reasons:
                    text = f"the folder {own}={value} names a {known[held].type}, but {value!r} {reasons[0]}."
                    yield file.file.path, text, True


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Tries to read some values of a column as its type."""

    table: str
    own: str
    column: Column
    found: pa.DataType
    unit: str | None
    source: Source

    def told(self, values: pa.ChunkedArray) -> Iterator[tuple[str, str, bool]]:
        """(file, sentence, whether it is a problem) of each finding."""
        converted, faults = column_types.read(values, self.column, self.unit)
        bad = np.any([*faults.values(), np.zeros(len(values), bool)], axis=0)
        path, beginning = self.source.path, f"column '{self.own}' is {self.found}, expected {_wanted(self.column)}; "
        if self.column.is_list and is_text(value_type(self.found)) and (joined := _joined(values, bad)):
            yield path, f"column '{self.own}' {joined}", False
        if not bad.any():
            wrong = self._wrong_unit(values, converted) if self.unit else None
            yield from [(path, f"column '{self.own}' {wrong}.", True)] if wrong else []
            return
        row = int(np.flatnonzero(bad)[0])
        reason = next(reason for reason, mask in faults.items() if mask[row])
        found = pa.int64() if reason == NOT_A_TIME and _is_count(values.slice(row, 1)) else self.found
        remedy = remedies.remedy(self.own, found, self.column, self.table, reason)
        example = f"row {self.source.file_row + row} has {shown(values[row])}, which {reason}"
        if self._is_something_else(converted, bad, reason):
            yield path, f"{beginning}{example}; {remedy}.", True
            return
        yield path, f"{beginning}{example}; rows with such values are rejected, or {remedy}", False

    def _is_something_else(self, converted: pa.Array, bad: np.ndarray, reason: str) -> bool:
        """Whether the whole column is unusable, rather than some rows."""
        if self.column.key and reason == TOO_LARGE and value_type(self.found) == pa.uint64():
            return True  # hashes, half of which are above the limit
        return converted.null_count == len(converted) and bad.sum() * _TOLERATED > len(bad)

    def _wrong_unit(self, values: pa.ChunkedArray, converted: pa.Array) -> str | None:
        """A sentence if no value is a time between 1971 and 2200, with the unit that may be meant."""
        micros = converted.cast(pa.int64())
        numbers = micros.drop_null().to_numpy(zero_copy_only=False)
        if not len(numbers) or ((numbers >= _YEAR_1971) & (numbers < _YEAR_2200)).any():
            return None
        row = int(np.flatnonzero(micros.is_valid().to_numpy(zero_copy_only=False))[0])
        others = [unit for unit in UNITS if unit != self.unit and _USUAL[0] <= self._as(values[row], unit) < _USUAL[1]]
        hint = f"; unit: {others[0]} would make it {_date(self._as(values[row], others[0]))}" if others else ""
        value, date = shown(values[row]), _date(int(numbers[0]))
        return f"has no time between 1971 and 2200 with unit: {self.unit}; row {row} has {value}, which is {date}{hint}"

    def _as(self, value: pa.Scalar, unit: str) -> int:
        converted, _ = column_types.read(pa.array([value.as_py()], value.type), self.column, unit)
        return converted.cast(pa.int64())[0].as_py() or 0


def _joined(values: pa.ChunkedArray, bad: np.ndarray) -> str:
    """A sentence if texts that are read as lists of one value seem to hold several; empty otherwise."""
    texts = values.cast(value_type(values.type)).cast(pa.binary())
    is_several = mask_of(pc.match_substring_regex(texts, _SEVERAL)) & ~bad
    is_list = mask_of(pc.match_substring_regex(texts, r"^\s*\[|\|"))
    if is_list.any() or _TOLERATED * is_several.sum() <= len(texts) - texts.null_count:
        return ""
    text = shown(values[int(np.flatnonzero(is_several)[0])])
    return f'holds {text}, which is read as a list of one value; several are written as a|b or ["a", "b"]'


def _is_count(text: pa.ChunkedArray) -> bool:
    """Whether the only value counts a time in digits, and is no date such as 20250301 or 20250301120000."""
    values = text.combine_chunks().cast(pa.string())
    whole, _ = conversions.whole_from_text(values)
    is_date = re.fullmatch(r"\s*(19|20)\d{10}(\d\d)?\s*", values[0].as_py() or "")
    return (whole[0].as_py() or 0) >= 10**8 and not is_date


def _wanted(column: Column) -> str:
    """The expected values of a column, in words."""
    text = _IDS.get(column.kind, str(column.type))
    return f"lists of {text}" if column.is_list and column.kind in _IDS else text


def _any_of(column: Column) -> str:
    """Like `_expected`, for a type that is not accepted: if ids have no kind yet, all kinds."""
    is_open = column.key and not column.is_list and column.kind is IdKind.INTEGER
    return "integers, strings or UUIDs" if is_open else _wanted(column)


def _date(micros: int) -> str:
    try:
        return str((datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)).date())
    except OverflowError:
        return "beyond the year 9999"


def shown(value: pa.Scalar) -> str:
    """A value as text for a sentence."""
    try:
        text = repr(value.as_py())
    except UnicodeDecodeError:
        text = repr(value.cast(pa.binary()).as_py())
    except (OverflowError, ValueError):  # a time beyond those of Python
        text = f"{value.type} {value.value}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
