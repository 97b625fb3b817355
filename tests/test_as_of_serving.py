"""Serving a run whose counters and histories are as of each exposure; test_own_columns verifies it."""

import json
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
import oracle
import oracle_counters
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from as_of_columns import COUNTED, OF_HISTORY, RECENT
from conftest import Ran
from counter_cases import DAY
from joined_rows import oracles_exposures, raw_frames
from loaded_graphs import recommender_of
from rewritten_rows import rewrite
from tallied_outcomes import tally

from recsys_tft import Recommender
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.exporting import export
from recsys_tft.features import FeatureTable
from recsys_tft.point_in_time import outcomes, recent
from recsys_tft.point_in_time.counters import COUNTERS
from recsys_tft.recommending.recommender import Request
from recsys_tft.retrieval import two_tower
from recsys_tft.serving.serving_rows import tensors
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.verifying.verification import verify

DELAY = 6 * 3_600_000_000
MOMENT = 1_790_000_000_000_000
OF_OUTCOMES = {name for name, feature in DEFAULT.by_name.items() if feature.option == "positive_rates"}
COUNTS = (*COUNTERS, *recent.VIDEO_COLUMNS)
pytestmark = pytest.mark.usefixtures("own", "loaded_once")


@pytest.fixture(scope="module")
def as_of(own_ran: Ran) -> Ran:
    return own_ran


@pytest.fixture(scope="module")
def recommender(as_of: Ran, own: FeatureTable) -> Recommender:
    return recommender_of(as_of.root)


# --- Verifying


def set_first(feature: object, number: float) -> None:
    values = feature.float_list.value
    values[0] = number if values[0] != number else number + 0.5


def append_token(feature: object) -> None:
    feature.int64_list.value.append(1)


ALTERATIONS: list[tuple[str, str, Callable[[object], None]]] = [
    ("ranker/train", "view_count_log_z", lambda feature: set_first(feature, 0.25)),
    ("ranker/val", "like_ratio", lambda feature: set_first(feature, 0.375)),
    ("two_tower/test", "popularity_onehot", lambda feature: set_first(feature, 0.5)),
    ("videos", "comment_count_log_z", lambda feature: set_first(feature, 3.5)),
    ("two_tower/train", "history_video_ids_tokens", append_token),
    ("two_tower/val", "history_categories_tokens", append_token),
    ("users", "history_categories_tokens", append_token),
    *(
        (f"ranker/{split}", name, lambda feature: set_first(feature, 0.75))
        for split, name in (
            ("train", "positive_rate"),
            ("train", "user_positive_rate"),
            ("val", "user_excess"),
            ("val", "user_category_affinity"),
            ("test", "user_channel_shown_log"),
            ("val", "user_tags_share"),
            ("train", "likes_30d_log"),
            ("train", "views_7d_log"),
            ("train", "video_age_log"),
            ("val", "user_like_rate"),
            ("test", "user_events_1d_log"),
            ("test", "user_events_30d_log"),
            ("test", "views_1d_log"),
        )
    ),
]


def test_what_was_altered_is_named(as_of: Ran, tmp_path: pathlib.Path) -> None:
    shutil.copytree(as_of.root, tmp_path / "out", ignore=shutil.ignore_patterns("models", "serving"))
    for row, (folder, name, change) in enumerate(ALTERATIONS):
        path = tmp_path / "out/processed_data" / folder
        rewrite(path, lambda example, name=name, change=change: change(example.features.feature[name]), row)
    found = verify(str(tmp_path / "out"), rows=None)
    assert sorted((d.folder, d.feature) for d in found.differences) == sorted(a[:2] for a in ALTERATIONS)


