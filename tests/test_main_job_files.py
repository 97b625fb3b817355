"""The files of a run: data with their schema, vocabularies, normalizers, buckets, and the graph's metadata."""

import json
import math
import pathlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import Ran
from google.protobuf import text_format
from joined_rows import FOLDERS, cuts_of, engineered, flat, lines_of, opened, raw_frames, with_training_counters
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils

from recsys_tft import PipelineConfig, ProcessingPipeline, RunResult
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import Feature
from recsys_tft.number_ops import Bucket, Level, ZScore
from recsys_tft.ops import Bag, SetLookup
from recsys_tft.run_layout.output import REPLACED
from recsys_tft.storage.version_folders import CURRENT, VERSIONS

# --- Files


@pytest.mark.parametrize("name", FOLDERS)
def test_the_schema_is_all_that_a_reader_needs(ran: Ran, name: str) -> None:
    folder = ran.result[name]
    schema = text_format.Parse((pathlib.Path(folder.path) / "schema.pbtxt").read_text(), schema_pb2.Schema())
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    (serialized,) = tf.data.TFRecordDataset(folder.files).batch(1 << 30)
    parsed = tf.io.parse_example(serialized, spec)
    assert set(tf.train.Example.FromString(serialized[0].numpy()).features.feature) == set(spec)
    domains = {f.name: f.int_domain for f in schema.feature if f.HasField("int_domain")}
    assert set(domains) == {f.name for f in DEFAULT.features if f.is_categorical} & set(spec)
    for column, domain in domains.items():
        _, values = flat(parsed[column])
        assert domain.min <= values.min(initial=0) <= values.max(initial=0) <= domain.max, column
        assert domain.max == ran.result.manifest["categories"][column] - 1


