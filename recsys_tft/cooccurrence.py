"""Co-occurrence: how often videos were liked together in the training split, as a statistic and a feature."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.ops import Fitting, Op, scatter
from recsys_tft.statistics import EMPTY_IDS, Statistic, divided_by

if TYPE_CHECKING:
    import tensorflow as tf

    from recsys_tft.configuration.settings import Settings

_FIRST, _SECOND = -7046029254386353131, -4417276706812531889  # odd numbers with random bits
_LAST = np.iinfo(np.int64).max  # after all keys, of no pair


@dataclasses.dataclass(frozen=True)
class PairCounts(Statistic):
    """Counts of unordered pairs of ids, for the most frequent pairs.

    Values are concatenated pairs of ids. A pair of an id with itself counts the id; these are all kept.

    Attributes:
        max_pairs: the most pairs to keep; ties are broken by the smaller ids.
    """

    max_pairs: int
    dtype = "int64"
    shape = (None, 2)

    def of(self, values: np.ndarray) -> pa.Table:
        pairs = values.astype(np.int64).reshape(-1, 2)
        ones = pa.array(np.ones(len(pairs), np.int64))
        return _summed(pa.table({"low": pairs.min(axis=1), "high": pairs.max(axis=1), "count": ones}))

    def merge(self, states: Iterable[pa.Table]) -> pa.Table:
        return _summed(pa.concat_tables(states))

    def divided(self, state: pa.Table) -> list[pa.Table]:
        """PARTS of pairs."""
        low, high = state["low"].to_numpy(), state["high"].to_numpy()
        return divided_by(pair_keys(low, high, np.bitwise_xor, np.right_shift), state)

    def trimmed(self, state: pa.Table) -> pa.Table:
        """The pairs that are kept."""
        alone = pc.equal(state["low"], state["high"])
        pairs = state.filter(pc.invert(alone))
        order = [("count", "descending"), ("low", "ascending"), ("high", "ascending")]
        return pa.concat_tables([state.filter(alone), pairs.sort_by(order).slice(0, self.max_pairs)])

    def result(self, state: pa.Table) -> np.ndarray:
        """[pairs + 1, 2] int64: increasing `pair_keys` and counts; the last one belongs to no pair."""
        kept = self.trimmed(state)
        low, high, count = (kept[name].to_numpy() for name in ("low", "high", "count"))
        keys = pair_keys(low, high, np.bitwise_xor, np.right_shift)
        order = np.argsort(keys, kind="stable")
        return np.stack([np.append(keys[order], _LAST), np.append(count[order], 0)], axis=1)


def pair_keys(low: Any, high: Any, xor: Callable[..., Any], shift: Callable[..., Any]) -> Any:
    """[n] int64: a hash of each pair of ids; 10^6 pairs have a collision with a probability of 1 in 10^7.

    Args:
        low: [n] int64 the smaller ids, as an array or a tensor.
        high: [n] int64 the larger ones.
        xor: of two such.
        shift: to the right, with the sign, of two such.
    """
    mixed = low * _FIRST
    mixed = (xor(mixed, shift(mixed, low * 0 + 32)) + high) * _SECOND
    return xor(mixed, shift(mixed, low * 0 + 29)) * _FIRST


def _summed(pairs: pa.Table) -> pa.Table:
    grouped = pairs.group_by(["low", "high"], use_threads=False).aggregate([("count", "sum")])
    return grouped.rename_columns(["low", "high", "count"]).combine_chunks()


def _numbered(column: "tf.SparseTensor") -> "tf.SparseTensor":
    """Ids as int64: text by its fingerprint of 63 bits."""
    import tensorflow as tf

    if column.dtype != tf.string:
        return column
    return column.with_values(tf.strings.to_hash_bucket_fast(column.values, 2**63 - 1))


@dataclasses.dataclass(frozen=True)
class Cooccurrence(Op):
    """Similarity of a video to the videos of a history: the mean cosine of who was positive on them.

    The cosine of videos a and b is c(a, b) / sqrt(n(a) n(b)): of the positive exposures of the training split, n(a)
    are of a, and c(a, b) are of one with the other in the history. A counted exposure is excluded from its own row,
    where it would leak the label: if `counted` is the video, c(a, video) and n(video) are 1 less. (Item-based
    collaborative filtering: Sarwar et al., WWW 2001.)

    Columns:
        history: [batch] lists of ids, int64 or string.
        video: [batch] id.
        counted: [batch] id of the video if the row's exposure was counted; otherwise missing, as always in serving.

    Returns:
        [batch] float32 >= 0, the mean over the history; unknown pairs count as 0, and a video with itself as 1. A
        cosine is above 1 only if users are positive on a video repeatedly.
    """

    missing: ClassVar[str] = "0 (nothing in common)"
    joins: ClassVar[bool] = True

    def is_active(self, settings: "Settings") -> bool:
        return settings.history.length > 0

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        import tensorflow as tf

        history, _, counted = map(_numbered, columns)
        counted_ids = tf.gather(scatter(counted, counted.values, EMPTY_IDS), history.indices[:, 0])
        taken = tf.where(tf.logical_and(counted_ids != EMPTY_IDS, counted_ids != history.values))[:, 0]
        together = tf.stack([tf.gather(history.values, taken), tf.gather(counted_ids, taken)], axis=1)
        alone = tf.stack([counted.values, counted.values], axis=1)
        pairs = tf.reshape(tf.concat([together, alone], axis=0), [-1])
        return pairs, PairCounts(settings.cooccurrence.max_pairs)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        history, video, counted = map(_numbered, columns)
        row, other = history.indices[:, 0], history.values
        videos = scatter(video, video.values, EMPTY_IDS)
        counted_ids = scatter(counted, counted.values, EMPTY_IDS)
        table = fitting.fitted[name]
        keys, counts = table[:, 0], table[:, 1]

        def count(one: "tf.Tensor", two: "tf.Tensor") -> "tf.Tensor":
            xor, shift = tf.bitwise.bitwise_xor, tf.bitwise.right_shift
            codes = pair_keys(tf.minimum(one, two), tf.maximum(one, two), xor, shift)
            place = tf.minimum(tf.searchsorted(keys, codes), tf.size(keys) - 1)
            return tf.where(tf.gather(keys, place) == codes, tf.gather(counts, place), 0)

        # Counts of single videos are looked up once per distinct video, not per pair.
        distinct, at = tf.unique(tf.concat([other, videos], axis=0))
        often = tf.gather(count(distinct, distinct), at)
        candidate, counted_ids = tf.gather(videos, row), tf.gather(counted_ids, row)
        is_own = tf.cast(counted_ids == candidate, tf.int64)
        n_other = often[: tf.size(other)] - tf.where(other == candidate, is_own, 0)
        n_candidate = tf.gather(often[tf.size(other) :], row) - is_own
        both = count(other, candidate) - is_own
        product = tf.cast(n_other, tf.float64) * tf.cast(n_candidate, tf.float64)
        both = tf.where(candidate == EMPTY_IDS, tf.zeros_like(both), tf.maximum(both, 0))
        cosine = tf.math.divide_no_nan(tf.cast(both, tf.float64), tf.sqrt(tf.maximum(product, 0.0)))
        rows = history.dense_shape[0]
        total = tf.math.unsorted_segment_sum(cosine, row, rows)
        size = tf.math.unsorted_segment_sum(tf.ones_like(cosine), row, rows)
        return tf.ensure_shape(tf.cast(tf.math.divide_no_nan(total, size), tf.float32), [None])
