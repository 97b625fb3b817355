"""Titles in the main job: each is encoded once, kept for later runs, and part of a graph that stands on its own."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from hashed_titles import OfSomeTitles
from odd_ids import text

from recsys_tft import PipelineConfig, ProcessingPipeline, RunResult
from recsys_tft.cli import main
from recsys_tft.titles import embeddings as artifacts

pytestmark = pytest.mark.slow
SIZES = {"num_users": 40, "num_videos": 60, "num_interactions": 600}


# Reads what the graph makes of titles in a process that has nothing but the graph.
APPLY = """
import json, sys
import tensorflow as tf
import tensorflow_text
import tensorflow_transform as tft
titles = json.load(sys.stdin)
graph = tft.TFTransformOutput(sys.argv[1]).transform_features_layer()
lengths = [0 if title is None else 1 for title in titles]
ragged = tf.RaggedTensor.from_row_lengths(tf.constant([t for t in titles if t is not None], tf.string), lengths)
print(json.dumps(graph({"title": ragged.to_sparse()})["title_embedding"].numpy().tolist()))
"""


@dataclasses.dataclass(frozen=True)
class Titled:
    """A run with a tiny encoder, and a second one of the same rows that holds vectors inline."""

    first: RunResult
    second: RunResult
    root: pathlib.Path


@pytest.fixture(scope="module")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Titled:
    root = tmp_path_factory.mktemp("titled")
    tf.saved_model.save(OfSomeTitles(), str(root / "encoder"))
    settings = f"title_encoder: {root}/encoder\nencoder_cache: {root}/cache\n"
    shards = "users_per_shard: 15, videos_per_shard: 25"
    (root / "first.yaml").write_text(f"{settings}output: {{{shards}}}\n")
    (root / "second.yaml").write_text(f"{settings}output: {{{shards}, inline_title_embedding: true}}\n")
    runs = []
    for name in ("first", "second"):
        config = PipelineConfig(output_dir=str(root / name), config=str(root / f"{name}.yaml"))
        runs.append(ProcessingPipeline(config).run_synthetic(**SIZES))
    return Titled(*runs, root)


def raw_titles(titled: Titled) -> pd.Series:
    return pd.read_parquet(titled.root / "first" / "raw" / "videos.parquet").set_index("video_id")["title"]


def embeddings(titled: Titled) -> tuple[np.ndarray, np.ndarray]:
    folder = titled.root / "first" / "artifacts" / "embeddings"
    return np.load(folder / "title_embeddings.npy"), np.load(folder / "video_ids.npy")


def test_each_distinct_title_is_encoded_once_and_never_again(titled: Titled) -> None:
    distinct, missing = raw_titles(titled).nunique(), int(raw_titles(titled).isna().sum())
    first, second = titled.first.manifest["counts"], titled.second.manifest["counts"]
    assert (first["texts/encoded"], first["texts/cached"]) == (distinct, 0)
    assert (second["texts/encoded"], second["texts/cached"]) == (0, distinct)
    assert first["features/title_embedding/missing"] == missing > 0


def test_the_vectors_are_what_the_graph_makes_of_the_titles_elsewhere(titled: Titled, tmp_path: pathlib.Path) -> None:
    shutil.copytree(titled.root / "first" / "artifacts" / "transform_graph", tmp_path / "moved")
    hidden = titled.root / "hidden"
    (titled.root / "encoder").rename(hidden)  # the graph must not need what it was made of
    vectors, videos = embeddings(titled)
    titles = [None if pd.isna(title) else title for title in raw_titles(titled).loc[videos]]
    command = [sys.executable, "-c", APPLY, str(tmp_path / "moved")]
    run = subprocess.run(command, input=json.dumps(titles), capture_output=True, text=True, check=False)
    hidden.rename(titled.root / "encoder")
    assert run.returncode == 0, run.stderr
    np.testing.assert_allclose(np.array(json.loads(run.stdout.splitlines()[-1])), vectors, atol=1e-6)


def test_a_missing_title_is_the_zero_vector_and_others_are_of_length_one(titled: Titled) -> None:
    vectors, videos = embeddings(titled)
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths, raw_titles(titled).loc[videos].notna().to_numpy(), atol=1e-5)


def test_rows_point_to_the_vectors_by_candidate_row(titled: Titled) -> None:
    vectors, videos = embeddings(titled)
    pointing = titled.first["two_tower_train"].pandas()
    inline = titled.second["two_tower_train"].pandas()
    assert "title_embedding" not in pointing
    assert (videos[pointing["candidate_row"]] == pointing["video_id"]).all()
    np.testing.assert_array_equal(np.stack(inline["title_embedding"]), vectors[inline["candidate_row"]])
    corpus = titled.first["videos"].pandas()
    np.testing.assert_array_equal(np.stack(corpus["title_embedding"]), vectors)
    assert (corpus["candidate_row"] == np.arange(len(vectors))).all()


def test_a_call_with_users_alone_does_not_run_the_encoder(titled: Titled) -> None:
    """Nor does the analysis, whose batches of users have no titles."""
    folder = str(titled.root / "first" / "artifacts" / "transform_graph")
    layer = tft.TFTransformOutput(folder).transform_features_layer()
    users = tf.function(lambda ids: layer({"user_id": ids})["user_id_token"])
    assert users(tf.SparseTensor([[0, 0]], tf.constant([1], tf.int64), [1, 1])).shape == (1,)
    videos = tf.function(lambda titles: layer({"title": titles})["title_embedding"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="division by zero"):
        videos(tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], tf.string), [1, 1]))


def test_a_model_that_cannot_be_loaded_is_one_sentence_before_any_data_is_read(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--data-dir", str(tmp_path / "no-data"), "--output-dir", str(tmp_path / "out")]
    assert main([*arguments, "--title-encoder", str(tmp_path / "no-model")]) == 1
    sentences = capfd.readouterr().err.strip().splitlines()
    assert len(sentences) == 1
    assert sentences[0].startswith("error: title_encoder: ")
    assert str(tmp_path / "no-model") in sentences[0]
    assert "local copy" in sentences[0]
    assert not (tmp_path / "out").exists()


def test_similar_finds_the_title_itself_first(titled: Titled, capfd: pytest.CaptureFixture[str]) -> None:
    title = raw_titles(titled).dropna().iloc[0]
    assert main(["similar", "--title", title, "--output-dir", str(titled.root / "first"), "-k", "3"]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert shown[2].split()[0] == "1.000"
    assert title in shown[2]


def test_ids_that_are_text_stand_beside_the_vectors_and_are_shown_as_they_are(
    titled: Titled, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(titled.root / "first", tmp_path / "out", symlinks=True)
    folder = tmp_path / "out" / "artifacts" / "embeddings"
    known = pq.read_table(folder / "titles.parquet")
    given = [text(number).encode() for number in range(len(known))]  # some of which end with a NUL
    vectors = np.load(folder / "title_embeddings.npy")
    shutil.rmtree(folder)
    for part, first in enumerate(range(0, len(known), 30)):
        rows = slice(first, first + 30)
        flat = pa.array(vectors[rows].ravel())
        columns = {"video_id": pa.array(given[rows], pa.binary()), "raw/title": known["title"][rows]}
        columns["title_embedding"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        artifacts.write_part(str(tmp_path / "parts"), part, pa.table(columns))
    widths, texts = {"title_embedding": vectors.shape[1]}, {"raw/title": "title"}
    artifacts.gather(str(tmp_path / "parts"), str(folder), part + 1, len(known), widths, texts)
    np.testing.assert_array_equal(np.load(folder / "title_embeddings.npy"), vectors)
    assert not (folder / "video_ids.npy").exists()
    expected = [video.decode() for video in given]
    assert pq.read_table(folder / "video_ids.parquet").to_pydict() == {"video_id": expected}
    assert pq.read_table(folder / "titles.parquet")["video_id"].to_pylist() == expected
    assert main(["similar", "--title", "x", "--output-dir", str(tmp_path / "out"), "-k", "60"]) == 0
    shown = capfd.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in shown)
    for printed in ("-x 14", r"15\n/🎬", r"16\x00", r"[b]18\x1b[31m", "0010"):
        assert printed in shown


def test_similar_without_embeddings_says_so(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "--title", "x", "--output-dir", str(tmp_path)]) == 1
    assert "there are no title embeddings" in capfd.readouterr().err
