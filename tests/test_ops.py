"""One contract that every op passes, in a table of cases; and the layout of tokens.

All cases are fitted in one run of tf.Transform over the same few rows, and then replayed from the saved graph.
"""

import functools
import math
import pathlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from op_cases import ARROW, CASES, SETTINGS, UNSEEN, Case
from tfx_bsl.tfxio import tensor_representation_util
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

from recsys_tft import graph, ops
from recsys_tft.beam_pipelines.options import Options
from recsys_tft.features import Feature
from recsys_tft.number_ops import HourWave, ZScore
from recsys_tft.ops import Fitting, History, Op
from recsys_tft.titles.text_embedding import TextEmbedding
from recsys_tft.vocabularies import values_of

ROWS = max(len(case.rows) for case in CASES.values())
INPUTS = {f"{name}_{place}": dtype for name, case in CASES.items() for place, dtype in enumerate(case.dtypes)}
every_case = pytest.mark.parametrize("name", CASES)


def expected_of(case: Case) -> list[Any]:
    """The values of all rows; those after the case's own are missing."""
    missing = next(value for row, value in zip(case.rows, case.expected, strict=True) if not any(map(lists, row)))
    return [*case.expected, *[missing] * (ROWS - len(case.rows))]


def lists(value: Any) -> list[Any]:
    """A raw value as its list of bytes or numbers."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [v.encode() if isinstance(v, str) else v for v in values]


def raw_columns() -> dict[str, list[list[Any]]]:
    """Every input's rows, each a list of values."""
    columns = {}
    for name, case in CASES.items():
        for place in range(len(case.dtypes)):
            column = [lists(row[place]) for row in case.rows]
            columns[f"{name}_{place}"] = column + [[]] * (ROWS - len(column))
    return columns


def preprocess(inputs: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor]:
    """Every case, and nothing else, as graph.engineer applies the table."""
    columns = {
        name: [ops.drop_missing(inputs[f"{name}_{place}"]) for place in range(len(case.dtypes))]
        for name, case in CASES.items()
    }
    features = [Feature(name, ("x",), case.op, ()) for name, case in CASES.items()]
    fitted = graph.analyzed(features, columns, SETTINGS)
    fitting = Fitting(SETTINGS, fitted)
    return {name: case.op.apply(name, columns[name], fitting) for name, case in CASES.items()}


class Fitted:
    """The graph of all cases, fitted and saved."""

    def __init__(self, folder: pathlib.Path):
        spec = {name: tf.io.VarLenFeature(dtype) for name, dtype in INPUTS.items()}
        metadata = tft.DatasetMetadata.from_feature_spec(spec)
        schema = pa.schema({name: pa.list_(ARROW[dtype]) for name, dtype in INPUTS.items()})
        representations = tensor_representation_util.InferTensorRepresentationsFromSchema(metadata.schema)
        raw = raw_columns()
        batch = pa.RecordBatch.from_arrays([pa.array(raw[f.name], f.type) for f in schema], schema=schema)
        with (
            beam.Pipeline(runner=FnApiRunner(), options=Options([])) as root,
            tft_beam.Context(temp_dir=str(folder / "temp")),
        ):
            batches = root | beam.Create([batch.slice(0, 4), batch.slice(4)]).with_output_types(pa.RecordBatch)
            fitted = (batches, TensorAdapterConfig(schema, representations)) | tft_beam.AnalyzeDataset(preprocess)
            _ = fitted | tft_beam.WriteTransformFn(str(folder / "graph"))
        self.output = tft.TFTransformOutput(str(folder / "graph"))
        self._model = tf.saved_model.load(str(folder / "graph" / "transform_fn"))
        self.replay = functools.lru_cache(self._replay)
        self.traced = tf.function(self.call)

    def _replay(self, *rows: int) -> dict[str, tf.Tensor]:
        """All cases on some of the rows that they were fitted on."""
        return self.apply({name: [column[row] for row in rows] for name, column in raw_columns().items()})

    def apply(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, tf.Tensor]:
        """All cases on other rows; inputs that are not named are missing."""
        size = len(next(iter(columns.values())))
        rows = {name: [lists(value) for value in columns.get(name, [None] * size)] for name in INPUTS}
        return self.call({name: sparse(column, INPUTS[name]) for name, column in rows.items()})

    def call(self, inputs: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor]:
        return self._model.transform_fn(dict(inputs))


