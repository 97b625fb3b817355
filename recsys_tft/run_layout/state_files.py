"""The state of a run, from which a refresh starts, under `state/` of an output.

state/state.json            its version, its moment, and its files
state/TABLE/part-*.parquet  rows by partition of users or of videos, with Parquet's page checksums
"""

import dataclasses
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_tft.errors import InputError, readable
from recsys_tft.run_layout.output import Output
from recsys_tft.run_layout.run_folders import RENAMED
from recsys_tft.storage import json_files
from recsys_tft.storage.files import exists, open_to_read, sizes, write_file, write_text

STATE, DESCRIPTION = "state", "state.json"
VERSION = 1
ENTITIES = ("users", "videos", "channels")  # usable rows of these tables, with ids as codes
WORTH: Final = "worth"  # of outcomes.WORTH_SCHEMA
KEPT = "kept"  # events since the moment of the tables, with the setting `late`
OF_USERS = (
    "events",
    "viewed",
    "positives",
    "pairs",
    "counts",
    "steps",
    "fitted",
    WORTH,
    KEPT,
)  # point_in_time/carried.py
CHANGES, FIRST_SEEN, CATALOGUE = "changes", "first_seen", "catalogue"
FITTED_VIDEOS, RARE = (
    "fitted_videos",
    "rare",
)  # of vocabularies: videos whose values are counted, and values that are not in them yet
_SHOWN, _TIME, _LATER = "shown", "time", "later"  # of an exposure; of its outcome; and the difference
_MOMENTS = (_SHOWN, _TIME, "since", "interaction_time")
TABLES = (*ENTITIES, *OF_USERS, CHANGES, FIRST_SEEN, CATALOGUE, FITTED_VIDEOS, RARE)


def write(output: Output, name: str, partition: int, rows: pa.Table) -> None:
    """Write a partition of one of the TABLES into a staged output."""
    path = output.staged(STATE, name, f"part-{partition:05d}.parquet")
    rows = _replaced(rows, _TIME, _LATER, pc.subtract)
    options = {"compression": "zstd", "compression_level": 1, "write_page_checksum": True}
    if name not in ENTITIES:  # nearly all times are distinct
        moments = [column for column in rows.column_names if column in _MOMENTS]
        options["use_dictionary"] = [column for column in rows.column_names if column not in moments]
        options["column_encoding"] = dict.fromkeys(moments, "DELTA_BINARY_PACKED")
    write_file(path, lambda file: pq.write_table(rows, file, **options))


def _replaced(rows: pa.Table, name: str, by: str, function: Callable) -> pa.Table:
    """Replace a time that mostly equals _SHOWN by the difference, or back."""
    if not {_SHOWN, name} <= {*rows.column_names}:
        return rows
    place = rows.column_names.index(name)
    return rows.set_column(place, by, function(rows[name], rows[_SHOWN]))


def read(path: str) -> pa.Table:
    """The rows of a file.

    Raises:
        InputError: if it is damaged.
    """
    with readable(path, _AGAIN, pa.ArrowInvalid), open_to_read(path) as file:
        rows = pq.read_table(file, page_checksum_verification=True)
        return _replaced(rows, _LATER, _TIME, pc.add).combine_chunks()


_AGAIN = "run the main job again, or the refresh that wrote it with --overwrite"


def describe(output: Output, values: Mapping[str, Any]) -> None:
    """Write state.json of a staged state with all of its files.

    Args:
        output: of the run.
        values: contents besides the files.
    """
    folder = output.staged(STATE)
    files = {name: sizes(f"{folder}/{name}") for name in TABLES}
    text = json_files.to_json({"version": VERSION, **values, "files": files})
    write_text(f"{folder}/{DESCRIPTION}", text)


@dataclasses.dataclass(frozen=True)
class EarlierState:
    """The state from which a refresh starts.

    Attributes:
        until: microseconds; it covers the events strictly before.
        bounds: the moment of the tables, and the start of each later period; the events since are in KEPT.
        files: the paths of the files of each of the TABLES.
        graph: the folder of its transform graph.
        splits: where splits and periods end, as in the manifest.
        users: number of users.
        videos: number of videos.
        lineage: for the manifest of the refresh.
    """

    until: int
    bounds: Sequence[int]
    files: Mapping[str, Sequence[str]]
    graph: str
    splits: Mapping[str, Any]
    users: int
    videos: int
    lineage: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def fitted(self) -> str:
        """The folder of the fitted SavedModel."""
        return posixpath.join(self.graph, "transform_fn")


def open_state(root: str, shown_dir: str) -> EarlierState:
    """Open the state of an output, after checking its files and their sizes.

    Args:
        root: the held folder of the output.
        shown_dir: the folder for messages.

    Raises:
        InputError: if there is none, it has another version, or a part of it is gone.
    """
    folder = posixpath.join(root, STATE)
    path = f"{folder}/{DESCRIPTION}"
    if not exists(path):
        raise InputError(f"{shown_dir}/{STATE}: has no state to start from; {_AGAIN}.")
    with readable(path, _AGAIN, LookupError):
        description = json_files.read(path, _AGAIN, renamed=RENAMED)
        version, until, files = description["version"], int(description["until"]), description["files"]
        splits, bounds = dict(description["splits"]), [int(moment) for moment in description.get("bounds", [until])]
        users, videos = (int(description["rows"][name]) for name in ("users", "videos"))
    if version != VERSION:
        raise InputError(
            f"{shown_dir}/{STATE}/{DESCRIPTION}: is of version {version}, and this release reads version {VERSION}; "
            f"{_AGAIN}."
        )
    for name in TABLES:
        there = sizes(f"{folder}/{name}")
        for file, size in files.get(name, {}).items():
            if there.get(file) != size:
                what = "is gone" if file not in there else f"has {there[file]:,} bytes in the place of {size:,}"
                raise InputError(f"{shown_dir}/{STATE}/{name}/{file}: {what}; {_AGAIN}.")
    paths = {name: [f"{folder}/{name}/{file}" for file in files.get(name, {})] for name in TABLES}
    graph = posixpath.join(root, "artifacts", "transform_graph")
    return EarlierState(until, bounds, paths, graph, splits, users=users, videos=videos)
