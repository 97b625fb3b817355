"""The four raw tables as the user gives them: finding their files, checking their columns, reading their rows."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_tft.columns import TABLES, UPDATED, WIDE_SIGNALS, Accuracy, Column, columns_of
from recsys_tft.errors import InputError, did_you_mean
from recsys_tft.storage.output import open_to_read
from recsys_tft.tables.row_checks import check_rows, without_missing

ROW = "_row"  # number of a row in its whole table, files in the order of their names
_ROWS_PER_READ = 1 << 18


@dataclasses.dataclass(frozen=True)
class Source:
    """Some row groups of one file, read by one worker at a time.

    Attributes:
        path: of the Parquet file.
        row_groups: which of them.
        first_row: the number of their first row in the whole table.
        file_row: the number of their first row in the file.
        rows: how many they hold.
    """

    path: str
    row_groups: tuple[int, ...]
    first_row: int
    file_row: int
    rows: int


@dataclasses.dataclass(frozen=True)
class RawTable:
    """One of the TABLES: where its rows are, and what its columns are called there.

    Attributes:
        name: one of the TABLES.
        sources: its rows, in order.
        own_names: for each column of ours that the user calls differently, what the user calls it.
        absent: columns that no file has, UPDATED apart.
        is_versioned: whether a file has UPDATED, so that a key may have several rows.
        fingerprint: of each file: name, bytes, rows, and a hash of its footer, which describes its contents.
    """

    name: str
    sources: tuple[Source, ...]
    own_names: dict[str, str]
    absent: tuple[str, ...]
    fingerprint: tuple[tuple[str, int, int, str], ...]
    is_versioned: bool = False

    @property
    def rows(self) -> int:
        return sum(source.rows for source in self.sources)

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that are read, by name."""
        return {name: c for name, c in columns_of(self.name).items() if name != UPDATED or self.is_versioned}

    def warnings(self, computed: Collection[str] = ()) -> list[str]:
        """One sentence for each column whose features will be missing throughout, or that is not read.

        Args:
            computed: columns that the job computes, so that nothing is missing without them.
        """
        ignored = {"channel_id", "interaction_type", *WIDE_SIGNALS, *computed}
        if "view_count" not in self.absent:
            ignored.add("popularity")  # is derived from it
        columns = columns_of(self.name)
        found = [
            f"{self.name} has no column '{name}'; what is made of it is missing in every row"
            for name in self.absent
            if name not in ignored and columns[name].accuracy is not Accuracy.AS_OF
        ]
        found += [
            f"{self.name} has a column '{name}', which is not read: it is counted (counters: {{source: as_of}})"
            for name in computed
            if name in columns and name not in self.absent
        ]
        if self.name == "interactions" and not self.is_long:
            found += [f"interactions has no column '{n}'; nothing was {n}" for n in WIDE_SIGNALS if n in self.absent]
        return found

    @property
    def is_long(self) -> bool:
        """Whether interactions name their type, rather than having a boolean column for each."""
        return "interaction_type" not in self.absent


def find(data_dir: str, columns: dict[str, dict[str, str]]) -> dict[str, RawTable]:
    """The four tables in `data_dir`, by name; `columns` maps a user's own names to ours, per table.

    Raises:
        InputError: naming file, column, what was found and what would be right, where a table or a required column
            is missing, a type is wrong, a file is not Parquet, or a table is empty (channels may be).
    """
    tables = {name: _find_table(data_dir, name, columns.get(name, {})) for name in TABLES}
    for name, table in tables.items():
        if not table.rows and name != "channels":
            file = table.fingerprint[0][0]
            raise InputError(f"{data_dir}/{file}: the table {name} is empty; it needs at least one row.")
    return tables


def _find_table(data_dir: str, name: str, mapping: dict[str, str]) -> RawTable:
    own_names = {ours: own for own, ours in mapping.items()}
    paths = _paths(data_dir, name)
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(_footer, paths))
    first_row, sources, present, fingerprint = 0, [], set(), []
    for (path, size), (footer, types, digest) in zip(paths, footers, strict=True):
        present |= _check_schema(path, name, types, own_names)
        sources += _sources(path, footer, first_row)
        first_row += footer.num_rows
        fingerprint.append((path.removeprefix(data_dir).lstrip("/"), size, footer.num_rows, digest))
    absent = tuple(column for column in columns_of(name) if column not in (*present, UPDATED))
    return RawTable(name, tuple(sources), own_names, absent, tuple(fingerprint), UPDATED in present)


