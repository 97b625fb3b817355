"""Reading what a run wrote: one folder of shards with its schema."""

import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_tft.errors import InputError, did_you_mean, readable
from recsys_tft.run_layout.data_sets import DATA_SETS, IDS
from recsys_tft.run_layout.output import Output
from recsys_tft.storage.files import exists, is_local, open_to_read, read_text
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
        if "://" not in self.path:
            return sorted(map(str, pathlib.Path(self.path).glob("part-*")))
        from apache_beam.io.filesystems import FileSystems

        return sorted(file.path for file in FileSystems.match([f"{self.path}/part-*"])[0].metadata_list)

    def schema(self) -> "schema_pb2.Schema":
        """The columns: types, shapes, ranges."""
        from google.protobuf import text_format
        from tensorflow_metadata.proto.v0 import schema_pb2

        path = f"{self.path}/schema.pbtxt"
        with readable(path, "run the main job again, with --overwrite", text_format.ParseError):
            return text_format.Parse(read_text(path), schema_pb2.Schema())

    def feature_spec(self) -> dict[str, "tf.io.FixedLenFeature | tf.io.VarLenFeature"]:
        """How tf.io.parse_example reads the rows."""
        from tensorflow_transform.tf_metadata import schema_utils

        return schema_utils.schema_as_feature_spec(self.schema()).feature_spec

    def dataset(self, batch_size: int = 1024) -> "tf.data.Dataset":
        """Batches of parsed rows in their order: [batch, ...] tensors by column, lists as SparseTensors, ids that
        are text as bytes.

        Raises:
            InputError: if the rows are Parquet.
        """
        import tensorflow as tf

        if not all(file.endswith(".tfrecord") for file in self.files):
            raise InputError(f"{self.path}: holds Parquet files; read them with pandas().")
        records = tf.data.TFRecordDataset(self.files, num_parallel_reads=None).batch(batch_size)
        spec = self.feature_spec()
        return records.map(lambda rows: tf.io.parse_example(rows, spec), num_parallel_calls=tf.data.AUTOTUNE)

    def pandas(self) -> "pd.DataFrame":
        """All rows as a DataFrame; vectors and lists as arrays, ids that are text as `str`."""
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

    They stay as they are as long as this lives, whatever later runs write.

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
