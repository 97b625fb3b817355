"""Strings for a graph: the same as Python objects of them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.serving.texts import Texts

TEXTS = st.lists(st.none() | st.sampled_from(["", "a", "weiß|é", "long " * 9, "\0x"]), max_size=6)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 3), st.sampled_from([pa.string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]))
def test_strings_of_arrow_are_as_given_and_end_with_a_zero(texts: list, start: int, kind: pa.DataType) -> None:
    found = Texts.of_arrow(pa.array([None, *texts, "end"], pa.string()).cast(kind).slice(start))
    expected = [(text or "").encode() for text in [None, *texts, "end"][start:]]
    assert np.asarray(found).tolist() == expected
    assert (found.shape, found.size) == ((len(expected),), len(expected))
    assert not found.data[found.starts + found.sizes].any()


def test_objects_keep_their_shape() -> None:
    given = np.array([["a", b"b"], ["", "ü"], [b"\xff", "c"]], object)
    found = Texts.of_objects(given)
    assert np.asarray(found).tolist() == [[b"a", b"b"], [b"", "ü".encode()], [b"\xff", b"c"]]
    assert not found.data[found.starts + found.sizes].any()
    assert Texts.of_objects(np.array([], object)).data.tolist() == [0]
    assert np.asarray(found.repeated([2, 0, 1])).tolist() == [[b"a", b"b"]] * 2 + [[b"\xff", b"c"]]


def test_padding_is_empty() -> None:
    found = Texts.of_arrow(pa.array(["a", "b", "c"])).padded(np.array([[True, True], [False, False], [True, False]]))
    assert np.asarray(found).tolist() == [[b"a", b"b"], [b"", b""], [b"c", b""]]
    assert not found.data[found.starts + found.sizes].any()
    assert not Texts.of_arrow(pa.array([], pa.string())).padded(np.zeros((2, 1), bool)).data[0]


@pytest.mark.parametrize("kind", [pa.string(), pa.null()])
def test_no_strings_are_an_empty_array(kind: pa.DataType) -> None:
    assert np.asarray(Texts.of_arrow(pa.array([], kind))).shape == (0,)
