"""A table of a user's own: columns of channels, of texts and of pairs, and raw tables that have them."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from recsys_tft.columns import BOOL, STRING, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import CANDIDATE, QUERY, RANKER, Feature, FeatureTable
from recsys_tft.ops import Fitting, Lookup, Op, scatter
from recsys_tft.tables import synthetic
from recsys_tft.titles.text_embedding import TextEmbedding
from recsys_tft.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Same(Op):
    """Whether two values are the same: 0 where either is missing, 1 no, 2 yes."""

    missing: ClassVar[str] = "0"
    joins: ClassVar[bool] = True
    is_categorical: ClassVar[bool] = True

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        one, other = (scatter(column, column.values, b"") for column in columns)
        known = tf.logical_and(one != b"", other != b"")
        return tf.cast(tf.where(known, tf.where(one == other, 2, 1), 0), tf.int64)

    def categories(self, settings: object) -> int:
        return 3


@dataclasses.dataclass(frozen=True)
class Weighted(Op):
    """Sum of numbers, each a prime factor apart, by which every one of them shows; 0 for a missing one."""

    missing: ClassVar[str] = "0"
    joins: ClassVar[bool] = True

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        dense = [tf.cast(scatter(column, column.values, 0), tf.float32) for column in columns]
        return tf.add_n(
            [factor * tf.math.log1p(tf.abs(each)) for factor, each in zip((1.0, 3.0, 7.0), dense, strict=False)]
        )


@dataclasses.dataclass(frozen=True)
class Among(Op):
    """1 where a value is among those of a list, else 0."""

    missing: ClassVar[str] = "0"
    joins: ClassVar[bool] = True

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        many, one = columns
        alone = tf.gather(scatter(one, one.values, b""), many.indices[:, 0])
        hits = tf.cast(tf.logical_and(alone == many.values, alone != b""), tf.float32)
        return (
            tf.ensure_shape(tf.math.unsorted_segment_max(hits, many.indices[:, 0], many.dense_shape[0]), [None]) * 1.0
        )


def table(encoder: str) -> FeatureTable:
    """Ours with columns of channels, of texts and of pairs; `encoder` encodes descriptions."""
    return DEFAULT.extend(
        columns=[
            Column("verified", "channels", BOOL),
            Column("channel_country", "channels", STRING),
            Column("description", "videos", STRING),
            Column("bio", "users", STRING),
        ],
        features=[
            Feature("verified_token", "verified", Lookup(Vocabulary("verified", integers=True)), RANKER),
            Feature("same_language", ("user_language", "video_language"), Same(), RANKER),
            Feature("same_country", ("country", "channel_country"), Same(), RANKER),
            Feature("device_views", ("age", "view_count", "interaction_time"), Weighted(), RANKER),
            Feature("again", ("history_categories", "category"), Positive(), RANKER),
            Feature("description_embedding", "description", TextEmbedding(encoder), CANDIDATE),
            Feature("bio_embedding", "bio", TextEmbedding(encoder), QUERY),
        ],
        without=["title_embedding"],
    )


class Positive(Among):
    """As Among; 0, not the least float, for an empty list."""

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        return tf.maximum(super().apply(name, columns, fitting), 0.0)


def write_tables(folder: pathlib.Path, **sizes: int) -> None:
    """Synthetic raw tables with the columns of the table."""
    synthetic.write_tables(str(folder), **sizes)
    random = np.random.default_rng(3)

    def add(name: str, **columns: list) -> None:
        path = folder / f"{name}.parquet"
        rows = pq.read_table(path)
        for column, values in columns.items():
            picked = random.integers(len(values), size=len(rows))
            rows = rows.append_column(column, pa.array([values[place] for place in picked]))
        pq.write_table(rows, path)

    add("channels", verified=[True, False, None], channel_country=["DE", "US", "FR", None])
    add("videos", description=[*(f"about {place}" for place in range(30)), None, ""])
    add("users", bio=["likes music", "plays chess", "about 3", None])
