"""What a run says of its rows is what a plain reading of the rows on disk says, in every data set and split."""

import json
import math
import pathlib

import numpy as np
import pandas as pd
import pytest
from conftest import Ran
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from recsys_tft.configuration.settings import from_manifest
from recsys_tft.describing import statistics_files
from recsys_tft.raw_replay import raw_periods, raw_rows

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def figures(synthetic_run: Ran) -> dict:
    return statistics_files.read(str(synthetic_run.root))


def test_joined_rows_are_described_as_they_lie_on_disk(synthetic_run: Ran, figures: dict) -> None:
    """Numbers, tokens, lists, labels and sources; the run gathers them from parts that were never joined."""
    for data_set in ("two_tower", "ranker"):
        for split in SPLITS:
            rows = synthetic_run.result[f"{data_set}_{split}"].pandas()
            own = figures["data_sets"][data_set]
            assert own["splits"][split]["rows"] == len(rows)
            assert {*own["columns"]} == {*rows.columns} - {"candidate_row"}
            for name, column in own["columns"].items():
                _check(rows[name], column["kind"], bool(column.get("list")), column["splits"][split], name)


def test_users_and_videos_are_described_as_they_lie_on_disk(synthetic_run: Ran, figures: dict) -> None:
    for data_set in ("users", "videos"):
        rows = synthetic_run.result[data_set].pandas()
        for name, column in figures["data_sets"][data_set]["columns"].items():
            _check(rows[name], column["kind"], bool(column.get("list")), column["splits"]["all"], name)


def _check(values: pd.Series, kind: str, is_list: bool, own: dict, name: str) -> None:
    assert own["rows"] == len(values), name
    if is_list:
        lengths = values.map(len).to_numpy()
        assert own["missing"] == (lengths == 0).sum(), name
        assert own["lengths"]["mean"] == pytest.approx(lengths.mean(), rel=1e-8), name
        assert own["count"] == lengths.sum(), name
    elif kind == "number":
        exact = values.to_numpy().astype(np.float64)
        exact = exact[np.isfinite(exact)]  # log_q of a video that is never drawn is no number
        assert own["missing"] == len(values) - len(exact), name
        assert (own["count"], own["zeros"]) == (len(exact), (exact == 0).sum()), name
        assert (own["min"], own["max"]) == (exact.min(), exact.max()), name
        assert own["mean"] == pytest.approx(math.fsum(exact) / len(exact), rel=1e-7, abs=1e-9), name
        assert own["deviation"] == pytest.approx(exact.std(), rel=1e-4, abs=1e-7), name
    elif kind == "token":
        tokens = values.to_numpy()
        assert own["missing"] == (tokens == 0).sum(), name
        if "top" in own:
            counted = np.sort(np.unique(tokens, return_counts=True)[1])[::-1]
            assert [count for _, count in own["top"]] == counted[: len(own["top"])].tolist(), name
    elif kind == "vector":
        norms = np.linalg.norm(np.stack(values.to_list()).astype(np.float64), axis=1)
        assert own["norms"]["mean"] == pytest.approx(norms.mean(), rel=1e-6), name
        assert own["missing"] == (norms == 0).sum(), name
    elif kind in ("id", "text"):
        assert own["distinct"] == values.nunique(), name
        if "top" in own:
            texts = values.map(lambda each: each.decode() if isinstance(each, bytes) else str(each))
            assert dict(own["top"]) == texts.value_counts().to_dict(), name
    else:
        assert own["min"] == values.min() // 3_600_000_000, name


def test_raw_columns_are_described_as_the_tables_have_them(synthetic_run: Ran, figures: dict) -> None:
    users = pd.read_parquet(synthetic_run.raw / "users.parquet")
    own = figures["data_sets"]["raw_users"]["columns"]
    assert own["age"]["splits"]["all"]["missing"] == users["age"].isna().sum()
    assert own["age"]["splits"]["all"]["mean"] == pytest.approx(users["age"].mean(), rel=1e-8)
    countries = users["country"].replace("", None).value_counts()
    assert dict(own["country"]["splits"]["all"]["top"]) == countries.to_dict()
    videos = pd.read_parquet(synthetic_run.raw / "videos.parquet")
    tags = figures["data_sets"]["raw_videos"]["columns"]["tags"]["splits"]["all"]
    assert tags["count"] == videos["tags"].map(lambda each: 0 if each is None else len([t for t in each if t])).sum()
    events = pd.read_parquet(synthetic_run.raw / "interactions.parquet")
    described = figures["data_sets"]["raw_interactions"]
    assert sum(split["rows"] for split in described["splits"].values()) == len(events)
    watched = [split["count"] for split in described["columns"]["watch_time"]["splits"].values()]
    assert sum(watched) == events["watch_time"].notna().sum()
    signals = [dict(split["top"]) for split in described["columns"]["signals"]["splits"].values()]
    found = {name: sum(each.get(name, 0) for each in signals) for name in signals[0]}
    assert found == events["interaction_type"].value_counts().to_dict()


