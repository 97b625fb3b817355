"""Feature tables: what they hold, how they are extended, and what they refuse."""

import dataclasses
import pickle
from typing import ClassVar

import pyarrow as pa
import pytest

from recsys_tft.columns import BOOL, INT64, STRING, TAKEN, TIMESTAMP, Column, IdKind
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import CANDIDATE, QUERY, RANKER, Entity, Feature, FeatureTable, raw_columns
from recsys_tft.number_ops import Age, ZScore
from recsys_tft.ops import Lookup
from recsys_tft.run_layout.data_sets import KEY_COLUMNS
from recsys_tft.signals import Signal
from recsys_tft.vocabularies import Vocabulary

SURFACE = Column("surface", "interactions", STRING)
TOKEN = Feature("surface_token", "surface", Lookup(Vocabulary("surface")), RANKER)


def test_an_extended_table_has_all_of_the_old_one_and_more() -> None:
    verified = Column("verified", "channels", BOOL)
    table = DEFAULT.extend([SURFACE, verified], ["follow", Signal("not_interested", negative=True)], [TOKEN])
    assert table.features[: len(DEFAULT.features)] == DEFAULT.features
    assert table.by_name["surface_token"].columns == (SURFACE,)
    assert table.by_name["surface_token"].entity is Entity.EXPOSURE
    assert list(table.columns_of("channels"))[-1] == "verified"
    assert [column.name for column in table.context] == ["device", "surface"]
    assert list(table.flags) == ["clicked", "liked", "commented", "shared", "follow", "not_interested"]
    assert [signal.is_viewing for signal in table.signals] == [False, *[True] * 6, False]
    assert table.vocabularies[-1].name == "surface"
    assert "surface_token" not in DEFAULT.by_name


def test_a_feature_can_be_left_out_or_be_another_one() -> None:
    other = dataclasses.replace(TOKEN, name="age_z", sources=("age",), op=ZScore(log1p=True))
    table = DEFAULT.extend(features=[other], without=["popularity_onehot", "age_z"])
    assert "popularity_onehot" not in table.by_name
    assert table.by_name["age_z"].op == ZScore(log1p=True)
    assert "popularity" not in {column.name for column in raw_columns(table.features)}


def test_a_source_and_a_reader_may_stand_by_themselves() -> None:
    assert TOKEN.sources == ("surface",)
    assert TOKEN.used_by == (RANKER,)


def test_tables_are_values() -> None:
    table = DEFAULT.extend([SURFACE], features=[TOKEN])
    assert table == DEFAULT.extend([SURFACE], features=[TOKEN]) != DEFAULT
    assert pickle.loads(pickle.dumps(table)) == table
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.columns = ()


