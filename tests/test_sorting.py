"""Sorting by several keys, against NumPy."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recsys_tft.storage import sorting
from recsys_tft.storage.sorting import lexsort

TYPES = st.sampled_from((np.int8, np.int32, np.int64, np.uint32, np.uint64, np.bool_))
FEW = st.integers(0, 3)  # that are often equal


@st.composite
def keys(draw: st.DrawFn) -> list[np.ndarray]:
    rows = draw(st.integers(1, 60))
    kinds = draw(st.lists(TYPES, min_size=1, max_size=4))
    return [
        draw(arrays.arrays(kind, rows))
        if draw(st.booleans())
        else np.array(draw(st.lists(FEW, min_size=rows, max_size=rows)), kind)
        for kind in kinds
    ]


@pytest.mark.parametrize("function", [lexsort, sorting._by_digits])
@pytest.mark.parametrize("many", [0, sorting._MANY])
def test_rows_are_in_the_order_of_numpy_however_they_are_sorted(function: Callable, many: int, monkeypatch):
    monkeypatch.setattr(sorting, "_MANY", many)
    monkeypatch.setattr(sorting, "_VERY_MANY", many)

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(keys())
    def check(found: list[np.ndarray]) -> None:
        assert function(found).tolist() == np.lexsort(found).tolist()

    check()


def test_rows_of_which_there_are_many_are_in_the_order_of_numpy():
    random = np.random.default_rng(1)
    rows = sorting._MANY + 1
    found = [random.integers(-(2**62), 2**62, rows), random.integers(0, 50, rows)]
    for function in (lexsort, sorting._by_digits):
        assert np.array_equal(function(found), np.lexsort(found))


@pytest.mark.parametrize("rows", [sorting._MANY, sorting._VERY_MANY])
def test_numbers_with_fractions_are_refused_where_they_are_not_compared(rows: int):
    with pytest.raises(TypeError, match="float64"):
        lexsort([np.zeros(rows)])


def test_rows_that_are_not_very_many_are_sorted_without_numba():
    program = """
import sys
import numpy as np
from recsys_tft.storage import sorting
keys = [np.random.default_rng(0).integers(0, 1 << 40, sorting._MANY)]
assert (sorting.lexsort(keys) == np.lexsort(keys)).all()
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
