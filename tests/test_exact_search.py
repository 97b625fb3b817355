"""Stage 1 by the vectors of an export, and columns of a catalogue, against plain Python."""

import copy
import pathlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loaded_graphs import recommender_of

from recsys_tft.errors import InputError
from recsys_tft.recommending import exact_search
from recsys_tft.recommending.exact_search import ExactSearch
from recsys_tft.serving import served_models
from recsys_tft.serving.serving_folders import EXPORT_AGAIN
from recsys_tft.serving.serving_rows import Column, _values

MOMENT = 1_740_000_000_000_000


@given(st.lists(st.sampled_from([None, -1.0, 0.5, 2.0]), min_size=1, max_size=12), st.integers(0, 15), st.data())
def test_the_best_come_first_and_of_equal_ones_the_smaller_id(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None], k: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("vectors")
    rows = np.array([row for row, value in enumerate(values) if value is not None], np.int64)
    vectors = np.array([[values[row], 1.0] for row in rows], np.float32).reshape(-1, 2)
    exact_search.write(folder, vectors, rows, len(values))
    ranks = np.array(data.draw(st.permutations(range(len(values)))))
    left_out = data.draw(st.sets(st.integers(0, len(values) - 1)))
    found, scores = ExactSearch(folder, ranks).best(np.array([2, 1], np.float32), k, np.array(sorted(left_out), int))
    there = [row for row in rows.tolist() if row not in left_out]
    assert found.tolist() == sorted(there, key=lambda row: (-values[row], ranks[row]))[:k]
    assert scores.tolist() == [2 * values[row] + 1 for row in found]


def test_vectors_of_another_store_and_damaged_ones_are_named(tmp_path: pathlib.Path) -> None:
    exact_search.write(tmp_path, np.zeros((2, 3), np.float32), np.arange(2), 2)
    with pytest.raises(InputError, match=r"vectors.npy: has the shape \(3, 2\); run recsys-tft export again"):
        ExactSearch(tmp_path, np.arange(5))
    (tmp_path / exact_search.FILE).write_bytes(b"x")
    with pytest.raises(InputError, match=r"vectors.npy: "):
        ExactSearch(tmp_path, np.arange(2))


COLUMNS = {
    "texts": (pa.array([b"a", None, b"", b"bcd", "é".encode()]), np.dtype(object), 1),
    "numbers": (pa.array([1, None, 3, 4, 5]), np.dtype(np.int64), 1),
    "floats": (pa.array([1.5, None, 3, 4, 5], pa.float32()), np.dtype(np.float32), 1),
    "flags": (pa.array([True, None, False, True, False]), np.dtype(np.int64), 1),
    "lists": (pa.array([[b"a", b"bc"], None, [], [b"d"], [b"e", None, b"f"]]), np.dtype(object), 2),
    "numbered": (pa.array([[1, 2], None, [], [4], [5, 6, 7]]), np.dtype(np.int64), 2),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("rows", [[], [1], [3], [0, 0], [4, 1, 0], [2, 1], [3, 2, 1, 0, 4]])
def test_a_column_that_is_looked_up_is_that_of_the_rows(name: str, rows: list[int]) -> None:
    column, dtype, rank = COLUMNS[name]
    whole = pa.concat_arrays([column, column]).slice(len(column))  # of a part of what lies in memory
    found = Column.of(whole, dtype, rank).at(np.array(rows, np.int64))
    wanted = _values({name: column.take(pa.array(rows, pa.int64()))}, name, dtype, rank)
    assert np.asarray(found).dtype == np.asarray(wanted).dtype
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


@pytest.mark.slow
@pytest.mark.parametrize("root", ["served", "served_texts"])
def test_the_graph_of_an_earlier_export_finds_the_same_videos(root: str, request: pytest.FixtureRequest) -> None:
    new = recommender_of(request.getfixturevalue(root))
    old = copy.copy(new)
    folder = new._held.folder / "retrieval" / str(new.version)
    old._models = new._models | served_models.Loading({"retrieval": folder}, EXPORT_AGAIN).models()
    old._exact = None
    for user in (*new.store.some_users(20), None):
        found, expected = (each.recommend(user, 50, MOMENT) for each in (new, old))
        assert [item.video_id for item in found.items] == [item.video_id for item in expected.items]
        assert (found.candidates, found.removed, found.ranked) == (
            expected.candidates, expected.removed, expected.ranked
        )  # fmt: skip
        for name, tolerance in (("retrieval_score", 1e-5), ("rank_score", 0.0)):
            told = [[getattr(item, name) for item in each.items] for each in (found, expected)]
            np.testing.assert_allclose(*told, rtol=tolerance, atol=tolerance)
