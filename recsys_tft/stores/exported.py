"""Contents of an export for other stores: typed rows of users and videos, and the vectors of videos."""

import datetime
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_tft.columns import FIRST_SEEN, TIMESTAMP
from recsys_tft.configuration.column_settings import ColumnSettings, names_and_units
from recsys_tft.errors import InputError, readable
from recsys_tft.recommending import request_columns
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.serving import saved_signatures, serving_folders
from recsys_tft.serving.serving_folders import DESCRIPTION, EXPORT_AGAIN, STORE
from recsys_tft.storage import json_files
from recsys_tft.storage.temporary import without_pattern

# Keys of the description; an export of a release that lacked one has to be made again.
_KEYS = ("settings", "transform_graph", "as_of", "metric", "stored")
_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
_INDEX = "_parts/0"  # of the retrieval model: see serving_models.retrieval


class Exported:
    """One version of an export, held as long as this object lives.

    Args:
        output_dir: of the run.
        version: the newest by default.

    Attributes:
        version: its number.
        description: contents of its export.json.
        kinds: of ids, by key.
        store: its rows.

    Raises:
        InputError: if it does not exist, is damaged, or is of a release with a shorter description.
    """

    def __init__(self, output_dir: str, version: int | None = None):
        self._held, self.version = serving_folders.hold_version(output_dir, version)
        self._root = self._held.folder
        folder = self._root / STORE / str(self.version)
        self.description = json_files.read(folder / DESCRIPTION, EXPORT_AGAIN, _KEYS)
        self.kinds = request_columns.read_id_kinds(folder)
        self.store = EntityStore(folder)

    @property
    def as_of(self) -> datetime.datetime:
        """Its moment: the first one after the last event."""
        since = datetime.timedelta(microseconds=self.description["as_of"])
        return datetime.datetime.fromtimestamp(0, datetime.UTC) + since

    @functools.cached_property
    def own_names(self) -> dict[str, str]:
        """The user's names of columns of users, videos and channels that differ from ours, by our names."""
        names: dict[str, str] = {}
        for entries in map(self.description["settings"].get("columns", {}).get, ("users", "videos", "channels")):
            settings = {theirs: _setting(entry) for theirs, entry in (entries or {}).items()}
            names |= names_and_units(settings)[0]
        return names

    def inputs(self, model: str) -> frozenset[str]:
        """The raw columns that a model takes."""
        folder = self._folder(model)
        with readable(folder, EXPORT_AGAIN):
            return frozenset(saved_signatures.read(str(folder))["serving_default"].inputs)

    def _folder(self, model: str) -> pathlib.Path:
        return self._root / model / str(self.version)

    def own_name(self, name: str) -> str:
        """The user's name of a column."""
        return self.own_names.get(name, name)

    def typed(self, rows: pa.Table) -> pa.Table:
        """Rows of the store with texts as strings and times as timestamps.

        Raises:
            InputError: naming the column, if a text is not UTF-8.
        """
        columns = {name: self._typed(name, rows[name].combine_chunks()) for name in rows.column_names}
        return pa.table(columns)

    def _typed(self, name: str, values: pa.Array) -> pa.Array:
        described = self.description["stored"].get(name, {})
        if name == FIRST_SEEN or described.get("type") == str(TIMESTAMP):
            return values.cast(pa.int64()).cast(TIMESTAMP)
        if described.get("type") == "bool":
            return values.cast(pa.bool_())
        return self.as_text(name, values)

    def as_text(self, name: str, values: pa.Array) -> pa.Array:
        """The same values, binaries as strings.

        Raises:
            InputError: naming the column, if one is no UTF-8.
        """
        kind = {pa.binary(): pa.string(), pa.list_(pa.binary()): pa.list_(pa.string())}.get(values.type)
        if kind is None:
            return values
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:
            raise InputError(
                f"The column {self.own_name(name)} has a text that is not UTF-8; repair it, and {EXPORT_AGAIN}."
            ) from None

    @functools.cached_property
    def _index(self) -> tuple[pa.Array, np.ndarray]:
        import tensorflow as tf

        retrieval = self._folder("retrieval")
        with readable(retrieval, EXPORT_AGAIN, tf.errors.OpError):
            reader = tf.train.load_checkpoint(without_pattern(str(retrieval)) + "/variables/variables")
            video_ids, vectors = (reader.get_tensor(f"{_INDEX}/{name}/{_VALUE}") for name in ("_ids", "_vectors"))
        if not np.isfinite(vectors).all():
            raise InputError(f"{retrieval}: has a vector that is not finite; train the two-tower model again.")
        return pa.array(video_ids, pa.int64() if video_ids.dtype == np.int64 else pa.binary()), vectors

    @property
    def video_ids(self) -> pa.Array:
        """[videos] int64 or binary ids of the retrieval model, in its order."""
        return self._index[0]

    @property
    def vectors(self) -> np.ndarray:
        """[videos, dim] float32 vectors of the retrieval model."""
        return self._index[1]


def _setting(entry: str | Mapping[str, Any]) -> str | ColumnSettings:
    return entry if isinstance(entry, str) else ColumnSettings(**entry)
