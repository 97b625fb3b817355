"""Data folders of a run: shards with their schema."""

import functools
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_tft import libraries
from recsys_tft.errors import InputError, did_you_mean
from recsys_tft.reading import columns, rows
from recsys_tft.reading.columns import Column
from recsys_tft.reading.rows import Rows
from recsys_tft.run_layout.data_sets import DATA_SETS, IDS
from recsys_tft.run_layout.output import Output
from recsys_tft.storage.files import exists, is_local, open_to_read
from recsys_tft.storage.version_folders import Held

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import schema_pb2


class DataFolder:
    """The rows of one folder.

    Args:
        path: of the folder, with `part-*` files and `schema.pbtxt`.
    """

    def __init__(self, path: str):
        self.path = path

    @functools.cached_property
    def files(self) -> list[str]:
        """The shards, in order."""
        return rows.files_of(self.path)

    def schema(self) -> "schema_pb2.Schema":
        """The columns: types, shapes, ranges."""
        return columns.read_schema(f"{self.path}/schema.pbtxt")

    def columns(self) -> dict[str, Column]:
        """The columns that `read` returns, by name."""
        return columns.columns_of(self.schema())

    def read(self, names: Iterable[str] | None = None, **options: Any) -> Rows:
        """Some or all columns of the rows as NumPy, Arrow, tf.data or PyTorch batches; see `recsys_tft.read`.

        Raises:
            InputError: if there is no such column.
        """
        return Rows(tuple(self.files), tuple(columns.chosen(self.columns(), names, self.path)), **options)

    def feature_spec(self) -> dict[str, "tf.io.FixedLenFeature | tf.io.VarLenFeature"]:
        """The feature spec of the rows, for tf.io.parse_example."""
        from tensorflow_transform.tf_metadata import schema_utils

        with libraries.logging_as_it_is():
            return schema_utils.schema_as_feature_spec(self.schema()).feature_spec

    def dataset(self, batch_size: int = 1024) -> "tf.data.Dataset":
        """Batches of parsed rows in order: [batch, ...] tensors by column, lists as SparseTensors, text ids as bytes.

        Raises:
            InputError: if the rows are Parquet.
        """
        with libraries.first_import():
            import tensorflow as tf

        if any(file.endswith(".parquet") for file in self.files):
            raise InputError(f"{self.path}: has Parquet files; read them with pandas() or read().")
        compression = "GZIP" if any(file.endswith(".gz") for file in self.files) else ""
        records = tf.data.TFRecordDataset(self.files, compression, num_parallel_reads=None).batch(batch_size)
        spec = self.feature_spec()
        return records.map(lambda rows: tf.io.parse_example(rows, spec), num_parallel_calls=tf.data.AUTOTUNE)

    def pandas(self) -> "pd.DataFrame":
        """All rows as a DataFrame; vectors and lists as arrays, text ids as `str`."""
        import pandas as pd

        if self.files and self.files[0].endswith(".parquet"):
            return pd.concat(map(_read_parquet, self.files), ignore_index=True)
        batches = [pd.DataFrame(_columns(batch)) for batch in self.dataset(8192)]
        return pd.concat(batches, ignore_index=True) if batches else pd.DataFrame(columns=list(self.feature_spec()))

    def __repr__(self) -> str:
        return f"DataFolder({self.path!r})"


def _read_parquet(path: str) -> "pd.DataFrame":
    import pandas as pd

    with open_to_read(path) as file:
        return pd.read_parquet(file)


def _columns(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _values(name, value) for name, value in batch.items()}


def _values(name: str, value: "tf.Tensor | tf.SparseTensor") -> list[Any]:
    import tensorflow as tf

    if isinstance(value, tf.SparseTensor):
        return list(tf.RaggedTensor.from_sparse(value).numpy())
    if name in IDS and value.dtype == tf.string:
        return pa.array(value.numpy(), pa.binary()).cast(pa.string()).to_pylist()
    return list(value.numpy())


class OutputFolders(Mapping[str, DataFolder]):
    """The data folders of an output by name, such as `two_tower_train`, `ranker_val`, `users`.

    They stay unchanged as long as this object lives, whatever later runs write.

    Raises:
        InputError: if the rows are of another run than the artifacts.
    """

    def __init__(self, output: Output):
        self._output = output
        output.check_one_run()
        root = output.target("processed_data")
        if is_local(root) and exists(root):
            self._held = Held(pathlib.Path(root))
            root = str(self._held.path)
        self._paths = {f.replace("/", "_"): f"{root}/{f}" for data_set in DATA_SETS for f in data_set.folders}

    def __getitem__(self, name: str) -> DataFolder:
        if name not in self._paths:
            raise KeyError(f"'{name}' is no data folder.{did_you_mean(name, self._paths)}")
        if not exists(self._paths[name]):
            raise InputError(f"{self._paths[name]}: nothing has been written there yet; run the pipeline first.")
        return DataFolder(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __reduce__(self) -> tuple[type, tuple[Output]]:
        return OutputFolders, (self._output,)
