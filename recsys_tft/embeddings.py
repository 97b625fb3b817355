"""The title embeddings of all videos as arrays: `artifacts/embeddings/`, in the order of `videos/` (candidate_row).

    title_embeddings.npy    [videos, width] float32
    video_ids.npy           [videos] int64
    titles.parquet          video_id, title

Each partition of videos writes its part; `gather` strings the parts together without holding all of them.
"""

import posixpath
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.output import delete, open_to_read, open_to_write

VECTORS, IDS, TITLES = "title_embeddings.npy", "video_ids.npy", "titles.parquet"


def _part(folder: str, partition: int) -> str:
    return posixpath.join(folder, f"part-{partition:05d}.parquet")


def write_part(folder: str, partition: int, videos: pa.Table) -> None:
    """Writes video_id, title and title_embedding of a partition."""
    with open_to_write(_part(folder, partition)) as file:
        pq.write_table(videos.select(["video_id", "title", "title_embedding"]), file, compression="none")


def gather(folder: str, partitions: int, videos: int, width: int) -> None:
    """Makes the arrays of all parts, and removes the parts.

    Args:
        folder: of the parts.
        partitions: how many there are.
        videos: how many rows they have.
        width: of the vectors.
    """
    paths = [_part(folder, partition) for partition in range(partitions)]
    _write_array(posixpath.join(folder, VECTORS), np.float32, (videos, width), (_vectors(path) for path in paths))
    _write_array(
        posixpath.join(folder, IDS), np.int64, (videos,), (_read(path, "video_id").to_numpy() for path in paths)
    )
    tables = [pa.table({name: _read(path, name) for name in ("video_id", "title")}) for path in paths]
    with open_to_write(posixpath.join(folder, TITLES)) as file:
        pq.write_table(pa.concat_tables(tables), file)
    for path in paths:
        delete(path)


def _read(path: str, column: str) -> pa.ChunkedArray:
    with open_to_read(path) as file:
        return pq.read_table(file, columns=[column])[column]


def _vectors(path: str) -> np.ndarray:
    return _read(path, "title_embedding").combine_chunks().flatten().to_numpy()


def _write_array(path: str, dtype: type, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with open_to_write(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())
