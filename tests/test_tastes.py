"""What the ranker knows of ids: fitted as plain regressions say, unknown to the row itself, the same in a graph."""

import pathlib

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from recsys_tft.errors import InputError
from recsys_tft.ranking import ranking_metrics, tastes
from recsys_tft.ranking.ranker_rows import SHOWN, Column, RankerRows
from recsys_tft.ranking.tastes_graph import TastesGraph

USERS, VIDEOS = 60, 40
COLUMNS = (
    Column("who", "who", None, "categorical", ("user_id",)),
    Column("number", "number", None, "numeric", ("user_id",)),
    Column("what", "what", None, "categorical", ("video_id",)),
)


def rows_of(labels: np.ndarray, users: np.ndarray, videos: np.ndarray, shown: np.ndarray | None = None) -> RankerRows:
    weights = 0.5 + (users % 3).astype(np.float32)
    data = pd.DataFrame(
        {
            "who": pd.Categorical.from_codes(users, categories=np.arange(USERS + 2)),
            "number": np.arange(len(users), dtype=np.float32),
            "what": pd.Categorical.from_codes(videos, categories=np.arange(VIDEOS + 2)),
        }
    )
    shown = np.ones(len(users), bool) if shown is None else shown
    return RankerRows({"label": labels.astype(np.int64), "weight": weights, SHOWN: shown}, data)


def checkerboard(rows: int = 1500) -> RankerRows:
    """Even users like even videos, and odd ones odd ones; tokens 0 and 1 are of no row."""
    random = np.random.default_rng(5)
    pairs = random.choice(USERS * VIDEOS, rows, replace=False)
    users, videos = pairs // VIDEOS, pairs % VIDEOS
    return rows_of((users + videos) % 2 == 0, users + 2, videos + 2)


def tokens(rows: RankerRows) -> list[np.ndarray]:
    return [rows.data[name].cat.codes.to_numpy() for name in ("who", "what")]


def test_who_likes_what_is_found_for_pairs_that_no_row_has() -> None:
    rows = checkerboard()
    known, read = tastes.learned(rows, COLUMNS, 0)
    new = rows_of(np.arange(USERS * VIDEOS), *(each + 2 for each in np.divmod(np.arange(USERS * VIDEOS), VIDEOS)))
    users, videos = tokens(new)
    assert ranking_metrics.auc((users + videos) % 2 == 0, known.of(users, videos)[1]) > 0.99
    usual = read.data["who"].notna() & read.data["what"].notna()
    assert ranking_metrics.auc(rows.keys["label"][usual], read.data["what"].to_numpy()[usual]) > 0.85


def test_values_of_videos_are_the_regressions_on_what_is_known_of_users() -> None:
    rows = checkerboard()
    known, _ = tastes.learned(rows, COLUMNS, 0)
    users, videos = tokens(rows)
    labels, weights = rows.keys["label"], rows.keys["weight"].astype(float)
    mean = sum(w * y for w, y in zip(weights, labels, strict=True)) / sum(weights)
    for video in (2, 17, VIDEOS + 1):
        moments, sums = 5.0 * np.eye(5), np.zeros(5)
        for row in np.flatnonzero(videos == video):
            bias, *factors = known.users[users[row]].astype(float)
            inputs = np.array([1.0, *factors])
            moments += weights[row] * np.outer(inputs, inputs)
            sums += weights[row] * (labels[row] - mean - bias) * inputs
        np.testing.assert_allclose(known.videos[video], np.linalg.inv(moments) @ sums, atol=1e-5)


def test_a_row_is_scored_by_what_was_fitted_without_it() -> None:
    rows = checkerboard()
    _, read = tastes.learned(rows, COLUMNS, 0)
    changed = 0
    for row in (3, 500, 1499):
        labels = rows.keys["label"].copy()
        labels[row] = 1 - labels[row]
        _, other = tastes.learned(RankerRows(rows.keys | {"label": labels}, rows.data), COLUMNS, 0)
        for name in ("who", "what"):
            np.testing.assert_equal(other.data[name][row], read.data[name][row])
            changed += (other.data[name] != read.data[name]).sum()
    assert changed > 1000


