"""Raw columns of pairs: each combination of values is computed once, whatever columns it is of."""

import numpy as np
import own_table
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.auditing.past_rows import moment_of
from recsys_tft.columns import Column
from recsys_tft.configuration.settings import parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import Entity, Feature, FeatureTable
from recsys_tft.point_in_time import outcomes, pair_columns
from recsys_tft.point_in_time.pair_columns import PairColumns, Values

quick = settings(deadline=None, derandomize=True, max_examples=100)
WORDS = st.lists(st.none() | st.sampled_from(("a", "b", "")), min_size=1, max_size=5)
NUMBERS = st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def own() -> FeatureTable:
    return own_table.table("none")


@quick
@given(WORDS, NUMBERS, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_each_combination_is_there_once_and_each_pair_finds_its_own(
    words: list[str | None], numbers: list[int | None], places: list[tuple[int, int]]
) -> None:
    rows = np.array(places, np.int64).reshape(-1, 2) % [len(words), len(numbers)]
    values = [Values(pa.array(words, pa.string()), rows[:, 0]), Values(pa.array(numbers, pa.int64()), rows[:, 1])]
    found, pair = pair_columns.combinations(own_table.Same(), values)
    combinations = list(zip(*(column.to_pylist() for column in found), strict=True))
    assert [combinations[place] for place in pair.tolist()] == [(words[a], numbers[b]) for a, b in rows.tolist()]
    assert len(combinations) == len({*combinations})


def columns_of(**tables: pa.Table) -> PairColumns:
    """Three pairs: of users 0, 0 and 1 at exposures 0, 1 and 2, with videos 1, 0 and 0."""
    rows = {Entity.USER: [0, 0, 1], Entity.EXPOSURE: [0, 1, 2], Entity.VIDEO: [1, 0, 0]}
    found = {entity: [tables.get(entity.value, pa.table({}))] for entity in rows}
    return PairColumns(found, {entity: [np.array(places)] for entity, places in rows.items()}, 0)


def test_a_pair_reads_the_user_and_the_video(own: FeatureTable) -> None:
    feature = own.by_name["same_language"]
    users = pa.table({"user_language": ["de", None]})
    columns = columns_of(user=users, video=pa.table({"video_language": [None, "fr"]}))
    values = columns.of(feature)
    assert [each.all().to_pylist() for each in values] == [["de", "de", None], ["fr", None, None]]
    assert pair_columns.missing(feature, values) == 1  # both


def test_a_column_that_no_table_has_is_missing(own: FeatureTable) -> None:
    feature = own.by_name["same_language"]
    values = columns_of(user=pa.table({"user_language": ["de", None]})).of(feature)
    assert values[1].all().to_pylist() == [None] * 3
    assert pair_columns.missing(feature, values) == 1


def test_what_is_counted_comes_before_the_total_of_the_training_split(own: FeatureTable) -> None:
    tables = {Entity.VIDEO: [pa.table({"view_count": [1]}), pa.table({"view_count": [900]})]}
    tables |= {Entity.USER: [pa.table({"age": [30]})], Entity.EXPOSURE: [pa.table({"interaction_time": [5]})]}
    rows = {entity: [np.zeros(1, np.int64)] * len(own_tables) for entity, own_tables in tables.items()}
    values = PairColumns(tables, rows, 0).of(own.by_name["device_views"])
    assert [each.all().to_pylist() for each in values] == [[30], [1], [5]]


def test_only_what_features_read_is_carried(monkeypatch: pytest.MonkeyPatch, own: FeatureTable) -> None:
    monkeypatch.setattr("recsys_tft.feature_tables.load", lambda name: own)
    off, on = parse({}, "the test"), parse({"recent": {"enabled": True}}, "the test")
    assert pair_columns.carried(Entity.USER, off) == ["user_language", "country", "age"]
    of_videos = ["video_language", "channel_country", "view_count", "category"]
    assert pair_columns.carried(Entity.VIDEO, off) == [*of_videos, *outcomes.VIDEO_COLUMNS]  # what users saw is counted
    uncounted = parse({"positive_rates": {"enabled": False}}, "the test")
    assert pair_columns.carried(Entity.VIDEO, uncounted) == of_videos
    counts = ["user_positive_count", "user_shown_count"]
    assert pair_columns.carried(Entity.EXPOSURE, off) == [*counts, "history_categories"]
    assert {"published_at", "first_seen"} <= {*pair_columns.carried(Entity.VIDEO, on)}


def test_a_feature_of_a_computed_column_is_there_when_it_is_computed() -> None:
    table = DEFAULT.extend(
        features=[Feature("own_views", "views_7d", DEFAULT.by_name["views_7d_log"].op, own_table.RANKER)]
    )
    feature = table.by_name["own_views"]
    assert not feature.is_on(parse({}, "the test"))
    assert feature.is_on(parse({"recent": {"enabled": True}}, "the test"))


def test_an_audit_compares_what_is_of_a_user_and_a_video_by_both(own: FeatureTable) -> None:
    assert moment_of(own.by_name["same_language"]) == (("user_id", "video_id"), False)
    assert moment_of(own.by_name["device_views"]) == (("user_id", "video_id"), False)
    assert moment_of(own.by_name["verified_token"]) == (("video_id",), False)
    of_device = DEFAULT.extend(features=[Feature("x", ("device", "category"), own_table.Same(), own_table.RANKER)])
    assert moment_of(of_device.by_name["x"]) is None
    assert isinstance(of_device.raw["device"], Column)
