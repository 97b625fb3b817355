"""The oracle's check of the ranker's rows, which finds each wrong one, also in random tables."""

import math
import random

import oracle
import oracle_negatives
import pyarrow.parquet as pq
import pytest
import random_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Exposure, Row
from oracle_events import MINUTE, event, exposures_of

# --- The ranker's rows


def own_rows(exposures: list[Exposure], split: str, q: dict[int, float]) -> list[Row]:
    """The positives and exposed negatives of a split."""
    return [
        {
            "user_id": e.user_id,
            "video_id": e.video_id,
            "interaction_time": e.interaction_time,
            "label": e.label,
            "weight": e.weight,
            "source": "positive" if e.label else "exposed",
            "log_q": q.get(e.video_id, -math.inf),
            "device": e.device,
            "previously_watched_category": e.previously_watched_category,
        }
        for e in exposures
        if e.split == split and e.label is not None
    ]


def right_rows(exposures: list[Exposure], split: str, ratio: int, alpha: float, seed: int) -> list[Row]:
    """Ranker rows by the rules, sampled at random."""
    counts = oracle_negatives.catalogue(exposures)
    q = oracle_negatives.log_q(counts, alpha)
    rows = own_rows(exposures, split, q)
    slots = oracle_negatives.sampled_per_positive(exposures, ratio)
    chance = random.Random(seed)
    for row in [row for row in rows if row["source"] == "positive"]:
        is_legal = oracle_negatives.legal(exposures, row["user_id"], split)
        videos = sorted(filter(is_legal, counts))
        wanted = slots[row["user_id"], row["video_id"], row["interaction_time"], split]
        for video in chance.sample(videos, min(wanted, len(videos))):
            rows.append(row | {"video_id": video, "label": 0, "weight": 1.0, "source": "sampled", "log_q": q[video]})
    return rows


def small_case() -> tuple[list[Exposure], list[Row]]:
    """Two same-time positives (7, 8) of user 1, one exposed negative (9), ratio 2: sampled 10; 10 and 11."""
    events = [event(7, 0, "like"), event(8, 0, "like"), event(9, 50)]
    events += [event(video, 10, user=2) for video in (10, 11, 12)] + [event(13, 500, user=2)]
    found = exposures_of(events, val_from=400)
    q = oracle_negatives.log_q(oracle_negatives.catalogue(found), 1.0)
    common = {"user_id": 1, "interaction_time": 0, "label": 0, "weight": 1.0, "source": "sampled"}
    return found, own_rows(found, "train", q) + [common | {"video_id": v, "log_q": q[v]} for v in (10, 10, 11)]


def check_small(found: list[Exposure], rows: list[Row]) -> None:
    """check_ranker with the settings of small_case."""
    oracle_negatives.check_ranker(rows, found, 2, oracle_negatives.catalogue(found), 1.0, split="train")


def test_right_rows_pass_in_any_order() -> None:
    found, rows = small_case()
    check_small(found, rows)
    check_small(found, rows[::-1])


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, {"label": 0}, "label is to be 1"),
        (0, {"weight": 0.5}, "weight is to be 1.0"),
        (0, {"video_id": 10}, "no positive of this split"),
        (0, {"log_q": -1.0}, "log_q is to be"),
        (0, {"source": "positives"}, "unknown source"),
        (0, {"device": "tv"}, "device is to be None"),
        (0, {"previously_watched_category": "a"}, "previously_watched_category is to be None"),
        (5, {"interaction_time": 1}, "no exposed negative of this split"),
        (-1, {"log_q": -math.inf}, "log_q is to be"),
        (-1, {"label": 1}, "label of a sampled row"),
        (-1, {"weight": 0.1}, "weight of a sampled row"),
        (-1, {"video_id": 13, "log_q": -math.inf}, "outside the catalogue"),
        (-1, {"video_id": 7}, "the user has a positive with"),
        (-1, {"video_id": 10}, "repeated sampled video"),
        (-1, {"interaction_time": 50 * MINUTE}, "context of no positive"),
        (-1, {"user_id": 2}, "context of no positive"),
    ],
)
def test_one_wrong_row_is_found(index: int, change: Row, message: str) -> None:
    found, rows = small_case()
    rows[index] = rows[index] | change
    with pytest.raises(AssertionError, match=message):
        check_small(found, rows)


@pytest.mark.parametrize("video", [9, 12])
def test_any_legal_video_may_be_sampled_also_an_exposed_negative(video: int) -> None:
    found, rows = small_case()
    q = oracle_negatives.log_q(oracle_negatives.catalogue(found), 1.0)
    rows[-1] = rows[-1] | {"video_id": video, "log_q": q[video]}
    check_small(found, rows)