def test_shards_are_numbered_and_there_is_nothing_else(ran: Ran) -> None:
    output = ran.result.manifest["settings"]["output"]
    for name, folder in ran.result.items():
        table = "videos" if name == "videos" else "users"
        shards = -(-len(raw_frames(ran.raw)[table]) // output[f"{table}_per_shard"])
        wanted = {f"part-{number:05d}-of-{shards:05d}.tfrecord" for number in range(shards)} | {"schema.pbtxt"}
        there = {path.name for path in pathlib.Path(folder.path).iterdir()}
        assert wanted <= there
        parts = {name for name in there - wanted if re.fullmatch(r"part-0000\d-of-0000\d_0000\d.tfrecord", name)}
        assert there == wanted | parts
        assert not parts or name not in ("users", "videos")
    top = {*REPLACED, CURRENT, VERSIONS}
    top |= {"raw"} if ran.raw.parent == ran.root else set()
    assert {path.name for path in ran.root.iterdir()} == top


@pytest.fixture(scope="module")
def parquet_result(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The synthetic run, written as Parquet."""
    root = str(tmp_path_factory.mktemp("parquet") / "out")
    config = PipelineConfig(output_dir=root, config=str(synthetic_run.config), format="parquet")
    return ProcessingPipeline(config).run(str(synthetic_run.raw))


@pytest.mark.parametrize("name", FOLDERS)
def test_parquet_holds_the_same_rows(synthetic_run: Ran, parquet_result: RunResult, name: str) -> None:
    ours, theirs = synthetic_run.result[name], parquet_result[name]
    one, other = ours.pandas(), theirs.pandas()
    assert set(one) == set(other)
    for column in one:
        assert list(map(as_plain, one[column])) == list(map(as_plain, other[column])), column
    own_schema, schema = (pathlib.Path(folder.path, "schema.pbtxt").read_text() for folder in (ours, theirs))
    assert own_schema == schema
    assert all(file.endswith(".parquet") for file in theirs.files)
    with pytest.raises(InputError, match=r"has Parquet files; read them with pandas\(\)"):
        theirs.dataset()


def as_plain(value: Any) -> Any:
    """Lists for arrays and text for bytes, so that values can be compared."""
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, np.ndarray) else value


# --- Artifacts


def training_rows(ran: Ran) -> dict[str, pd.DataFrame]:
    """The raw users and videos that occur before val_from."""
    frames = raw_frames(ran.raw)
    events = frames["interactions"][frames["interactions"]["interaction_time"] < cuts_of(ran.result.manifest)[0]]
    whole = {"users": frames["users"], "videos": with_training_counters(ran, frames["videos"])}
    keys = {"users": "user_id", "videos": "video_id"}
    return {name: table[table[keys[name]].isin(events[keys[name]])] for name, table in whole.items()}


@pytest.mark.parametrize("feature", [f for f in DEFAULT.features if f.vocabulary], ids=lambda feature: feature.name)
def test_the_number_of_a_line_of_a_vocabulary_is_its_token(ran: Ran, feature: Feature) -> None:
    vocabulary = feature.vocabulary
    assert vocabulary is not None
    lines = lines_of(ran, vocabulary.name)
    own = ran.result.manifest["settings"]["vocabularies"].get(vocabulary.name, {})
    n_oov = own.get("n_oov", 1)
    assert lines[: 1 + n_oov] == ["[MISSING]", *(f"[OOV {number}]" for number in range(n_oov))]
    values: list[Any] = [int(line) if vocabulary.integers else line for line in lines[1 + n_oov :]]
    unseen = -1 if vocabulary.integers else "no such value"
    column = pd.Series([*values, unseen, None], dtype=object)
    if isinstance(feature.op, SetLookup):
        column = column.map(lambda text: text and text.split("|"))
    tokens = engineered(ran.root, {feature.sources[0]: column})[feature.name]
    assert flat(tokens)[0].tolist() == [1] * (len(values) + 1) + [0 if isinstance(feature.op, Bag) else 1]
    found = flat(tokens)[1].tolist()
    assert found[: len(values)] == list(range(1 + n_oov, len(lines)))
    assert 1 <= found[len(values)] <= n_oov
    assert set(found[len(values) + 1 :]) <= {0}
    assert ran.result.manifest["categories"][feature.name] == len(lines)


def test_there_is_one_file_for_each_vocabulary(ran: Ran) -> None:
    files = {path.stem for path in (ran.root / "artifacts/vocabularies").iterdir()}
    assert files == {vocabulary.name for vocabulary in DEFAULT.vocabularies}


def test_vocabularies_hold_what_the_training_split_has_most_frequent_first(ran: Ran) -> None:
    rows = training_rows(ran)
    users, videos = rows["users"], rows["videos"]
    nothing = pd.Series(dtype=object)
    languages = [users.get("user_language", nothing), videos.get("video_language", nothing)]
    columns = {
        "country": users.get("country", nothing),
        "language": pd.concat(languages),
        "category": videos["category"],
        "tags": videos["tags"].explode(),
        "user_id": users["user_id"],
        "video_id": videos["video_id"],
    }
    for name, values in columns.items():
        counted = values.dropna().value_counts()
        ordered = sorted(counted.index, key=lambda value, n=counted: (-n[value], value))
        found = [line for line in lines_of(ran, name) if not re.fullmatch(r"\[(MISSING|OOV \d+)\]", line)]
        assert found == list(map(str, ordered)), name


@pytest.mark.parametrize(
    "feature", [f for f in DEFAULT.features if isinstance(f.op, ZScore)], ids=lambda feature: feature.name
)
def test_normalizers_are_those_of_the_graph_and_of_the_training_split(ran: Ran, feature: Feature) -> None:
    (source,) = feature.sources
    found = json.loads((ran.root / f"artifacts/normalizers/{feature.name}.json").read_text())
    assert (found["column"], found["log1p"]) == (source, feature.op.log1p)
    table = "users" if DEFAULT.raw[source].table == "users" else "videos"
    values = training_rows(ran)[table].get(source, pd.Series(dtype=object)).dropna().astype(np.float64)
    scaled = np.log1p(values) if feature.op.log1p else values
    assert found["mean"] == pytest.approx(scaled.mean() if len(values) else 0, rel=1e-5)
    assert found["std"] == pytest.approx(scaled.std(ddof=0) if len(values) else 0, rel=1e-5)
    probe = np.array([0, 1, 7, 40, 1000, 10**6])
    wanted = (np.log1p(probe) if feature.op.log1p else probe) - found["mean"]
    wanted = wanted / found["std"] if found["std"] else 0 * wanted
    wanted[0] *= not DEFAULT.raw[source].zero_is_missing
    output = engineered(ran.root, {source: pd.Series([*probe, None], dtype=object)})[feature.name].numpy()
    np.testing.assert_allclose(output, [*wanted, 0.0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "feature", [f for f in DEFAULT.features if isinstance(f.op, Bucket)], ids=lambda feature: feature.name
)
def test_buckets_are_those_of_the_graph(ran: Ran, feature: Feature) -> None:
    (source,) = feature.sources
    found = json.loads((ran.root / f"artifacts/buckets/{feature.name}.json").read_text())
    edges = found["boundaries"]
    assert found["column"] == source
    assert len(found["buckets"]) == len(edges) + 2
    probe = pd.Series([None, edges[0] - 1, *edges, *(edge - 1 for edge in edges[1:])], dtype=object)
    output = engineered(ran.root, {source: probe})[feature.name].numpy().tolist()
    above = list(range(2, len(edges) + 2))
    assert output == [0, 1, *above, *above[:-1]]
    assert [found["buckets"][number].split(" <= ")[0] for number in above] == [f"{edge:g}" for edge in edges]
    assert found["buckets"][:2] == ["missing", f"x < {edges[0]:g}"]


def test_popularity_levels_are_those_of_the_graph_and_of_the_training_split(ran: Ran) -> None:
    (feature,) = [feature for feature in DEFAULT.features if isinstance(feature.op, Level)]
    found = json.loads((ran.root / f"artifacts/buckets/{feature.name}.json").read_text())
    edges, levels = found["boundaries"], found["levels"]
    counts = np.sort(training_rows(ran)["videos"]["view_count"].dropna().astype(np.int64))
    for edge, share in zip(edges, (0.5, 0.8, 0.95), strict=True):
        exact = counts[math.ceil(share * len(counts)) - 1] + 1
        assert exact <= edge <= exact * (1 + 1 / 2048)
    probe = [*edges, *(edge - 1 for edge in edges), None, None]
    given = [None] * (2 * len(edges)) + [levels[2].upper(), None]
    output = engineered(ran.root, {"view_count": pd.Series(probe, dtype=object), "popularity": given})
    rows = [row.tolist() for row in output[feature.name].numpy()]
    assert [row.index(1.0) for row in rows[:-1]] == [1, 2, 3, 0, 1, 2, 2]
    assert rows[-1] == [0.0] * len(levels)


def test_the_graph_comes_with_its_raw_metadata(ran: Ran) -> None:
    output, _ = opened(ran.root)
    sources = {source for feature in DEFAULT.switched_on(Settings()) for source in feature.sources}
    assert {feature.name for feature in output.raw_metadata.schema.feature} == sources
    assert set(output.raw_feature_spec()) == sources
    assert all(isinstance(spec, tf.io.VarLenFeature) for spec in output.raw_feature_spec().values())