def sparse(rows: Sequence[Sequence[Any]], dtype: tf.DType) -> tf.SparseTensor:
    """[batch] lists as the graph reads them."""
    indices = [(row, place) for row, values in enumerate(rows) for place in range(len(values))]
    flat = [value for values in rows for value in values]
    shape = [len(rows), max([1, *map(len, rows)])]
    return tf.SparseTensor(np.array(indices, np.int64).reshape(-1, 2), tf.constant(flat, dtype, [len(flat)]), shape)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return Fitted(tmp_path_factory.mktemp("ops"))


def plain(values: tf.Tensor | tf.RaggedTensor) -> list[Any]:
    return values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist()


def assert_equal(case: Case, found: tf.Tensor | tf.RaggedTensor, expected: list[Any]) -> None:
    """Categories are equal, measures to the precision of float32."""
    if case.dtype == tf.int64:
        assert plain(found) == expected
    else:
        assert np.array(plain(found)) == pytest.approx(np.array(expected), abs=2e-7)


# --- The contract


def subclasses(kind: type) -> Iterator[type]:
    for found in kind.__subclasses__():
        yield found
        yield from subclasses(found)


def test_every_op_has_a_case() -> None:
    ours = {op.__name__ for op in subclasses(Op) if op.__module__.startswith("recsys_tft.")}
    assert ours == {type(case.op).__name__ for case in CASES.values()}


@every_case
def test_values_are_those_worked_out_by_hand(name: str, fitted: Fitted) -> None:
    assert_equal(CASES[name], fitted.replay(*range(ROWS))[name], expected_of(CASES[name]))


@every_case
def test_half_of_the_rows_have_the_same_values(name: str, fitted: Fitted) -> None:
    half = range(1, ROWS, 2)
    whole = plain(fitted.replay(*range(ROWS))[name])
    assert plain(fitted.replay(*half)[name]) == [whole[row] for row in half]


@every_case
def test_a_row_alone_has_the_same_value(name: str, fitted: Fitted) -> None:
    whole = plain(fitted.replay(*range(ROWS))[name])
    assert [plain(fitted.replay(row)[name])[0] for row in range(ROWS)] == whole


@every_case
def test_a_missing_row_becomes_what_the_op_says(name: str, fitted: Fitted) -> None:
    case = CASES[name]
    (found,) = plain(fitted.apply({f"{name}_0": [None]})[name])
    numbers = dict.fromkeys(
        ("token 0", "bucket 0", "0", "0 (the mean)", "0 (none)", "0 (new)", "0 (nothing in common)"), 0
    )
    numbers |= {"the rate of all": np.float32(8 / 26), "the user's rate": 0.5}
    lists_of = {"empty list": [], "from the count; zeros without one": [0, 0], "the zero vector": [0, 0]}
    assert found == {**numbers, **lists_of}[case.op.missing]


@every_case
def test_an_empty_batch_has_no_values_of_the_right_kind(name: str, fitted: Fitted) -> None:
    found, whole = fitted.apply({f"{name}_0": []})[name], fitted.replay(*range(ROWS))[name]
    assert plain(found) == []
    assert found.dtype == whole.dtype
    assert isinstance(found, tf.RaggedTensor) or found.shape[1:] == whole.shape[1:]


