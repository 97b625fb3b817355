"""What the features of this project are: run `pytest` in this folder."""

import pytest
import tensorflow as tf
from features import TABLE, Share

from recsys_tft.ops import Fitting, present_only


@pytest.mark.parametrize(("value", "expected"), [(0, 0.0), (1080, 0.5), (2160, 1.0), (4320, 1.0)])
def test_a_share_is_of_the_greatest(value: int, expected: float) -> None:
    column = present_only(tf.constant([value], tf.int64))
    assert Share(most=2160).apply("resolution_share", [column], Fitting(None)).numpy().tolist() == [expected]


def test_a_missing_value_has_no_share() -> None:
    column = tf.sparse.from_dense(tf.zeros([1, 1], tf.int64))
    assert Share(most=2160).apply("resolution_share", [column], Fitting(None)).numpy().tolist() == [0.0]


def test_the_table_has_the_features_of_this_project() -> None:
    assert {"resolution_share", "plan_token"} <= set(TABLE.by_name)