def test_no_feature_has_the_name_of_a_column_of_rows() -> None:
    assert set(KEY_COLUMNS) <= TAKEN | set(DEFAULT.raw)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": [TOKEN]}, "the feature 'surface_token' reads the unknown column 'surface'."),
        (
            {"columns": [SURFACE], "features": [TOKEN, TOKEN]},
            "the feature 'surface_token' occurs 2 times; names have to differ.",
        ),
        (
            {"features": [Feature("age_z", "age", ZScore(), RANKER)]},
            "the feature 'age_z' occurs 2 times; names have to differ.",
        ),
        ({"columns": [SURFACE, SURFACE]}, "the column 'interactions.surface' occurs 2 times; names have to differ."),
        (
            {"columns": [dataclasses.replace(SURFACE, table="interaction")]},
            "the column 'surface' is of the unknown table 'interaction'. Did you mean 'interactions'?",
        ),
        (
            {"columns": [dataclasses.replace(SURFACE, type=pa.date32())]},
            "the column 'surface' is of the type date32[day]; expected one of int64, float, string, bool, ",
        ),
        (
            {"columns": [Column("title", "channels", STRING)]},
            "the column 'title' of channels has the name of a column of another table, ",
        ),
        (
            {"columns": [Column("a b", "users", STRING)]},
            "the column 'a b' needs a name of letters, digits and _ that begins with a letter.",
        ),
        ({"signals": ["like"]}, "the signal 'like' occurs 2 times; names have to differ."),
        ({"signals": [Signal("love", "liked")]}, "the column 'interactions.liked' occurs 2 times; "),
        ({"signals": [f"s{n}" for n in range(59)]}, "there are 65 signals; an event holds 64 at most."),
        ({"without": ["popularity_onehott"]}, "`without` names the unknown feature 'popularity_onehott'. Did you mean"),
        (
            {"features": [Feature("same", ("user_language", "video_language"), Lookup(Vocabulary("v")), RANKER)]},
            "the feature 'same' reads columns of users and videos, which its op Lookup does not join; ",
        ),
        (
            {"features": [Feature("age_log", "age", ZScore(), CANDIDATE)]},
            "the feature 'age_log' is of users, so the candidate tower cannot read it; it reads features of videos.",
        ),
        (
            {"features": [Feature("n", ("interaction_time", "published_at"), Age(), QUERY)]},
            "the feature 'n' is of pairs, so the query tower cannot read it; it reads features of users and exposures.",
        ),
        ({"features": [Feature("age_log", "age", ZScore, RANKER)]}, "which is not an Op."),
        ({"features": [Feature("age_log", (), ZScore(), RANKER)]}, "the feature 'age_log' reads no column."),
        (
            {"features": [Feature("label", "age", ZScore(), RANKER)]},
            "the feature 'label' has a reserved name of rows or options; ",
        ),
        (
            {"features": [Feature("x", "country", ZScore(), QUERY)]},
            "ZScore, which reads numbers, not country, ",
        ),
        (
            {"features": [Feature("x", "age", Lookup(Vocabulary("a")), QUERY)]},
            "looks up values of type string, not age, which is int64; Vocabulary('a', integers=True) has integers.",
        ),
        ({"features": [Feature("x", ("age", "age"), ZScore(), QUERY)]}, "ZScore, which reads 1 column, not 2."),
        (
            {"features": [Feature("x", "age", ZScore(), "query")]},
            "the feature 'x' is used by 'query'; expected ",
        ),
        (
            {"columns": [Column("tier", "users", "string")]},
            "the column 'tier' is of the type 'string'; ",
        ),
        (
            {"columns": [Column("born_at", "users", TIMESTAMP, minimum=0)]},
            "the column 'born_at' has a minimum, but is of the type timestamp[us, tz=UTC]; numbers have one.",
        ),
        ({"signals": [Signal("a/b")]}, "the signal 'a/b' needs a name without slashes."),
        ({"features": ["age_log"]}, "features has 'age_log', which is not a Feature."),
    ],
)
def test_what_cannot_be_used_is_said(changes: dict[str, list[object]], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        DEFAULT.extend(**changes)
    assert sentence in str(refused.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InputError) as refused:
        DEFAULT.extend([SURFACE, SURFACE], ["like"], [Feature("x", "agee", ZScore(), RANKER)])
    assert str(refused.value).startswith("3 problems with the feature table:")


def test_a_table_needs_nothing_of_ours() -> None:
    table = FeatureTable((SURFACE,), (Signal("like"),), (TOKEN,))
    assert table.raw == {"surface": SURFACE}


def test_one_of_something_may_stand_by_itself() -> None:
    one = DEFAULT.extend(SURFACE, "star rating", TOKEN, "popularity_onehot")
    assert one == DEFAULT.extend([SURFACE], ["star rating"], [TOKEN], ["popularity_onehot"])
    assert one.flags["star rating"] == "star rating"


# --- Ids of other kinds


@dataclasses.dataclass(frozen=True)
class Named(Lookup):
    """A lookup in a vocabulary of its own, which it takes from nobody."""

    vocabulary: Vocabulary = dataclasses.field(default=Vocabulary("owner", integers=True), init=False)


@dataclasses.dataclass(frozen=True)
class AllAlike(Lookup):
    """A lookup whose class has the vocabulary."""

    vocabulary: ClassVar[Vocabulary] = Vocabulary("owner", integers=True)


def test_own_lookups_of_ids_follow_the_kind_that_the_tables_have() -> None:
    owner = Feature("owner", "channel_id", Lookup(Vocabulary("owner", integers=True, dim=7)), (CANDIDATE, RANKER))
    own = DEFAULT.extend(features=owner)
    text = own.with_ids({"channel_id": IdKind.UUID})
    assert text.by_name["owner"].vocabulary == Vocabulary("owner", integers=False, dim=7, ids=True)
    assert text.by_name["owner"].columns[0].type == STRING
    assert text.raw["video_id"].type == INT64
    assert own.with_ids({"channel_id": IdKind.INTEGER}).by_name["owner"].vocabulary == owner.vocabulary


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (ZScore(), "an op ZScore, which reads numbers, not channel_id, which is string"),
        (Named(), "an op Named, which looks up values of type int64, not channel_id"),
        (AllAlike(), "an op AllAlike, which looks up values of type int64, not channel_id"),
    ],
)
def test_an_op_that_needs_integers_is_refused_where_ids_are_text(op: Lookup | ZScore, words: str) -> None:
    table = DEFAULT.extend(features=Feature("mine", "channel_id", op, RANKER))
    with pytest.raises(
        InputError, match=f"'mine' has {words}.*; the channel_ids of the tables are text .string."
    ) as told:
        table.with_ids({"channel_id": IdKind.STRING})
    assert "\n" not in str(told.value)


def test_a_column_of_integers_cannot_share_a_vocabulary_with_ids_that_are_text() -> None:
    column = Column("favourite", "users", INT64)
    lookup = Lookup(DEFAULT.by_name["history_video_ids_tokens"].vocabulary)
    table = DEFAULT.extend(columns=column, features=Feature("mine", "favourite", lookup, QUERY))
    with pytest.raises(InputError, match=r"'video_id' has different .*; the video_ids of the tables are text"):
        table.with_ids({"video_id": IdKind.STRING})
    keyed = DEFAULT.extend(
        columns=dataclasses.replace(column, key="video_id"), features=Feature("mine", "favourite", lookup, QUERY)
    )
    assert keyed.with_ids({"video_id": IdKind.STRING}).raw["favourite"].type == STRING