@every_case
def test_dtype_shape_and_range_are_as_declared(name: str, fitted: Fitted) -> None:
    case, found = CASES[name], fitted.replay(*range(ROWS))[name]
    assert found.dtype == case.dtype
    shape = case.op.shape(SETTINGS)
    assert isinstance(found, tf.RaggedTensor) == (shape is None)
    assert shape is None or found.shape == (ROWS, *shape)
    size = size_of(case.op, fitted)
    values = found.flat_values if isinstance(found, tf.RaggedTensor) else found
    assert (size is None) == (case.dtype == tf.float32)
    assert np.isfinite(values.numpy()).all()
    assert size is None or set(values.numpy().tolist()) <= set(range(size))


def size_of(op: Op, fitted: Fitted) -> int | None:
    """How many categories an op numbers."""
    if not op.vocabulary:
        return op.categories(SETTINGS)
    name = op.vocabulary.name
    return 1 + SETTINGS.vocabulary(name).n_oov + len(values_of(name, fitted.output.transform_savedmodel_dir))


def tensors_of(name: str) -> list[tf.SparseTensor]:
    """The columns of a case as the op reads them."""
    raw = raw_columns()
    return [ops.drop_missing(sparse(raw[f"{name}_{place}"], dtype)) for place, dtype in enumerate(CASES[name].dtypes)]


def needs_nothing(name: str) -> bool:
    """Neither something learned, nor tf.Transform to keep its model."""
    op = CASES[name].op
    return op.statistic(tensors_of(name), SETTINGS) is None and not isinstance(op, TextEmbedding | History)


@every_case
def test_eager_equals_graph(name: str, fitted: Fitted) -> None:
    inputs = {key: sparse(column, INPUTS[key]) for key, column in raw_columns().items()}
    assert plain(fitted.traced(inputs)[name]) == plain(fitted.replay(*range(ROWS))[name])


@pytest.mark.parametrize("name", filter(needs_nothing, CASES))
def test_ops_that_learn_nothing_need_no_saved_graph(name: str) -> None:
    case, columns = CASES[name], tensors_of(name)
    eager = case.op.apply(name, columns, Fitting(SETTINGS))
    traced = tf.function(lambda tensors: case.op.apply(name, tensors, Fitting(SETTINGS)))(columns)
    assert plain(eager) == plain(traced)
    assert_equal(case, eager, expected_of(case))


@every_case
def test_ops_pickle_and_compare_by_value(name: str) -> None:
    op = CASES[name].op
    copy = pickle.loads(pickle.dumps(op))
    assert copy == op
    assert hash(copy) == hash(op)
    assert type(copy) is type(op)


# --- Errors


def test_a_wave_is_a_sine_or_a_cosine() -> None:
    with pytest.raises(ValueError, match="HourWave takes 'sin' or 'cos', not 'tan'"):
        HourWave("tan")


def test_a_new_op_must_say_what_it_computes() -> None:
    with pytest.raises(NotImplementedError, match="Op does not say what it computes"):
        Op().apply("x", [], Fitting(SETTINGS))
    assert Op().shape(SETTINGS) == ()
    assert Op().categories(SETTINGS) is None


# --- Tokens


def test_vocabularies_are_ordered_by_count_and_then_by_value(fitted: Fitted) -> None:
    assert values_of("country", fitted.output.transform_savedmodel_dir) == [b"us", b"de", b" ", b"fr"]
    assert values_of("tags", fitted.output.transform_savedmodel_dir) == [b"x", b"y", b"x\ny", b"z"]
    assert values_of("user_id", fitted.output.transform_savedmodel_dir) == [
        b"9007199254740992",
        b"-3",
        b"0",
        b"9007199254740993",
    ]


def test_min_count_and_max_size_cut_vocabularies(fitted: Fitted) -> None:
    assert values_of("category", fitted.output.transform_savedmodel_dir) == [b"b\nc", b"b"]
    assert values_of("previously_watched_category", fitted.output.transform_savedmodel_dir) == ["é".encode()]


