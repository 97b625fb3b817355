"""Vocabularies that grow: an admitted value keeps its place, and a rare one waits until it is seen often enough."""

import collections

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from labelled_cases import thorough

from recsys_tft.frequencies import Frequencies


@thorough
@given(
    st.lists(st.lists(st.sampled_from("abcdefg")), min_size=1, max_size=6),
    st.integers(1, 4),
    st.none() | st.integers(0, 5),
    st.booleans(),
)
def test_a_vocabulary_grows_day_by_day(
    days: list[list[str]], min_count: int, max_size: int | None, numbers: bool
) -> None:
    statistic = Frequencies(min_count, max_size, integers=numbers)
    values = [
        np.array([ord(v) if numbers else v.encode() for v in day], np.int64 if numbers else object) for day in days
    ]
    state = statistic.of(values[0])
    known, rare = statistic.values(state), statistic.rare(state)
    total = collections.Counter(days[0])
    for day, arrived in zip(days[1:], values[1:], strict=True):
        state = statistic.unknown(known.combine_chunks(), statistic.merge([statistic.of(arrived), rare]))
        new, rare = statistic.grown(len(known), state), statistic.rare(state)
        before, known = known.to_pylist(), pa.chunked_array([*known.chunks, *new.chunks], known.type)
        assert known.to_pylist()[: len(before)] == before
        assert len(known) <= max(len(before), len(known) if max_size is None else max_size)
        total.update(day)
        enough = {ord(v) if numbers else v.encode() for v, count in total.items() if count >= min_count}
        assert set(known.to_pylist()) <= enough
        assert len(set(known.to_pylist())) == len(known)
        if max_size is None:
            assert set(known.to_pylist()) == enough
