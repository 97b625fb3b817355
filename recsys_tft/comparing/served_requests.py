"""Statistics of logged requests, in the form of a run's statistics.

Their raw columns go through the graphs that served them. Only columns of the user and the moment are described: which
videos were recommended is the recommender's doing.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_tft.configuration.settings import Settings, from_manifest
from recsys_tft.describing import figures, run_rows
from recsys_tft.describing.columns import Described, count_rows, describe
from recsys_tft.describing.sketches import Rows
from recsys_tft.errors import InputError, readable
from recsys_tft.features import Entity
from recsys_tft.recommending import request_log
from recsys_tft.run_layout import artifacts, periods, run_folders
from recsys_tft.run_layout.data_sets import RANKER_ROWS, TWO_TOWER, DataSet
from recsys_tft.serving import served_models, serving_folders
from recsys_tft.serving.served_models import ServedModel
from recsys_tft.serving.serving_rows import arrays

_MODELS = ((TWO_TOWER, "query_tower"), (RANKER_ROWS, "ranker"))
_AT_ONCE = 4096  # requests of a batch
_REMEDY = "remove it, or name another folder of requests"


def figures_of(folder: str, output_dir: str) -> dict[str, Any]:
    """The figures of logged requests, in the cells of those of a run or a period.

    Args:
        folder: of the log.
        output_dir: of the run or the period, whose models answered.

    Raises:
        InputError: if a file is damaged, or nothing is exported of the output.
    """
    settings = from_manifest(run_folders.manifest(output_dir), f"{output_dir}/artifacts/manifest.json")
    models = _models(output_dir)
    requests = _read(folder)
    saved_model = str(pathlib.Path(output_dir, "artifacts", "transform_graph", "transform_fn"))
    _, columns = run_rows.layout(settings, artifacts.vocabularies(saved_model, settings), ())
    users = _numbers(requests["user_id"])
    described = _raw(requests, users, settings)
    for data_set, name in _MODELS:
        rows = Rows.every(len(requests))
        table = _engineered(requests, data_set, models[name], settings)
        described |= describe(table, run_rows.kinds(data_set, settings), rows, data_set.name)
        described |= count_rows(rows, data_set.name, Rows.of([users], len(requests)))
    names = (*(each.name for each, _ in _MODELS), run_rows.USERS, run_rows.EXPOSURES)
    return {"data_sets": figures.figures(described, dict.fromkeys(names, run_rows.ALL), columns)}


def _models(output_dir: str) -> dict[str, ServedModel]:
    """The models of the newest export, which must be of this output's graph."""
    whole = periods.output_of(output_dir)
    export, version = serving_folders.hold_version(whole)
    number = str(version)
    description = serving_folders.description(export.folder / serving_folders.STORE / number)
    if description["transform_graph"] != run_folders.fingerprint(output_dir):
        raise InputError(f"{output_dir}: the newest export is of another period or run; compare requests with that.")
    folders = {name: export.folder / name / number for _, name in _MODELS}
    return served_models.Loading(folders, serving_folders.EXPORT_AGAIN).models()


def _read(folder: str) -> pa.Table:
    tables = []
    for path in request_log.files(folder):
        with readable(path, _REMEDY):
            table = pq.read_table(path)
            table.schema.field("user_id"), table.schema.field("interaction_time")
            tables.append(table)
    with readable(pathlib.Path(folder), "name a folder of requests to one run"):
        return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _numbers(users: pa.ChunkedArray) -> np.ndarray:
    """[n] int64: one number per user; each anonymous request has a number of its own."""
    codes = users.combine_chunks().dictionary_encode().indices
    nobody = codes.is_null().to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(codes, 0).to_numpy().astype(np.int64)
    numbers[nobody] = len(users) - 1 - np.arange(nobody.sum())
    return numbers


def _raw(requests: pa.Table, users: np.ndarray, settings: Settings) -> Described:
    """Describe raw columns: the latest ones of each user once, and those of the moment once for each request."""
    of_moment, of_users = (run_rows.raw_kinds(name, settings) for name in (run_rows.EXPOSURES, run_rows.USERS))
    typed = _typed(requests, settings)
    rows = Rows.every(len(requests))
    described = describe(typed, of_moment, rows, run_rows.EXPOSURES)
    described |= count_rows(rows, run_rows.EXPOSURES, Rows.of([users], len(requests)))
    order = np.lexsort((requests["interaction_time"].to_numpy(), users))
    latest = typed.take(np.sort(order[np.append(np.diff(users[order]) != 0, True)]))
    latest = latest.filter(pc.is_valid(latest["user_id"])) if latest["user_id"].null_count < len(latest) else latest
    kinds = {name: kind for name, kind in of_users.items() if name not in of_moment}
    every = Rows.every(len(latest))
    return described | describe(latest, kinds, every, run_rows.USERS) | count_rows(every, run_rows.USERS)


def _typed(requests: pa.Table, settings: Settings) -> pa.Table:
    """Turn columns that graphs take as numbers back into booleans."""
    for name in requests.column_names:
        column = settings.table.raw.get(name)
        if column is not None and pa.types.is_boolean(column.type) and pa.types.is_integer(requests[name].type):
            requests = requests.set_column(requests.column_names.index(name), name, requests[name].cast(pa.bool_()))
    return requests


def _engineered(requests: pa.Table, data_set: DataSet, model: ServedModel, settings: Settings) -> pa.Table:
    """[n] rows of the features of users and moments, as a model computes them."""
    signature = model.signatures["features"]
    features = [
        feature
        for feature in data_set.features(settings)
        if feature.entity in (Entity.USER, Entity.EXPOSURE) and feature.name in signature.outputs
    ]
    columns: dict[str, list[pa.Array]] = {feature.name: [] for feature in features}
    for start in range(0, len(requests), _AT_ONCE):
        batch = requests.slice(start, _AT_ONCE)
        outputs = model.run("features", arrays(_columns(batch), signature.inputs))
        for feature in features:
            values = np.broadcast_to(outputs[feature.name], (len(batch), *outputs[feature.name].shape[1:]))
            columns[feature.name].append(_arrow(values, feature.op.shape(settings) is None and values.ndim > 1))
    return pa.table({name: pa.concat_arrays(arrays_of_batches) for name, arrays_of_batches in columns.items()})


def _columns(batch: pa.Table) -> Mapping[str, pa.ChunkedArray]:
    return dict(zip(batch.column_names, batch.columns, strict=True))


def _arrow(values: np.ndarray, is_ragged: bool) -> pa.Array:
    """[n] values, vectors, or lists that a graph padded with 0."""
    if values.ndim == 1:
        return pa.array(values)
    if not is_ragged:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    there = values != 0
    offsets = np.append(0, np.cumsum(there.sum(axis=1)))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values[there]))
