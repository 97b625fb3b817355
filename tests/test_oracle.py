"""The oracle against examples that were worked out by hand from docs/examples.md."""

import math

import oracle
import oracle_negatives
import pytest
import random_tables
from oracle import Row
from oracle_events import MINUTE, event, exposures_of

ALL_RULES = {"like": 1.0, "comment": 1.0, "share": 1.0, "watch": 1.0, "click": 0.5, "impression": 0.1}


# --- Rows that can be used


def test_rows_are_rejected_for_one_reason_each() -> None:
    users: list[Row] = [
        {"user_id": None},
        {"user_id": 1, "age": -1},
        {"user_id": 1, "age": 5},
        {"user_id": 1},
        {"user_id": oracle.LEAST},
    ]
    videos: list[Row] = [
        {"video_id": 7},
        {"video_id": 8, "video_duration": -1.0},
        {"video_id": 9, "video_duration": math.nan},
    ]
    late = oracle.END_OF_TIME / MINUTE
    events = [
        event(7, 0, "click"),
        event(8, 0),
        event(7, 0, user=2),
        event(7, 0, "Click"),
        event(7, 0, interaction_type=None, kind=None),
        event(7, 0, watch_time=math.nan),
        event(7, 0, watch_time=-0.5),
        event(7, 0) | {"interaction_time": None},
        event(7, late),
        event(7, 0) | {"video_id": None},
        event(7, -1),
    ]
    good_users, good_videos, good_events, rejected = oracle.usable(users, videos, events)
    assert good_users == [{"user_id": 1, "age": 5}]
    assert good_videos == [videos[0], {"video_id": 9, "video_duration": None}]
    assert good_events == [events[0], events[5] | {"watch_time": None}]
    assert rejected["users"] == [(0, "null"), (1, "negative"), (3, "duplicate"), (4, "null")]
    assert rejected["videos"] == [(1, "negative")]
    reasons = ["unknown_video", "unknown_user", "type", "type", None, "negative", "time", "time", "null", "time"]
    assert rejected["interactions"] == [(row, reason) for row, reason in enumerate(reasons, start=1) if reason]


def test_the_last_microsecond_of_2199_is_usable() -> None:
    last = event(7, 0) | {"interaction_time": random_tables.END_OF_TIME - 1}
    assert oracle.usable([{"user_id": 1}], [{"video_id": 7}], [last])[2] == [last]
    assert oracle.END_OF_TIME == random_tables.END_OF_TIME


# --- Events and exposures


def test_a_wide_row_is_an_impression_and_its_true_columns() -> None:
    row = event(7, 0, None, clicked=True, liked=None, shared=False, watch_time=0.25)
    assert oracle.signals_of(row, long=False) == {"impression", "click", "watch"}
    assert oracle.signals_of(event(7, 0, None, watch_time=0.0), long=False) == {"impression"}


def test_a_long_row_carries_only_what_it_names() -> None:
    row = event(7, 0, "impression", watch_time=5.0)
    assert oracle.signals_of(row, long=True) == {"impression"}
    assert oracle.is_viewing(row, long=True)
    assert oracle.is_viewing(event(7, 0, "click"), long=True)
    assert not oracle.is_viewing(event(7, 0, watch_time=0.0), long=True)


def test_events_half_an_hour_apart_are_two_exposures_and_nearer_ones_chain() -> None:
    half = [event(7, 0, "click"), event(7, 30, "like")]
    nearer = [event(7, 0), event(7, 20, "click", watch_time=1.5), event(7, 45, "like", watch_time=2.0)]
    assert [e.interaction_time for e in exposures_of(half)] == [0, 30 * MINUTE]
    almost = [half[0], half[1] | {"interaction_time": 30 * MINUTE - 1}]
    assert len(exposures_of(almost)) == 1
    (chained,) = exposures_of(nearer)
    assert chained.signals == {"impression", "click", "like"}
    assert chained.watch_time == 3.5


def test_another_video_or_user_in_between_does_not_cut_an_exposure() -> None:
    found = exposures_of([event(7, 0), event(8, 5), event(7, 6, user=2), event(7, 10)])
    assert [(e.user_id, e.video_id) for e in found] == [(1, 7), (1, 8), (2, 7)]


def test_an_exposure_is_cut_where_it_crosses_a_split() -> None:
    found = exposures_of([event(7, 0), event(7, 10, "like"), event(7, 20)], val_from=10, test_from=15)
    assert [(e.split, e.label) for e in found] == [("train", 0), ("val", 1), ("test", None)]


def test_the_device_is_the_first_known_one_and_at_equal_times_the_smallest_by_bytes() -> None:
    events = [
        event(7, 0, device=None),
        event(7, 1, device="tv"),
        event(7, 1, device="écran"),
        event(7, 1, device="TV"),
        event(7, 2, device="A"),
    ]
    assert [e.device for e in exposures_of(events)] == ["TV"]
    assert [e.device for e in exposures_of([event(7, 0)])] == [None]
    surrogate_first = [event(7, 0, device="\uffee"), event(7, 0, device="\U0001f4f1")]
    assert [e.device for e in exposures_of(surrogate_first)] == ["\uffee"]


# --- Labels


def test_watching_exactly_the_ratio_is_not_enough() -> None:
    videos: list[Row] = [{"video_id": 7, "video_duration": 10.0}, {"video_id": 8, "video_duration": None}]
    rules = {
        seconds: exposures_of([event(7, 0, "watch", watch_time=seconds)], videos=videos)[0].rules
        for seconds in (4.0, 4.25)
    }
    assert rules == {4.0: (), 4.25: ("watch",)}
    assert exposures_of([event(8, 0, "watch", watch_time=99.0)], videos=videos)[0].label == 0
    halves = [event(7, 0, watch_time=2.0), event(7, 1, watch_time=2.25), event(7, 2, watch_time=None)]
    assert exposures_of(halves, videos=videos)[0].weight == 0.8


