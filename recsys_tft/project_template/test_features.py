"""Tests of the features of this project: run `pytest` in this folder."""

from features import TABLE, Share

from recsys_tft.testing import check_op


def test_a_share_is_of_the_greatest() -> None:
    rows = [(0,), (1080,), (2160,), (4320,), (None,)]
    assert check_op(Share(most=2160), [TABLE.raw["resolution"]], rows) == [0.0, 0.5, 1.0, 1.0, 0.0]


def test_the_table_has_the_features_of_this_project() -> None:
    assert {"resolution_share", "plan_token"} <= set(TABLE.by_name)
