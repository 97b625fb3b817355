"""Vocabularies that grow: values of a new period get the tokens behind those that are there, which never move."""

import dataclasses
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft

from recsys_tft.analyzers import Asked
from recsys_tft.beam_pipelines import state
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.frequencies import Frequencies
from recsys_tft.run_layout import state_files
from recsys_tft.run_layout.state_files import RARE
from recsys_tft.vocabularies import values_of

SCHEMA = pa.schema({"vocabulary": pa.string(), "value": pa.binary(), "count": pa.int64()})


def counted(asked: Sequence[Asked]) -> tuple[Asked, ...]:
    """The vocabularies among what ops ask for, of which all values are counted."""
    found = (one for one in asked if isinstance(one.statistic, Frequencies))
    return tuple(_whole(one) for one in found)


def _whole(one: Asked) -> Asked:
    assert isinstance(one.statistic, Frequencies)
    return dataclasses.replace(one, statistic=dataclasses.replace(one.statistic, min_count=1, max_size=None))


def write_rare(part: tuple[int, list[Any]], asked: Sequence[Asked], job: Job) -> tuple[int, list[Any]]:
    """Writes the values of a part that occur too seldom for their vocabularies; returns the part."""
    number, states = part
    pairs = zip(asked, states, strict=True)
    found = {one.name: one.statistic.rare(own) for one, own in pairs if isinstance(one.statistic, Frequencies)}
    state.write(RARE, number, _together(found), job)
    return part


def _together(counts: Mapping[str, pa.Table]) -> pa.Table:
    """Counts of values by vocabulary as one table; numbers in decimal."""
    parts = [SCHEMA.empty_table()]
    for name, rows in counts.items():
        value = rows["value"].cast(pa.string()).cast(pa.binary()) if _has_numbers(rows) else rows["value"]
        names = pa.array([name] * len(rows), pa.string())
        parts.append(pa.table([names, value, rows["count"].cast(pa.int64())], SCHEMA))
    return pa.concat_tables(parts).sort_by([("vocabulary", "ascending"), ("value", "ascending")])


def _has_numbers(rows: pa.Table) -> bool:
    return pa.types.is_integer(rows["value"].type)


def grow(states: list[Any], asked: Sequence[Asked], graphs: str, job: Job) -> str:
    """Where the graph is in which the vocabularies hold what occurs often enough by now; as it was if none has grown.

    Args:
        states: the counts of the values of new users, videos and exposures, of `counted`.
        asked: all that ops ask for.
        graphs: a folder for a new graph.
        job: what is done.
    """
    assert job.earlier is not None
    earlier = pa.concat_tables([SCHEMA.empty_table(), *map(state_files.read, job.earlier.files[RARE])])
    fitted, rare, grown = job.earlier.fitted, {}, {}
    own = [(one, one.statistic) for one in asked if isinstance(one.statistic, Frequencies)]
    for (one, statistic), counts in zip(own, states, strict=True):
        known = _typed(pa.array(values_of(one.name, fitted), pa.binary()), statistic)
        waiting = earlier.filter(pc.equal(earlier["vocabulary"], one.name))
        waiting = pa.table({"value": _typed(waiting["value"], statistic), "count": waiting["count"]})
        new, rare[one.name] = statistic.grown(known, statistic.merge([counts, waiting]))
        if len(new):
            grown[one.name] = pa.chunked_array([known, *new.chunks])
    state.write(RARE, 0, _together(rare), job)
    return _saved(grown, asked, f"{graphs}/tftransform_tmp/{uuid.uuid4().hex}", job) if grown else fitted


def _typed(values: pa.Array | pa.ChunkedArray, statistic: Frequencies) -> pa.Array | pa.ChunkedArray:
    """Values in decimal or as they are, as their vocabulary has them."""
    return values.cast(pa.string()).cast(pa.int64()) if statistic.integers else values


def _saved(grown: Mapping[str, pa.ChunkedArray], asked: Sequence[Asked], folder: str, job: Job) -> str:
    """The graph with other vocabularies: these are files beside it, of which nothing in it depends."""
    assert job.earlier is not None
    old, new = pathlib.Path(job.earlier.fitted), pathlib.Path(folder, tft.TFTransformOutput.TRANSFORM_FN_DIR)
    assets = new / tf.saved_model.ASSETS_DIRECTORY
    assets.mkdir(parents=True)
    for one in asked:
        if one.name in grown and isinstance(one.statistic, Frequencies):
            one.statistic.write_values(grown[one.name], str(assets / one.statistic.file_name(one.name)))
    for file in (file for file in old.rglob("*") if file.is_file()):
        same = new / file.relative_to(old)
        same.parent.mkdir(exist_ok=True)
        if not same.exists():
            same.symlink_to(file.absolute())
    return str(new)