def test_rows_of_another_delay_or_length_are_caught(as_of: Ran, tmp_path: pathlib.Path) -> None:
    shutil.copytree(as_of.root, tmp_path / "out", ignore=shutil.ignore_patterns("models", "serving"))
    manifest = tmp_path / "out/artifacts/manifest.json"
    described = json.loads(manifest.read_text())
    described["settings"]["counters"]["delay"] = "0s"
    described["settings"]["history"]["length"] = 2
    manifest.write_text(json.dumps(described))
    differing = {name for name, line in verify(str(tmp_path / "out"), rows=None).lines.items() if line.unequal}
    others = {"history_cooccurrence", "again", "device_views"}  # which join one of them with another column
    assert OF_HISTORY <= differing <= OF_HISTORY | COUNTED | RECENT | OF_OUTCOMES | others
    assert differing & COUNTED
    assert len(differing & OF_OUTCOMES) == len(OF_OUTCOMES)
    assert differing & RECENT


# --- Serving


def end_of(ran: Ran) -> int:
    return int(raw_frames(ran.raw)["interactions"]["interaction_time"].max()) + 1


def test_stored_counters_are_those_of_a_row_after_the_last_event(as_of: Ran, recommender: Recommender) -> None:
    events = raw_frames(as_of.raw)["interactions"]
    increments = oracle_counters.increments(events.astype(object).where(events.notna(), None).to_dict("records"))
    ids = recommender.store.video_ids
    stored = recommender.store.videos(ids)
    moment = end_of(as_of) - DELAY
    asked = [(video, moment) for video in ids.tolist()]
    shown = oracle_counters.shown_values(increments, asked, "0.1", DAY, 24, True)
    assert list(zip(*(stored[name].to_pylist() for name in COUNTS), strict=True)) == shown
    assert len(set(shown)) > 10
    assert stored["popularity"].null_count == len(ids)


def test_the_models_are_given_the_history_of_the_user_and_the_counters(
    as_of: Ran, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, dict] = {}
    for name, model in recommender._models.items():

        def record(signature: str, inputs: dict, name: str = name, run: Callable = model.run) -> dict:
            asked[name] = inputs
            return run(signature, inputs)

        monkeypatch.setattr(model, "run", record)
    videos = pq.read_table(as_of.raw / "videos.parquet").to_pylist()
    categories, channels = ({v["video_id"]: {v[key]} - {None} for v in videos} for key in ("category", "channel_id"))
    tags = {v["video_id"]: {tag for tag in v["tags"] or [] if tag} for v in videos}
    exposures, every = oracles_exposures(as_of.raw, as_of.root), oracles_exposures(as_of.raw, as_of.root, uncut=True)
    lengths, end = set(), end_of(as_of)
    frame = raw_frames(as_of.raw)["interactions"].astype(object)
    events = frame.where(frame.notna(), None).to_dict("records")
    stored = recommender.store.videos(recommender.store.video_ids).to_pylist()
    seen = frame.groupby("video_id")["interaction_time"].min().to_dict()
    published = {row["video_id"]: row["published_at"] for row in stored}
    ages = {video: seen.get(video, EMPTY_IDS) if told is None else told for video, told in published.items()}
    for user in raw_frames(as_of.raw)["users"]["user_id"]:
        found = recommender.recommend(int(user), 10**6, MOMENT)
        watched = oracle.history(exposures, user, end, 3)
        lengths.add(len(watched))
        assert asked["query_tower"]["history_video_ids"].tolist() == [watched]
        named = ["".join(categories[video]).encode() for video in watched]
        assert asked["query_tower"]["history_categories"].tolist() == [named]
        ranked = recommender.store.videos(np.array([item.video_id for item in found.items]))
        rows = zip(*(asked["ranker"][name].tolist() for name in COUNTS), strict=True)
        assert sorted(rows) == sorted(zip(*(ranked[name].to_pylist() for name in COUNTS), strict=True))
        did = oracle_counters.user_before(events, user, end - DELAY)
        assert {name: asked["ranker"][name].tolist() for name in did} == {name: [did[name]] for name in did}
        moment = end - DELAY
        of_user = [e for e in every if e.user_id == user]
        shown, positive, _ = tally(of_user, moment)
        assert [asked["ranker"][name].tolist() for name in outcomes.USER_COLUMNS] == [[shown], [positive]]
        for group, of_videos in {"category": categories, "channel": channels, "tags": tags}.items():
            wanted = [of_videos[video] for video in ranked["video_id"].to_pylist()]
            same = [[[e for e in of_user if value in of_videos[e.video_id]] for value in values] for values in wanted]
            expected = [
                tuple(sum(tally(own, moment)[place] for own in of_values) for place in (0, 1)) for of_values in same
            ]
            names = (f"user_{group}_shown_count", f"user_{group}_positive_count")
            told = zip(*(np.maximum(asked["ranker"][name], 0).tolist() for name in names), strict=True)
            assert sorted(told) == sorted(expected)
        since = [ages[video] for video in ranked["video_id"].to_pylist()]
        assert sorted(asked["ranker"]["published_at"].tolist()) == sorted(since)
    assert max(lengths) == 3


