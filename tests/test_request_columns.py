"""What a request may say of a user's own columns, by what an export says of them."""

import datetime
import json
import uuid

import pytest
from odd_ids import text

from recsys_tft.columns import BOOL, FLOAT, INT64, STRING, STRINGS, TIMESTAMP, Column, IdKind
from recsys_tft.commands import recommend_command
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import RANKER, Feature
from recsys_tft.ops import Lookup
from recsys_tft.recommending import request_columns
from recsys_tft.recommending.request import Request
from recsys_tft.statistics import EMPTY_IDS
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
KNOWN = request_columns.columns_of_table(TABLE)


def test_columns_of_users_may_be_given_and_those_of_the_moment_that_features_read() -> None:
    names = {column.name for column in KNOWN}
    assert {"plan", "is_member", "joined", "surface", "device", "age"} <= names
    assert not {"unread", "user_id", "interaction_time", "updated_at", "title"} & names


@pytest.mark.parametrize("kind", list(IdKind))
def test_what_an_export_says_is_read_as_it_was(kind: IdKind) -> None:
    known = request_columns.columns_of_table(TABLE.with_ids({"video_id": kind}))
    again = request_columns.from_json(json.loads(json.dumps(request_columns.as_json(known))))
    for column, found in zip(known, again, strict=True):
        assert (found.name, found.type, found.limits) == (column.name, column.type, column.limits)
        if kind.is_text:
            assert (found.key, found.kind) == (column.key, column.kind if column.key else IdKind.AUTO)


UUID = uuid.UUID(text(1, IdKind.UUID))


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (IdKind.INTEGER, 7, 7),
        *((IdKind.STRING, text(number), text(number)) for number in range(10)),
        (IdKind.STRING, "é".encode(), "é"),
        *((IdKind.UUID, given, str(UUID)) for given in (str(UUID), str(UUID).upper(), UUID, UUID.bytes)),
        (IdKind.UINT64, 2**63 + 5, str(2**63 + 5)),
        (IdKind.UINT64, "7", "7"),
    ],
)
def test_ids_are_taken_as_the_tables_have_them(kind: IdKind, given: object, expected: int | str) -> None:
    known = request_columns.columns_of_table(TABLE.with_ids({"video_id": kind}))
    request = Request(given, {"history_video_ids": [given, None]}, 0, known, kind)
    found = request.columns(_nobody())
    stored = expected.encode() if kind.is_text else expected
    assert request.user == stored
    assert found["user_id"].to_pylist() == [stored]
    assert found["history_video_ids"].to_pylist() == [[stored]]
    nobody = Request(None, {"history_video_ids": []}, 0, known, kind)
    assert nobody.user is None
    (unseen,) = nobody.columns(_nobody())["user_id"].to_pylist()
    assert unseen not in (None, b"", EMPTY_IDS, stored)
    assert nobody.columns(_nobody())["history_video_ids"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        (IdKind.STRING, 7, "a string"),
        (IdKind.STRING, "\ud800", "a string"),
        (IdKind.STRING, b"\xff", "a string"),
        (IdKind.UUID, "7", "a UUID such as"),
        (IdKind.UUID, f"{UUID}\n", "a UUID such as"),
        (IdKind.UUID, f"{{{UUID}}}", "a UUID such as"),
        (IdKind.UINT64, "007", "an integer of 64 bits"),
        (IdKind.UINT64, 7.0, "an integer of 64 bits"),
        (IdKind.UINT64, True, "an integer of 64 bits"),
    ],
)
def test_ids_of_another_kind_are_refused(kind: IdKind, given: object, wanted: str) -> None:
    known = request_columns.columns_of_table(TABLE.with_ids({"video_id": kind}))
    with pytest.raises(InputError, match=f"^user_id is .*; expected {wanted}"):
        Request(given, {}, 0, known, kind)
    for history in ([text(1, kind), given], given):
        with pytest.raises(InputError, match=f"^history_video_ids is .*; expected a list of ids, each {wanted}"):
            Request(None, {"history_video_ids": history}, 0, known, kind)


@pytest.mark.parametrize("kind", [IdKind.STRING, IdKind.UUID, IdKind.UINT64])
def test_an_empty_id_is_none(kind: IdKind) -> None:
    with pytest.raises(InputError, match="user_id is empty, which is no id; leave it out for someone unknown"):
        Request("", {}, 0, KNOWN, kind)


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
    for spelled in ("2025-03-01T00:00", "2025-03-01", "2025-03-01T01:00+01:00"):
        assert columns_of(joined=spelled) == {"joined": micros}
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
    assert recommend_command._reader(column)(text) == expected
