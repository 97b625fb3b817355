"""Parquet files of joined rows, by their row groups and what the end of a file says of them.

References:
    https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import base64
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from recsys_tft.storage.parquet_pages import PHYSICAL, Chunk, CodedTable
from recsys_tft.storage.tf_example import is_list
from recsys_tft.storage.thrift import I64, Struct, encode

_MAGIC = b"PAR1"
CODECS = {"snappy": 1, "gzip": 2, "zstd": 6}  # Parquet's numbers of them


def write(
    file: BinaryIO,
    schema: pa.Schema,
    tables: Sequence[CodedTable],
    rows: Sequence[np.ndarray],
    compression: str,
    size: int,
) -> None:
    """Writes a file of [n] rows, of which row i consists of row rows[k][i] of each table k.

    Args:
        file: a new one.
        schema: of the rows.
        tables: their columns.
        rows: [n] int64 for each table.
        compression: one of CODECS.
        size: rows of a row group.
    """
    codec, at = pa.Codec(compression), file.write(_MAGIC)
    groups: list[Struct] = []
    for begin in range(0, len(rows[0]), size):
        columns: list[Struct] = []
        first, plain = at, 0
        for table, own in zip(tables, rows, strict=True):
            for chunk in table.chunks(own[begin : begin + size], codec):
                columns.append({2: I64(0), 3: _described(chunk, schema.field(len(columns)), at, compression)})
                at += file.write(chunk.pages)
                plain += chunk.size
        count = min(size, len(rows[0]) - begin)
        groups.append({1: columns, 2: I64(plain), 3: I64(count), 5: I64(first), 6: I64(at - first)})
    orders: list[Struct] = [{1: {}}] * len(schema)
    end = encode({
        1: 2, 2: _columns(schema), 3: I64(len(rows[0])), 4: groups, 5: [_arrow(schema)], 6: b"recsys_tft", 7: orders,
    })  # fmt: skip
    file.write(end + len(end).to_bytes(4, "little") + _MAGIC)


def _described(chunk: Chunk, field: pa.Field, at: int, compression: str) -> Struct:
    """What the end of the file says of a chunk that begins `at` a byte."""
    data = {9: I64(at + chunk.dictionary), **({11: I64(at)} if chunk.dictionary else {})}
    return {
        1: PHYSICAL[field.type.value_type if is_list(field.type) else field.type],
        2: chunk.encodings,
        3: [field.name.encode(), *([b"list", b"element"] if is_list(field.type) else [])],
        4: CODECS[compression],
        5: I64(chunk.count),
        6: I64(chunk.size),
        7: I64(len(chunk.pages)),
        **data,
        12: chunk.statistics,
    }


def _columns(schema: pa.Schema) -> list[Struct]:
    """The schema as Arrow writes it: a group of columns that may be missing; a list is a group in a group."""
    return [{3: 0, 4: b"schema", 5: len(schema)}, *(part for field in schema for part in _column(field))]


def _column(field: pa.Field) -> list[Struct]:
    name = field.name.encode()
    if not is_list(field.type):
        return [_leaf(field.type, name)]
    outer: Struct = {3: 1, 4: name, 5: 1, 6: 3, 10: {3: {}}}
    return [outer, {3: 2, 4: b"list", 5: 1}, _leaf(field.type.value_type, b"element")]


def _leaf(kind: pa.DataType, name: bytes) -> Struct:
    number: Struct = {1: PHYSICAL[kind], 3: 1, 4: name}
    return {**number, 6: 0, 10: {1: {}}} if pa.types.is_string(kind) else number  # UTF8


def _arrow(schema: pa.Schema) -> Struct:
    """The schema as Arrow reads it."""
    return {1: b"ARROW:schema", 2: base64.b64encode(schema.serialize().to_pybytes())}