def _paths(data_dir: str, name: str) -> list[tuple[str, int]]:
    """(path, bytes) of each file of a table, by name."""
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    base = FileSystems.join(data_dir, name)
    patterns = [f"{base}.parquet", f"{base}.parquet/*.parquet", f"{base}/*.parquet", f"{base}-*.parquet"]
    try:
        matches = FileSystems.match(patterns)
    except BeamIOError as error:
        raise InputError(f"{data_dir}: cannot be read ({error}).") from None
    found = [sorted((m.path, m.size_in_bytes) for m in match.metadata_list if _is_file(m.path)) for match in matches]
    found = [paths for paths in found if paths]
    if not found:
        if not ("://" in data_dir or pathlib.Path(data_dir).is_dir()):
            raise InputError(f"{data_dir}: there is no such folder.")
        raise InputError(
            f"{data_dir}: found no table {name}; expected {name}.parquet, or a folder {name}/ of Parquet files."
        )
    if len(found) > 1:
        raise InputError(f"{data_dir}: the table {name} is there twice, as {found[0][0][0]} and {found[1][0][0]}.")
    return found[0]


def _is_file(path: str) -> bool:
    return "://" in path or pathlib.Path(path).is_file()


def _footer(file: tuple[str, int]) -> tuple[pq.FileMetaData, dict[str, pa.DataType], str]:
    """A file's metadata, the types of its columns by name, and a hash of it all."""
    path, size = file
    try:
        with open_to_read(path) as opened:
            metadata = pq.read_metadata(opened)
            schema = metadata.schema.to_arrow_schema()
            types = dict(zip(schema.names, schema.types, strict=True))
            if len(types) < len(schema):
                repeated = next(name for name in types if len(schema.get_all_field_indices(name)) > 1)
                raise InputError(f"{path}: column '{repeated}' appears more than once; a table holds a name once.")
            opened.seek(max(size - 8 - metadata.serialized_size, 0))
            return metadata, types, hashlib.sha256(opened.read(metadata.serialized_size)).hexdigest()[:16]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({_first_line(error)}).") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _sources(path: str, footer: pq.FileMetaData, first_row: int) -> list[Source]:
    """The file's row groups, gathered into reads of about _ROWS_PER_READ rows."""
    sources, groups, start, rows = [], [], 0, 0
    for group in range(footer.num_row_groups):
        groups.append(group)
        rows += footer.row_group(group).num_rows
        if rows >= _ROWS_PER_READ or group == footer.num_row_groups - 1:
            sources.append(Source(path, tuple(groups), first_row + start, start, rows))
            groups, start, rows = [], start + rows, 0
    return sources


def _check_schema(path: str, table: str, types: dict[str, pa.DataType], own_names: dict[str, str]) -> set[str]:
    """Our names of the columns that a file has."""
    present = set()
    for name, column in columns_of(table).items():
        own = own_names.get(name, name)
        if own in types:
            present.add(name)
            _check_type(path, own, types[own], column)
        elif column.required or name in own_names:
            raise InputError(
                f"{path}: the table {table} has no column '{own}'.{did_you_mean(own, types)}"
                f" Name it under `columns: {{{table}: ...}}` in the config if it is called otherwise."
            )
    if table == "interactions" and not present & {"interaction_type", *WIDE_SIGNALS}:
        wide = ", ".join(WIDE_SIGNALS)
        raise InputError(f"{path}: interactions need a column 'interaction_type', or boolean columns out of {wide}.")
    return present


def _check_type(path: str, own: str, found: pa.DataType, column: Column) -> None:
    if not _widens(found, column.type):
        raise InputError(
            f"{path}: column '{own}' is {found}, expected {column.type}, or a type that widens to it without loss."
        )


