"""For every op what becomes of each of some rows, worked out by hand."""

import dataclasses
import datetime
import math
import tempfile
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import tensorflow as tf

from recsys_tft.configuration.settings import parse
from recsys_tft.cooccurrence import Cooccurrence
from recsys_tft.number_ops import Age, Bucket, DayOfWeek, HourWave, Level, Log, Ratio, ZScore
from recsys_tft.ops import Bag, History, Lookup, Op, SetLookup
from recsys_tft.positive_rates import Affinity, Excess, PositiveRate
from recsys_tft.titles.text_embedding import TextEmbedding
from recsys_tft.vocabularies import Vocabulary


class Lengths(tf.Module):
    """A title encoder whose vectors can be worked out by hand: (bytes, 1)."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, titles: tf.Tensor) -> tf.Tensor:
        lengths = tf.cast(tf.strings.length(titles), tf.float32)
        return tf.stack([lengths, tf.ones_like(lengths)], axis=1)


ENCODER = tempfile.TemporaryDirectory()  # removed when the tests end
tf.saved_model.save(Lengths(), ENCODER.name)

NAN, INF = math.nan, math.inf
ARROW = {tf.int64: pa.int64(), tf.float32: pa.float32(), tf.string: pa.binary()}
SETTINGS = parse(
    {
        "title_encoder": ENCODER.name,
        "buckets": {"age": [18, 25]},
        "popularity": {"levels": ["low", "High"], "quantiles": [0.5]},
        "vocabularies": {
            "category": {"min_count": 2},
            "previously_watched_category": {"max_size": 1, "n_oov": 5},
            "tags": {"n_oov": 3},
        },
    },
    "the test",
)
LANGUAGE = Vocabulary("language")
UNSEEN = 1  # the token of an unseen value where n_oov is 1


@dataclasses.dataclass(frozen=True)
class Case:
    """An op and what becomes of rows that it is fitted on.

    Attributes:
        op: what is tested.
        rows: for each row its columns, each a value, a list of values, or None.
        expected: for each row the value.
        dtypes: of the columns.
        dtype: of the values.
    """

    op: Op
    rows: Sequence[Sequence[Any]]
    expected: Sequence[Any]
    dtypes: Sequence[tf.DType]
    dtype: tf.DType


def of_one(op: Op, column: tf.DType, dtype: tf.DType, values: Sequence[tuple[Any, Any]]) -> Case:
    """A case of an op that reads one column, from (raw, expected) of each row."""
    return Case(op, [(raw,) for raw, _ in values], [expected for _, expected in values], [column], dtype)


def at(*date: int) -> int:
    """Microseconds since 1970 of a date and time in UTC."""
    return int(datetime.datetime(*date, tzinfo=datetime.UTC).timestamp()) * 1_000_000


CASES: dict[str, Case] = {
    "text": of_one(
        Lookup(Vocabulary("country")),
        tf.string,
        tf.int64,
        [("de", 3), ("us", 2), ("us", 2), (None, 0), ("", 0), ("fr", 5), ("us", 2), ("de", 3), (" ", 4)],
    ),
    "ids": of_one(
        Lookup(Vocabulary("user_id", integers=True)),
        tf.int64,
        tf.int64,
        [(2**53, 2), (-3, 3), (2**53 + 1, 5), (None, 0), (2**53, 2), (-3, 3), (2**53, 2), (0, 4)],
    ),
    "rare_text": of_one(
        Lookup(Vocabulary("category")),
        tf.string,
        tf.int64,
        [("a", UNSEEN), ("b\nc", 2), ("b\nc", 2), ("b", 3), ("b", 3), ("b\nc", 2), ("d", UNSEEN), (None, 0)],
    ),
    "cut_text": of_one(
        Lookup(Vocabulary("previously_watched_category")),
        tf.string,
        tf.int64,
        [("é", 6), ("é", 6), (None, 0), ("é", 6)],
    ),
    "language_one": of_one(Lookup(LANGUAGE), tf.string, tf.int64, [("en", 2), ("fr", 3), ("en", 2), (None, 0)]),
    "language_two": of_one(Lookup(LANGUAGE), tf.string, tf.int64, [("fr", 3), ("en", 2), (None, 0), ("de", 4)]),
    "no_text": of_one(Lookup(Vocabulary("device")), tf.string, tf.int64, [(None, 0), ("", 0)]),
    "no_ids": of_one(Lookup(Vocabulary("video_id", integers=True)), tf.int64, tf.int64, [(None, 0)]),
    "set": of_one(
        SetLookup(Vocabulary("child_categories")),
        tf.string,
        tf.int64,
        [
            (["a", "b"], 3),
            (["b", "a"], 5),
            (["a", "b"], 3),
            ([], 0),
            (None, 0),
            (["a"], 2),
            (["", "a"], 2),
            ([""], 0),
            (["a\n"], 4),
        ],
    ),
    "bag": of_one(
        Bag(Vocabulary("tags")),
        tf.string,
        tf.int64,
        [
            (["x", "y"], [4, 5]),
            (["x"], [4]),
            ([], []),
            (None, []),
            (["y", "x", "", "x"], [5, 4, 4]),
            ([""], []),
            (["z"], [7]),
            (["x\ny"], [6]),
        ],
    ),
    "history": of_one(  # in the vocabulary that "ids" is fitted on
        History(Vocabulary("user_id", integers=True)),
        tf.int64,
        tf.int64,
        [([-3, 2**53, -3], [3, 2, 3]), ([], []), (None, []), ([77], [UNSEEN]), ([0, 77, 2**53 + 1], [4, UNSEEN, 5])],
    ),
    "z": of_one(
        ZScore(),
        tf.float32,
        tf.float32,
        [(1.0, -1), (3.0, 1), (None, 0), (NAN, 0), (INF, 0), (-INF, 0), (1.0, -1), (3.0, 1)],
    ),
    "z_of_ids": of_one(ZScore(), tf.int64, tf.float32, [(-10, -1), (30, 1), (None, 0)]),
    "z_of_one_value": of_one(ZScore(), tf.int64, tf.float32, [(7, 0), (None, 0), (7, 0), (7, 0)]),
    "z_of_nothing": of_one(ZScore(), tf.float32, tf.float32, [(None, 0), (NAN, 0)]),
    "log_z": of_one(  # log(1 + x) is 0 and 2, so that mean and deviation are 1
        ZScore(log1p=True),
        tf.float32,
        tf.float32,
        [(0.0, -1), (math.e**2 - 1, 1), (-5.0, -1), (math.e**2 - 1, 1), (None, 0), (NAN, 0), (INF, 0)],
    ),
    "log": of_one(Log(), tf.int64, tf.float32, [(0, 0), (1, math.log(2)), (99, math.log(100)), (-3, 0), (None, 0)]),
    "age": Case(
        Age(),
        [
            (at(2024, 3, 2), at(2024, 3, 1)),
            (at(2024, 3, 2), at(2024, 3, 2)),
            (at(2024, 3, 2), at(2024, 3, 1, 23)),
            (at(2024, 3, 2) - 1, at(2024, 3, 1, 23)),
            (at(2024, 3, 2), at(2024, 3, 3)),
            (at(2024, 3, 2), -at(1970, 1, 2)),
            (None, at(2024, 3, 3)),
            (at(2024, 3, 2), None),
            (None, None),
        ],
        [math.log(2), 0, math.log(25 / 24), 0, 0, math.log(at(2024, 3, 4) / at(1970, 1, 2)), 0, 0, 0],
        [tf.int64, tf.int64],
        tf.float32,
    ),
    "bucket": of_one(
        Bucket("age"),
        tf.int64,
        tf.int64,
        [(17, 1), (18, 2), (24, 2), (25, 3), (None, 0), (-4, 1), (0, 1), (2**62, 3)],
    ),
    "bucket_of_floats": of_one(
        Bucket("age"),
        tf.float32,
        tf.int64,
        [(17.99, 1), (18.0, 2), (-1e38, 1), (1e38, 3), (None, 0), (NAN, 0), (INF, 0), (-INF, 0)],
    ),
    "level": Case(  # of the counts 0, 0, 1, 1, 2, 5, 10 at least half are below 2
        Level(),
        [
            (None, 0),
            (None, 10),
            (None, 1),
            (None, 2),
            ("hIGH", 0),
            ("unknown", 5),
            (None, None),
            ("LOW", None),
            ("", 1),
        ],
        [[1, 0], [0, 1], [1, 0], [0, 1], [0, 1], [0, 0], [0, 0], [1, 0], [1, 0]],
        [tf.string, tf.int64],
        tf.float32,
    ),
    "level_of_nothing": Case(
        Level(), [(None, None), ("high", None)], [[0, 0], [0, 1]], [tf.string, tf.int64], tf.float32
    ),
    "day": of_one(
        DayOfWeek(),
        tf.int64,
        tf.int64,
        [
            (0, 4),
            (-1, 3),
            (at(2024, 3, 3, 23, 59, 59) + 999_999, 7),
            (at(2024, 3, 4), 1),
            (at(2024, 2, 29, 12), 4),
            (None, 0),
            (at(2199, 12, 31, 23), 2),
        ],
    ),
    "sine": of_one(
        HourWave("sin"),
        tf.int64,
        tf.float32,
        [
            (0, 0),
            (at(2024, 3, 1, 6), 1),
            (at(2024, 3, 1, 6, 59, 59) + 999_999, 1),
            (at(2024, 3, 1, 18), -1),
            (at(2024, 3, 1, 2), 0.5),
            (-1, math.sin(-math.pi / 12)),
            (None, 0),
        ],
    ),
    "cosine": of_one(
        HourWave("cos"),
        tf.int64,
        tf.float32,
        [
            (0, 1),
            (at(2024, 3, 1, 6), 0),
            (at(2024, 3, 1, 12, 30), -1),
            (at(2024, 3, 1, 4), 0.5),
            (-1, math.cos(-math.pi / 12)),
            (None, 0),
        ],
    ),
    "title": of_one(
        TextEmbedding(),
        tf.string,
        tf.float32,
        [("abc", [3, 1]), (None, [0, 0]), ("", [0, 0]), ("\u00e9", [2, 1]), ("abc", [3, 1])],
    ),
    "cooccurrence": Case(  # counted: 1 four times, 2 twice; both together four times
        Cooccurrence(),
        [
            ([1], 2, 2),
            ([2], 1, 1),
            ([1, 3], 2, 2),
            ([], 1, 1),
            ([3], 1, 1),
            ([2], 1, None),
            ([2, 3], 1, None),
            ([2], 7, 1),
            ([1], 1, None),
            (None, 1, None),
            ([2], None, None),
            (None, None, None),
        ],
        [
            3 / math.sqrt(4),
            3 / math.sqrt(6),
            3 / math.sqrt(4) / 2,
            0,
            0,
            4 / math.sqrt(8),
            4 / math.sqrt(8) / 2,
            0,
            1,
            0,
            0,
            0,
        ],
        [tf.int64, tf.int64, tf.int64],
        tf.float32,
    ),
    # Fitted on these rows: 7 of 24 are positive, so that the prior is 8 / 26.
    "positive_rate": Case(
        PositiveRate(),
        [(1, 4), (6, 20), (0, 0), (None, None), (None, 0)],
        [(1 + 80 / 26) / 14, (6 + 80 / 26) / 30, 8 / 26, 8 / 26, 8 / 26],
        [tf.int64, tf.int64],
        tf.float32,
    ),
    "affinity": Case(
        Affinity(),
        [(2, 3, 5, 8), (0, 0, 5, 8), (None, None, 5, 8), (None, None, None, None), (1, 2, 0, 0), (0, 4, 0, 4)],
        [(2 + 3) / 8, 0.6, 0.6, 0.5, (1 + 2.5) / 7, (5 / 6) / 9],
        [tf.int64] * 4,
        tf.float32,
    ),
    "excess": Case(
        Excess(),
        [(3, 1.5, 5), (0, 2.5, 5), (None, None, None), (0, 0.0, 0), (None, 0.5, 1), (80, 0.0, 80)],
        [1.5 / 25, -2.5 / 25, 0, 0, -0.5 / 21, 0.8],
        [tf.int64, tf.float32, tf.int64],
        tf.float32,
    ),
    "ratio": Case(
        Ratio(),
        [(1, 4), (None, 4), (3, None), (3, 0), (5, 2), (2**53, 2**53), (0, 0), (None, None)],
        [0.25, 0, 0, 0, 2.5, 1, 0, 0],
        [tf.int64, tf.int64],
        tf.float32,
    ),
    "ratio_of_a_sum": Case(
        Ratio(),
        [(1, 2, 4), (None, 1, 4), (1, None, 4), (1, 1, None), (None, None, None)],
        [0.75, 0.25, 0.25, 0, 0],
        [tf.int64] * 3,
        tf.float32,
    ),
}
