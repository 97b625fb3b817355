"""A feature table with 11 signals, two of them negative, and context columns of every type; and tables for it."""

import pathlib

import numpy as np
import polars as pl

from recsys_tft.columns import BOOL, FLOAT, FLOATS, INT64, INTS, STRING, STRINGS, TIMESTAMP, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import RANKER, Feature
from recsys_tft.number_ops import Log, ZScore
from recsys_tft.ops import Bag, Lookup
from recsys_tft.signals import Signal
from recsys_tft.tables import synthetic
from recsys_tft.vocabularies import Vocabulary

NAME = "own_signals"  # what `features` of the settings calls it
CONTEXT = (
    Column("surface", "interactions", STRING),
    Column("position", "interactions", INT64, minimum=0),
    Column("volume", "interactions", FLOAT, at_exposure="first_event"),
    Column("autoplay", "interactions", BOOL),
    Column("shown_at", "interactions", TIMESTAMP),
    Column("filters", "interactions", STRINGS),
    Column("neighbours", "interactions", INTS, at_exposure="first_event"),
    Column("scores", "interactions", FLOATS),
)
TABLE = DEFAULT.extend(
    columns=[*CONTEXT, Column("unread", "interactions", STRING)],
    signals=[
        "follow",
        Signal("save", column="saved"),
        Signal("hover", viewing=False),
        Signal("not_interested", negative=True),
        Signal("report", column="reported", negative=True, viewing=True),
    ],
    features=[
        Feature("surface_token", "surface", Lookup(Vocabulary("surface")), RANKER),
        Feature("position_log", "position", Log(), RANKER),
        Feature("volume_z", "volume", ZScore(), RANKER),
        Feature("autoplay_z", "autoplay", ZScore(), RANKER),
        Feature("shown_at_z", "shown_at", ZScore(), RANKER),
        Feature("filters_tokens", "filters", Bag(Vocabulary("filters")), RANKER),
        Feature("neighbours_tokens", "neighbours", Bag(Vocabulary("neighbours", integers=True)), RANKER),
        Feature("scores_z", "scores", ZScore(), RANKER),
    ],
)
VIEWING = {"click", "watch", "like", "comment", "share", "follow", "save", "report"}
NEGATIVE = {"not_interested", "report"}


def write_tables(folder: pathlib.Path) -> int:
    """Synthetic tables in which a quarter of what was opened is followed by another signal, often a negative one.

    Returns:
        A time at which every user does not want what they liked ten minutes before, and opens something else.
    """
    synthetic.write_tables(folder, users=120, videos=300, interactions=6000, seed=0)
    path = folder / "interactions.parquet"
    rows = pl.read_parquet(path)
    random = np.random.default_rng(0)
    liked = rows.filter((pl.col("interaction_type") != "impression") & pl.Series(random.random(len(rows)) < 0.25))
    later = pl.duration(minutes=pl.Series(random.integers(0, 20, len(liked))))
    kinds = pl.Series(random.choice(["not_interested", "report", "hover", "follow"], len(liked)))
    unwanted = liked.with_columns(interaction_time=pl.col("interaction_time") + later, interaction_type=kinds)
    moment = rows["interaction_time"].dt.epoch("us").sort()[len(rows) // 2]
    each = rows.unique("user_id", keep="first", maintain_order=True)
    at_moment = [
        each.with_columns(
            video_id=pl.col("user_id") % 100 + video,
            interaction_time=pl.lit(moment + minutes * 60_000_000).cast(pl.Datetime("us", "UTC")),
            interaction_type=pl.lit(kind),
        )
        for video, minutes, kind in ((1, -10, "like"), (1, 0, "not_interested"), (150, 0, "click"))
    ]
    added = pl.concat([unwanted, *at_moment]).with_columns(watch_time=pl.lit(None, pl.Float32))
    rows = pl.concat([rows, added])
    n = len(rows)

    def some(values: list) -> pl.Series:
        return pl.Series([values[place] for place in random.integers(0, len(values), n)])

    rows = rows.with_columns(
        surface=some(["home", "search", None, ""]),
        position=some([0, 3, 40, None]),
        volume=some([0.25, 1.0, None]).cast(pl.Float32),
        autoplay=some([True, False, None]),
        shown_at=pl.col("interaction_time"),
        filters=some([["new"], ["short", "new"], [], None]),
        neighbours=some([[1, 2], [7], None]),
        scores=some([[0.5], [1.5, 2.0], None]).cast(pl.List(pl.Float32)),
        unread=pl.lit("x"),
        saved=some([True, False, False, False, None]),
        reported=pl.Series(random.random(n) < 0.02),
    )
    rows.write_parquet(path)
    return moment
