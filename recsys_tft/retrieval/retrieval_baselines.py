"""Baselines of retrieval: scores of all candidates for some users, by simple rules."""

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse

Scorer = Callable[[np.ndarray], np.ndarray]  # [b] numbers of users to [b, candidates] scores

NEIGHBOURS = 100  # per video
DAY = 86_400 * 10**6  # microseconds
RECENT_DAYS = (1, 7, 30)  # windows of recent popularity, one of them chosen on val
_ROWS = 1024  # of the similarity matrix at a time


def random(candidates: int, seed: int) -> Scorer:
    """A random order for each user, deterministic by the seed."""
    return lambda users: np.stack([np.random.default_rng([seed, int(user)]).random(candidates) for user in users])


def popularity(counts: np.ndarray) -> Scorer:
    """Popularity: [candidates] numbers of training positives, the same for all users."""
    return lambda users: np.broadcast_to(counts.astype(np.float32), (len(users), len(counts)))


def recent_popularity(
    videos: np.ndarray, times: np.ndarray, moments: np.ndarray, counts: np.ndarray, days: int
) -> Scorer:
    """Positives of all users in the days strictly before each user's query; ties are broken by popularity.

    Args:
        videos: [p] int64 candidates of positives.
        times: [p] int64 microseconds.
        moments: [users] int64 microseconds, of the queries.
        counts: [candidates] training positives.
        days: length of the window.
    """
    order = np.argsort(times, kind="stable")
    videos, times = videos[order], times[order]
    low, high = (np.searchsorted(times, edges) for edges in (moments - days * DAY, moments))
    tie = counts / (2.0 * max(counts.max(initial=1), 1))  # below the 1 by which numbers of positives differ

    def scores(users: np.ndarray) -> np.ndarray:
        edges, place = np.unique(np.stack([low[users], high[users]]), return_inverse=True)
        between = np.searchsorted(edges, np.arange(edges[0], edges[-1]), side="right")  # 1 from the first edge on
        found = videos[edges[0] : edges[-1]], between
        ones = np.ones(len(between))
        steps = scipy.sparse.coo_matrix((ones, found[::-1]), shape=(len(edges), len(counts))).toarray()
        first, last = place.reshape(2, -1)
        until = steps.cumsum(axis=0)
        return until[last] - until[first] + tie

    return scores


def item_knn(
    training: scipy.sparse.csr_matrix,
    history: scipy.sparse.csr_matrix,
    counts: np.ndarray,
    neighbours: int = NEIGHBOURS,
) -> Scorer:
    """The summed similarity of a candidate to the videos of the user's history.

    The similarity of two videos is the cosine of their columns in `training`; each video keeps its `neighbours` most
    similar ones (Sarwar et al., Item-Based Collaborative Filtering, WWW 2001). Popularity breaks ties, and so ranks for
    users without a history.

    Args:
        training: [all users, candidates] 1 for a training positive.
        history: [users, candidates] likewise, of the users to score for.
        counts: [candidates] training positives.
        neighbours: per video.
    """
    similar = similarities(training, neighbours).T.tocsr()
    tie = _tie(counts)
    return lambda users: (history[users] @ similar).toarray().astype(np.float32) + tie


def ease(weights: np.ndarray, history: scipy.sparse.csr_matrix, counts: np.ndarray) -> Scorer:
    """The history times the weights of `ease_weights`; popularity breaks ties.

    Args:
        weights: [candidates, candidates] float32.
        history: [users, candidates] 1 for a positive, of the users to score for.
        counts: [candidates] training positives.
    """
    tie = _tie(counts)
    return lambda users: np.asarray(history[users] @ weights, np.float32) + tie


def ease_weights(training: scipy.sparse.csr_matrix, l2: float) -> np.ndarray:
    """[candidates, candidates] float32: the B with a zero diagonal that minimizes the distance of X and X B.

    That is -P / diag(P), by columns, with P the inverse of X'X + l2 I (Steck, Embarrassingly Shallow Autoencoders for
    Sparse Data, WWW 2019). It takes 12 to 20 bytes per pair of videos with a training positive, and operations cubic
    in their number.

    Args:
        training: [users, candidates] 1 for a training positive.
        l2: above 0.
    """
    columns = training.tocsc()
    known = np.flatnonzero(np.diff(columns.indptr))
    shown = columns[:, known].astype(np.float64)
    gram = (shown.T @ shown).toarray(order="F")
    gram[np.diag_indices_from(gram)] += l2
    inverse = _inverse(gram)
    inverse /= -np.diag(inverse)
    inverse[np.diag_indices_from(inverse)] = 0
    weights = np.zeros((training.shape[1],) * 2, np.float32)
    weights[np.ix_(known, known)] = inverse
    return weights


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric, positive definite matrix, which is overwritten to save memory."""
    factor, _ = scipy.linalg.lapack.dpotrf(matrix, lower=1, overwrite_a=1)
    lower, _ = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    for start in range(0, len(lower), _ROWS):
        end = start + _ROWS
        lower[start:end, end:] = lower[end:, start:end].T
        block = lower[start:end, start:end]
        block += np.tril(block, -1).T
    return lower


def _tie(counts: np.ndarray) -> np.ndarray:
    """[candidates] float32 in the order of popularity, smaller than relevant differences of scores."""
    return (counts / (2e6 * max(counts.max(initial=1), 1))).astype(np.float32)


def similarities(training: scipy.sparse.csr_matrix, neighbours: int = NEIGHBOURS) -> scipy.sparse.csr_matrix:
    """[candidates, candidates] cosines: the `neighbours` largest of each row, without the video itself."""
    lengths = np.sqrt(np.asarray(training.multiply(training).sum(axis=0)).ravel())
    scale = scipy.sparse.diags(np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0))
    columns = (training @ scale).tocsc().astype(np.float32)
    rows = columns.T.tocsr()
    parts = [
        _largest(rows[start : start + _ROWS] @ columns, start, neighbours) for start in range(0, rows.shape[0], _ROWS)
    ]
    return scipy.sparse.vstack(parts, format="csr")


def _largest(cosines: scipy.sparse.csr_matrix, first: int, k: int) -> scipy.sparse.csr_matrix:
    """The k largest of each row, ties by column; `first` is the number of the first row."""
    found = cosines.tocoo()
    other = found.row + first != found.col
    row, column, value = found.row[other], found.col[other], found.data[other]
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < k
    return scipy.sparse.csr_matrix((value[kept], (row[kept], column[kept])), shape=cosines.shape)
