"""Stage 1 by exact search: the vectors of an export, in the order of the rows of its store.

It finds what the graph `retrieval` does, for a quarter of the CPU time; one user at a time, so that no bit depends on
other requests.
"""

import pathlib

import numpy as np

from recsys_tft.errors import InputError, readable
from recsys_tft.serving.serving_folders import EXPORT_AGAIN

FILE = "vectors.npy"  # in the store


def write(folder: pathlib.Path, vectors: np.ndarray, rows: np.ndarray, count: int) -> None:
    """Write the file.

    Args:
        folder: of the store.
        vectors: [n, dim] float32.
        rows: [n] int64: the row of each in the store.
        count: how many rows there are; those without a vector are never found.
    """
    columns = np.full((vectors.shape[1], count), np.nan, np.float32)
    columns[:, rows] = vectors.T
    np.save(folder / FILE, columns)


class ExactSearch:
    """Finds the vectors with the largest dot products.

    Args:
        folder: of the store.
        ranks: [videos] int64: break ties, the smaller one first.

    Raises:
        InputError: if the file is damaged, or of another store.
    """

    def __init__(self, folder: pathlib.Path, ranks: np.ndarray):
        with readable(folder / FILE, EXPORT_AGAIN):
            self._vectors = np.asarray(np.load(folder / FILE, mmap_mode="r"))
        if self._vectors.ndim != 2 or self._vectors.shape[1] != len(ranks):
            raise InputError(f"{folder / FILE}: has the shape {self._vectors.shape}; {EXPORT_AGAIN}.")
        self._ranks, self._absent = ranks, np.flatnonzero(np.isnan(self._vectors[0]))

    @staticmethod
    def is_there(folder: pathlib.Path) -> bool:
        """Whether the store has the file, which exports of earlier releases lack."""
        return (folder / FILE).exists()

    def best(self, query: np.ndarray, k: int, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[at most k] int64 rows and float32 scores, the best first.

        Args:
            query: [dim] float32.
            k: how many.
            exclude: [n] int64 rows to leave out.
        """
        scores = np.einsum("dv,d->v", self._vectors, query)  # in one order; BLAS has several
        scores[self._absent] = scores[exclude] = -np.inf
        k = min(k, len(scores))
        least = np.partition(scores, len(scores) - k)[len(scores) - k] if k else np.inf
        rows = np.flatnonzero((scores >= least) & (scores > -np.inf))
        rows = rows[np.lexsort((self._ranks[rows], -scores[rows]))[:k]]
        return rows, scores[rows]