def test_some_users_and_videos_are_unknown_in_training_and_new_ones_always() -> None:
    rows = checkerboard()
    known, read = tastes.learned(rows, COLUMNS, 0)
    users, _ = tokens(rows)
    hidden = read.data["who"].isna().groupby(users).agg(["any", "all"])
    assert (hidden["any"] == hidden["all"]).all()
    assert 0.05 < hidden["all"].mean() < 0.6
    assert 0 < read.data["what"].isna().mean() < 0.3
    few, _ = tastes.learned(rows.take(np.arange(2)), COLUMNS, 0)[1].data.isna().any().loc[["who", "what"]]
    assert few
    new, old = np.array([0, 1, USERS + 2, 10**6, -1]), np.full(5, 7)
    assert np.isnan(known.of(new, old)[0]).all()
    np.testing.assert_array_equal(known.of(new, old)[1], known.videos[old, 0])
    assert np.isnan(known.of(old, np.array([0, 1, VIDEOS + 2, 10**6, -1]))[1]).all()


def test_what_was_drawn_teaches_nothing_where_shown_rows_are_negative() -> None:
    rows = checkerboard()
    users, videos = tokens(rows)
    drawn = (rows.keys["label"] == 0) & (np.arange(len(users)) % 2 == 0)
    part = rows_of(rows.keys["label"], users, videos, ~drawn)
    alone = part.take(~drawn)
    (known, _), (expected, _) = (tastes.learned(each, COLUMNS, 0) for each in (part, alone))
    for name in ("users", "videos"):
        np.testing.assert_allclose(getattr(known, name), getattr(expected, name), atol=1e-6)
    positive = rows.take((rows.keys["label"] == 1) | drawn)
    positive.keys[SHOWN] = positive.keys["label"] == 1
    known, _ = tastes.learned(positive, COLUMNS, 0)
    assert np.nanmax(np.abs(known.videos)) > 0.1  # shown rows alone are all positive


def test_a_graph_gives_the_same_numbers_to_the_last_bit() -> None:
    known, _ = tastes.learned(checkerboard(), COLUMNS, 0)
    random = np.random.default_rng(0)
    asked = {"who": random.integers(-3, USERS + 9, 5000), "what": random.integers(-3, VIDEOS + 9, 5000)}
    found = tf.function(TastesGraph(known).__call__)({name: tf.constant(v) for name, v in asked.items()})
    for name, expected in zip(("who", "what"), known.of(*asked.values()), strict=True):
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == tf.float32


def test_rows_without_ids_stay_as_they_are() -> None:
    rows = checkerboard()
    known, read = tastes.learned(rows, COLUMNS[:2], 0)
    assert known is tastes.NONE
    assert read is rows
    assert known(rows.data) is rows.data
    assert TastesGraph(known)({"who": 1}) == {"who": 1}


def test_it_is_read_as_it_was_written_and_damage_is_named(tmp_path: pathlib.Path) -> None:
    assert tastes.load(tmp_path, "train again") is tastes.NONE
    tastes.NONE.save(tmp_path)
    assert not list(tmp_path.iterdir())
    rows = checkerboard()
    known, _ = tastes.learned(rows, COLUMNS, 0)
    known.save(tmp_path)
    pd.testing.assert_frame_equal(tastes.load(tmp_path, "train again")(rows.data), known(rows.data))
    path = tmp_path / tastes.FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"tastes\.npz: damaged or not readable .* train again"):
        tastes.load(tmp_path, "train again")


def test_as_many_are_hidden_as_are_new_in_the_rows_that_validate() -> None:
    ones = np.ones(4, np.int64)
    training = rows_of(ones, np.array([2, 3, 4, 5]), np.array([2, 2, 3, 9]), np.array([True, True, True, False]))
    val = rows_of(ones, np.array([2, 5, 6, 7]), np.array([2, 3, 9, 3]), np.array([True, True, True, False]))
    users, videos = tastes.new_in(val, training, COLUMNS)
    assert (users, videos) == (pytest.approx(2 / 3), pytest.approx(1 / 3))  # users 5 and 6, and video 9
    assert tastes.new_in(training, training, COLUMNS) == (0.05, 0.05)
    others = rows_of(ones, np.array([8, 8, 8, 8]), np.array([8, 8, 8, 8]))
    assert tastes.new_in(others, training, COLUMNS) == (0.9, 0.9)
    assert tastes.new_in(val.take(np.zeros(4, bool)), training, COLUMNS) == (0.2, 0.05)
    rows = checkerboard()
    _, read = tastes.of_splits({"train": rows, "val": rows_of(ones, ones, ones)}, COLUMNS, 0)
    unknown = read["train"].data.isna()
    assert [len(np.unique(each[unknown[name]])) for name, each in zip(["who", "what"], tokens(rows), strict=True)] == [
        54,
        36,
    ]  # nine tenths of 60 and of 40
