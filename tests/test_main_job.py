"""What a run writes, against the oracle, its own graph, and its own counts."""

import collections
import json
import pathlib

import numpy as np
import oracle
import oracle_negatives
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Ran
from joined_rows import (
    FOLDERS,
    SPLITS,
    all_rows,
    engineered,
    exposures,
    flat,
    joined_rows,
    opened,
    oracles_exposures,
    raw_frames,
    sparse,
)

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.columns import TABLES
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.run_layout.data_sets import KEY_COLUMNS

# --- Rows against the oracle


@pytest.fixture(scope="module")
def expected(synthetic_run: Ran) -> list[oracle.Exposure]:
    return oracles_exposures(synthetic_run.raw, synthetic_run.root)


@pytest.mark.parametrize("split", SPLITS)
def test_two_tower_rows_are_the_oracles_positives(
    synthetic_run: Ran, expected: list[oracle.Exposure], split: str
) -> None:
    rows = synthetic_run.result[f"two_tower_{split}"].pandas()
    found = rows[["user_id", "video_id", "interaction_time", "weight"]]
    positives = [e for e in expected if e.split == split and e.label == 1]
    wanted = sorted((e.user_id, e.video_id, e.interaction_time, np.float32(e.weight)) for e in positives)
    assert sorted(found.itertuples(index=False, name=None)) == wanted
    assert {weight for *_, weight in wanted} >= {np.float32(0.5), np.float32(0.8)}


@pytest.mark.parametrize("split", SPLITS)
def test_ranker_rows_are_what_the_oracle_allows(
    synthetic_run: Ran, expected: list[oracle.Exposure], split: str
) -> None:
    rows = synthetic_run.result[f"ranker_{split}"].pandas()
    rows["source"] = rows["source"].str.decode("utf-8")
    ranker = synthetic_run.result.manifest["settings"]["ranker"]
    ratio, alpha = ranker["negative_sample_ratio"], ranker["popularity_alpha"]
    kept = ["user_id", "video_id", "interaction_time", "label", "weight", "source", "log_q"]
    counts = oracle_negatives.catalogue(expected)
    oracle_negatives.check_ranker(rows[kept].to_dict("records"), expected, ratio, counts, alpha, split=split)
    assert set(rows["source"]) == {"positive", "exposed", "sampled"}


def test_all_users_and_videos_are_written_once(ran: Ran) -> None:
    for name, key in (("users", "user_id"), ("videos", "video_id")):
        written = ran.result[name].pandas()[key]
        assert sorted(written) == sorted(raw_frames(ran.raw)[name][key])


def test_negatives_are_never_positives_of_their_user_and_split(ran: Ran) -> None:
    positives: set[tuple[int, int]] = set()
    for split in SPLITS:
        rows = ran.result[f"ranker_{split}"].pandas()
        own = rows[rows["label"] == 1]
        positives |= set(zip(own["user_id"], own["video_id"], strict=True))
        others = rows[rows["label"] == 0]
        assert not positives & set(zip(others["user_id"], others["video_id"], strict=True))


# --- Engineered values against the graph


@pytest.mark.parametrize("name", FOLDERS)
def test_engineered_values_are_what_the_graph_makes_of_the_joined_raw_row(ran: Ran, name: str) -> None:
    rows = all_rows(ran.result[name])
    features = [column for column in rows if column not in KEY_COLUMNS]
    raw = joined_rows(ran, name)
    if "shown_count" not in raw:  # where it is thinned; test_positive_rates compares it, and what is made of it
        features = [name for name in features if name not in ("shown_count_log", "positive_rate", "user_excess")]
    sources = {source for feature in DEFAULT.features if feature.name in features for source in feature.sources}
    missing = pd.Series([None] * len(raw), dtype=object)
    computed = engineered(ran.root, {source: raw.get(source, missing) for source in sorted(sources)})
    assert set(features) <= set(computed)
    for feature in features:
        (lengths, written), (own_lengths, values) = flat(rows[feature]), flat(computed[feature])
        np.testing.assert_array_equal(lengths, own_lengths, feature)
        assert written.dtype == values.dtype, feature
        if written.dtype == np.int64:
            np.testing.assert_array_equal(written, values, feature)
        else:
            np.testing.assert_allclose(written, values, rtol=0, atol=1e-6, err_msg=feature)


def test_the_graph_can_be_called_as_a_saved_model(synthetic_run: Ran) -> None:
    model = tf.saved_model.load(str(synthetic_run.root / "artifacts/transform_graph/transform_fn"))
    spec = opened(synthetic_run.root)[0].raw_feature_spec()
    users = raw_frames(synthetic_run.raw)["users"]
    empty = pd.Series([None] * len(users), dtype=object)
    inputs = {name: sparse(users.get(name, empty), column.dtype) for name, column in spec.items()}
    tokens = model.transform_fn(inputs)["country_token"].numpy()
    written = synthetic_run.result["users"].pandas().set_index("user_id")["country_token"]
    assert tokens.tolist() == written.loc[users["user_id"]].tolist()


def test_a_row_of_two_tower_points_to_its_video_across_shards(synthetic_run: Ran) -> None:
    corpus = synthetic_run.result["videos"]
    assert len(corpus.files) > 1
    videos = corpus.pandas()
    assert videos["candidate_row"].tolist() == list(range(len(videos)))
    for split in SPLITS:
        rows = synthetic_run.result[f"two_tower_{split}"].pandas()
        pointed = videos.iloc[rows["candidate_row"]].reset_index(drop=True)
        for column in set(rows.columns) & set(videos.columns):
            assert list(map(repr, rows[column])) == list(map(repr, pointed[column])), column


