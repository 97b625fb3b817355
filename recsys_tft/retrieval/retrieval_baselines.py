"""What a retrieval model has to beat: scores of every candidate for some users, by simple rules."""

from collections.abc import Callable

import numpy as np
import scipy.sparse

Scorer = Callable[[np.ndarray], np.ndarray]  # [b] numbers of users to [b, candidates] scores

NEIGHBOURS = 100  # per video
_ROWS = 1024  # of the similarity matrix at a time


def random(candidates: int, seed: int) -> Scorer:
    """Any order, for each user another; the same for the same seed."""
    return lambda users: np.stack([np.random.default_rng([seed, int(user)]).random(candidates) for user in users])


def popularity(counts: np.ndarray) -> Scorer:
    """By [candidates] numbers of training positives, the same for all."""
    return lambda users: np.broadcast_to(counts.astype(np.float32), (len(users), len(counts)))


def item_knn(
    training: scipy.sparse.csr_matrix,
    history: scipy.sparse.csr_matrix,
    counts: np.ndarray,
    neighbours: int = NEIGHBOURS,
) -> Scorer:
    """By the similarity of a candidate to the videos of the user's history, summed.

    The similarity of two videos is the cosine of their columns in `training`; each video keeps its `neighbours` most
    similar ones (Sarwar et al., Item-Based Collaborative Filtering, WWW 2001). Popularity breaks ties, and so decides
    for a user without a history.

    Args:
        training: [all users, candidates] 1 for a training positive.
        history: [users, candidates] the same, of the users to score for.
        counts: [candidates] training positives.
        neighbours: per video.
    """
    similar = similarities(training, neighbours).T.tocsr()
    tie = (counts / (2e6 * max(counts.max(initial=1), 1))).astype(np.float32)  # below any sum of cosines that matters
    return lambda users: (history[users] @ similar).toarray().astype(np.float32) + tie


def similarities(training: scipy.sparse.csr_matrix, neighbours: int = NEIGHBOURS) -> scipy.sparse.csr_matrix:
    """[candidates, candidates] cosines; of each row the `neighbours` largest, without the video itself."""
    lengths = np.sqrt(np.asarray(training.multiply(training).sum(axis=0)).ravel())
    scale = scipy.sparse.diags(np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0))
    columns = (training @ scale).tocsc().astype(np.float32)
    rows = columns.T.tocsr()
    parts = [
        _largest(rows[start : start + _ROWS] @ columns, start, neighbours) for start in range(0, rows.shape[0], _ROWS)
    ]
    return scipy.sparse.vstack(parts, format="csr")


def _largest(cosines: scipy.sparse.csr_matrix, first: int, k: int) -> scipy.sparse.csr_matrix:
    """The k largest of each row, by column where equal; `first` is the number of the first row."""
    found = cosines.tocoo()
    other = found.row + first != found.col
    row, column, value = found.row[other], found.col[other], found.data[other]
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < k
    return scipy.sparse.csr_matrix((value[kept], (row[kept], column[kept])), shape=cosines.shape)
