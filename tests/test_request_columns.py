"""What a request may say of a user's own columns, by what an export says of them."""

import datetime

import pytest

from recsys_tft.columns import BOOL, FLOAT, INT64, STRING, STRINGS, TIMESTAMP, Column
from recsys_tft.commands import serving_commands
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import RANKER, Feature
from recsys_tft.ops import Lookup
from recsys_tft.recommending import request_columns
from recsys_tft.recommending.request import Request
from recsys_tft.vocabularies import Vocabulary

COLUMNS = (
    Column("plan", "users", STRING),
    Column("is_member", "users", BOOL),
    Column("joined", "users", TIMESTAMP),
    Column("spent", "users", FLOAT, minimum=0),
    Column("badges", "users", STRINGS),
    Column("level", "users", INT64, minimum=1, zero_is_missing=True),
    Column("surface", "interactions", STRING),
    Column("unread", "interactions", INT64),
)
TABLE = DEFAULT.extend(COLUMNS, features=[Feature("surface_token", "surface", Lookup(Vocabulary("surface")), RANKER)])
KNOWN = request_columns.of_table(TABLE)


def test_columns_of_users_may_be_given_and_those_of_the_moment_that_features_read() -> None:
    names = {column.name for column in KNOWN}
    assert {"plan", "is_member", "joined", "surface", "device", "age"} <= names
    assert not {"unread", "user_id", "interaction_time", "updated_at", "title"} & names


def test_what_an_export_says_is_read_as_it_was() -> None:
    again = request_columns.from_json(request_columns.as_json(KNOWN))
    for column, found in zip(KNOWN, again, strict=True):
        assert (found.name, found.type, found.limits) == (column.name, column.type, column.limits)


def columns_of(**given: object) -> dict[str, object]:
    found = Request(None, given, 0, KNOWN).columns(_nobody())
    return {name: found[name][0].as_py() for name in given}


def _nobody():
    import pyarrow as pa

    return pa.table({})


def test_values_of_every_type_may_be_given() -> None:
    joined = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
    given = {"plan": "gold", "is_member": True, "joined": joined, "spent": 2.5, "badges": ["a"], "surface": None}
    micros = int(joined.timestamp()) * 10**6
    expected = {"plan": b"gold", "is_member": 1, "joined": micros, "spent": 2.5, "badges": [b"a"], "surface": None}
    assert columns_of(**given) == expected
    assert columns_of(joined=micros, is_member=0) == {"joined": micros, "is_member": 0}
    for text in ("2025-03-01T00:00", "2025-03-01", "2025-03-01T01:00+01:00"):
        assert columns_of(joined=text) == {"joined": micros}
    assert columns_of(joined="", is_member=float("nan")) == {"joined": None, "is_member": None}
    assert columns_of(level=0) == {"level": None}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"spent": -1.0}, "spent is -1.0; it needs to be a finite number of at least 0"),
        ({"surfaces": "tv"}, r"'surfaces' is not known of a user or a moment\. Did you mean 'surface'\?"),
        ({"unread": 1}, "'unread' is not known of a user or a moment"),
        ({"is_member": "yes"}, r"is_member is 'yes'; expected bool\."),
        ({"is_member": 5}, r"is_member is 5; expected bool\."),
        (
            {"joined": "soon"},
            "joined is 'soon'; expected a time such as 2025-03-01T12:00, or its microseconds since 19",
        ),
        ({"joined": 1.5}, "joined is 1.5; expected a time such as 2025-03-01T12:00, or its microseconds since 1970"),
        ({"badges": "a"}, r"badges is 'a'; expected list<item: string>\."),
    ],
)
def test_what_is_wrong_is_refused_by_name(given: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        columns_of(**given)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("plan", "gold", "gold"),
        ("is_member", "true", True),
        ("is_member", "0", False),
        ("joined", "1970-01-01T00:00:01", 10**6),
        ("spent", "2.5", 2.5),
        ("surface", "tv", "tv"),
        ("age", "30", 30),
    ],
)
def test_arguments_are_read_by_the_type_of_the_column(name: str, text: str, expected: object) -> None:
    (column,) = (column for column in KNOWN if column.name == name)
    assert serving_commands._reader(column)(text) == expected
