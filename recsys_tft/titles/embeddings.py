"""The embeddings of the texts of all videos as arrays: `artifacts/embeddings/`, in the order of `videos/`.

    title_embeddings.npy    [videos, width] float32; likewise for each feature that embeds a text of videos
    titles.parquet          video_id, title; likewise for each column that such a feature reads
    video_ids.npy           [videos] int64; for text ids, which .npy cannot hold exactly, video_ids.parquet with the
                            column video_id

Each partition of videos writes its part; `gather` concatenates the parts without loading all of them.
"""

import functools
import itertools
import posixpath
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.storage.files import open_to_read, write_file

IDS, TEXT_IDS = "video_ids.npy", "video_ids.parquet"


def vectors_file(feature: str) -> str:
    """The file of the vectors of a feature."""
    return f"{feature}s.npy"


def texts_file(column: str) -> str:
    """The file of the texts of a raw column."""
    return f"{column}s.parquet"


def _part(folder: str, partition: int) -> str:
    return posixpath.join(folder, f"part-{partition:05d}.parquet")


def write_part(folder: str, partition: int, part: pa.Table) -> None:
    """Write the video_id, texts and vectors of a partition."""
    write_file(_part(folder, partition), lambda file: pq.write_table(part, file, compression="none"))


def gather(
    parts: str, folder: str, partitions: int, videos: int, widths: Mapping[str, int], texts: Mapping[str, str]
) -> None:
    """Concatenate the parts into arrays and tables.

    Args:
        parts: the folder of the parts.
        folder: of the arrays.
        partitions: number of parts.
        videos: number of rows of all parts.
        widths: of the vectors, by feature.
        texts: names of raw columns, by their names in the parts.
    """
    paths = [_part(parts, partition) for partition in range(partitions)]
    for feature, width in widths.items():
        vectors = map(functools.partial(_vectors, feature), paths)
        _write_array(posixpath.join(folder, vectors_file(feature)), np.float32, (videos, width), vectors)
    if pa.types.is_integer(_read(paths[0], "video_id").schema.field("video_id").type):
        ids = (_read(path, "video_id")["video_id"].to_numpy() for path in paths)
        _write_array(posixpath.join(folder, IDS), np.int64, (videos,), ids)
    else:
        _write_table(posixpath.join(folder, TEXT_IDS), paths, {})
    for name, column in texts.items():
        _write_table(posixpath.join(folder, texts_file(column)), paths, {name: column})


def _write_table(path: str, parts: list[str], names: Mapping[str, str]) -> None:
    """Write a file of the ids and some renamed columns."""
    write_file(path, functools.partial(_write_rows, parts=parts, names=names))


def _write_rows(file: BinaryIO, parts: list[str], names: Mapping[str, str]) -> None:
    """Write one row group per part, so that only one is in memory."""
    tables = (_with_text_ids(_read(part, "video_id", *names)) for part in parts)
    tables = (table.rename_columns(["video_id", *names.values()]) for table in tables)
    first = next(tables)
    with pq.ParquetWriter(file, first.schema) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table)


def _with_text_ids(table: pa.Table) -> pa.Table:
    """The table with binary ids as text."""
    ids = table["video_id"]
    return table.set_column(0, "video_id", ids.cast(pa.string())) if pa.types.is_binary(ids.type) else table


def _read(path: str, *columns: str) -> pa.Table:
    with open_to_read(path) as file:
        return pq.read_table(file, columns=list(columns))


def _vectors(feature: str, path: str) -> np.ndarray:
    return _read(path, feature)[feature].combine_chunks().flatten().to_numpy()


def _write_array(path: str, dtype: type, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}

    def write(file: BinaryIO) -> None:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())

    write_file(path, write)
