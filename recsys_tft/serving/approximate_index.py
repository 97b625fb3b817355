"""An approximate index of candidates by faiss (`pip install 'recsys_tft[faiss]'`), for catalogues of many millions.

HNSW: Malkov and Yashunin (2016), arXiv:1603.09320. IVF: Sivic and Zisserman (2003), doi:10.1109/ICCV.2003.1238663.
"""

import importlib
import math
import pathlib
from types import ModuleType
from typing import Any, Literal

import numpy as np

from recsys_tft.errors import InputError, readable

Kind = Literal["hnsw", "ivf"]
_LINKS, _BREADTH, _BREADTH_AT_BUILD = 32, 128, 80  # of HNSW
_PROBED = 0.2  # share of IVF cells that a search probes
_VECTORS_PER_CELL = 64  # of IVF's training; faiss warns below 39


class ApproximateIndex:
    """Finds the vectors with the largest dot products, nearly always all of them.

    Args:
        index: of faiss, with integer ids.
    """

    def __init__(self, index: Any):
        self._index = index

    def __len__(self) -> int:
        return self._index.ntotal

    def best(self, queries: np.ndarray, k: int, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[batch, at most k] int64 ids and float32 scores, the best first, padded with -1 and minus infinity.

        Args:
            queries: [batch, dim] float32.
            k: how many.
            exclude: [n] int64 ids to leave out, for all queries.
        """
        scores, ids = self._index.search(np.ascontiguousarray(queries), min(k + len(exclude), len(self)))
        left_out = np.isin(ids, exclude) | (ids < 0)
        order = np.argsort(left_out, axis=1, kind="stable")[:, :k]
        gone = np.take_along_axis(left_out, order, 1)
        ids, scores = (np.take_along_axis(array, order, 1) for array in (ids, scores))
        return np.where(gone, -1, ids), np.where(gone, np.float32(-np.inf), scores)

    def write(self, path: pathlib.Path) -> None:
        """Write the index to a file."""
        _faiss().write_index(self._index, str(path))


def build(video_ids: np.ndarray, vectors: np.ndarray, kind: Kind) -> ApproximateIndex:
    """Build an index.

    Args:
        video_ids: [n] int64 >= 0.
        vectors: [n, dim] float32.
        kind: hnsw (faster to search, slower to build) or ivf.

    Raises:
        InputError: if faiss is not installed, or an id is negative, which faiss does not support.
    """
    faiss, (count, dim) = _faiss(), vectors.shape
    if count and video_ids.min() < 0:
        raise InputError(f"faiss cannot hold the negative video_id {video_ids.min()}; use the exact index.")
    if kind == "hnsw":
        inner = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction, inner.hnsw.efSearch = _BREADTH_AT_BUILD, _BREADTH
    else:
        cells = max(1, min(round(4 * math.sqrt(count)), count // _VECTORS_PER_CELL))
        inner = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(0).permutation(count)[: cells * _VECTORS_PER_CELL]
        inner.train(np.ascontiguousarray(vectors[sample]))
        inner.nprobe = max(1, math.ceil(_PROBED * cells))
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(np.ascontiguousarray(vectors, np.float32), video_ids)
    return ApproximateIndex(index)


def read(path: pathlib.Path) -> ApproximateIndex:
    """Read an index from a file.

    Raises:
        InputError: if the file does not exist, or faiss is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such index; run recsys-tft export --index {path.stem}.")
    faiss = _faiss()
    with readable(path, f"run recsys-tft export --index {path.stem} again"):
        return ApproximateIndex(faiss.read_index(str(path)))


def recall(index: ApproximateIndex, video_ids: np.ndarray, vectors: np.ndarray, queries: np.ndarray, k: int) -> float:
    """The share of the exact k best that the index finds, on average over [n, dim] queries."""
    k = min(k, len(video_ids))
    ids_found, _ = index.best(queries, k, np.zeros(0, np.int64))
    shares = []
    for query, ids in zip(queries, ids_found, strict=True):  # one at a time, as all scores may exceed memory
        exact = np.argpartition(-(vectors @ query), k - 1)[:k]
        shares.append(np.isin(video_ids[exact], ids).mean())
    return float(np.mean(shares))


def _faiss() -> ModuleType:
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise InputError("faiss is not installed: run `pip install 'recsys_tft[faiss]'`.") from None
