"""preprocessing_fn as any user of tf.Transform calls it, and as a TFX Transform component does."""

import functools
import importlib.machinery
import importlib.util
import inspect
import math
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hashed_titles import HashedTitles
from tfx_bsl.tfxio import tensor_representation_util
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig
from user_project import HEAD, Project

import preprocessing_fn as module
from recsys_tft import graph as graph_module
from recsys_tft.beam_pipelines.options import Options
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.graph_inputs import raw_feature_spec
from recsys_tft.vocabularies import values_of

# Inputs of every kind: dense, sparse and ragged. Many columns are absent, and one is of no feature.
SPEC = {
    "user_id": tf.io.FixedLenFeature([], tf.int64),
    "age": tf.io.FixedLenFeature([], tf.int64),
    "country": tf.io.FixedLenFeature([1], tf.string),
    "device": tf.io.VarLenFeature(tf.string),
    "video_duration": tf.io.FixedLenFeature([], tf.float32),
    "view_count": tf.io.VarLenFeature(tf.int64),
    "tags": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
    "shoe_size": tf.io.VarLenFeature(tf.float32),
}
BATCH = pa.record_batch(
    {
        "user_id": pa.array([[7], [7], [9]]),
        "age": pa.array([[17], [18], [99]]),
        "country": pa.array([[b"de"], [b"de"], [b""]]),
        "device": pa.array([[b"tv"], [], None], pa.list_(pa.binary())),
        "video_duration": pa.array([[math.e - 1], [math.nan], [math.e**3 - 1]], pa.list_(pa.float32())),
        "view_count": pa.array([[3], None, [5]], pa.list_(pa.int64())),
        "tags": pa.array([[b"x", b"y"], [b"x", b""], []], pa.list_(pa.binary())),
        "shoe_size": pa.array([[39.5], None, None], pa.list_(pa.float32())),
    }
)


def fit(function: Callable[..., dict[str, tf.Tensor]], folder: pathlib.Path) -> tft.TFTransformOutput:
    """The graph of a preprocessing_fn, fitted on BATCH and saved."""
    schema = tft.DatasetMetadata.from_feature_spec(SPEC).schema
    representations = tensor_representation_util.InferTensorRepresentationsFromSchema(schema)
    representations |= tensor_representation_util.GetTensorRepresentationsFromSchema(schema)  # the ragged ones
    with (
        beam.Pipeline(runner=FnApiRunner(), options=Options([])) as root,
        tft_beam.Context(temp_dir=str(folder / "temp")),
    ):
        batches = root | beam.Create([BATCH]).with_output_types(pa.RecordBatch)
        fitted = (batches, TensorAdapterConfig(BATCH.schema, representations)) | tft_beam.AnalyzeDataset(function)
        _ = fitted | tft_beam.WriteTransformFn(str(folder / "graph"))
    return tft.TFTransformOutput(str(folder / "graph"))


loaded = functools.cache(tf.saved_model.load)


