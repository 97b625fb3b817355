"""A Hypothesis strategy for rows of tables."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

Row = dict[str, Any]


@functools.cache
def _places(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


class OneOfEach:
    """Rows with one of the options of each name, all alike likely, of which the first are the simplest.

    A row is drawn as bytes, one for each name. To draw each value by itself takes longer than all else that is done
    with a table, and Hypothesis favours small numbers, so that one number for all names hardly had the last ones vary.

    Args:
        options: by name.
        finish: what becomes of each row.
    """

    def __init__(self, options: Mapping[str, Sequence[Any]], finish: Callable[[Row], Row] = dict):
        assert all(len(values) <= 256 for values in options.values())
        self._options, self._finish = options, finish
        self._row = _places(len(options)).map(self._row_of)

    @property
    def row(self) -> st.SearchStrategy[Row]:
        """One row."""
        return self._row

    def rows(self, count: int) -> st.SearchStrategy[list[Row]]:
        """So many rows."""
        return st.lists(self._row, min_size=count, max_size=count)

    def _row_of(self, places: bytes) -> Row:
        chosen = zip(self._options.items(), places, strict=True)
        return self._finish({name: values[place % len(values)] for (name, values), place in chosen})
