"""Whether two outputs are the same to the last byte, and tables by which they have to be."""

import functools
import json
import pathlib
import re
from collections.abc import Iterable

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from conftest import Ran
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from workspace import files_seen

from recsys_tft.columns import TABLES

FITTED = ("artifacts/transform_graph", "artifacts/vocabularies", "artifacts/normalizers", "artifacts/buckets")
TRAINING = ("two_tower/train", "ranker/train", "users", "videos")
UNTOUCHED = (*FITTED, *(f"processed_data/{name}" for name in TRAINING))  # by what comes after the training split
MODEL = "artifacts/transform_graph/transform_fn"
# Numbers of functions, and of resources that nothing else names.
NUMBERS = re.compile(r'(?<=__inference_)(\w+?_)(\d+)(?=")|(?<=s: ")()(\d+)(?=")')


def files_below(root: pathlib.Path, *parts: str) -> dict[str, bytes]:
    """The contents of all files, or of those below some parts; but what is compared otherwise."""
    found = files_seen(root)
    otherwise = {"artifacts/manifest.json", f"{MODEL}/saved_model.pb", f"{MODEL}/fingerprint.pb"}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if name not in otherwise and (not parts or name.startswith(tuple(f"{part}/" for part in parts)))
    }


@functools.cache  # of the folders that many outputs are compared with
def graph_text(root: pathlib.Path) -> list[str]:
    """The graph of the saved transform graph, and its functions, as comparable texts."""
    model = saved_model_pb2.SavedModel.FromString((root / MODEL / "saved_model.pb").read_bytes())
    (graph,) = model.meta_graphs
    functions = list(graph.graph_def.library.function)
    del graph.graph_def.library.function[:]
    concrete = graph.object_graph_def.concrete_functions  # in the order of names, and so of numbers as text
    signatures = [f'"{name}" {text_format.MessageToString(concrete[name])}' for name in concrete]
    concrete.clear()
    for nodes in (graph.graph_def.node, *(function.node_def for function in functions)):
        nodes.sort(key=lambda node: node.name)
    texts = [text_format.MessageToString(message) for message in (graph, *functions)] + signatures
    texts = [re.sub(r"(?:\w+:/)?/[^\s\"']*/tftransform_tmp/\w+/", "TEMPORARY/", text) for text in texts]
    texts = [re.sub(r'"[^"]*?([A-Z]\w+Dataset):\d+"', r'"\1"', text) for text in texts]  # for profilers
    numbers = {int(match[2] or match[4]) for text in texts for match in NUMBERS.finditer(text)}
    rank = {number: str(position) for position, number in enumerate(sorted(numbers))}
    renumbered = [NUMBERS.sub(lambda m: (m[1] or "") + rank[int(m[2] or m[4])], text) for text in texts]
    return [renumbered[0], *sorted(renumbered[1:])]


def manifest_of(root: pathlib.Path, *without: str) -> dict[str, object]:
    """The manifest but for times and host, and what else is named."""
    manifest = json.loads((root / "artifacts/manifest.json").read_text())
    return {name: value for name, value in manifest.items() if name not in ("times", "host", *without)}


def assert_same_bytes(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert one
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def assert_same_output(one: pathlib.Path, other: pathlib.Path, *parts: str, without: Iterable[str] = ()) -> None:
    """The parts hold the same bytes, and the graphs and manifests are alike."""
    assert_same_bytes(files_below(one, *parts), files_below(other, *parts))
    assert graph_text(one) == graph_text(other)
    assert manifest_of(one, *without) == manifest_of(other, *without)


def rejected_rows(root: pathlib.Path, *without: str) -> list[str]:
    """All rejected rows, without the file that they come from and other columns that are named."""
    files = sorted((root / "rejected").rglob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(repr({name: row[name] for name in row if name not in ("source_file", *without)}) for row in rows)


def divided_tables(raw: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The tables in three files each, interactions in the opposite order."""
    for table in TABLES:
        rows = pq.read_table(raw / f"{table}.parquet")
        if table == "interactions":
            rows = rows.take(pa.array(range(len(rows))[::-1]))
        (folder / table).mkdir(parents=True)
        third = -(-len(rows) // 3)
        for part in range(3):
            path = folder / table / f"part-{part}.parquet"
            pq.write_table(rows.slice(part * third, third), path, row_group_size=max(third // 4, 1))
    return folder


def tables_with_another_future(ran: Ran, folder: pathlib.Path) -> tuple[pathlib.Path, str]:
    """The run's tables with another future, and the line of settings that gives its cuts as times."""
    splits = ran.result.manifest["splits"]
    folder.mkdir()
    for table in ("users", "videos", "channels"):
        (folder / f"{table}.parquet").write_bytes((ran.raw / f"{table}.parquet").read_bytes())
    events = pl.read_parquet(ran.raw / "interactions.parquet")
    val_from = pl.lit(splits["val_from"].removesuffix(" UTC")).str.to_datetime(time_unit="us", time_zone="UTC")
    events = with_another_future(events, val_from)
    pq.write_table(events.to_arrow(compat_level=pl.CompatLevel.oldest()), folder / "interactions.parquet")
    split = {name: value.removesuffix(" UTC") for name, value in splits.items()}
    return folder, f"split: {json.dumps(split)}\n"


def with_another_future(events: pl.DataFrame, val_from: pl.Expr) -> pl.DataFrame:
    """Of the events from val_from on a third is gone, a third is altered, and as many new ones are added."""
    time = pl.col("interaction_time")
    past, future = events.filter(time < val_from), events.filter(time >= val_from)
    number = pl.int_range(pl.len()) % 3
    altered = future.filter(number == 1).with_columns(
        pl.col("user_id").reverse(), pl.col("video_id").shift(3, fill_value=1), interaction_type=pl.lit("like")
    )
    added = future.filter(number == 0).with_columns(
        time + pl.duration(days=40), device=pl.lit("a device of the future"), interaction_type=pl.lit("share")
    )
    at_once = past.tail(50).with_columns(val_from.alias("interaction_time"), interaction_type=pl.lit("comment"))
    changed = pl.concat([past, future.filter(number == 2), altered, added, at_once])
    assert future.height > 300
    return changed


def counted(manifest: dict[str, object]) -> dict[str, int]:
    """The counts of a manifest that steps made; those `used` are a difference of two others."""
    return {name: n for name, n in manifest["counts"].items() if not name.endswith("/used")}
