"""The graph that the job fits is the one that tf.Transform's AnalyzeDataset makes of the same rows."""

import contextlib
import functools
import pathlib
from collections.abc import Mapping

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hashed_titles import HashedTitles
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.python.eager import context
from tensorflow_transform.tf_metadata import metadata_io
from tfx_bsl.tfxio import tensor_representation_util
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

import preprocessing_fn as module
from recsys_tft import feature_tables, graph_fitting, transform_graph
from recsys_tft.analyzers import merge_states, outputs
from recsys_tft.beam_pipelines.options import Options
from recsys_tft.columns import HISTORY, Column
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.features import QUERY, Entity, Feature, raw_columns
from recsys_tft.graph_inputs import graph_columns, raw_feature_spec
from recsys_tft.ops import Fitting, Op
from recsys_tft.serving import c_library
from recsys_tft.transform_graph import TransformGraph

OPTIONS = {"recent": {"enabled": True}, "cooccurrence": {"enabled": True}, "title_encoder": "none"}
WORDS = ("", "a", "A", "a\nb", "é", "\U0001f4f1", "comedy", "news")
ROWS = 40


@pytest.fixture(scope="session", params=["integer", "string"])
def settings(request: pytest.FixtureRequest) -> Settings:
    ids = {} if request.param == "integer" else {"user_id": "string", "video_id": "string", "channel_id": "string"}
    return parse({**OPTIONS, "ids": ids}, "the test")


def values(column: Column, rng: np.random.Generator) -> pa.Array:
    """Random values of a column, of which some are missing in each of the ways in which they can be."""

    def flat(count: int) -> pa.Array:
        if pa.types.is_string(column.graph_type):
            return pa.array(rng.choice(WORDS, count), pa.string())
        if pa.types.is_integer(column.graph_type):
            return pa.array(rng.choice([-(2**63), -3, 0, 1, 2, 7, 2**53, 2**62], count), pa.int64())
        return pa.array(rng.choice([np.nan, np.inf, 0, 0.1, 3, 1e30, 17.5], count), pa.float32())

    if column.is_list:
        sizes = rng.integers(0, 4, ROWS)
        return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(sizes)), pa.int32()), flat(sizes.sum()))
    found = flat(ROWS)
    return pa.array(found.to_pylist(), found.type, mask=rng.random(ROWS) < 0.2)


@pytest.fixture(scope="session")
def tables(settings: Settings) -> list[tuple[Entity, pa.Table]]:
    """Two tables of random rows of each entity."""
    rng = np.random.default_rng(7)
    return [
        (entity, pa.table({column.name: values(column, rng) for column in columns}))
        for entity in Entity
        for columns in [raw_columns(f for f in settings.table.select(entity=entity) if f.is_on(settings))]
        for _ in range(2)
    ]


def saved(tables: list[tuple[Entity, pa.Table]], folder: str, settings: Settings) -> str:
    """The graph as the job fits and saves it."""
    asked = graph_fitting.statistic_requests(settings)
    states = [graph_fitting.states_of_rows(entity, rows, asked, settings) for entity, rows in tables]
    return graph_fitting.save(outputs(merge_states(states, asked), asked, folder), asked, folder, settings)


def batch_of(rows: pa.Table, settings: Settings) -> pa.RecordBatch:
    """Rows as tf.Transform takes them: all columns, as lists."""
    arrays = {}
    for column in graph_columns(settings):
        value = pa.binary() if pa.types.is_string(column.graph_type) else column.graph_type
        given = rows[column.name].to_pylist() if column.name in rows.column_names else [None] * len(rows)
        lists = given if column.is_list else [None if one is None else [one] for one in given]
        arrays[column.name] = pa.array(lists, pa.list_(value))
    return pa.RecordBatch.from_pydict(arrays)


def analyzed(tables: list[tuple[Entity, pa.Table]], folder: pathlib.Path, settings: Settings) -> str:
    """The graph as AnalyzeDataset fits it of all the same rows, by preprocessing_fn alone."""
    batches = [batch_of(rows, settings) for _, rows in tables]
    schema = tft.DatasetMetadata.from_feature_spec(raw_feature_spec(settings)).schema
    representations = tensor_representation_util.InferTensorRepresentationsFromSchema(schema)
    config = {"settings": settings.model_dump(mode="json", exclude_unset=True)}
    function = functools.partial(module.preprocessing_fn, custom_config=config)
    with (
        beam.Pipeline(runner=FnApiRunner(), options=Options([])) as root,
        tft_beam.Context(temp_dir=str(folder / "temp")),
    ):
        given = root | beam.Create(batches).with_output_types(pa.RecordBatch)
        fitted = (given, TensorAdapterConfig(batches[0].schema, representations)) | tft_beam.AnalyzeDataset(function)
        _ = fitted | tft_beam.WriteTransformFn(str(folder / "graph"))
    return str(folder / "graph")