def test_missing_and_additional_rows_are_found() -> None:
    found, rows = small_case()
    for index in range(len(rows)):
        with pytest.raises(AssertionError, match="instead of"):
            check_small(found, rows[:index] + rows[index + 1 :])
        with pytest.raises(AssertionError, match="instead of"):
            check_small(found, [*rows, rows[index]])
    with pytest.raises(AssertionError, match="0 rows instead of 1"):
        check_small(found, [])


def test_rows_of_another_split_are_found() -> None:
    found, rows = small_case()
    with pytest.raises(AssertionError, match="no positive of this split"):
        oracle_negatives.check_ranker(rows, found, 2, oracle_negatives.catalogue(found), 1.0, split="val")


def test_a_contradicted_exposure_has_no_row() -> None:
    found = exposures_of([event(7, 0), event(7, 100, "like")])
    (row,) = own_rows(found, "train", {7: 0.0})
    negative = row | {"interaction_time": 0, "label": 0, "weight": 1.0, "source": "exposed"}
    oracle_negatives.check_ranker([row], found, 2, oracle_negatives.catalogue(found), 1.0, split="train")
    with pytest.raises(AssertionError, match="no exposed negative"):
        oracle_negatives.check_ranker([row, negative], found, 2, oracle_negatives.catalogue(found), 1.0, split="train")


# --- Random tables


@st.composite
def exposed(draw: st.DrawFn) -> tuple[list[Exposure], random_tables.RunSettings]:
    """The exposures of a random case, bad rows rejected."""
    raw, chosen = draw(random_tables.cases(bad_rows=True))
    users, videos, events, rejected = oracle.usable(raw.users, raw.videos, raw.interactions)
    assert len(events) + len(rejected["interactions"]) == len(raw.interactions)
    val_from, test_from = chosen.val_from, chosen.test_from
    if chosen.train is not None and chosen.val is not None and events:
        val_from, test_from = oracle.cuts(users, videos, events, chosen.train, chosen.val, chosen.gap_minutes)
    found = oracle.exposures(
        users,
        videos,
        events,
        val_from=val_from,
        test_from=test_from,
        positive=chosen.positive,
        min_watch_ratio=chosen.min_watch_ratio,
        gap_minutes=chosen.gap_minutes,
    )
    return found, chosen


@settings(deadline=None)
@given(exposed())
def test_rows_sampled_by_the_rules_pass_and_wrong_ones_do_not(
    case: tuple[list[Exposure], random_tables.RunSettings],
) -> None:
    found, chosen = case
    counts = oracle_negatives.catalogue(found)
    ratio, alpha = chosen.negative_ratio, chosen.popularity_alpha
    for split in oracle.SPLITS:
        rows = right_rows(found, split, ratio, alpha, chosen.seed)
        oracle_negatives.check_ranker(rows, found, ratio, counts, alpha, split=split)
        if rows:
            with pytest.raises(AssertionError, match="instead of"):
                oracle_negatives.check_ranker(rows[:-1], found, ratio, counts, alpha, split=split)


@settings(deadline=None)
@given(random_tables.cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_exposure(
    case: tuple[random_tables.RawTables, random_tables.RunSettings], chance: random.Random
) -> None:
    raw, chosen = case
    users, videos, interactions = (
        [oracle.told(row) for row in rows] for rows in (raw.users, raw.videos, raw.interactions)
    )
    shuffled = list(interactions)
    chance.shuffle(shuffled)
    one, other = (
        oracle.exposures(
            users,
            videos,
            events,
            val_from=chosen.val_from,
            test_from=chosen.test_from,
            positive=chosen.positive,
            min_watch_ratio=chosen.min_watch_ratio,
            gap_minutes=chosen.gap_minutes,
        )
        for events in (interactions, shuffled)
    )
    assert one == other


@settings(deadline=None, max_examples=20)
@given(raw=random_tables.tables(bad_rows=True), parts=st.integers(1, 3))
def test_written_tables_hold_the_rows(
    raw: random_tables.RawTables, parts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("raw")
    random_tables.write_tables(raw, folder, parts=parts)
    for name in ("users", "videos", "channels", "interactions"):
        read = pq.read_table(folder / f"{name}.parquet" if parts == 1 else folder / name)
        written = random_tables.arrow_table(raw, name)
        assert read.schema.equals(written.schema)
        assert str(read.to_pylist()) == str(written.to_pylist())  # as text, since NaN is not equal to itself
    assert ("interaction_type" in written.schema.names) == raw.long
