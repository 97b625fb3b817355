"""One notion of missing: every way to write it is in every place what null is there. docs/missing.md has the table."""

import datetime
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from missing_places import COLUMNS, LEAST, MOMENT, OTHERS, PLACES, Given, loaded, named
from workspace import good_rows, table_of

from recsys_tft import Recommender, cli
from recsys_tft.columns import FLOAT, INT64, INTS, STRING, TABLES, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.missing import nulled
from recsys_tft.recommending import catalogue, filtering
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.recommending.request import Request
from recsys_tft.serving.serving_rows import tensors
from recsys_tft.tables import raw_tables

CASES = [(place, name) for place, (_, names) in PLACES.items() for name in names]


@pytest.mark.parametrize(("place", "name"), CASES)
def test_whatever_says_that_a_value_is_missing_is_what_null_is(
    served: pathlib.Path, tmp_path: pathlib.Path, place: str, name: str
) -> None:
    look, column = PLACES[place][0], DEFAULT.raw.get(name) or DEFAULT.columns_of("interactions")[name]
    given = Given(served, tmp_path)
    present, ways = COLUMNS[name]
    missing = look(given, column, None)
    assert same(look(given, column, present)) != same(missing)  # else nothing would be told
    for value in ways:
        assert same(look(given, column, value)) == same(missing), value


def same(found: Any) -> str:
    """A text that is equal where values are, for lists that are missing or empty."""
    return json.dumps(found, default=str).replace("null", "[]")


# --- Values


def test_only_what_the_table_names_is_missing() -> None:
    words = pa.array(["", " ", "\t", "null", "NaN", None, "0"])
    assert nulled(words).to_pylist() == [None, " ", "\t", "null", "NaN", None, "0"]
    assert nulled(pa.array([0, -1, LEAST, LEAST + 1, None])).to_pylist() == [0, -1, None, LEAST + 1, None]
    assert nulled(pa.array([0.0, -0.0, math.nan, math.inf])).to_pylist() == [0.0, 0.0, None, math.inf]
    lists = pa.array([["a", "", "b", None], [""], [], None, [" "]])
    assert nulled(lists).to_pylist() == [["a", "b"], [], [], None, [" "]]
    assert nulled(lists.slice(1, 3)).to_pylist() == [[], [], None]


def test_a_zero_is_missing_where_its_column_says_so() -> None:
    arrays = {
        "count": pa.array([0, 2, None, LEAST]),
        "price": pa.array([-0.0, 2.5, None, math.nan], FLOAT),
        "known": pa.array([False, True, None, None]),
        "since": pa.array([0, 2, None, None], pa.timestamp("ms", "UTC")),
        "places": pa.array([[0, 2], [2], None, [0]], INTS),
    }
    for array in arrays.values():
        assert nulled(array, zero_is_missing=True).type == array.type
    found = {name: nulled(array, zero_is_missing=True) for name, array in arrays.items()}
    assert found.pop("places").to_pylist() == [[2], [2], None, []]
    for name, array in found.items():
        assert array.is_valid().to_pylist() == [False, True, False, False], name
        assert nulled(arrays[name])[0].is_valid, name


@pytest.mark.parametrize("table", TABLES)
def test_a_zero_of_an_own_column_is_missing_from_when_it_is_read(table: str, tmp_path: pathlib.Path) -> None:
    """So that the first present value of an exposure is one of a later event, and counts of missing ones are right."""
    for name, rows in good_rows().items():
        pq.write_table(table_of(rows), tmp_path / f"{name}.parquet")
    path = tmp_path / f"{table}.parquet"
    raw = pq.read_table(path)
    own = pa.array([0, *[3] * (len(raw) - 1)], pa.int64())
    pq.write_table(raw.append_column("level", own).append_column("depth", own), path)
    columns = [Column("level", table, INT64, minimum=1, zero_is_missing=True), Column("depth", table, INT64)]
    read = raw_tables.find(str(tmp_path), {}, DEFAULT.extend(columns))[table]
    usable, rejected = raw_tables.read(read, read.sources[0], ["level", "depth"])
    assert not len(rejected)
    assert usable["level"].to_pylist() == [None, *[3] * (len(raw) - 1)]
    assert usable["depth"].to_pylist() == own.to_pylist()


