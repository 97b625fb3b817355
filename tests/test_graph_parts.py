"""A part of a graph makes what the whole makes, checks what it reads, and computes nothing else."""

import functools
from collections.abc import Callable, Mapping

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.graph_parts import GraphParts

WORDS, NUMBERS = tf.SparseTensorSpec([None, None], tf.string), tf.SparseTensorSpec([None, None], tf.int64)
COLUMNS = {"word": WORDS, "other": WORDS, "number": NUMBERS, "also": NUMBERS}
READS = {"token": ["word"], "tokens": ["other"], "twice": ["number"], "sum": ["also", "number"], "length": ["word"]}
NAMES = sorted(READS)


class Whole(tf.Module):
    """Features of each kind: by a table, by a function of its own, of two columns; and a check of one column."""

    def __init__(self) -> None:
        super().__init__()
        known = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
        self.tables = [tf.lookup.StaticHashTable(known, 0) for _ in range(2)]
        self.factor = tf.Variable(2, dtype=tf.int64)
        self.double = tf.function(
            lambda values: values * self.factor, input_signature=[tf.TensorSpec([None], tf.int64)]
        )

    @tf.function(input_signature=[COLUMNS], autograph=False)
    def features(self, columns: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        tf.debugging.assert_less(columns["number"].values, tf.constant(100, tf.int64), "a number is too large")
        word, number, also = (tf.sparse.to_dense(columns[name])[:, 0] for name in ("word", "number", "also"))
        other = tf.RaggedTensor.from_sparse(columns["other"])
        return {
            "token": self.tables[0].lookup(word),
            "tokens": tf.ragged.map_flat_values(self.tables[1].lookup, other),
            "twice": self.double(number),
            "sum": number + also,
            "length": tf.strings.length(word),
        }


@pytest.fixture(scope="module")
def whole() -> Whole:
    return Whole()


@pytest.fixture(scope="module")
def parts(whole: Whole) -> GraphParts:
    return GraphParts(whole.features.get_concrete_function())


@functools.cache
def part_of(parts: GraphParts, *names: str) -> Callable:
    read = {column: COLUMNS[column] for name in names for column in READS[name]}
    call = tf.function(lambda inputs: parts.call(names, inputs), input_signature=[read], autograph=False)
    return call.get_concrete_function()


def column_of(values: list, dtype: tf.DType) -> tf.SparseTensor:
    return tf.sparse.from_dense(tf.constant(values, dtype, [len(values), 1]))


ROWS = st.lists(
    st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "b"]), st.integers(0, 99), st.integers(0, 9)),
    max_size=5,
)


@settings(deadline=None, max_examples=25)
@given(names=st.lists(st.sampled_from(NAMES), min_size=1, unique=True), rows=ROWS)
def test_a_part_makes_what_the_whole_makes(
    whole: Whole, parts: GraphParts, names: list[str], rows: list[tuple[str, str, int, int]]
) -> None:
    dtypes = (tf.string, tf.string, tf.int64, tf.int64)
    values = {name: [row[place] for row in rows] for place, name in enumerate(("word", "other", "number", "also"))}
    columns = {name: column_of(values[name], dtype) for name, dtype in zip(values, dtypes, strict=True)}
    expected, function = whole.features(columns), part_of(parts, *sorted(names))
    found = function({name: columns[name] for read in names for name in READS[read]})
    assert sorted(found) == sorted(names)
    for name in names:
        assert isinstance(found[name], tf.RaggedTensor) == (name == "tokens")
        tf.debugging.assert_equal(found[name], expected[name])


def test_a_part_looks_up_what_it_gives_and_nothing_else(parts: GraphParts) -> None:
    for names, tables in ((["sum"], 0), (["token"], 1), (["tokens"], 1), (["token", "tokens"], 2)):
        graph = part_of(parts, *sorted(names)).graph
        looked = [operation for operation in graph.get_operations() if operation.type == "LookupTableFindV2"]
        assert len(looked) == tables, names


def test_a_check_of_a_column_is_made_where_the_column_is_read(parts: GraphParts) -> None:
    large, small = column_of([3, 100], tf.int64), column_of([3, 99], tf.int64)
    twice = part_of(parts, "twice")
    assert twice({"number": small})["twice"].numpy().tolist() == [6, 198]
    with pytest.raises(tf.errors.InvalidArgumentError, match="a number is too large"):
        twice({"number": large})
    assert part_of(parts, "length")({"word": column_of(["a", "bcd"], tf.string)})["length"].numpy().tolist() == [1, 3]