def test_the_weight_is_the_largest_of_the_rules_that_hold_and_are_named() -> None:
    events = [event(7, 0), event(7, 1, "click"), event(7, 2, "share")]
    assert [e.weight for e in exposures_of(events)] == [0.5]
    assert [e.weight for e in exposures_of(events, positive=ALL_RULES)] == [1.0]
    (shown,) = exposures_of(events[:1], positive=ALL_RULES)
    assert (shown.label, shown.weight, shown.rules) == (1, 0.1, ("impression",))
    (ignored,) = exposures_of(events[:1])
    assert (ignored.label, ignored.weight, ignored.rules) == (0, 1.0, ("impression",))


def test_a_negative_is_contradicted_by_a_positive_of_its_split_or_before_but_not_after() -> None:
    events = [event(7, 0), event(7, 100, "like"), event(7, 200), event(7, 300, "like"), event(7, 400)]
    assert [e.label for e in exposures_of(events, val_from=100, test_from=300)] == [0, 1, None, 1, None]
    assert [e.label for e in exposures_of(events, val_from=101)] == [None, 1, None, 1, None]
    assert [e.label for e in exposures_of([event(7, 0), event(7, 9, "like", user=2)])] == [0, 1]


# --- Split


def test_cuts_are_taken_from_the_sorted_times_by_exact_arithmetic() -> None:
    events = [event(video, minute) for video, minute in enumerate([0, 1, 2, 3, 4, 5, 6, 7, 8, 8])]
    assert oracle.cuts([], [], events, "0.8", "0.1", 30) == (8 * MINUTE, 8 * MINUTE)
    assert oracle.cuts([], [], events, "0.7", "0.1", 30) == (7 * MINUTE, 8 * MINUTE)
    assert oracle.cuts([], [], events, "0.1", "0.2", 30) == (1 * MINUTE, 3 * MINUTE)
    assert oracle.cuts([], [], events, "0.6", "0.4", 30) == (6 * MINUTE, None)
    with pytest.raises(ValueError, match="no exposure"):
        oracle.cuts([], [], [], "0.8", "0.1", 30)


def test_cuts_count_exposures_not_events() -> None:
    events = [event(7, 0), event(7, 1), event(7, 2), event(8, 3)]
    assert oracle.cuts([], [], events, "0.5", "0.5", 30) == (3 * MINUTE, None)


def test_splits_begin_at_their_cut() -> None:
    found = [oracle.split_of(time, 10, 20) for time in (9, 10, 19, 20)]
    assert found == ["train", "val", "val", "test"]
    assert [oracle.split_of(time, 10, None) for time in (9, 20)] == ["train", "val"]


# --- As-of


def test_the_category_is_that_of_the_latest_viewing_strictly_before() -> None:
    users = [{"user_id": 1, "previously_watched_category": "before"}]
    videos: list[Row] = [{"video_id": v, "category": c} for v, c in ((7, "a"), (8, "b"), (9, "c"), (10, None))]
    events = [
        event(7, 0, "click"),
        event(8, 50, "watch"),
        event(9, 50, watch_time=1.0),
        event(10, 50),
        event(7, 60),
        event(10, 70, "like"),
        event(7, 100),
    ]
    found = {
        (e.video_id, e.interaction_time // MINUTE): e.previously_watched_category
        for e in exposures_of(events, users=users, videos=videos)
    }
    assert found == {
        (7, 0): "before",
        (8, 50): "a",
        (9, 50): "a",
        (10, 50): "a",
        (7, 60): "c",
        (7, 100): None,
    }


# --- Negatives


def test_only_training_exposures_make_the_catalogue_and_its_distribution() -> None:
    events = [event(7, 0), event(7, 40), event(7, 80, "like"), event(8, 0), event(9, 200)]
    counts = oracle_negatives.catalogue(exposures_of(events, val_from=200))
    assert counts == {7: 3, 8: 1}
    assert oracle_negatives.log_q(counts, 0.0) == pytest.approx({7: math.log(1 / 2), 8: math.log(1 / 2)})
    assert oracle_negatives.log_q(counts, 1.0) == pytest.approx({7: math.log(3 / 4), 8: math.log(1 / 4)})


def test_a_positive_makes_its_video_illegal_from_its_split_on() -> None:
    found = exposures_of([event(7, 0, "like"), event(8, 100, "like"), event(9, 100)], val_from=100)
    legal = {split: oracle_negatives.legal(found, 1, split) for split in ("train", "val", "test")}
    assert {w: [v for v in (7, 8, 9) if rule(v)] for w, rule in legal.items()} == {
        "train": [8, 9],
        "val": [9],
        "test": [9],
    }
    assert oracle_negatives.legal(found, 2, "val")(7)


def test_exposed_negatives_take_slots_evenly_and_first_from_the_first_positives() -> None:
    liked = [event(9, 5, "like"), event(8, 5, "like"), event(7, 6, "like")]
    shown = [event(video, 7) for video in (20, 21, 22, 23)]
    found = exposures_of(liked + shown)
    by_video = {video: slots for (_, video, _, _), slots in oracle_negatives.sampled_per_positive(found, 3).items()}
    assert by_video == {8: 1, 9: 2, 7: 2}
    assert set(oracle_negatives.sampled_per_positive(found, 1).values()) == {0}
    drawn = oracle_negatives.drawn_per_positive(found, 3, {8: 1, 20: 1})
    assert {video: count for (_, video, _, _), count in drawn.items()} == {8: 1, 9: 1, 7: 1}