@pytest.fixture(scope="session")
def both(
    settings: Settings, tables: list[tuple[Entity, pa.Table]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """The folder of the job's graph, and that of what AnalyzeDataset wrote."""
    folder = tmp_path_factory.mktemp("fitted")
    # Other columns of pairs count once, in rows of their own: `fitting_rows.of_pairs`.
    of_pairs = [examples.COUNTED_VIDEO, HISTORY[0]]
    training = [(e, rows.select(of_pairs) if e is Entity.PAIR else rows) for e, rows in tables]
    return saved(training, str(folder / "ours"), settings), analyzed(training, folder, settings)


def test_vocabularies_are_the_same_files(both: tuple[str, str]) -> None:
    ours, theirs = ({file.name: file.read_bytes() for file in assets(folder).iterdir()} for folder in both)
    assert ours == theirs
    assert len(ours) >= 9


def assets(folder: str) -> pathlib.Path:
    return next(pathlib.Path(folder).rglob("assets"))


def test_numbers_are_the_same_to_the_last_bit(both: tuple[str, str]) -> None:
    ours, theirs = (TransformGraph.load(str(assets(folder).parent)).fitted for folder in both)
    assert {name: array.tolist() for name, array in ours.items()} == {
        name: array.tolist() for name, array in theirs.items()
    }
    assert len(ours) >= 5


def test_what_the_graphs_take_and_make_is_described_alike(both: tuple[str, str]) -> None:
    ours = metadata_io.read_metadata(f"{both[0]}/{graph_fitting.METADATA}").schema
    assert ours == metadata_io.read_metadata(f"{both[1]}/transformed_metadata").schema
    signatures = [
        tf.saved_model.load(str(assets(folder).parent)).transform_fn.structured_input_signature for folder in both
    ]
    assert signatures[0] == signatures[1]


def test_all_features_of_all_rows_are_the_same(
    both: tuple[str, str],
    tables: list[tuple[Entity, pa.Table]],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the graph that this process has traced, by the one that it loads, also as TensorFlow optimizes it by itself,
    and by that of AnalyzeDataset.
    """
    graphs = [transform_graph.load(both[0]), *(TransformGraph.load(str(assets(folder).parent)) for folder in both)]
    assert graphs[0]._model is not graphs[1]._model
    by_itself = TransformGraph(graphs[1]._model, graphs[1].fitted)
    for entity, rows in tables:
        features = [f for f in settings.table.select(entity=entity) if f.is_active(settings)]
        traced, loaded, theirs = (graph.engineer(rows, features).to_pydict() for graph in graphs)
        assert repr(traced) == repr(loaded) == repr(theirs)
        assert len(traced) == len(features) > 0
        with monkeypatch.context() as patch:
            patch.setattr(transform_graph, "_optimized_once", contextlib.nullcontext)
            assert repr(by_itself.engineer(rows, features).to_pydict()) == repr(traced)


def test_graphs_are_optimized_as_those_that_are_served_and_no_others_of_the_thread() -> None:
    ours, served = (
        ConfigProto.FromString(text).graph_options.rewrite_options
        for text in (transform_graph._options(b"").config_proto_serialized, c_library._CONFIG)
    )
    assert ours == served
    before = context.context().function_call_options
    with contextlib.suppress(KeyError), transform_graph._optimized_once():
        assert context.context().function_call_options is not before
        raise KeyError
    assert context.context().function_call_options is before


class Centred(Op):
    """An op that has tf.Transform learn the mean by itself."""

    missing = "0"

    def apply(self, name: str, columns: list[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        dense = tf.reshape(tf.sparse.to_dense(tf.sparse.reset_shape(columns[0], [columns[0].dense_shape[0], 1])), [-1])
        return tft.scale_to_z_score(tf.cast(dense, tf.float32))


def test_an_analyzer_of_tf_transform_in_an_op_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    table = DEFAULT.extend(features=Feature("centred", "age", Centred(), QUERY))
    monkeypatch.setattr(feature_tables, "load", lambda name: table)
    settings = parse(OPTIONS, "the test")
    asked = graph_fitting.statistic_requests(settings)
    with pytest.raises(InputError, match=r"^An op of the feature table calls an analyzer of tf\.Transform \(.*z_score"):
        graph_fitting.check(asked, str(tmp_path), settings)


def test_a_table_with_an_encoder_of_texts_is_traced_before_anything_is_read(tmp_path: pathlib.Path) -> None:
    tf.saved_model.save(HashedTitles(), str(tmp_path / "encoder"))
    settings = parse({**OPTIONS, "title_encoder": str(tmp_path / "encoder")}, "the test")
    graph_fitting.check(graph_fitting.statistic_requests(settings), str(tmp_path / "graphs"), settings)


def test_no_more_graphs_are_kept_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform_graph, "_LOADED", {})
    made: Mapping[str, TransformGraph] = {name: object.__new__(TransformGraph) for name in "abc"}
    for name, graph in made.items():
        transform_graph.keep(name, graph)
    assert {name: made[name] for name in "bc"} == transform_graph._LOADED
    assert transform_graph.load("c") is made["c"]
