"""Frequencies of the distinct values of a column: the statistic of vocabularies, and its lookup."""

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.ids import codes_of
from recsys_tft.statistics import EMPTY_IDS, FileStatistic, divided_by

if TYPE_CHECKING:
    import tensorflow as tf

# tf.lookup refuses an empty file; no input equals this value, which tft.vocabulary writes too. For integers it is
# EMPTY_IDS, as tft.vocabulary's -1 is a valid id.
EMPTY_VOCABULARY = b"49d0cd50-04bb-48c0-bc6f-5b575dce351a"
_VALUES_AT_A_TIME = 1 << 20


@dataclasses.dataclass(frozen=True)
class Frequencies(FileStatistic):
    """The distinct values by descending count; equally frequent ones in ascending order, so that larger new ids, which
    come last, leave the tokens of the old ones alone.

    Attributes:
        min_count: values that occur less often are left out.
        max_size: the most values to keep; None for all.
        integers: whether the values are int64 rather than strings.
        ids: whether strings are ids, of which there may be very many, as of integers.
    """

    min_count: int
    max_size: int | None
    integers: bool
    ids: bool = False

    def of(self, values: np.ndarray) -> pa.Table:
        counted = pa.array(values, pa.int64() if self.integers else pa.binary()).value_counts()
        return pa.table({"value": counted.field(0), "count": counted.field(1)})

    def merge(self, states: Iterable[pa.Table]) -> pa.Table:
        grouped = pa.concat_tables(states).group_by("value", use_threads=False).aggregate([("count", "sum")])
        return grouped.rename_columns(["value", "count"]).combine_chunks()

    def divided(self, state: pa.Table) -> list[pa.Table]:
        """PARTS if there may be very many values."""
        return divided_by(codes_of(state["value"]).to_numpy(), state) if self.integers or self.ids else [state]

    def trimmed(self, state: pa.Table) -> pa.Table:
        """The values that are kept, in order."""
        kept = state.filter(pc.field("count") >= self.min_count)
        return kept.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, self.max_size)

    def rare(self, state: pa.Table) -> pa.Table:
        """The values that are too rare to be kept."""
        return state.filter(pc.field("count") < self.min_count)

    def unknown(self, values: pa.Array, state: pa.Table) -> pa.Table:
        """The state of all values except [n] known ones."""
        return state.filter(pc.invert(pc.is_in(state["value"], values)))

    def grown(self, size: int, new: pa.Table) -> pa.ChunkedArray:
        """The new values after `size` others, most frequent first; `new` is their state."""
        room = None if self.max_size is None else max(self.max_size - size, 0)
        return self.trimmed(new)["value"].slice(0, room)

    def file_name(self, name: str) -> str:
        """The name of the file of vocabulary `name`."""
        return name if self.integers else f"{name}.tfrecord.gz"

    def values(self, state: pa.Table) -> pa.ChunkedArray:
        """The values in order."""
        return self.trimmed(state)["value"]

    def write(self, state: pa.Table, path: str) -> None:
        """Write integers one per line, strings one per record of a gzipped TFRecord.

        The text format of tf.lookup cannot hold a string with a newline.
        """
        self.write_values(self.values(state), path)

    def write_values(self, values: pa.ChunkedArray | pa.Array, path: str) -> None:
        """Write [n] values in their order."""
        import tensorflow as tf

        starts = range(0, len(values), _VALUES_AT_A_TIME)  # as Python objects take ten times the memory
        parts = (values.slice(start, _VALUES_AT_A_TIME).to_pylist() for start in starts)
        if self.integers:
            with tf.io.gfile.GFile(path, "w") as file:
                for part in parts if len(values) else [[EMPTY_IDS]]:
                    file.write("".join(f"{value}\n" for value in part))
            return
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for part in parts if len(values) else [[EMPTY_VOCABULARY]]:
                for value in part:
                    writer.write(value)

    def fitted(self, output: "tf.Tensor") -> "FittedFile":
        """The file, in which values are looked up."""
        return FittedFile(output, self.integers)


class FittedFile:
    """The file of a vocabulary in a graph being traced; all its readers share one table.

    Args:
        file: scalar string, its path from an analyzer of tf.Transform.
        integers: whether it has int64 ids, one per line; otherwise strings, one per record of a gzipped TFRecord.
    """

    def __init__(self, file: "tf.Tensor", integers: bool):
        self._file = file
        self._integers = integers
        self._table: tf.lookup.StaticHashTable | None = None

    def lookup(self, values: "tf.Tensor") -> "tf.Tensor":
        """[n] int64: the index of each of [n] values in the file, from 0; -1 if it is not there."""
        import tensorflow_transform as tft

        return tft.apply_vocabulary(values, self._file, default_value=-1, lookup_fn=self._look_up)

    def _look_up(self, values: "tf.Tensor", path: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
        """The looked-up tokens, and the size of the table; `path` is known once the file has been written."""
        import tensorflow as tf

        is_eager = tf.inside_function() and not tf.is_symbolic_tensor(path)
        with tf.init_scope() if is_eager else contextlib.nullcontext():  # else each call would read the file
            if self._table is None:
                self._table = tf.lookup.StaticHashTable(self._initializer(path), -1)
            size = self._table.size()
        return self._table.lookup(values), size

    def _initializer(self, path: "tf.Tensor") -> "tf.lookup.TableInitializerBase":
        from recsys_tft import lookup_files

        return lookup_files.integers_in(path) if self._integers else lookup_files.strings_in(path)
