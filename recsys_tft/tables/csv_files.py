"""CSV files, gzipped or not: finds the bounds of rows without loading the file, and reads parts of it.

Quotes begin and end a value, or are doubled within a quoted one; then a line break after an even number of quotes ends
a row. Files with quotes elsewhere are refused as ambiguous.
"""

import csv
import gzip
import hashlib
import pathlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from recsys_tft.errors import InputError
from recsys_tft.storage.files import open_to_read
from recsys_tft.tables.sources import Described, Source, TableFile, TextPart

_BLOCK = 1 << 24  # bytes that one worker reads at a time, which are some hundred thousand rows
_QUOTE, _LINE, _RETURN = b'"\n\r'
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_OTHERS = {
    b"\x1f\x8b": ("a gzip", "name it so: {name}.gz"),
    b"PAR1": ("a Parquet", "name it so: {stem}.parquet"),
    b"PK\x03\x04": ("a ZIP", "unpack it"),
    b"BZh91AY&SY": ("a bzip2", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("a Zstandard", "unpack it"),
    b"\xfd7zXZ\x00": ("an XZ", "unpack it"),
}  # kinds of files, by what they begin with
_NO_NAMES = "its header line has no names; expected those of the columns."
_EMPTY = "the CSV file is empty; expected a header line with the column names."
_BOM = b"\xef\xbb\xbf"


def describe(file: TableFile) -> Described:
    """The columns, the sources and the fingerprint of a file, from one pass over it.

    Raises:
        InputError: if it cannot be read as a CSV file, naming the line.
    """
    header: tuple[str, ...] | None = None
    digest, sources, problems, rows, lines = hashlib.sha256(), [], [], 0, 0
    try:
        with _open(file.path) as stream:
            for begin, block in _blocks(stream, file.path):
                digest.update(block)
                _check_text(block, file.path, lines)
                start = 0
                if header is None:
                    header, start = _header(block, file.path)
                part = TextPart(begin + start, len(block) - start, header)
                parsed, ragged = _parse(block[start:], part, delimiter(file.path), (0,))
                problems += _ragged(ragged, block, lines, len(header), file.path)
                sources.append(Source(file.path, (), rows, rows, len(parsed), file.keys, part))
                rows, lines = rows + len(parsed), lines + block.count(b"\n")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file.path}: not a readable CSV file ({error}).") from None
    if header is None:
        raise InputError(f"{file.path}: {_EMPTY}")
    columns = tuple((name, pa.string()) for name in header)
    sources = [source for source in sources if source.rows]
    return Described(file, columns, tuple(sources), rows, digest.hexdigest()[:16], tuple(problems[:1]))


def read(source: Source, names: list[str]) -> pa.Table:
    """The rows of a source as text, with the named columns that the file has.

    Raises:
        InputError: if the file has changed or is damaged.
    """
    part = source.text
    assert part is not None
    try:
        with _open(source.path) as stream:
            stream.seek(part.begin)
            block = stream.read(part.size)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{source.path}: not a readable CSV file ({error}).") from None
    places = [part.header.index(name) for name in names if name in part.header]
    rows, _ = _parse(block, part, delimiter(source.path), tuple(places) or (0,))
    if len(rows) != source.rows:
        raise InputError(f"{source.path}: the file changed while it was being read; run again.")
    kept = rows.select([str(place) for place in places]).rename_columns([part.header[place] for place in places])
    return kept.combine_chunks()


def delimiter(path: str) -> str:
    """The delimiter of a file of this name."""
    return "\t" if path.lower().removesuffix(".gz").endswith(".tsv") else ","


def _open(path: str) -> BinaryIO:
    file = open_to_read(path)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if path.lower().endswith(".gz") else file


