"""Columns of channels, texts and pairs of a user's own: run, trained, served, verified and audited."""

import dataclasses
import json
import pathlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from as_of_columns import COUNTED, OF_HISTORY, RECENT
from conftest import Ran
from hashed_titles import WIDTH, HashedTitles
from loaded_graphs import recommender_of

from recsys_tft.auditing import audit_cuts
from recsys_tft.auditing.leak_audit import audit
from recsys_tft.commands.similar import TitleIndex
from recsys_tft.configuration.settings import parse
from recsys_tft.errors import InputError
from recsys_tft.features import FeatureTable
from recsys_tft.verifying.verification import verify

pytestmark = pytest.mark.usefixtures("own", "loaded_once")


@pytest.fixture
def root(own_ran: Ran) -> pathlib.Path:
    return own_ran.root


def test_all_graphs_compute_what_rows_hold(root: pathlib.Path, own: FeatureTable) -> None:
    found = verify(str(root), rows=None)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert set(found.lines) == set(own.by_name)
    for name in OF_HISTORY:
        assert found.lines[name].graphs == {"transform_graph", "query_tower", "retrieval"}
    for name in COUNTED:
        assert found.lines[name].graphs & {"candidate_tower", "ranker"}
    for name in RECENT:
        assert found.lines[name].graphs == {"transform_graph", "ranker"}
    for name in ("same_language", "same_country", "device_views", "again", "verified_token"):
        assert found.lines[name].graphs == {"transform_graph", "ranker"}
    assert found.lines["bio_embedding"].graphs == {"transform_graph", "query_tower", "retrieval"}
    assert found.lines["description_embedding"].graphs == {"transform_graph", "candidate_tower"}


def test_no_row_knows_what_comes_later(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = audit_cuts.choose
    monkeypatch.setattr(audit_cuts, "choose", lambda *args: choose(*args)[:2])  # each kind of cut
    found = audit(str(root), users=40)
    assert not [line for line in found.lines if line.differences], found.lines
    assert "device_views" not in found.untried


def test_texts_are_those_of_their_own_column_and_encoder(root: pathlib.Path) -> None:
    folder = root / "artifacts" / "embeddings"
    vectors = np.load(folder / "description_embeddings.npy")
    texts = pq.read_table(folder / "descriptions.parquet").to_pandas()
    raw = pd.read_parquet(root / "raw" / "videos.parquet").set_index("video_id")["description"]
    told = [text.decode() if isinstance(text, bytes) else text for text in texts["description"]]
    assert told == [None if pd.isna(text) or not text else text for text in raw.loc[texts["video_id"]]]
    assert sorted(path.name for path in folder.iterdir()) == [
        "description_embeddings.npy", "descriptions.parquet", "video_ids.npy"
    ]  # fmt: skip
    known = np.array([bool(text) for text in told])
    expected = HashedTitles()(tf.constant([text for text in told if text])).numpy()
    np.testing.assert_allclose(vectors[known], expected, rtol=0, atol=1e-6)
    assert not vectors[~known].any()
    assert vectors.shape[1] == WIDTH


def test_texts_of_users_stand_in_their_rows_and_are_encoded_once(root: pathlib.Path) -> None:
    rows = [tf.train.Example.FromString(r.numpy()) for r in dataset(root, "two_tower/train").take(50)]
    assert all(len(row.features.feature["bio_embedding"].float_list.value) == WIDTH for row in rows)
    assert all("description_embedding" not in row.features.feature for row in rows)
    counts = json.loads((root / "artifacts/manifest.json").read_text())["counts"]
    users = pd.read_parquet(root / "raw" / "users.parquet")["bio"].dropna()
    videos = pd.read_parquet(root / "raw" / "videos.parquet")["description"].replace("", None).dropna()
    assert counts["texts/encoded"] == len({*users, *videos})
    assert (
        counts["features/bio_embedding/missing"] == pd.read_parquet(root / "raw" / "users.parquet")["bio"].isna().sum()
    )


def dataset(root: pathlib.Path, folder: str) -> tf.data.TFRecordDataset:
    return tf.data.TFRecordDataset(sorted(map(str, (root / "processed_data" / folder).glob("*.tfrecord"))))


def test_features_of_pairs_count_what_is_missing(root: pathlib.Path) -> None:
    counts = json.loads((root / "artifacts/manifest.json").read_text())["counts"]
    assert counts["features/same_language/rows"] == counts["features/video_age_log/rows"] > 0
    assert 0 < counts["features/same_country/missing"] < counts["features/same_country/rows"]
    rows = [tf.train.Example.FromString(r.numpy()) for r in dataset(root, "ranker/train")]
    found = {row.features.feature["same_language"].int64_list.value[0] for row in rows}
    assert found >= {1, 2}


def test_a_recommender_reads_a_user_and_lives_without_titles(root: pathlib.Path) -> None:
    recommender = recommender_of(root)
    assert recommender.recommend(1, k=5).items
    assert recommender.explain(1, [recommender.recommend(1, k=1).items[0].video_id])


def test_similar_texts_are_found(root: pathlib.Path) -> None:
    index = TitleIndex(str(root))
    (_, text, cosine), *_ = index.nearest("about 7", 3)
    assert text == "about 7"
    assert cosine > 0.9999
    with pytest.raises(InputError, match="bio_embedding"):
        TitleIndex(str(root), "bio_embedding")


def test_an_encoder_is_overridden_by_the_name_of_its_feature(own: FeatureTable) -> None:
    chosen = parse({"text_encoders": {"bio_embedding": "none"}}, "the test")
    assert not chosen.table.by_name["bio_embedding"].is_active(chosen)
    assert chosen.table.by_name["description_embedding"] == own.by_name["description_embedding"]


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ({"bio_embeding": "none"}, "names the unknown feature 'bio_embeding'. Did you mean 'bio_embedding'"),
        (
            {"age_z": "none"},
            "names 'age_z', which embeds no text; those that do are description_embedding, bio_embedding",
        ),
        ({"bio_embedding": 5}, r"text_encoders.bio_embedding is 5; expected minilm, multilingual, none"),
    ],
)
def test_wrong_encoders_are_explained(encoders: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse({"text_encoders": encoders}, "the test")


def test_only_one_string_is_a_text(own: FeatureTable) -> None:
    text = own.by_name["bio_embedding"]
    wrong = [
        dataclasses.replace(text, name="a", sources=("tags",)),
        dataclasses.replace(text, name="b", sources=("age",)),
    ]
    with pytest.raises(InputError, match=r"(?s)'a' embeds a text.*tags.*'b' embeds a text.*age \(int64\)"):
        own.extend(features=wrong)
