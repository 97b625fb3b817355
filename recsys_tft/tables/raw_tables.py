"""The user's four raw tables: their files, checks of whole tables, and their rows."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.columns import KEYS, TABLES, UPDATED, Accuracy, Column, IdKind
from recsys_tft.configuration.column_settings import ColumnSettings, names_and_units
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import FeatureTable
from recsys_tft.signals import Signal, SignalBits
from recsys_tft.tables import column_types, id_kinds, stored_rows, table_checks, table_files
from recsys_tft.tables.conversions import Faults
from recsys_tft.tables.row_checks import check_rows, without_missing
from recsys_tft.tables.sources import Described, Source, TableFile
from recsys_tft.tables.table_checks import Problem

ROW = "_row"  # number of a row in its whole table, files in the order of their names
EMPTY = "the table {table} is empty; it needs at least one row."


@dataclasses.dataclass(frozen=True)
class RawTable:
    """One of the TABLES: the location of its rows, and the user's names of its columns.

    Attributes:
        name: one of the TABLES.
        sources: its rows, in order.
        own_names: the user's names of columns, by our names, where they differ.
        absent: columns that no file has, without UPDATED.
        is_versioned: whether a file has UPDATED, so that a key may have several rows.
        fingerprint: of each file: name, bytes, rows, and a hash of its footer, or of the text of a CSV file.
        units: of columns of numeric times, by our names.
        notes: sentences on what is not read, and on values that cannot be read.
        known: the columns that it may have, by our names.
        signals: that interactions may have.
    """

    name: str
    sources: tuple[Source, ...]
    own_names: dict[str, str]
    absent: tuple[str, ...]
    fingerprint: tuple[tuple[str, int, int, str], ...]
    is_versioned: bool = False
    units: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    known: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    signals: tuple[Signal, ...] = ()

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources)

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that are read, by name."""
        return {name: c for name, c in self.known.items() if name != UPDATED or self.is_versioned}

    def warnings(self, computed: Collection[str] = ()) -> list[str]:
        """One sentence for each column whose features will be missing throughout, or that is not read.

        Args:
            computed: columns that the job computes, so that nothing is missing without them.
        """
        if not self.fingerprint:
            return [f"there is no table {self.name}; features of its columns are missing in every row"]
        ignored = {"channel_id", "interaction_type", *self.possible_flags, *computed}
        if "view_count" not in self.absent:
            ignored.add("popularity")  # derived from it
        columns = self.known
        sentences = [
            f"{self.name} has no column '{name}'; features of it are missing in every row"
            for name in self.absent
            if name not in ignored and columns[name].accuracy is not Accuracy.AS_OF
        ]
        sentences += [
            f"{self.name} has a column '{name}', which is not read: it is counted (counters: {{source: as_of}})"
            for name in computed
            if name in columns and name not in self.absent
        ]
        if self.name == "interactions" and not self.is_long:
            sentences += [
                f"interactions has no column '{n}'; nothing was {n}" for n in self.possible_flags if n in self.absent
            ]
        return [*sentences, *self.notes]

    @property
    def stored_names(self) -> dict[str, str]:
        """The names of the read columns in the files, by our names."""
        names = stored_rows.stored_names(self.known, self.own_names)
        return {name: stored for name, stored in names.items() if name in self.columns}

    @property
    def is_long(self) -> bool:
        """Whether interactions have a column with their type, instead of a boolean column for each."""
        return "interaction_type" not in self.absent

    @property
    def flags(self) -> tuple[str, ...]:
        """The boolean columns of signals; beside `interaction_type` they add to it."""
        return tuple(name for name in self.possible_flags if name not in self.absent)

    @property
    def possible_flags(self) -> tuple[str, ...]:
        """The boolean columns of signals that the table may have."""
        return tuple(self.bits.flags)

    @property
    def bits(self) -> SignalBits:
        """The signals as bits of an event."""
        return SignalBits(self.signals)


