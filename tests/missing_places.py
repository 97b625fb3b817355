"""The places in which a value may be missing, each as a function that tells what becomes of a value there."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from workspace import good_rows, table_of

import preprocessing_fn
from recsys_tft.columns import Column
from recsys_tft.configuration.recommender_settings import BlockSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.exporting import stored_entities
from recsys_tft.features import raw_columns
from recsys_tft.raw_replay import raw_counters, raw_rows
from recsys_tft.recommending import catalogue, filtering
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.recommending.request import Request
from recsys_tft.serving import saved_graphs
from recsys_tft.serving.serving_folders import NAMES
from recsys_tft.serving.serving_rows import tensors
from recsys_tft.tables import raw_tables

LEAST = -(2**63)
MOMENT = 1_740_000_000_000_000

# Of each column a value that is there, and how to write that it is not.
COLUMNS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "age": (30, (LEAST,)),
    "country": ("DE", ("",)),
    "previously_watched_category": ("music", ("",)),
    "history_video_ids": ([3, 5], ([], [None], [LEAST], [None, LEAST])),
    "history_categories": (["music"], ([], [None], [""], ["", None])),
    "video_duration": (600.0, (math.nan, 0.0)),
    "category": ("music", ("",)),
    "child_categories": (["pop"], ([], [""], [None])),
    "tags": (["a"], ([], [""], [None])),
    "channel_id": (1, (LEAST,)),
    "view_count": (5, (LEAST,)),
    "published_at": (MOMENT, (LEAST,)),
    "device": ("web", ("",)),  # no training row has it, so that the ranker knows it as unknown
    "watch_time": (5.0, (math.nan,)),
}
VIDEO = {"video_id": 1, "channel_id": 2, "category": "news", "child_categories": ["x"], "published_at": 1}


def arrow(column: Column, value: Any) -> pa.Array:
    """[1] as `raw_tables.read` types it, with nothing that was done about what is missing."""
    kind = pa.binary() if pa.types.is_string(column.graph_type) else column.graph_type
    return pa.array([value], pa.list_(kind) if column.is_list else kind)


def row_of(table: str, column: Column, value: Any) -> pa.Table:
    """The first row of a table, of which one column is told."""
    types = {name: own.type for name, own in DEFAULT.columns_of(table).items()}
    row = good_rows()[table][0] | {column.name: value}
    arrays = {name: pa.array([own], pa.int64() if name == "published_at" else types[name]) for name, own in row.items()}
    if "published_at" in arrays:
        arrays["published_at"] = arrays["published_at"].cast(types["published_at"])
    return pa.table(arrays)


def table_with(column: Column) -> str:
    return next(table for table in ("users", "videos", "interactions") if column.name in DEFAULT.columns_of(table))


# --- Places


@dataclasses.dataclass(frozen=True)
class Given:
    """What places need: an output with an export, and a folder for tables."""

    served: pathlib.Path
    folder: pathlib.Path

    def tables(self, column: Column, value: Any) -> str:
        """The folder of four tables, of which the first row of one is told something."""
        for name, rows in good_rows().items():
            table = table_of(rows)
            if name == table_with(column):
                first = row_of(name, column, value)
                rest = table.slice(1).select([own for own in table.column_names if own != column.name])
                table = pa.concat_tables([first, rest], promote_options="default")
            pq.write_table(table, self.folder / f"{name}.parquet")
        return str(self.folder)


def reading(given: Given, column: Column, value: Any) -> Any:
    table = raw_tables.find(given.tables(column, value), {})[table_with(column)]
    usable, rejected = raw_tables.read(table, table.sources[0], [column.name])
    assert not len(rejected)
    if column.zero_is_missing:  # which is counted, and so taken out a step later
        return raw_rows.read(str(given.folder), Settings()).videos[column.name].to_pylist()
    return usable[column.name].to_pylist()


def store(given: Given, column: Column, value: Any) -> Any:
    rows = raw_rows.read(given.tables(column, value), Settings())
    dated = raw_counters.dated_videos(rows, None, Settings())
    target = given.folder / f"store-{len(list(given.folder.iterdir()))}"
    videos = stored_entities.current_videos(rows, dated)
    stored_entities.write(target, rows, videos, dated.counts, None, Settings(history={"length": 0}))
    found = EntityStore(target)
    row = found.user(1) if table_with(column) == "users" else found.videos(np.array([1]))
    return [[] if value is None and column.is_list else value for value in row[column.name].to_pylist()]


def filters(given: Given, column: Column, value: Any) -> Any:
    video = pa.table({name: arrow(DEFAULT.raw[name], own) for name, own in {**VIDEO, column.name: value}.items()})
    rules = BlockSettings(categories=["", "music", "pop"], channels=[LEAST, 1])
    old = filtering.too_old(catalogue.floats(video["published_at"]), MOMENT + filtering.DAY, 0.5)
    return filtering.blocked(video, rules).tolist(), old.tolist()


def ordering(given: Given, column: Column, value: Any) -> Any:
    if column.name == "published_at":
        return str(catalogue.floats(pa.chunked_array([arrow(column, value)])))
    return catalogue.codes(pa.chunked_array([arrow(column, value)])).tolist()


def recommending(given: Given, column: Column, value: Any) -> Any:
    found = Request(3, {column.name: value}, MOMENT).columns(EntityStore(given.served / "serving/store/1").user(3))
    return [own or [] if column.is_list else own for own in found[column.name].to_pylist()]


def transform_graph(given: Given, column: Column, value: Any) -> Any:
    return _features(_graphs(given.served)[0], column, value)


def verifying(given: Given, column: Column, value: Any) -> Any:
    return [_features(graph, column, value) for graph in _graphs(given.served)[1:]]


@functools.cache
def _graphs(served: pathlib.Path) -> list[saved_graphs.SavedGraph]:
    """The transform graph, and the serving models as `verify` asks them."""
    return [saved_graphs.load_transform(str(served)), *saved_graphs.load_serving(str(served))]


def _features(graph: saved_graphs.SavedGraph, column: Column, value: Any) -> Any:
    features = [f for f in DEFAULT.switched_on(SERVED) if column.name in f.sources and not f.op.joins and graph.has(f)]
    raw = pa.table({own.name: arrow(own, value if own == column else None) for own in raw_columns(tuple(features))})
    found = saved_graphs.compute(graph, raw, features) if features else {}
    return {name: values.tolist() for name, values in found.items()}


SERVED = Settings(recent={"enabled": True}, cooccurrence={"enabled": True})


def tfx(given: Given, column: Column, value: Any) -> Any:
    """The feature that needs no fit, from a dense tensor, in which NaN or the least int64 is what null is elsewhere."""
    missing = {"age": LEAST, "video_duration": math.nan}[column.name]
    return _bucket(column.name)([missing if value is None else value])


@functools.cache
def _bucket(name: str) -> Callable[[list[Any]], list[int]]:
    """The bucket of a column by a freshly traced preprocessing_fn."""
    feature, kind = {"age": ("age_bucket", tf.int64), "video_duration": ("video_duration_bucket", tf.float32)}[name]
    graph = tf.Graph()
    with graph.as_default():
        raw = tf.compat.v1.placeholder(kind, [None])
        bucket = preprocessing_fn.preprocessing_fn({name: raw})[feature]
    session = tf.compat.v1.Session(graph=graph)
    return lambda values: session.run(bucket, {raw: values}).tolist()


def named(signature: str) -> Callable[[Given, Column, Any], Any]:
    def ask(given: Given, column: Column, value: Any) -> Any:
        found = {}
        for name in NAMES:
            model = loaded(given.served, name).signatures[signature]
            specs = model.structured_input_signature[1]
            others = {n: v for n, v in OTHERS.items() if n in specs}
            inputs = tensors({column.name: arrow(column, value)}, {n: s for n, s in specs.items() if n not in others})
            if column.name in inputs:
                found[name] = {n: v.numpy().tolist() for n, v in model(**inputs, **others).items()}
        return found

    return ask


OTHERS = {"k": tf.constant(3), "exclude": tf.zeros([1, 0], tf.int64)}


def serialized(given: Given, column: Column, value: Any) -> Any:
    example = tf.train.Example()
    present = [own for own in (value if isinstance(value, list) else [value]) if own is not None]
    if present:
        kinds = {"string": "bytes_list", "int64": "int64_list", "float": "float_list"}
        encoded = [own.encode() if isinstance(own, str) else own for own in present]
        getattr(example.features.feature[column.name], kinds[str(column.graph_type)]).value.extend(encoded)
    found = {}
    for name in NAMES:
        model = loaded(given.served, name)
        if column.name in model.signatures["serving_default"].structured_input_signature[1]:
            others = OTHERS if name == "retrieval" else {}
            asked = model.signatures["examples"](examples=tf.constant([example.SerializeToString()]), **others)
            found[name] = {n: v.numpy().tolist() for n, v in asked.items()}
    return found


@functools.cache
def loaded(served: pathlib.Path, name: str) -> Any:
    """A serving model."""
    return tf.saved_model.load(str(served / "serving" / name / "1"))


OF_USERS = ("age", "country", "previously_watched_category", "history_video_ids", "history_categories")
OF_VIDEOS = ("video_duration", "category", "child_categories", "tags", "view_count")
PLACES: dict[str, tuple[Callable[[Given, Column, Any], Any], tuple[str, ...]]] = {
    "reading": (reading, tuple(COLUMNS)),
    "store": (store, (*OF_USERS[:2], *OF_USERS[3:], *OF_VIDEOS, "channel_id", "published_at")),
    "filters": (filters, ("category", "child_categories", "channel_id", "published_at")),
    "ordering rules": (ordering, ("category", "channel_id", "published_at")),
    "recommend": (recommending, (*OF_USERS, "device")),
    "transform graph": (transform_graph, (*OF_USERS, *OF_VIDEOS, "device")),
    "verify": (verifying, (*OF_USERS, *OF_VIDEOS, "device")),
    "module file": (tfx, ("age", "video_duration")),
    "serving_default": (named("serving_default"), (*OF_USERS, *OF_VIDEOS, "device")),
    "features": (named("features"), (*OF_USERS, *OF_VIDEOS, "device")),
    "examples": (serialized, (*OF_USERS, *OF_VIDEOS, "device")),
}