def test_a_text_has_no_zero_that_could_be_missing() -> None:
    with pytest.raises(InputError, match="the column 'plan' has zero_is_missing, but is of the type string, which"):
        DEFAULT.extend([Column("plan", "users", STRING, zero_is_missing=True)])


# --- Serving: shapes


@pytest.fixture(scope="module")
def query(served: pathlib.Path) -> Callable[..., np.ndarray]:
    """Asks the query tower, for all but what is given missing."""
    call = loaded(served, "query_tower").signatures["serving_default"]
    specs = call.structured_input_signature[1]

    def ask(**given: Any) -> np.ndarray:
        none = {name: tf.zeros([0] * spec.shape.rank, spec.dtype) for name, spec in specs.items()}
        own = {name: tf.constant(value, specs[name].dtype) for name, value in ({"user_id": [5]} | given).items()}
        return call(**none | own)["vector"].numpy()

    return ask


@pytest.mark.parametrize("empty", [[], [[]], [[LEAST]], np.zeros((0, 4))])
def test_a_list_may_be_empty_in_any_shape(query: Callable[..., np.ndarray], empty: Any) -> None:
    expected = query(history_video_ids=np.zeros((1, 0)))
    np.testing.assert_array_equal(query(history_video_ids=empty), expected)
    three = query(user_id=[5, 5, 5], history_video_ids=empty, country=["DE", "", "DE"])
    np.testing.assert_allclose(
        three, np.concatenate([query(country=["DE"]), expected, query(country=["DE"])]), atol=1e-6
    )


def test_missing_elements_of_a_list_may_stand_anywhere(query: Callable[..., np.ndarray]) -> None:
    expected = query(history_video_ids=[[23, 17]], history_categories=[["music", "news"]])
    for ids, words in (([LEAST, 23, LEAST, 17], ["", "music", "", "news"]), ([23, 17, LEAST], ["music", "news", ""])):
        np.testing.assert_array_equal(query(history_video_ids=[ids], history_categories=[words]), expected)


def test_a_single_value_may_be_a_list_of_one_or_of_none(query: Callable[..., np.ndarray]) -> None:
    np.testing.assert_array_equal(query(user_id=[[5], [6]], age=[[30], [40]]), query(user_id=[5, 6], age=[30, 40]))
    np.testing.assert_array_equal(query(user_id=[5, 6], age=np.zeros((2, 0))), query(user_id=[5, 6]))
    np.testing.assert_array_equal(query(age=30), query(age=[30]))


def test_a_shape_that_could_mean_two_things_is_refused(query: Callable[..., np.ndarray]) -> None:
    for given in ({"history_video_ids": [23, 17]}, {"age": [[30, 31]]}):
        (name,) = given
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"needs a shape of \[batch\], .*\[{name}\] \["):
            query(**given)


@pytest.mark.parametrize("empty", [[], [[]], [[LEAST]], np.zeros((0, 2)), [[10**9]]])
def test_nothing_may_be_excluded_in_any_shape(served: pathlib.Path, empty: Any) -> None:
    call = loaded(served, "retrieval").signatures["serving_default"]
    specs = call.structured_input_signature[1]
    given = tensors({"user_id": pa.array([5, 6])}, {n: s for n, s in specs.items() if n not in OTHERS})
    expected = call(**given, k=tf.constant(4), exclude=tf.zeros([1, 0], tf.int64))["video_ids"]
    found = call(**given, k=tf.constant(4), exclude=tf.constant(empty, tf.int64))["video_ids"]
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(tf.errors.InvalidArgumentError, match="exclude needs a shape of"):
        call(**given, k=tf.constant(4), exclude=tf.constant([1, 2, 3], tf.int64))


# --- What a run rejects


REJECTED = {
    "age": (-5, r"age needs to be at least 0, or missing; found\] \[-5\]"),
    "video_duration": (-0.5, "video_duration needs to be a finite number of at least 0"),
    "view_count": (-1, "view_count needs to be at least 0"),
    "channel_subscriber_count": (-1, "channel_subscriber_count needs to be at least 0"),
    "views_7d": (-1, "views_7d needs to be at least 0"),
    "user_events_1d": (-1, "user_events_1d needs to be at least 0"),
    "interaction_time": (-1, "interaction_time needs to be microseconds since 1970 UTC, before 2200"),
}