def values(output: tft.TFTransformOutput, inputs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The features of raw inputs by the saved graph."""
    found = loaded(output.transform_savedmodel_dir).transform_fn(dict(inputs))
    return {
        name: value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
        for name, value in found.items()
    }


def inputs_of_batch() -> dict[str, Any]:
    """BATCH as tensors."""
    ragged = {"tags": tf.ragged.constant(BATCH["tags"].to_pylist(), tf.string, row_splits_dtype=tf.int64)}
    dense = {
        name: tf.constant([row[0] if not feature.shape else row for row in BATCH[name].to_pylist()], feature.dtype)
        for name, feature in SPEC.items()
        if isinstance(feature, tf.io.FixedLenFeature)
    }
    sparse = {
        name: tf.ragged.constant([row or [] for row in BATCH[name].to_pylist()], feature.dtype).to_sparse()
        for name, feature in SPEC.items()
        if isinstance(feature, tf.io.VarLenFeature)
    }
    return ragged | dense | sparse


# --- With nothing but inputs


@pytest.fixture(scope="session")
def fitted_alone(tmp_path_factory: pytest.TempPathFactory) -> tft.TFTransformOutput:
    return fit(module.preprocessing_fn, tmp_path_factory.mktemp("preprocessing_fn"))


def test_inputs_alone_give_every_feature_of_the_table(fitted_alone: tft.TFTransformOutput) -> None:
    names = {feature.name for feature in DEFAULT.switched_on(Settings())}
    assert set(fitted_alone.transformed_feature_spec()) == names
    found = values(fitted_alone, inputs_of_batch())
    assert set(found) == names
    assert {len(column) for column in found.values()} == {3}


def test_dense_sparse_and_ragged_inputs_become_features(fitted_alone: tft.TFTransformOutput) -> None:
    inputs = inputs_of_batch()
    assert {type(inputs[name]) for name in ("age", "device", "tags")} >= {tf.SparseTensor, tf.RaggedTensor}
    found = values(fitted_alone, inputs)
    assert found["user_id_token"] == [2, 2, 3]
    assert found["age_bucket"] == [1, 2, 7]
    assert found["country_token"] == [2, 2, 0]  # an empty string is missing
    assert found["device_token"] == [2, 0, 0]
    assert found["video_duration_log_z"] == pytest.approx([-1, 0, 1], abs=1e-6)  # NaN is missing
    assert found["video_duration_bucket"] == [1, 0, 1]
    assert found["view_count_log_z"] == pytest.approx([-1, 0, 1], abs=1e-6)
    assert found["tags_tokens"] == [[2, 3], [2], []]


def test_absent_columns_are_missing_everywhere(fitted_alone: tft.TFTransformOutput) -> None:
    found = values(fitted_alone, inputs_of_batch())
    assert found["category_token"] == found["child_categories_token"] == found["interaction_time_day"] == [0, 0, 0]
    assert found["like_ratio"] == found["like_count_log_z"] == found["interaction_time_hour_cos"] == [0, 0, 0]
    assert values_of("category", fitted_alone.transform_savedmodel_dir) == []


def test_extra_columns_are_ignored(fitted_alone: tft.TFTransformOutput) -> None:
    other = inputs_of_batch() | {"shoe_size": tf.sparse.from_dense(tf.constant([[1.0], [2.0], [3.0]]))}
    assert values(fitted_alone, other) == values(fitted_alone, inputs_of_batch())


def test_features_of_one_vocabulary_share_its_table(fitted_alone: tft.TFTransformOutput) -> None:
    graph = loaded(fitted_alone.transform_savedmodel_dir).transform_fn.graph
    tables = {op.inputs[0].name for op in graph.get_operations() if op.type.startswith("LookupTableFind")}
    readers = [feature.vocabulary.name for feature in DEFAULT.switched_on(Settings()) if feature.vocabulary]
    assert len(tables) == len(set(readers)) < len(readers)


# --- As a TFX Transform component


@pytest.fixture(scope="session")
def user_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module file as TFX loads it: a copy, from its path, under a name of its own."""
    name = "user_module_0"
    copied = shutil.copy(module.__file__, tmp_path_factory.mktemp("module") / "preprocessing_fn.py")
    loader = importlib.machinery.SourceFileLoader(name, str(copied))
    loaded = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = loaded
    loader.exec_module(loaded)
    yield loaded
    del sys.modules[name]


def as_tfx_calls(function: Callable[..., dict[str, tf.Tensor]], custom_config: Mapping[str, Any] | None) -> Callable:
    """The function as the component's executor binds it: custom_config by keyword, if the signature has it."""
    if "custom_config" in inspect.signature(function).parameters:
        return functools.partial(function, custom_config=custom_config)
    return function


CUSTOM = {
    "settings": {
        "buckets": {"age": [50]},
        "vocabularies": {"tags": {"n_oov": 4}, "user_id": {"min_count": 2}},
        "recent": {"enabled": True},
        "cooccurrence": {"enabled": True},
    }
}


@pytest.fixture(scope="session")
def fitted_by_tfx(user_module: Any, tmp_path_factory: pytest.TempPathFactory) -> tft.TFTransformOutput:
    folder = tmp_path_factory.mktemp("tfx")
    tf.saved_model.save(HashedTitles(), str(folder / "encoder"))  # which is traced and saved faster than the default
    custom = {"settings": {**CUSTOM["settings"], "title_encoder": str(folder / "encoder")}}
    return fit(as_tfx_calls(user_module.preprocessing_fn, custom), folder)


def test_custom_config_changes_the_settings(fitted_by_tfx: tft.TFTransformOutput) -> None:
    found = values(fitted_by_tfx, inputs_of_batch())
    assert set(found) == {feature.name for feature in DEFAULT.features}
    assert found["video_age_log"] == [0, 0, 0]
    assert found["age_bucket"] == [1, 1, 2]
    assert found["tags_tokens"] == [[5, 6], [5], []]
    assert found["user_id_token"] == [2, 2, 1]
    assert found["country_token"] == [2, 2, 0]


def test_the_function_takes_custom_config_by_keyword(user_module: Any) -> None:
    parameters = inspect.signature(user_module.preprocessing_fn).parameters
    assert list(parameters) == ["inputs", "custom_config"]
    assert parameters["custom_config"].default is None


def age_buckets(custom_config: Mapping[str, Any] | None, ages: list[int], function: Callable) -> list[int]:
    """The age buckets of a freshly traced graph; they need no analysis."""
    with tf.Graph().as_default() as graph:
        age = tf.compat.v1.placeholder(tf.int64, [None])
        bucket = as_tfx_calls(function, custom_config)({"age": age})["age_bucket"]
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run(bucket, {age: np.array(ages, np.int64)}).tolist()


@pytest.mark.slow
def test_a_config_file_is_read(user_module: Any, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("buckets:\n  age: [40, 50]\n")
    ages = [39, 40, 55]
    assert age_buckets({"config": str(config)}, ages, user_module.preprocessing_fn) == [1, 2, 3]
    assert age_buckets({"settings": {"buckets": {"age": [40]}}}, ages, user_module.preprocessing_fn) == [1, 2, 2]


def test_without_settings_the_defaults_apply() -> None:
    assert age_buckets(None, [17, 18, 65], module.preprocessing_fn) == [1, 2, 7]


@pytest.mark.parametrize("custom_config", [None, {}, {"settings": None}, {"settings": {}}, {"other_key": 1}])
def test_no_settings_are_the_same_however_they_are_told(
    custom_config: Mapping[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_module, "engineer", lambda inputs, settings: {"settings": settings})
    assert as_tfx_calls(module.preprocessing_fn, custom_config)({}) == {"settings": Settings()}


def test_ids_are_what_the_inputs_have() -> None:
    with tf.Graph().as_default():
        given = {"user_id": tf.string, "history_video_ids": tf.string, "video_id": tf.string, "age": tf.int64}
        inputs = {name: tf.compat.v1.placeholder(dtype, [None]) for name, dtype in given.items()}
        made = module.preprocessing_fn(inputs)
        assert made["user_id_token"].dtype == made["video_id_token"].dtype == tf.int64
        assert made["history_video_ids_tokens"].dtype == tf.int64
    with tf.Graph().as_default():
        user = {"user_id": tf.compat.v1.placeholder(tf.string, [None])}
        with pytest.raises(InputError, match="user_id"):
            module.preprocessing_fn(user, {"settings": {"ids": {"user_id": "integer"}}})


# --- Errors


def test_a_wrong_setting_is_named_with_what_would_be_right() -> None:
    with pytest.raises(InputError, match=r"custom_config: unknown setting 'bucket'\. Did you mean 'buckets'\?"):
        module.preprocessing_fn({}, {"settings": {"bucket": {}}})
    with pytest.raises(InputError, match=r"custom_config: buckets\.age must be finite and increase"):
        module.preprocessing_fn({}, custom_config={"settings": {"buckets": {"age": [3, 2]}}})
    with pytest.raises(InputError, match="custom_config: vocabularies has the unknown vocabulary 'tag'"):
        module.preprocessing_fn({}, custom_config={"settings": {"vocabularies": {"tag": {"n_oov": 2}}}})


def test_a_config_file_that_is_not_there_or_wrong_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: cannot read the config \(No such file"):
        module.preprocessing_fn({}, {"config": str(tmp_path / "absent.yaml")})
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("seed: -1\n")
    with pytest.raises(InputError, match=r"wrong\.yaml: seed is -1; expected 0 or more"):
        module.preprocessing_fn({}, {"config": str(wrong)})


def test_inputs_without_any_column_of_the_table_are_refused() -> None:
    with pytest.raises(InputError, match=r"The inputs \['shoe_size'\] hold none of the raw columns \['age', "):
        module.preprocessing_fn({"shoe_size": tf.constant([1.0])})


def test_the_raw_feature_spec_allows_every_column_to_be_missing() -> None:
    spec = raw_feature_spec(Settings())
    assert {source for feature in DEFAULT.switched_on(Settings()) for source in feature.sources} == set(spec)
    assert {type(feature) for feature in spec.values()} == {tf.io.VarLenFeature}


# --- With a feature table of the user's own


@pytest.mark.slow
def test_a_config_may_name_a_table_of_the_users_own(project: Project, tmp_path: pathlib.Path) -> None:
    project.write("shoes.py", "from recsys_tft.number_ops import ZScore\nOP = ZScore()\n")
    table = 'columns=[Column("shoe_size", "users", FLOAT)], features=[Feature("shoe_size_z", "shoe_size", OP, RANKER)]'
    others = [feature.name for feature in DEFAULT.features if feature.name != "country_token"]  # each takes its time
    project.write("features.py", f"{HEAD}from shoes import OP\nTABLE = DEFAULT.extend({table}, without={others})\n")
    config = {"config": project.config()}
    output = fit(functools.partial(module.preprocessing_fn, custom_config=config), tmp_path)
    found = values(output, inputs_of_batch())
    assert found["shoe_size_z"] == [0, 0, 0]  # all values are equal, or missing
    assert set(found) == {"shoe_size_z", "country_token"}