def find(
    data_dir: str,
    columns: Mapping[str, Mapping[str, str | ColumnSettings]],
    features: FeatureTable = DEFAULT,
    optional: Collection[str] = (),
) -> dict[str, RawTable]:
    """Find the four tables in `data_dir`, by name; `columns` maps a user's names to those of `features`, per table.

    Missing `optional` tables, and a missing table channels, have no rows.

    Raises:
        InputError: with all errors, naming file, column, what was found and what would be right: if a table or a
            required column is missing, a type is not accepted, a file cannot be read, or a table other than channels is
            empty.
    """
    described = {name: _describe(data_dir, name, name in optional) for name in TABLES}
    problems: list[Problem] = []
    kinds = id_kinds.find({name: files.good for name, files in described.items()}, columns, features, problems)
    features = features.with_ids(kinds)
    conflicting = {key for key in KEYS.values() if key not in kinds}
    existing = [name for name in TABLES if described[name] is not _NOTHING]
    checked = {
        name: _checked(data_dir, name, described[name], columns.get(name, {}), features, conflicting)
        for name in existing
    }
    problems += [problem for _, problems_of_table in checked.values() for problem in problems_of_table]
    for name, (table, _) in checked.items():
        if table is not None and not table.rows and name != "channels":
            problems.append(Problem(f"{data_dir}/{table.fingerprint[0][0]}", EMPTY.format(table=name)))
    table_checks.refuse(problems)
    tables = {name: table for name, (table, _) in checked.items() if table is not None}
    return {name: tables.get(name) or _without_rows(name, features) for name in TABLES}


def _without_rows(name: str, features: FeatureTable) -> RawTable:
    columns = features.columns_of(name)
    return RawTable(name, (), {}, tuple(columns), (), known=columns, signals=features.signals)


def id_settings(tables: Mapping[str, RawTable]) -> dict[str, IdKind]:
    """The setting `ids` with the kinds found in the four tables."""
    return {key: tables[name].known[key].kind for name, key in KEYS.items()}


