"""A feature table with 11 signals, two of them negative, and context columns of every type; and runs under it."""

import contextlib
from collections.abc import Iterator

import pytest

from recsys_tft import feature_tables
from recsys_tft.columns import BOOL, FLOAT, FLOATS, INT64, INTS, STRING, STRINGS, TIMESTAMP, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import RANKER, Feature, FeatureTable
from recsys_tft.number_ops import Log, ZScore
from recsys_tft.ops import Bag, Lookup
from recsys_tft.signals import Signal
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


@contextlib.contextmanager
def loaded() -> Iterator[FeatureTable]:
    """The table, found by its name while this lasts; any other name leads to ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_tables, "load", lambda name: TABLE if name == NAME else DEFAULT)
        yield TABLE
