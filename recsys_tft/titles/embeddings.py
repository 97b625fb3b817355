"""The title embeddings of all videos as arrays: `artifacts/embeddings/`, in the order of `videos/` (candidate_row).

    title_embeddings.npy    [videos, width] float32
    video_ids.npy           [videos] int64
    titles.parquet          video_id, title

Each partition of videos writes its part; `gather` strings the parts together without holding all of them.
"""

import itertools
import posixpath
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.storage.files import open_to_read, write_file

VECTORS, IDS, TITLES = "title_embeddings.npy", "video_ids.npy", "titles.parquet"


def _part(folder: str, partition: int) -> str:
    return posixpath.join(folder, f"part-{partition:05d}.parquet")


def write_part(folder: str, partition: int, videos: pa.Table) -> None:
    """Writes video_id, title and title_embedding of a partition."""
    part = videos.select(["video_id", "title", "title_embedding"])
    write_file(_part(folder, partition), lambda file: pq.write_table(part, file, compression="none"))


def gather(parts: str, folder: str, partitions: int, videos: int, width: int) -> None:
    """Makes the arrays of all parts.

    Args:
        parts: the folder of the parts.
        folder: of the arrays.
        partitions: how many there are.
        videos: how many rows they have.
        width: of the vectors.
    """
    paths = [_part(parts, partition) for partition in range(partitions)]
    _write_array(posixpath.join(folder, VECTORS), np.float32, (videos, width), map(_vectors, paths))
    ids = (_read(path, "video_id")["video_id"].to_numpy() for path in paths)
    _write_array(posixpath.join(folder, IDS), np.int64, (videos,), ids)
    write_file(posixpath.join(folder, TITLES), lambda file: _write_titles(file, paths))


def _write_titles(file: BinaryIO, paths: list[str]) -> None:
    """One row group for each part, so that only one is in memory."""
    tables = (_read(path, "video_id", "title") for path in paths)
    first = next(tables)
    with pq.ParquetWriter(file, first.schema) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table)


def _read(path: str, *columns: str) -> pa.Table:
    with open_to_read(path) as file:
        return pq.read_table(file, columns=list(columns))


def _vectors(path: str) -> np.ndarray:
    return _read(path, "title_embedding")["title_embedding"].combine_chunks().flatten().to_numpy()


def _write_array(path: str, dtype: type, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}

    def write(file: BinaryIO) -> None:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())

    write_file(path, write)