@dataclasses.dataclass(frozen=True)
class _Files:
    """The files of a table: readable ones, problems of others, and names of those that are not read."""

    good: tuple[Described, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread: Sequence[str] = ()


_NOTHING = _Files()


def _describe(data_dir: str, name: str, is_optional: bool) -> _Files:
    try:
        files = table_files.find(data_dir, name)
    except table_files.NoTable as error:
        is_left_out = is_optional or (name == "channels" and not error.hint)
        return _NOTHING if is_left_out else _Files(problems=(Problem("", str(error)),))
    except InputError as error:
        return _Files(problems=(Problem("", str(error)),))
    if len(files.files) == 1:  # a thread would take longer than reading it
        described = [_described(files.files[0])]
    else:
        with ThreadPoolExecutor(16) as pool:
            described = list(pool.map(_described, files.files))
    good = tuple(file for file in described if isinstance(file, Described))
    return _Files(good, tuple(file for file in described if isinstance(file, Problem)), files.unread)


def _checked(
    data_dir: str,
    name: str,
    files: _Files,
    mapping: Mapping[str, str | ColumnSettings],
    features: FeatureTable,
    apart: Collection[str],
) -> tuple[RawTable | None, list[Problem]]:
    """The table, if it is usable, and its problems, except keys with several kinds of ids."""
    if not files.good:
        return None, [*files.problems]
    own_names, units = names_and_units(mapping)
    columns = {key: column for key, column in features.columns_of(name).items() if column.key not in apart}
    checked = table_checks.check(name, columns, features.signals, files.good, own_names, units, files.unread)
    if files.problems or checked.problems:
        return None, [*files.problems, *checked.problems]
    sources, fingerprint, first_row = [], [], 0
    for file in files.good:
        sources += [dataclasses.replace(source, first_row=first_row + source.file_row) for source in file.sources]
        first_row += file.rows
        path = file.file.path.removeprefix(data_dir).lstrip("/")
        fingerprint.append((path, file.file.size, file.rows, file.digest))
    absent = tuple(column for column in columns if column not in (*checked.present, UPDATED))
    versioned = UPDATED in checked.present
    described = (own_names, absent, tuple(fingerprint), versioned, units, checked.notes, columns, features.signals)
    kept = RawTable(name, tuple(sources), *described)
    return kept, []


def _described(file: TableFile) -> Described | Problem:
    try:
        return stored_rows.describe(file)
    except InputError as error:
        return Problem("", str(error))


def read(table: RawTable, source: Source, keep: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """The rows of one source: the usable ones, and the rejected ones with their `reason`.

    Args:
        table: the table that the source belongs to.
        source: what to read.
        keep: the columns to return; those that the files lack are null. Required and checked ones are read anyway.

    Returns:
        Two tables with the columns of `keep` with the types of `columns.py` (times are int64 microseconds, strings
        binary) and ROW. In the first one, ids are coded; see `ids.coded`. The second one has all columns of the table,
        and `source_file`, `source_row` and `reason`; and `value`, if any value could not be read as the type of its
        column.

    Raises:
        InputError: if the file is damaged.
    """
    columns = table.columns
    stored = stored_rows.read(source, table.stored_names)
    converted = {
        name: column_types.read(stored[name], column, table.units.get(name)) if name in stored else (None, {})
        for name, column in columns.items()
    }
    nothing = {name: pa.nulls(source.rows, columns[name].type) for name in columns if name not in stored}
    raw = pa.table({name: nothing[name] if name in nothing else converted[name][0] for name in columns})
    faults = {name: column_faults for name, (_, column_faults) in converted.items()}
    raw = without_missing(raw, columns)
    reasons = check_rows(raw, columns, table.bits.names if table.is_long else (), faults)
    arrays = {name: canonical(raw[name], column) for name, column in columns.items()}
    arrays[ROW] = pa.array(range(source.first_row, source.first_row + len(raw)), pa.int64())
    checked = pa.table(arrays)
    good = pc.is_null(reasons)
    usable = ids.coded(checked.select([*keep, ROW]).filter(good), columns.values())
    rejected = _rejected(checked, reasons, source)
    if any(bad.any() for column_faults in faults.values() for bad in column_faults.values()):
        rejected = rejected.append_column("value", _values(stored, faults, reasons))
    return usable, rejected.filter(pc.invert(good))


def canonical(array: pa.ChunkedArray | pa.Array, column: Column) -> pa.ChunkedArray | pa.Array:
    if column.is_list:
        value = column.type.value_type
        return array.cast(pa.list_(pa.binary() if pa.types.is_string(value) else value))
    if pa.types.is_timestamp(column.type):
        return array.cast(pa.timestamp("us", tz=array.type.tz), safe=False).cast(pa.int64())
    return array.cast(pa.binary()) if pa.types.is_string(column.type) else array


def empty(columns: Mapping[str, Column], keep: Sequence[str]) -> pa.Table:
    """An empty table, as `read` returns usable rows."""
    arrays = {name: canonical(pa.nulls(0, columns[name].type), columns[name]) for name in keep}
    return ids.coded(pa.table({**arrays, ROW: pa.nulls(0, pa.int64())}), columns.values())


def _rejected(checked: pa.Table, reasons: pa.Array, source: Source) -> pa.Table:
    rows = pc.add(checked[ROW], source.file_row - source.first_row)
    files = pa.array([source.path], pa.string()).take(pa.array([0] * len(checked), pa.int32()))
    added = {"source_file": files, "source_row": rows, "reason": reasons}
    for name, array in added.items():
        checked = checked.append_column(name, array)
    return checked.drop_columns([ROW])


def _values(stored: Mapping[str, pa.ChunkedArray], faults: Mapping[str, Faults], reasons: pa.Array) -> pa.Array:
    """For each row with a value that could not be converted this value as text; null for other reasons."""
    texts: list[str | None] = [None] * len(reasons)
    for name, column_faults in faults.items():
        for reason, bad in column_faults.items():
            about = pc.equal(reasons, f"{name} {reason}")
            for row in pc.indices_nonzero(pc.and_(pc.fill_null(about, False), pa.array(bad))).to_pylist():
                texts[row] = table_checks.shown(stored[name][row])
    return pa.array(texts, pa.string())