# --- Counts


def records(folder: DataFolder) -> int:
    return sum(len(batch) for batch in tf.data.TFRecordDataset(folder.files).batch(4096))


def test_rows_in_are_rows_used_and_rows_rejected(ran: Ran) -> None:
    counts = ran.result.manifest["counts"]
    for table in TABLES:
        rows = pq.read_metadata(ran.raw / f"{table}.parquet").num_rows
        rejected = sum(n for name, n in counts.items() if name.startswith(f"rejected/{table}/"))
        assert (counts[f"rows/{table}/in"], rejected) == (rows, rows - counts[f"rows/{table}/used"])


def test_the_manifest_counts_the_rows_that_files_hold(ran: Ran) -> None:
    counts = ran.result.manifest["counts"]
    for name, folder in ran.result.items():
        path = name if name in ("users", "videos") else "/".join(name.rsplit("_", 1))
        assert records(folder) == counts[f"written/{path}"], name
    for split in SPLITS:
        sources = collections.Counter(ran.result[f"ranker_{split}"].pandas()["source"])
        assert {f"sources/{split}/{source.decode()}": n for source, n in sources.items()}.items() <= counts.items()
        assert sources[b"positive"] == counts[f"exposures/{split}/positive"] == counts[f"written/two_tower/{split}"]
        assert sources[b"exposed"] == counts[f"exposures/{split}/exposed"]
    assert json.loads((ran.root / "artifacts/manifest.json").read_text()) == ran.result.manifest


def test_every_exposure_is_positive_exposed_or_contradicted(
    synthetic_run: Ran, expected: list[oracle.Exposure]
) -> None:
    counts = synthetic_run.result.manifest["counts"]
    found = {name: n for name, n in counts.items() if name.startswith("exposures/")}
    kinds = {1: "positive", 0: "exposed", None: "contradicted"}
    assert found == collections.Counter(f"exposures/{e.split}/{kinds[e.label]}" for e in expected)
    assert sum(found.values()) == len(exposures(synthetic_run))


def test_all_of_movielens_is_accounted_for(movielens_run: Ran) -> None:
    counts = movielens_run.result.manifest["counts"]
    assert [counts[f"rows/{table}/used"] for table in TABLES] == [943, 1682, 0, 100_000]
    found = {name: n for name, n in counts.items() if name.startswith("exposures/")}
    assert sum(found.values()) == 100_000  # nobody rated a movie twice
    assert sum(n for name, n in found.items() if name.endswith("/positive")) == 55_375
    assert [counts["written/users"], counts["written/videos"]] == [943, 1682]
    assert not list((movielens_run.root / "rejected").rglob("*.parquet"))


def test_movielens_is_warned_of_once_per_absent_column(movielens_run: Ran) -> None:
    warnings = [text for text in movielens_run.said if text.startswith("warning: ")]
    absent = ("country", "user_language", "video_duration", "video_language", "device")
    assert all(sum(f"'{name}'" in text for text in warnings) == 1 for name in absent)
    assert not any("_count'" in text for text in warnings if "subscriber" not in text)
    assert sum("Counting views" in text for text in movielens_run.said) == 1
    assert len(warnings) == len(set(warnings))


# --- What Python gets


def test_a_result_is_a_mapping_of_data_folders(synthetic_run: Ran) -> None:
    result = synthetic_run.result
    assert list(result) == list(FOLDERS)
    assert len(result) == len(FOLDERS)
    assert "ranker_val" in result
    with pytest.raises(KeyError, match=r"'ranker_vall' is no data folder\. Did you mean 'ranker_val'\?"):
        result["ranker_vall"]


def test_a_data_folder_opens_as_tf_data_and_as_pandas(synthetic_run: Ran) -> None:
    folder = synthetic_run.result["two_tower_train"]
    batches = list(folder.dataset(batch_size=100))
    rows = folder.pandas()
    assert [len(batch["video_id_token"]) for batch in batches[:2]] == [100, 100]
    assert sum(len(batch["user_id"]) for batch in batches) == len(rows)
    assert np.concatenate([batch["user_id"] for batch in batches]).tolist() == rows["user_id"].tolist()
    assert rows["tags_tokens"].map(len).max() > 1
    assert rows["popularity_onehot"].map(np.sum).max() == 1


def test_feature_specs_are_those_of_the_folders(synthetic_run: Ran) -> None:
    specs = synthetic_run.pipeline.get_feature_specs()
    assert list(specs) == ["two_tower", "ranker", "users", "videos"]
    assert specs["ranker"] == synthetic_run.result["ranker_test"].feature_spec()
    assert specs["two_tower"]["video_id_token"] == tf.io.FixedLenFeature([], tf.int64)
    assert specs["two_tower"]["popularity_onehot"] == tf.io.FixedLenFeature([4], tf.float32)
    assert specs["two_tower"]["tags_tokens"] == tf.io.VarLenFeature(tf.int64)
    assert specs["ranker"]["source"].dtype == tf.string


def test_feature_specs_of_no_run_are_an_error(tmp_path: pathlib.Path) -> None:
    pipeline = ProcessingPipeline(PipelineConfig(output_dir=str(tmp_path / "nowhere")))
    with pytest.raises(InputError, match=r"nothing has been written there yet; run the pipeline first\."):
        pipeline.get_feature_specs()