def test_the_index_has_the_vectors_of_the_candidate_tower_for_the_current_counters(
    as_of: Ran, recommender: Recommender
) -> None:
    known = recommender.known(Request(3, {}, MOMENT))
    ids, scores = recommender.retrieve(known, np.zeros(0, np.int64))
    videos = recommender.store.videos(ids)
    vectors = []
    for name, rows in (("query_tower", known), ("candidate_tower", {n: videos[n] for n in videos.column_names})):
        call = tf.saved_model.load(str(as_of.root / "serving" / name / "1")).signatures["serving_default"]
        vectors.append(call(**tensors(rows, call.structured_input_signature[1]))["vector"].numpy())
    np.testing.assert_allclose(vectors[0] @ vectors[1].T, scores[None], atol=1e-5)
    _, of_training = export.candidate_vectors(str(as_of.root), two_tower.load(str(as_of.root)))
    current = recommender.store.videos(recommender.store.video_ids)
    _, of_now = export.candidate_vectors(str(as_of.root), two_tower.load(str(as_of.root)), current)
    assert 0 < (of_training != of_now).any(axis=1).sum() < len(of_now)
    with pytest.raises(InputError, match="The raw tables have no video"):
        export.candidate_vectors(str(as_of.root), two_tower.load(str(as_of.root)), current.slice(1))


def test_recent_events_may_be_given_and_a_stranger_has_none(recommender: Recommender) -> None:
    known = recommender.known(Request(3, {"user_events_1d": 17}, MOMENT))
    assert known["user_events_1d"].to_pylist() == [17]
    assert known["user_events_30d"].to_pylist() == recommender.store.user(3)["user_events_30d"].to_pylist()
    assert "user_events_1d" not in recommender.known(Request(None, {}, MOMENT))
    assert recommender.recommend(None, 5, MOMENT, user_events_1d=17, user_view_count=4, user_like_count=2).items
    with pytest.raises(InputError, match="user_events_1d is 'many'; expected int64"):
        recommender.recommend(3, 5, MOMENT, user_events_1d="many")


@pytest.mark.parametrize("user", [3, None])
def test_a_given_history_takes_the_place_of_the_stored_with_its_categories(
    recommender: Recommender, user: int | None
) -> None:
    videos = recommender.store.videos(np.array([7, 2]))
    known = recommender.known(Request(user, {"history_video_ids": [7, 10**9, 2]}, MOMENT))
    assert known["history_video_ids"].to_pylist() == [[7, 10**9, 2]]
    first, second = videos["category"].to_pylist()
    assert known["history_categories"].to_pylist() == [[first, None, second]]
    own = recommender.known(Request(user, {"history_video_ids": [7], "history_categories": ["music"]}, MOMENT))
    assert own["history_categories"].to_pylist() == [[b"music"]]
    nothing = recommender.known(Request(user, {"history_video_ids": None}, MOMENT))
    assert nothing["history_categories"].to_pylist() == [[]]
    given, stored = (recommender.recommend(user, 5, MOMENT, **own) for own in ({"history_video_ids": [7, 2]}, {}))
    assert [item.retrieval_score for item in given.items] != [item.retrieval_score for item in stored.items]
    with pytest.raises(InputError, match="history_video_ids is 'x'; expected list<item: int64>"):
        recommender.recommend(user, 5, MOMENT, history_video_ids="x")