def _blocks(stream: BinaryIO, path: str) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of blocks of whole rows."""
    begin, rest = 0, b""
    while data := stream.read(max(_BLOCK, len(rest))):
        rest += data
        if not begin:
            _check_kind(rest, path)
        end = _end_of_rows(rest, path)
        if end:
            yield begin, rest[:end]
            begin, rest = begin + end, rest[end:]
    if rest:
        if rest.count(b'"') % 2:
            raise InputError(f"{path}: a quoted value is never closed; it begins {_shown(rest)}.")
        yield begin, rest


def _end_of_rows(data: bytes, path: str) -> int:
    """The number of bytes of whole rows."""
    array = np.frombuffer(data, np.uint8)
    quotes, breaks = np.flatnonzero(array == _QUOTE), np.flatnonzero(array == _LINE)
    _check_quotes(array, quotes, delimiter(path).encode()[0], path, data)
    whole = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    return int(whole[-1]) + 1 if len(whole) else 0


def _check_quotes(array: np.ndarray, quotes: np.ndarray, separator: int, path: str, data: bytes) -> None:
    """Refuse quotes that are neither at an end of a value nor doubled."""
    edges = np.array([separator, _LINE, _RETURN, _QUOTE], np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    before, after = array[opening - 1], array[np.minimum(closing + 1, len(array) - 1)]
    is_first = (opening == 0) | ((opening == len(_BOM)) & (before == _BOM[-1]))
    doubled = np.isin(opening - 1, closing)
    good = is_first | (np.isin(before, edges) & ((before != _QUOTE) | doubled))
    ends = (closing == len(array) - 1) | np.isin(after, edges)
    wrong = np.concatenate([opening[~good], closing[~ends]])
    if len(wrong):
        place = int(wrong.min())
        begin = data.rfind(b"\n", 0, place) + 1
        raise InputError(
            f"{path}: a quote is inside a value, in the line {_shown(data[begin:])}; quote the whole value and "
            f'double its quotes (Spark: option("escape", "\\"")).'
        )


def _shown(data: bytes) -> str:
    return repr(data[:60].splitlines()[0].decode(errors="replace")) if data.strip() else "''"


def _check_kind(data: bytes, path: str) -> None:
    """Refuse what begins as another kind of file does."""
    if data.startswith(_UTF16):
        raise InputError(f"{path}: this is UTF-16; expected UTF-8, as df.to_csv(path, index=False) writes it.")
    name = pathlib.PurePath(path).name
    for mark, (kind, remedy) in _OTHERS.items():
        if data.startswith(mark) and kind == "a gzip" and name.endswith(".gz"):
            raise InputError(f"{path}: it is compressed twice; decompress it once.")
        if data.startswith(mark):
            raise InputError(f"{path}: this is {kind} file; {remedy.format(name=name, stem=name.partition('.')[0])}.")


def _check_text(block: bytes, path: str, lines: int) -> None:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = lines + block.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not UTF-8 (byte 0x{block[error.start]:02X}); convert it to UTF-8: "
            'pd.read_csv(path, encoding="latin-1").to_csv(path, index=False).'
        ) from None


def _header(block: bytes, path: str) -> tuple[tuple[str, ...], int]:
    """The names of the columns, and the offset of the rows."""
    text = block.removeprefix(_BOM).decode()
    skipped = len(text) - len(text.lstrip("\r\n"))
    if "\n" not in text and "\r" in text.strip():
        raise InputError(f"{path}: its lines end with CR only; write them with LF, or CR and LF.")
    most = 1 + skipped + 1000
    lines = [f"{line}\n" for line in text.split("\n", most)[:most]]  # and at no other character that ends a line
    reader = csv.reader(iter(lines), delimiter=delimiter(path))
    names: list[str] = next((row for row in reader if row), [])
    end = _end_of_line(block, reader.line_num)
    header = tuple(name.strip() for name in names)
    if not any(header):
        is_blank = not text.strip("\r\n")
        raise InputError(f"{path}: {_EMPTY if is_blank else _NO_NAMES}")
    if "\0" in "".join(header):
        raise InputError(f"{path}: there are NUL characters in its header; expected UTF-8, without any.")
    other = next((mark for mark in ";\t|" if mark in header[0]), None) if len(header) == 1 else None
    if other:
        raise InputError(
            f"{path}: its header is one name, {header[0]!r}; the values are separated by {other!r}, expected "
            f"{delimiter(path)!r}: read it with pd.read_csv(path, sep={other!r}) and write it again."
        )
    return header, end


def _end_of_line(block: bytes, number: int) -> int:
    """The end of a line, counted from 1, in a block."""
    end = 0
    for _ in range(number):
        end = block.find(b"\n", end) + 1 or len(block)
    return end


def _parse(
    rows: bytes, part: TextPart, separator: str, places: tuple[int, ...]
) -> tuple[pa.Table, list[pa_csv.InvalidRow]]:
    """Columns of rows, by number, as text, null if empty; and the rows of another length."""
    ragged: list[pa_csv.InvalidRow] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    names = [str(place) for place in places]
    if not rows.strip(b"\r\n"):
        return pa.table({name: pa.array([], pa.string()) for name in names}), ragged
    parsed = pa_csv.read_csv(
        pa.py_buffer(rows),
        pa_csv.ReadOptions(
            use_threads=False,
            block_size=len(rows) + 1,
            column_names=[str(place) for place in range(len(part.header))],
        ),
        pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip),
        pa_csv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    return parsed, ragged


def _ragged(rows: list[pa_csv.InvalidRow], block: bytes, lines: int, expected: int, path: str) -> list[str]:
    if not rows:
        return []
    first = rows[0]
    line = lines + block.count(b"\n", 0, max(block.find(first.text.encode()), 0)) + 1
    more = f", and {len(rows) - 1:,} more lines like it" if len(rows) > 1 else ""
    return [
        f"{path}: line {line} has {first.actual_columns} values, the header {expected}: {first.text[:60]!r}{more}; "
        "quote values that contain the separator."
    ]
