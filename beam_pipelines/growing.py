"""Growing vocabularies: values of a new period get tokens after the existing ones, which never change."""

import functools
import pathlib
import posixpath
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft

from recsys_tft.analyzers import StatisticRequest
from recsys_tft.beam_pipelines import state
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.frequencies import Frequencies
from recsys_tft.run_layout import state_files
from recsys_tft.run_layout.state_files import RARE
from recsys_tft.storage.files import copy, files_below, is_local
from recsys_tft.vocabularies import values_of

SCHEMA = pa.schema({"vocabulary": pa.string(), "value": pa.binary(), "count": pa.int64()})


def counted(asked: Sequence[StatisticRequest]) -> tuple[StatisticRequest, ...]:
    """The vocabularies among the requested statistics."""
    return tuple(one for one in asked if isinstance(one.statistic, Frequencies))


def write_rare(part: tuple[int, list[Any]], asked: Sequence[StatisticRequest], job: Job) -> tuple[int, list[Any]]:
    """Writes the values of a part that are too rare for their vocabularies; returns the part."""
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


def read_rare(_: int, file: tuple[str, str], asked: tuple[StatisticRequest, ...]) -> Iterator[list[Any]]:
    """Accumulators of vocabularies, from a file of values that were too rare."""
    rows, found = state_files.read(file[1]), []
    for one in asked:
        own = rows.filter(pc.equal(rows["vocabulary"], one.name))
        found.append(pa.table({"value": _typed(own["value"], one), "count": own["count"]}))
    yield found


def without_known(part: tuple[int, list[Any]], asked: tuple[StatisticRequest, ...], job: Job) -> tuple[int, list[Any]]:
    """A part of the counts without values that have tokens; writes those that are still too rare."""
    assert job.earlier is not None
    number, states = part
    new = []
    for one, own in zip(asked, states, strict=True):
        assert isinstance(one.statistic, Frequencies)
        new.append(one.statistic.unknown(_known(one, job.earlier.fitted), own))
    return write_rare((number, new), asked, job)


def grow(states: list[Any], asked: tuple[StatisticRequest, ...], graphs: str, job: Job) -> str:
    """The folder of a graph whose vocabularies have the values that are frequent by now; the old one if none has grown.

    Args:
        states: accumulators of the values that have no token and are not too rare.
        asked: from `counted`.
        graphs: a folder for a new graph.
        job: the job.
    """
    assert job.earlier is not None
    fitted, grown = job.earlier.fitted, {}
    for one, new in zip(asked, states, strict=True):
        assert isinstance(one.statistic, Frequencies)
        known = _known(one, fitted)
        if len(added := one.statistic.grown(len(known), new)):
            grown[one.name] = pa.chunked_array([known, *added.chunks])
    return _saved(grown, asked, f"{graphs}/tftransform_tmp/{uuid.uuid4().hex}", job) if grown else fitted


@functools.lru_cache(maxsize=32)  # every part of the counts calls it
def _known(one: StatisticRequest, fitted: str) -> pa.Array:
    """The values of a vocabulary in their order."""
    return _typed(pa.array(values_of(one.name, fitted), pa.binary()), one)


def _typed(values: pa.Array | pa.ChunkedArray, one: StatisticRequest) -> pa.Array | pa.ChunkedArray:
    """Values as their vocabulary spells them: in decimal, or unchanged."""
    assert isinstance(one.statistic, Frequencies)
    return values.cast(pa.string()).cast(pa.int64()) if one.statistic.integers else values


def _saved(grown: Mapping[str, pa.ChunkedArray], asked: Sequence[StatisticRequest], folder: str, job: Job) -> str:
    """The graph with other vocabularies: they are files beside it, and nothing else in it depends on them."""
    assert job.earlier is not None
    old, new = job.earlier.fitted, posixpath.join(folder, tft.TFTransformOutput.TRANSFORM_FN_DIR)
    assets = posixpath.join(new, tf.saved_model.ASSETS_DIRECTORY)
    tf.io.gfile.makedirs(assets)
    written = set()
    for one in asked:
        if one.name in grown and isinstance(one.statistic, Frequencies):
            written.add(path := posixpath.join(assets, one.statistic.file_name(one.name)))
            one.statistic.write_values(grown[one.name], path)
    for file in files_below(old):
        same = f"{new}{file.removeprefix(old)}"
        if same in written:
            continue
        if is_local(old) and is_local(new):
            pathlib.Path(same).parent.mkdir(exist_ok=True)
            pathlib.Path(same).symlink_to(pathlib.Path(file).absolute())
        else:
            copy(file, same)
    return new