def test_raw_columns_by_split_are_as_joined_to_its_exposures(synthetic_run: Ran, figures: dict) -> None:
    users, videos, channels = (
        pd.read_parquet(synthetic_run.raw / f"{name}.parquet") for name in ("users", "videos", "channels")
    )
    names = "shown_users", "shown_videos", "raw_exposures"
    of_users, of_videos, of_exposures = (figures["data_sets"][name] for name in names)
    settings, cuts = (
        from_manifest(synthetic_run.result.manifest, "the run"),
        raw_rows.cuts_of(synthetic_run.result.manifest),
    )
    found = raw_periods.labelled(raw_rows.read(str(synthetic_run.raw), settings), cuts, settings).last.keys.to_pandas()
    for number, split in enumerate(SPLITS):
        exposures = found[found["split"] == number][["user_id", "video_id"]]
        assert of_exposures["splits"][split]["rows"] == len(exposures) > 0
        of_split = {name: column["splits"][split] for name, column in of_users["columns"].items()}
        joined = exposures.merge(users, on="user_id")
        assert of_split["age"]["missing"] == joined["age"].isna().sum() > 0
        _check(joined["age"].astype(np.float32), "number", False, of_split["age"], "age")
        _check(joined["user_id"], "id", False, of_split["user_id"], "user_id")
        assert dict(of_split["country"]["top"]) == joined["country"].replace("", None).value_counts().to_dict()
        of_split = {name: column["splits"][split] for name, column in of_videos["columns"].items()}
        joined = exposures.merge(videos, on="video_id").merge(channels, on="channel_id", how="left")
        for name in ("like_count", "channel_subscriber_count"):
            _check(joined[name].astype(np.float32), "number", False, of_split[name], name)
        assert dict(of_split["category"]["top"]) == joined["category"].replace("", None).value_counts().to_dict()
        counts = exposures["video_id"].value_counts().to_numpy()
        effective = [each["splits"][split]["effective"] for each in (of_videos, of_users, of_exposures)]
        assert effective[0]["video"] == len(exposures) ** 2 // (counts**2).sum()
        assert effective[1]["user"] == effective[2]["user"]


def test_out_of_vocabulary_rates_are_those_of_the_manifest(synthetic_run: Ran, figures: dict) -> None:
    counts = synthetic_run.result.manifest["counts"]
    own = figures["data_sets"]["users"]["columns"]["country_token"]["splits"]["all"]
    assert own["oov"] == counts["features/country_token/oov"]
    assert own["missing"] == counts["features/country_token/missing"]


def test_the_proto_has_one_data_set_a_split_with_the_same_numbers(synthetic_run: Ran, figures: dict) -> None:
    path = synthetic_run.root / "artifacts/statistics/FeatureStats.pb"
    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    by_name = {data_set.name: data_set for data_set in found.datasets}
    assert {f"{name}/{split}" for name in ("two_tower", "ranker") for split in SPLITS} < {*by_name}
    assert by_name["ranker/val"].num_examples == figures["data_sets"]["ranker"]["splits"]["val"]["rows"]
    features = {feature.name: feature for feature in by_name["ranker/train"].features}
    own = figures["data_sets"]["ranker"]["columns"]["age_z"]["splits"]["train"]
    assert features["age_z"].num_stats.mean == own["mean"]
    assert features["age_z"].num_stats.num_zeros == own["zeros"]


def test_schemas_have_comparators(synthetic_run: Ran) -> None:
    from google.protobuf import text_format

    text = pathlib.Path(synthetic_run.result["ranker_train"].path, "schema.pbtxt").read_text()
    features = {f.name: f for f in text_format.Parse(text, schema_pb2.Schema()).feature}
    assert features["country_token"].drift_comparator.infinity_norm.threshold == 0.05
    assert features["age_z"].drift_comparator.jensen_shannon_divergence.threshold == 0.1
    assert not features["user_id"].HasField("drift_comparator")


def test_the_file_is_compact_json_of_the_run(synthetic_run: Ran, figures: dict) -> None:
    text = statistics_files.path_in(str(synthetic_run.root)).read_text("utf-8")
    assert json.loads(text) == figures
    assert "\n" not in text.rstrip("\n")
    assert figures["run"] == synthetic_run.result.manifest["run"]