def test_a_shared_vocabulary_counts_the_values_of_all_its_readers(fitted: Fitted) -> None:
    assert values_of("language", fitted.output.transform_savedmodel_dir) == [b"en", b"fr", b"de"]
    found = fitted.apply({"language_one_0": ["de", "en"], "language_two_0": ["de", "en"]})
    assert plain(found["language_one"]) == plain(found["language_two"]) == [4, 2]
    assert plain(fitted.apply({"language_two_0": ["fr"]})["language_two"]) == [3]


def test_an_empty_vocabulary_has_no_values_and_all_that_comes_later_is_unseen(fitted: Fitted) -> None:
    assert (
        values_of("device", fitted.output.transform_savedmodel_dir)
        == values_of("video_id", fitted.output.transform_savedmodel_dir)
        == []
    )
    assert plain(fitted.apply({"no_text_0": ["tv", None, "phone"]})["no_text"]) == [UNSEEN, 0, UNSEEN]
    assert plain(fitted.apply({"no_ids_0": [5, None, -1]})["no_ids"]) == [UNSEEN, 0, UNSEEN]


def test_unseen_values_have_stable_tokens_in_the_block_before_the_vocabulary(fitted: Fitted) -> None:
    unseen = [f"unseen {number}" for number in range(8)]
    (tokens,) = plain(fitted.apply({"bag_0": [unseen]})["bag"])
    assert tokens == [3, 2, 2, 1, 3, 1, 2, 3]  # pinned: models are trained on them
    assert plain(fitted.apply({"bag_0": [[value] for value in unseen]})["bag"]) == [[token] for token in tokens]


def test_many_unseen_values_fill_their_block(fitted: Fitted) -> None:
    (tokens,) = plain(fitted.apply({"bag_0": [[f"unseen {number}" for number in range(3000)]]})["bag"])
    counts = np.bincount(tokens)
    assert len(counts) == 4
    assert counts[0] == 0
    assert (counts[1:] > 900).all()


def test_an_unseen_id_is_not_a_missing_one(fitted: Fitted) -> None:
    assert plain(fitted.apply({"ids_0": [4, 1 - 2**63, 2**63 - 1, None]})["ids"]) == [UNSEEN] * 3 + [0]


def test_the_least_int64_is_missing(fitted: Fitted) -> None:
    assert plain(fitted.apply({"ids_0": [4, -(2**63)]})["ids"]) == [UNSEEN, 0]


def test_an_unseen_set_of_seen_values_is_unseen(fitted: Fitted) -> None:
    assert plain(fitted.apply({"set_0": [["b"], ["a", "b", "a"], ["b", "a"]]})["set"]) == [UNSEEN, UNSEEN, 5]


def test_values_are_measured_by_what_was_fitted(fitted: Fitted) -> None:
    found = fitted.apply({"z_0": [2.0, 102.0], "log_z_0": [-1.0, math.e - 1], "level_1": [1, 10**9]})
    assert plain(found["z"]) == [0, 100]
    assert plain(found["log_z"]) == pytest.approx([-1, 0], abs=1e-6)
    assert plain(found["level"]) == [[1, 0], [0, 1]]
    later = fitted.apply({"z_of_one_value_0": [8], "z_of_nothing_0": [5.0], "level_of_nothing_1": [3]})
    assert plain(later["z_of_one_value"]) == plain(later["z_of_nothing"]) == [0]
    assert plain(later["level_of_nothing"]) == [[1, 0]]


@pytest.mark.parametrize("dtype", [tf.float32, tf.int64])
def test_a_logarithm_does_not_depend_on_the_place_in_the_batch(dtype: tf.DType) -> None:
    values = np.concatenate([np.arange(1000), np.geomspace(1e3, 1e9, 3000).astype(np.int64)])
    together = ZScore(log1p=True)._scaled(tf.constant(values, dtype)).numpy()
    alone = [ZScore(log1p=True)._scaled(tf.constant([value], dtype)).numpy()[0] for value in values]
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(
        together, np.log1p(values.astype(dtype.as_numpy_dtype).astype(np.float64)).astype("f4")
    )