@pytest.mark.parametrize("name", REJECTED)
@pytest.mark.parametrize("place", ["serving_default", "features", "examples"])
def test_serving_models_refuse_what_a_run_rejects(
    served: pathlib.Path, tmp_path: pathlib.Path, place: str, name: str
) -> None:
    look, (value, message) = PLACES[place][0], REJECTED[name]
    assert look(Given(served, tmp_path), DEFAULT.raw[name], 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        look(Given(served, tmp_path), DEFAULT.raw[name], value)


@pytest.mark.parametrize(("name", "value"), [("video_duration", math.inf), ("interaction_time", 7_258_118_400_000_000)])
def test_serving_models_refuse_what_is_too_large(
    served: pathlib.Path, tmp_path: pathlib.Path, name: str, value: float
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} needs to be"):
        named("serving_default")(Given(served, tmp_path), DEFAULT.raw[name], value)


@pytest.mark.parametrize(
    ("user", "time", "given", "message"),
    [
        (3, MOMENT, {"age": -5}, r"age is -5; it needs to be at least 0\."),
        (3, MOMENT, {"age": 30.5}, r"age is 30\.5; expected int64\."),
        (3, MOMENT, {"age": 2**70}, r"age is 1180591620717411303424; expected int64\."),
        (3, MOMENT, {"user_events_1d": -1}, r"user_events_1d is -1; it needs to be at least 0\."),
        (3, MOMENT, {"history_categories": "music"}, r"history_categories is 'music'; expected list<"),
        (LEAST, MOMENT, {}, "user_id is -9223372036854775808, which is no id"),
        (2**63, MOMENT, {}, "user_id is 9223372036854775808, which is no id"),
        ("3", MOMENT, {}, r"user_id is '3'; expected int64\."),
        (3, -1, {}, "time is -1; it needs to be microseconds since 1970 UTC, before 2200"),
        (3, LEAST, {}, "time is -9223372036854775808; it needs to be microseconds"),
    ],
)
def test_a_request_refuses_what_a_run_rejects(user: Any, time: int, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Request(user, given, time)


@pytest.mark.parametrize("value", [None, math.nan, "", [], LEAST])
def test_each_way_to_say_that_a_value_is_missing_takes_the_place_of_what_is_stored(
    served: pathlib.Path, value: Any
) -> None:
    store = EntityStore(served / "serving/store/1")
    user = next(row for row in map(store.user, range(1, 20)) if not row["age"].null_count)
    assert Request(3, {"age": value}, MOMENT).columns(user)["age"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--age", "-5"], "error: age is -5; it needs to be at least 0.\n"),
        (["--user-id", str(LEAST)], "error: user_id is -9223372036854775808, which is no id"),
        (["--time", "1969-12-31"], "error: --time is '1969-12-31'; expected a time between 1970 and 2200.\n"),
    ],
)
def test_the_command_refuses_what_a_run_rejects_before_it_looks_for_models(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert cli.main(["recommend", "--output-dir", str(tmp_path / "nowhere"), *options]) == 2
    assert capsys.readouterr().err.startswith(message)


# --- Times far away


def test_a_video_of_the_year_9999_is_of_age_0_and_one_of_long_ago_is_old() -> None:
    far = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)
    times = pa.chunked_array(
        [pa.array([far, None, datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)], pa.timestamp("us"))]
    )
    floats = catalogue.floats(times.cast(pa.int64()))
    assert filtering.too_old(floats, MOMENT, 30).tolist() == [False, False, True]


def test_someone_is_recommended_videos_that_are_published_in_the_far_future(served: pathlib.Path) -> None:
    recommender = Recommender(str(served))
    videos = recommender.store._videos.table
    place, found = videos.column_names.index("published_at"), []
    for told in (MOMENT + 1, 253_402_214_400_000_000, 2**63 - 1):
        published = pa.array([told] * len(videos), pa.int64())
        recommender.store._videos.table = videos.set_column(place, "published_at", published)
        found.append(recommender.recommend(3, 300, MOMENT).items)
    assert found[0] == found[1] == found[2] != ()
