"""Reads rows of data folders and other files, as batches in the requested form."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard, Unpack

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError
from recsys_tft.reading import batches, forms, parquet_rows
from recsys_tft.reading.columns import Column, chosen, columns_of
from recsys_tft.reading.forms import Lists
from recsys_tft.reading.prefetch import prefetch
from recsys_tft.storage.files import exists, is_local
from recsys_tft.storage.version_folders import Held

if TYPE_CHECKING:
    import tensorflow as tf

SCHEMA = "schema.pbtxt"
ROWS = 8192  # at a time, or about as many in whole batches
FILES_AT_ONCE = 8  # read in turn for shuffled rows


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows that are read again at each iteration; see `read`.

    Attributes:
        files: in order.
        columns: to read.
        batch_size: rows of a batch; the last one may have fewer.
        shard: of the rows, as (index, count).
        shuffle: size of the shuffle buffer in rows; 0 for their order in the files.
        seed: of the order.
        threads: that prefetch; 0 for none.
        drop_remainder: whether to drop a smaller last batch.
    """

    files: tuple[str, ...]
    columns: tuple[Column, ...]
    batch_size: int = 8192
    shard: tuple[int, int] = (0, 1)
    shuffle: int = 0
    seed: int = 0
    threads: int = 2
    drop_remainder: bool = False
    held: Held | None = None

    def __post_init__(self) -> None:
        index, count = self.shard
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; expected at least 1.")
        if not 0 <= index < count:
            raise InputError(f"shard is ({index}, {count}); expected (index, count) with 0 <= index < count.")
        if self.shuffle < 0 or self.threads < 0:
            raise InputError(f"shuffle is {self.shuffle} and threads {self.threads}; both have to be at least 0.")

    def arrow(self) -> Iterator[pa.RecordBatch]:
        """RecordBatches: int64, float32 and binary, lists, and fixed-size lists; without nulls."""
        for batch in batches.of_size(self.blocks(), self.batch_size):
            if len(batch) == self.batch_size or not self.drop_remainder:
                yield batch

    def numpy(self) -> Iterator[dict[str, np.ndarray | Lists]]:
        """Read-only [batch, ...] arrays by column: text as bytes, lists as `Lists`."""
        return (forms.numpy_batch(batch, self.columns) for batch in self.arrow())

    def __iter__(self) -> Iterator[dict[str, np.ndarray | Lists]]:
        return self.numpy()

    def dataset(self) -> "tf.data.Dataset":
        """A tf.data.Dataset: [batch, ...] tensors by column, lists as RaggedTensors."""
        return forms.tf_dataset(self.arrow, self.columns, self.batch_size if self.drop_remainder else None)

    def torch(self) -> Iterator[dict[str, Any]]:
        """[batch, ...] tensors by column, lists as `Lists` of tensors, without TensorFlow.

        Raises:
            InputError: if a column is text; leave it out of `columns`.
        """
        return (forms.torch_batch(batch, self.columns) for batch in self.arrow())

    def table(self) -> pa.Table:
        """All rows at once."""
        schema = pa.schema([(column.name, column.arrow_type) for column in self.columns])
        return pa.Table.from_batches(list(self.blocks()), schema)

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """The rows in batches of the size in which they are read."""
        rng = np.random.default_rng(self.seed)
        index, count = self.shard
        by_file = len(self.files) >= count
        files = self.files[index::count] if by_file else self.files
        if self.shuffle:
            files = tuple(files[i] for i in rng.permutation(len(files)))
        function, chunks = self._source(files)
        sources = [chunks(file) for file in files]
        blocks_of_rows = prefetch(
            function, batches.alternating(sources, FILES_AT_ONCE if self.shuffle else 1), self.threads
        )
        if not by_file:
            blocks_of_rows = batches.part(blocks_of_rows, index, count)
        return batches.shuffled(blocks_of_rows, self.shuffle, rng) if self.shuffle else blocks_of_rows

    def _source(self, files: Sequence[str]) -> tuple[Callable[[Any], pa.RecordBatch], Callable[[str], Iterator]]:
        """The function that turns a chunk into rows, and the one that splits a file into chunks."""
        if _are_parquet(files):
            names = [column.name for column in self.columns]
            return parquet_rows.ParquetRows(self.columns), lambda file: parquet_rows.chunks(file, names)
        from recsys_tft.reading import example_rows, record_chunks  # compiled code, which takes its time to load

        rows = self.batch_size * (ROWS // self.batch_size) or min(self.batch_size, 2 * ROWS)
        function = example_rows.ExampleRows(self.columns, rows)
        if not self.threads:  # data is parsed while it is in the processor's cache
            return function, lambda file: record_chunks.chunks(file, rows)
        return function, lambda file: map(list, record_chunks.chunks(file, rows))


class Options(TypedDict, total=False):
    """Reading options, with the meaning of the attributes of `Rows`."""

    batch_size: int
    shard: tuple[int, int]
    shuffle: int
    seed: int
    threads: int
    drop_remainder: bool


def read(
    source: "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]",
    columns: Iterable[str] | None = None,
    *,
    spec: Any = None,
    **options: Unpack[Options],
) -> Rows:
    """Open the rows of a data folder, or of files, for any number of iterations.

    Checksums are verified, and a damaged record is an error that names its file and number.

    Args:
        source: a folder of a run, which has a schema; or files, of TFRecords (also gzip) or Parquet.
        columns: their names; all by default.
        spec: of files: a feature spec as for tf.io.parse_example, `Column`s, a Schema or the path of one. Parquet files
            need none.
        **options: batch_size, shard, shuffle, seed, threads, drop_remainder; see `Rows`.

    Raises:
        InputError: if there is no such folder, file or column, or an option is wrong. Damage is found when a row
            is read.

    Examples:
        >>> rows = read("out/processed_data/ranker/train", columns=["label", "weight"], batch_size=256)
        >>> batch = next(rows.numpy())
        >>> batch["label"].shape, batch["weight"].dtype.name
        ((256,), 'float32')
    """
    files, columns_of_source, where, held = _folder(source) if _is_folder(source) else _files(source, spec)
    if spec is not None:
        columns_of_source = columns_of(spec)
    selected = tuple(chosen(columns_of_source, columns, where))
    return Rows(tuple(files), selected, held=held, **options)


def files_of(folder: str) -> list[str]:
    """The files of a data folder, in order."""
    if is_local(folder):
        return sorted(map(str, pathlib.Path(folder).glob("part-*")))
    from apache_beam.io.filesystems import FileSystems

    return sorted(file.path for file in FileSystems.match([f"{folder}/part-*"])[0].metadata_list)


def _is_folder(source: object) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(source, str | os.PathLike) and (not is_local(os.fspath(source)) or pathlib.Path(source).is_dir())


def _folder(source: str | os.PathLike[str]) -> tuple[list[str], dict[str, Column], str, Held | None]:
    path, held = os.fspath(source), None
    if is_local(path):
        held = Held(pathlib.Path(path))
        path = str(held.path)
    schema = f"{path}/{SCHEMA}"
    if not exists(schema):
        raise InputError(
            f"{source}: is not a data folder, because it has no {SCHEMA}; name a data folder, or files and their spec."
        )
    return files_of(path), columns_of(schema), os.fspath(source), held


def _files(source: Any, spec: Any) -> tuple[list[str], dict[str, Column], str, None]:
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    files: list[str] = [os.fspath(file) for file in sources]
    for file in files:
        if is_local(file) and not pathlib.Path(file).is_file():
            raise InputError(f"{file}: there is no such file.")
    if spec is not None:
        return files, {}, files[0] if files else "files", None
    if not _are_parquet(files):
        raise InputError(f"{files[0] if files else 'files'}: TFRecords do not describe their columns; pass their spec.")
    return files, parquet_rows.columns_in(files[0]), files[0], None


def _are_parquet(files: Sequence[str]) -> bool:
    kinds = {file.endswith(".parquet") for file in files}
    if len(kinds) > 1:
        raise InputError(f"{files[0]}: the files have different formats; read each format by itself.")
    return kinds == {True}