def _widens(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of the found type can be read as the wanted one; float64 is rounded to float32."""
    types = pa.types
    if types.is_null(found):
        return True
    if types.is_dictionary(found):
        return _widens(found.value_type, wanted)
    if types.is_list(wanted):
        is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
        return is_list and _widens(found.value_type, wanted.value_type)
    if types.is_timestamp(wanted):
        return types.is_timestamp(found) or types.is_date(found)
    if types.is_string(wanted):
        return any(test(found) for test in (types.is_string, types.is_large_string, types.is_string_view))
    if types.is_float32(wanted):
        return types.is_floating(found) or types.is_integer(found)
    return found == wanted if types.is_boolean(wanted) else types.is_integer(found) and found != pa.uint64()


def read(table: RawTable, source: Source, keep: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """The rows of one source: the usable ones, and the rejected ones with their `reason`.

    Args:
        table: the table that the source belongs to.
        source: what to read.
        keep: the columns to return; those that the files lack are null. Required and checked ones are read anyway.

    Returns:
        Two tables with the columns of `keep` as `columns.py` types them (times are int64 microseconds, strings
        binary) and ROW; the second has all columns of the table, and `source_file`, `source_row` and `reason`.

    Raises:
        InputError: if the file turns out to be damaged.
    """
    columns = table.columns
    raw = without_missing(_read_columns(table, source, columns), columns)
    reasons = check_rows(raw, columns, table.is_long)
    arrays = {name: _canonical(raw[name], column) for name, column in columns.items()}
    arrays[ROW] = pa.array(range(source.first_row, source.first_row + len(raw)), pa.int64())
    checked = pa.table(arrays)
    good = pc.is_null(reasons)
    usable = checked.select([*keep, ROW]).filter(good)
    return usable, _rejected(checked, reasons, source).filter(pc.invert(good))


def _read_columns(table: RawTable, source: Source, columns: dict[str, Column]) -> pa.Table:
    own_names = {name: table.own_names.get(name, name) for name in columns}
    try:
        with open_to_read(source.path) as opened, pq.ParquetFile(opened) as file:
            available = [own for own in own_names.values() if own in file.schema_arrow.names]
            found = file.read_row_groups(list(source.row_groups), columns=available).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source.path}: the Parquet file is damaged ({_first_line(error)}).") from None
    arrays = {
        name: found[own] if own in available else pa.nulls(len(found), columns[name].type)
        for name, own in own_names.items()
    }
    return pa.table({name: _plain(array, columns[name]) for name, array in arrays.items()})


def _plain(array: pa.ChunkedArray | pa.Array, column: Column) -> pa.ChunkedArray | pa.Array:
    """The array without dictionaries; timestamps keep their unit, as their range is still to be checked."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_timestamp(array.type):
        return array
    if pa.types.is_date(array.type):
        return array.cast(pa.timestamp("s" if array.type == pa.date32() else "ms"))
    return array.cast(column.type, safe=not pa.types.is_float32(column.type))


def _canonical(array: pa.ChunkedArray | pa.Array, column: Column) -> pa.ChunkedArray | pa.Array:
    if column.is_list:
        value = column.type.value_type
        return array.cast(pa.list_(pa.binary() if pa.types.is_string(value) else value))
    if pa.types.is_timestamp(column.type):
        return array.cast(pa.timestamp("us", tz=array.type.tz), safe=False).cast(pa.int64())
    return array.cast(pa.binary()) if pa.types.is_string(column.type) else array


def empty(table: str, keep: Sequence[str]) -> pa.Table:
    """No rows of a table, as `read` returns its usable rows."""
    columns = columns_of(table)
    arrays = {name: _canonical(pa.nulls(0, columns[name].type), columns[name]) for name in keep}
    return pa.table({**arrays, ROW: pa.nulls(0, pa.int64())})


def _rejected(checked: pa.Table, reasons: pa.Array, source: Source) -> pa.Table:
    rows = pc.add(checked[ROW], source.file_row - source.first_row)
    files = pa.array([source.path], pa.string()).take(pa.array([0] * len(checked), pa.int32()))
    added = {"source_file": files, "source_row": rows, "reason": reasons}
    for name, array in added.items():
        checked = checked.append_column(name, array)
    return checked.drop_columns([ROW])
