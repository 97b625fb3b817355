"""Formats for loading many vectors at once into each vector store.

References:
    https://docs.pinecone.io/guides/index-data/import-data
    https://cloud.google.com/vertex-ai/docs/vector-search/setup/format-structure
    https://milvus.io/docs/prepare-source-data.md
    https://api.qdrant.tech/api-reference/points/upsert-points
    https://lancedb.github.io/lancedb/guides/tables
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_tft.errors import InputError
from recsys_tft.stores import json_text

VECTOR = "vector"
COSINE = "cosine"
QDRANT_POINTS = 256  # of a request
_PINECONE_ID, _PINECONE_METADATA = 512, 40 * 1024  # characters, bytes
_MILVUS_TEXT, _MILVUS_LIST = 65_535, 4096  # bytes, elements
_MILVUS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


@dataclasses.dataclass(frozen=True)
class Part:
    """Some videos.

    Attributes:
        name: the user's name of the id.
        ids: [n] int64 or string, as in the tables.
        numbers: [n] uint64, equal to ids that are integers from 0, else codes of them; or UUIDs as strings.
        vectors: [n, dim] float32.
        metadata: [n] strings, lists of strings, bool, timestamps, int64 or float32, by the user's names.
        keys: the metadata that are ids.
        texts: the metadata that are embedded texts, which are no filters.
    """

    name: str
    ids: pa.Array
    numbers: pa.Array
    vectors: np.ndarray
    metadata: Mapping[str, pa.Array]
    keys: frozenset[str]
    texts: frozenset[str]

    @property
    def lists(self) -> pa.Array:
        """[n] vectors as lists of float32."""
        return self.fixed.cast(pa.list_(pa.float32()))

    @property
    def fixed(self) -> pa.Array:
        """[n] vectors as lists of one length."""
        flat = pa.array(np.ascontiguousarray(self.vectors).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, self.vectors.shape[1])

    @property
    def plain(self) -> dict[str, pa.Array]:
        """The metadata with times as microseconds since 1970."""
        return {n: v.cast(pa.int64()) if pa.types.is_timestamp(v.type) else v for n, v in self.metadata.items()}


def _pinecone(part: Part, folder: pathlib.Path, number: int) -> None:
    texts = part.ids.cast(pa.string())
    _refuse(part, pc.greater(pc.utf8_length(texts), _PINECONE_ID), f"Pinecone takes ids of {_PINECONE_ID} characters")
    _refuse(part, pc.invert(pc.string_is_ascii(texts)), "Pinecone takes ids of ASCII alone")
    named = {n: v.cast(pa.string()) if n in part.keys else v for n, v in part.plain.items()}  # its numbers are float64
    described = pa.array(json_text.of_columns({part.name: texts, **named}).to_arrow(), pa.string())
    sentence = f"Pinecone takes {_PINECONE_METADATA} bytes of metadata; choose fewer columns by --metadata"
    _refuse(part, pc.greater(pc.binary_length(described), _PINECONE_METADATA), sentence)
    place = folder / "__default__"
    place.mkdir(exist_ok=True)
    _parquet(pa.table({"id": texts, "values": part.lists, "metadata": described}), place, number)


def _vertex(part: Part, folder: pathlib.Path, number: int) -> None:
    members = [json_text.members("id", part.ids.cast(pa.string())), json_text.members("embedding", part.lists)]
    tokens, numbers = [], []
    for name, values in part.plain.items():
        if name in part.texts:
            continue
        if pa.types.is_list(values.type):
            tokens.append(
                _namespace(name, "allow", pc.if_else(pc.greater(pc.list_value_length(values), 0), values, None))
            )
        elif name in part.keys or pa.types.is_string(values.type) or pa.types.is_boolean(values.type):
            tokens.append(_namespace(name, "allow", _single(values.cast(pa.string()))))
        else:
            numbers.append(
                _namespace(name, "value_float" if pa.types.is_floating(values.type) else "value_int", values)
            )
    for key, parts in (("restricts", tokens), ("numeric_restricts", numbers)):
        if parts:
            members.append(f'"{key}":' + json_text.lists(parts))
    _lines(json_text.objects(members), folder / f"part-{number:05}.json")


def _single(values: pa.Array) -> pa.Array:
    """[n] lists of one value each, null for a null."""
    ends = pa.array(np.arange(len(values) + 1, dtype=np.int32))
    return pa.ListArray.from_arrays(ends, values, mask=values.is_null())


def _namespace(name: str, key: str, values: pa.Array) -> pl.Series:
    """[n] texts `{"namespace":name,key:value}`; null for a null."""
    member = json_text.members(key, values)
    opening = json_text.members("namespace", pa.array([name]))[0]
    return f"{{{opening}," + member + "}"


def _qdrant(part: Part, folder: pathlib.Path, number: int) -> None:
    payload = json_text.of_columns({part.name: part.ids, **part.plain})
    members = [json_text.members("id", part.numbers), json_text.members(VECTOR, part.lists)]
    points = json_text.objects([*members, '"payload":' + payload])
    requests = pl.DataFrame({"point": points, "request": np.arange(len(points)) // QDRANT_POINTS})
    bodies = requests.group_by("request", maintain_order=True).agg(pl.col("point").str.join(","))
    _lines('{"points":[' + bodies["point"] + "]}", folder / f"part-{number:05}.jsonl")


def _milvus(part: Part, folder: pathlib.Path, number: int) -> None:
    for name in (part.name, *part.metadata):
        if not _MILVUS_NAME.fullmatch(name):
            raise InputError(f"The column '{name}' has a name that Milvus does not take; choose others by --metadata.")
    for name, values in ((part.name, part.ids), *part.metadata.items()):
        if pa.types.is_string(values.type):
            too_long = pc.greater(pc.binary_length(values), _MILVUS_TEXT)
            _refuse(part, too_long, f"Milvus takes {_MILVUS_TEXT} bytes of text in {name}")
        elif pa.types.is_list(values.type):
            too_long = pc.greater(pc.list_value_length(values), _MILVUS_LIST)
            _refuse(part, too_long, f"Milvus takes {_MILVUS_LIST} elements in {name}")
    _parquet(pa.table({part.name: part.ids, VECTOR: part.lists, **part.plain}), folder, number)


def _arrow(part: Part, folder: pathlib.Path, number: int) -> None:
    _parquet(pa.table({part.name: part.ids, VECTOR: part.fixed, **part.metadata}), folder, number)


def _parquet(table: pa.Table, folder: pathlib.Path, number: int) -> None:
    pq.write_table(table, folder / f"part-{number:05}.parquet", compression="zstd")


def _lines(texts: pl.Series, path: pathlib.Path) -> None:
    with path.open("wb") as file:
        pl.DataFrame({"line": texts}).write_csv(file, include_header=False, quote_style="never")


def _refuse(part: Part, wrong: pa.Array, sentence: str) -> None:
    """Raise an InputError that names the first wrong video."""
    if pc.any(wrong).as_py():
        raise InputError(f"The video {part.ids.filter(pc.fill_null(wrong, False))[0].as_py()!r}: {sentence}.")


# --- Bodies of requests that create the collection


def _pinecone_index(name: str, part: Part, metric: str) -> dict[str, Any]:
    kind = "cosine" if metric == COSINE else "dotproduct"
    return {"name": name, "dimension": part.vectors.shape[1], "metric": kind, "vector_type": "dense"}


def _vertex_index(name: str, part: Part, metric: str) -> dict[str, Any]:
    config = {
        "dimensions": part.vectors.shape[1],
        "approximateNeighborsCount": 150,
        "distanceMeasureType": "COSINE_DISTANCE" if metric == COSINE else "DOT_PRODUCT_DISTANCE",
        "algorithmConfig": {"treeAhConfig": {}},
    }
    return {"displayName": name, "metadata": {"config": config}}


def _qdrant_collection(name: str, part: Part, metric: str) -> dict[str, Any]:
    return {"vectors": {"size": part.vectors.shape[1], "distance": "Cosine" if metric == COSINE else "Dot"}}


def _milvus_collection(name: str, part: Part, metric: str) -> dict[str, Any]:
    key = {**_milvus_field(part.name, part.ids), "isPrimary": True}
    vector = {"fieldName": VECTOR, "dataType": "FloatVector", "elementTypeParams": {"dim": part.vectors.shape[1]}}
    others = [{**_milvus_field(name, values), "nullable": True} for name, values in part.plain.items()]
    index = {
        "fieldName": VECTOR,
        "indexName": VECTOR,
        "indexType": "AUTOINDEX",
        "metricType": "COSINE" if metric == COSINE else "IP",
    }
    schema = {"autoId": False, "enableDynamicField": False, "fields": [key, vector, *others]}
    return {"collectionName": name.replace("-", "_"), "schema": schema, "indexParams": [index]}


def _milvus_field(name: str, values: pa.Array) -> dict[str, Any]:
    kind, text = values.type, {"max_length": _MILVUS_TEXT}
    if pa.types.is_list(kind):
        limits = {"max_capacity": _MILVUS_LIST, **text}
        return {"fieldName": name, "dataType": "Array", "elementDataType": "VarChar", "elementTypeParams": limits}
    if pa.types.is_string(kind):
        return {"fieldName": name, "dataType": "VarChar", "elementTypeParams": text}
    simple = {pa.int64(): "Int64", pa.bool_(): "Bool", pa.float32(): "Float"}
    return {"fieldName": name, "dataType": simple[kind]}


def _no_collection(name: str, part: Part, metric: str) -> dict[str, Any]:
    return {"name": name, "metric": "cosine" if metric == COSINE else "dot"}


@dataclasses.dataclass(frozen=True)
class Format:
    """The format of one store.

    Attributes:
        write: writes a part into a folder, as the file of a number.
        collection: from a name, any part and the metric to the definition of a collection or index.
    """

    write: Callable[[Part, pathlib.Path, int], None]
    collection: Callable[[str, Part, str], dict[str, Any]]


FORMATS = {
    "pinecone": Format(_pinecone, _pinecone_index),
    "vertex": Format(_vertex, _vertex_index),
    "milvus": Format(_milvus, _milvus_collection),
    "qdrant": Format(_qdrant, _qdrant_collection),
    "lancedb": Format(_arrow, _no_collection),
    "parquet": Format(_arrow, _no_collection),
}
