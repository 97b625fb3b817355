"""`recsys-tft feast`: users and videos of an export as a feature repository of Feast.

    TO/feature_store.yaml     a local store, to begin with
    TO/features.py            entities, feature views, and a service for each model with the features that it reads
    TO/data/users.parquet     a row for each user at the time of the export; likewise videos.parquet
    TO/export.json            metadata of the export

Feast is not imported: https://docs.feast.dev/reference/feature-repository.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_tft import ids
from recsys_tft.columns import FIRST_SEEN, KEYS, TIMESTAMP
from recsys_tft.faults import sentences
from recsys_tft.recommending.tallies import OF_GROUP
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.storage.json_files import to_json
from recsys_tft.stores.exported import Exported
from recsys_tft.stores.new_folder import check, new_folder

MARK, TIME = "export.json", "event_timestamp"
_TYPES = {pa.int64(): "Int64", pa.float32(): "Float32", pa.string(): "String", pa.bool_(): "Bool"}
_EXACT = 2**53  # float64 has every integer up to it
_STORE = """# Written by recsys-tft feast for a store on one machine: https://docs.feast.dev/reference/feature-repository
project: recsys_tft
provider: local
registry: data/registry.db
online_store:
  type: sqlite
  path: data/online_store.db
offline_store:
  type: file
entity_key_serialization_version: 3
"""
_HEAD = '''"""Users and videos of version {version} of an export, as of {as_of}; written by recsys-tft feast."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Float32, Int64, String
'''
_VIEW = """
{entity} = Entity(name="{entity}", join_keys=["{key}"], value_type=ValueType.{kind})
{name} = FeatureView(
    name="{name}",
    entities=[{entity}],
    ttl=timedelta(0),
    schema=[
        {fields}
    ],
    source=FileSource(name="{name}_file", path="data/{name}.parquet", timestamp_field="{time}"),
)
"""


@dataclasses.dataclass(frozen=True)
class Written:
    """A written feature repository.

    Attributes:
        folder: its path.
        counts: of users and videos.
        description: contents of `export.json`.
    """

    folder: pathlib.Path
    counts: dict[str, int]
    description: dict[str, object]


@sentences()
def write(output_dir: str, to: str, version: int | None = None, overwrite: bool = False) -> Written:
    """Write a feature repository.

    Columns have the names and types of the models' inputs; times are microseconds since 1970.

    Args:
        output_dir: of the run.
        to: the folder to make.
        version: of the export; the newest by default.
        overwrite: whether to replace a folder made by such a call.

    Raises:
        InputError: if there is no such export, or the folder exists.
    """
    folder = pathlib.Path(to)
    check(folder, MARK, overwrite)
    exported = Exported(output_dir, version)
    tables = {"users": _users(exported), "videos": _videos(exported)}
    description = {
        "version": exported.version,
        "as_of": exported.as_of.isoformat(),
        "transform_graph": exported.description["transform_graph"],
    }
    with new_folder(folder, MARK, overwrite) as made:
        (made / "data").mkdir()
        for name, rows in tables.items():
            dated = rows.append_column(TIME, pa.array([exported.description["as_of"]] * len(rows), TIMESTAMP))
            pq.write_table(dated, made / "data" / f"{name}.parquet", compression="zstd")
        (made / "feature_store.yaml").write_text(_STORE)
        (made / "features.py").write_text(definitions(tables, exported))
        (made / MARK).write_text(to_json(description))
    return Written(folder, {name: len(rows) for name, rows in tables.items()}, description)


def _users(exported: Exported) -> pa.Table:
    return _typed(exported, exported.store.users)


def _videos(exported: Exported) -> pa.Table:
    """The videos as the ranker reads them: without a time of publication the time of the first event."""
    rows = exported.store.all_videos
    if FIRST_SEEN in rows.column_names:
        place = rows.column_names.index("published_at")
        rows = rows.set_column(place, "published_at", pc.coalesce(rows["published_at"], rows[FIRST_SEEN]))
    return _typed(exported, rows)


def _typed(exported: Exported, rows: pa.Table) -> pa.Table:
    columns = {name: exported.as_text(name, rows[name].combine_chunks()) for name in rows.column_names}
    return pa.table({name.replace("/", "_"): _without_gaps(values) for name, values in columns.items()})


def _without_gaps(values: pa.Array) -> pa.Array:
    """Replace nulls by the models' missing values where Feast cannot keep them; times become int64.

    Feast has no nulls in lists, and converts integer columns with a null to float64.
    """
    if values.type == pa.list_(TIMESTAMP):
        values = values.cast(pa.list_(pa.int64()))
    if pa.types.is_list(values.type) and values.values.null_count:
        missing = {pa.string(): "", pa.int64(): EMPTY_IDS}[values.type.value_type]
        return ids.in_lists(values, lambda flat: pc.fill_null(flat, missing))
    if pa.types.is_int64(values.type) and values.null_count:
        largest = pc.max(pc.if_else(pc.greater(values, 0), values, pc.negate(values))).as_py()
        return pc.fill_null(values, EMPTY_IDS) if (largest or 0) > _EXACT else values
    return values


def definitions(tables: Mapping[str, pa.Table], exported: Exported) -> str:
    """The text of features.py."""
    parts = [_HEAD.format(version=exported.version, as_of=exported.as_of.isoformat())]
    for name, rows in tables.items():
        key = KEYS[name]
        fields = [f"Field(name={_quoted(c)}, dtype={_type(rows[c].type)})," for c in rows.column_names if c != key]
        kind = "INT64" if pa.types.is_integer(rows[key].type) else "STRING"
        parts.append(
            _VIEW.format(
                name=name,
                entity=name.removesuffix("s"),
                key=key,
                kind=kind,
                fields="\n        ".join(fields),
                time=TIME,
            )
        )
    parts += [_service(model, tables, exported) for model in ("query_tower", "ranker")]
    return "".join(parts)


def _service(model: str, tables: Mapping[str, pa.Table], exported: Exported) -> str:
    """The service of a model: its user and video columns, and the tallies of its pairs."""
    inputs = exported.inputs(model)
    views = []
    for name, rows in tables.items():
        read = [c for c in rows.column_names if c != KEYS[name] and (c in inputs or _is_tally(c, model))]
        if read:
            lines = "".join(f"            {_quoted(column)},\n" for column in read)
            views.append(f"        {name}[[\n{lines}        ]],\n")
    return f"\n{model} = FeatureService(\n    name={_quoted(model)},\n    features=[\n{''.join(views)}    ],\n)\n"


def _is_tally(column: str, model: str) -> bool:
    return model == "ranker" and column.startswith(OF_GROUP.replace("/", "_"))


def _type(kind: pa.DataType) -> str:
    return f"Array({_TYPES[kind.value_type]})" if pa.types.is_list(kind) else _TYPES[kind]


def _quoted(name: str) -> str:
    return json.dumps(name)
