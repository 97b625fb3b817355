"""What a run writes, against the oracle, against its own graph, and against its own words."""

import bisect
import collections
import functools
import json
import math
import pathlib
import re
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from conftest import Ran
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils

from recsys_tft import PipelineConfig, ProcessingPipeline, RunResult
from recsys_tft.columns import TABLES
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.features import FEATURES, RAW, VOCABULARIES, Feature, switched_on
from recsys_tft.ops import Bag, Bucket, Level, SetLookup, ZScore
from recsys_tft.storage.data_folders import DataFolder
from recsys_tft.storage.data_sets import KEY_COLUMNS

WINDOWS = ("train", "val", "test")
FOLDERS = (*(f"{name}_{window}" for name in ("two_tower", "ranker") for window in WINDOWS), "users", "videos")
RUNS = ("synthetic_run", "movielens_run")
HALF_HOUR = 30 * 60 * 10**6
HOUR_AND_A_HALF = 3 * HALF_HOUR
Tensors = dict[str, tf.Tensor | tf.SparseTensor]


@pytest.fixture(params=RUNS)
def ran(request: pytest.FixtureRequest) -> Ran:
    """Each of the runs in turn."""
    return request.getfixturevalue(request.param)


# --- Raw tables, read and joined with pandas


@functools.cache
def raw_frames(folder: pathlib.Path) -> dict[str, pd.DataFrame]:
    """The raw tables; times in microseconds, integers with nulls as objects, videos with their channels' columns."""
    tables = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
    times = tables["interactions"]["interaction_time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    frames = {name: table.to_pandas(integer_object_nulls=True) for name, table in tables.items()}
    frames["interactions"]["interaction_time"] = times.to_numpy()
    if "channel_id" in frames["videos"]:
        channels = frames["channels"].astype({"channel_id": object})
        frames["videos"] = frames["videos"].merge(channels, on="channel_id", how="left")
    return frames


def cuts_of(manifest: dict[str, Any]) -> list[int]:
    """val_from and test_from in microseconds."""
    windows = manifest["windows"]
    return [pd.Timestamp(windows[name].removesuffix(" UTC")).value // 1000 for name in ("val_from", "test_from")]


def exposures(ran: Ran) -> pd.DataFrame:
    """user_id, video_id, interaction_time and device of each exposure."""
    events = raw_frames(ran.raw)["interactions"].sort_values(["user_id", "video_id", "interaction_time"])
    if "device" not in events:
        events["device"] = None
    gaps = events.groupby(["user_id", "video_id"])["interaction_time"].diff()
    window = np.searchsorted(cuts_of(ran.result.manifest), events["interaction_time"], side="right")
    events["number"] = (gaps.isna() | (gaps >= HALF_HOUR) | (np.diff(window, prepend=-1) != 0)).cumsum()
    devices = events.dropna(subset="device").sort_values(["number", "interaction_time", "device"])
    first = events.drop_duplicates("number").drop(columns="device")
    return first.merge(devices.drop_duplicates("number")[["number", "device"]], on="number", how="left")


def category_before(ran: Ran, rows: pd.DataFrame) -> pd.Series:
    """The category that the user of each row watched last before it, else what the users table says."""
    frames = raw_frames(ran.raw)
    events = frames["interactions"]
    viewings = events[(events["interaction_type"] != "impression") | (events["watch_time"] > 0)]
    viewings = viewings.merge(frames["videos"][["video_id", "category"]], on="video_id")
    viewings = viewings.sort_values(["interaction_time", "video_id"])[["user_id", "interaction_time", "category"]]
    ordered = rows.sort_values("interaction_time", kind="stable")
    key = {"on": "interaction_time", "by": "user_id", "allow_exact_matches": False}
    found = pd.merge_asof(ordered, viewings.assign(viewed=True), **key).set_index(ordered.index).sort_index()
    users = frames["users"].set_index("user_id")
    own = rows["user_id"].map(users["previously_watched_category"]) if "previously_watched_category" in users else None
    return found["category"].where(found["viewed"].notna(), own)


# --- Counters, which MovieLens lacks, counted with pandas: nobody rated a movie twice, so each rating is an exposure


def counting(ran: Ran) -> pd.DataFrame:
    """What each event adds to the counters of its video; no rows where the videos table has them."""
    frames = raw_frames(ran.raw)
    events = frames["interactions"] if "view_count" not in frames["videos"] else frames["interactions"].iloc[:0]
    kinds = {"view_count": "like|watch", "like_count": "like", "comment_count": "comment"}
    added = {name: events["interaction_type"].str.fullmatch(kind).astype(int) for name, kind in kinds.items()}
    return events[["video_id", "interaction_time"]].assign(**added)


def with_training_counters(ran: Ran, videos: pd.DataFrame) -> pd.DataFrame:
    """The videos with the counters that events before val_from make, where they are counted."""
    events = counting(ran)
    if events.empty:
        return videos
    training = events[events["interaction_time"] < cuts_of(ran.result.manifest)[0]].drop(columns="interaction_time")
    sums = training.groupby("video_id").sum().reindex(videos["video_id"], fill_value=0)
    return videos.assign(**{name: sums[name].to_numpy() for name in sums})


def with_counters(ran: Ran, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the counters of their video as of an hour and a half before them, where they are counted."""
    events = counting(ran).sort_values("interaction_time")
    if events.empty:
        return rows
    names = list(events.columns[2:])
    events[names] = events.groupby("video_id")[names].cumsum()
    moments = rows[["video_id", "interaction_time"]].assign(interaction_time=rows["interaction_time"] - HOUR_AND_A_HALF)
    key = {"on": "interaction_time", "by": "video_id", "allow_exact_matches": False}
    ordered = moments.sort_values("interaction_time", kind="stable")
    # Of events at one instant the last has the sums of all.
    found = pd.merge_asof(ordered, events.drop_duplicates(["video_id", "interaction_time"], keep="last"), **key)
    found = found.set_index(ordered.index).sort_index()[names].fillna(0).astype(np.int64)
    return rows.assign(**found)


# --- Histories


def history_before(ran: Ran, rows: pd.DataFrame) -> list[list[int]]:
    """The last 20 videos that the user of each row was positive on before it, most recent first."""
    found: dict[int, list[tuple[int, int]]] = collections.defaultdict(list)
    for user, time, video in sorted(positives(ran)):
        found[user].append((time, video))
    keys = zip(rows["user_id"], rows["interaction_time"], strict=True)
    return [_last(found[user][: bisect.bisect_left(found[user], (time, -math.inf))]) for user, time in keys]


def _last(watched: list[tuple[int, int]]) -> list[int]:
    return list(dict.fromkeys(video for _, video in reversed(watched)))[:20]


def positives(ran: Ran) -> list[tuple[int, int, int]]:
    """(user, time of becoming positive, video): on MovieLens of each like, else as the oracle has it."""
    events = raw_frames(ran.raw)["interactions"]
    if raw_frames(ran.raw)["channels"].empty:
        liked = events[events["interaction_type"] == "like"]
        return list(liked[["user_id", "interaction_time", "video_id"]].itertuples(index=False, name=None))
    expected = _oracles_exposures(ran.raw, ran.root)
    return [(e.user_id, e.positive_since, e.video_id) for e in expected if e.positive_since is not None]


def joined_rows(ran: Ran, name: str) -> pd.DataFrame:
    """The raw row of each row of a data folder."""
    frames = raw_frames(ran.raw)
    keys = ("user_id", "video_id", "interaction_time", "source")
    read = {key: values.numpy() for key, values in all_rows(ran.result[name]).items() if key in keys}
    rows = pd.DataFrame(read)
    if name in ("users", "videos"):
        whole = with_training_counters(ran, frames[name]) if name == "videos" else frames[name]
        return rows.merge(whole, on=f"{name[:-1]}_id", how="left", validate="1:1")
    shown = rows["video_id"]
    if "source" in rows:  # what is drawn for a positive follows it, and has its context
        shown = shown.where(rows["source"] != b"sampled").ffill().astype(np.int64)
    context = exposures(ran)[["user_id", "video_id", "interaction_time", "device"]]
    context = context.rename(columns={"video_id": "shown"})
    rows = rows.assign(shown=shown).merge(context, how="left", validate="m:1", indicator="found")
    assert (rows["found"] == "both").all()
    rows["previously_watched_category"] = category_before(ran, rows[["user_id", "interaction_time"]])
    rows["history_video_ids"] = history_before(ran, rows)
    categories = frames["videos"].set_index("video_id")["category"].to_dict()
    rows["history_categories"] = rows["history_video_ids"].map(lambda ids: [categories[video] for video in ids])
    users = frames["users"].drop(columns="previously_watched_category", errors="ignore")
    whole = rows.merge(users, on="user_id", how="left").merge(frames["videos"], on="video_id", how="left")
    return with_counters(ran, whole)


# --- The graph as a user opens it, and rows as a user reads them


@functools.cache
def opened(root: pathlib.Path) -> tuple[tft.TFTransformOutput, tf.keras.layers.Layer]:
    output = tft.TFTransformOutput(str(root / "artifacts" / "transform_graph"))
    return output, output.transform_features_layer()


def engineered(root: pathlib.Path, columns: dict[str, Any]) -> Tensors:
    """What the graph makes of raw columns; those that it does not get leave out what needs them."""
    output, layer = opened(root)
    spec = output.raw_feature_spec()
    return layer({name: sparse(pd.Series(values), spec[name].dtype) for name, values in columns.items()})


def sparse(values: pd.Series, dtype: tf.DType) -> tf.SparseTensor:
    """[n] values or lists, None or NaN for missing ones."""
    values = values.reset_index(drop=True)
    present = (values.explode() if values.dtype == object else values).dropna()
    owners = present.index.to_numpy()
    places = present.groupby(owners).cumcount().to_numpy()
    flat = tf.constant(present.to_numpy(object if dtype == tf.string else dtype.as_numpy_dtype), dtype)
    width = int(places.max(initial=0)) + 1
    return tf.SparseTensor(np.stack([owners, places], 1).astype(np.int64), flat, [len(values), width])


def all_rows(folder: DataFolder) -> Tensors:
    """All rows of a folder in one batch."""
    return next(iter(folder.dataset(batch_size=1 << 30)))


def flat(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """(how many values each row has, all values)."""
    if isinstance(values, tf.SparseTensor):
        values = tf.RaggedTensor.from_sparse(values)
    if isinstance(values, tf.RaggedTensor):
        return values.row_lengths().numpy(), values.flat_values.numpy()
    array = values.numpy()
    return np.full(len(array), array[0].size), array.ravel()


# --- Rows against the oracle


@functools.cache
def _oracles_exposures(raw: pathlib.Path, root: pathlib.Path) -> list[oracle.Exposure]:
    manifest = json.loads((root / "artifacts/manifest.json").read_text())
    users, videos, events = (
        raw_frames(raw)[name].astype(object).where(lambda frame: frame.notna(), None).to_dict("records")
        for name in ("users", "videos", "interactions")
    )
    val_from, test_from = oracle.cuts(users, videos, events, "0.8", "0.1")
    assert [val_from, test_from] == cuts_of(manifest)
    return oracle.exposures(
        users,
        videos,
        events,
        val_from=val_from,
        test_from=test_from,
        positive=manifest["settings"]["labels"]["positive"],
    )


@pytest.fixture(scope="module")
def expected(synthetic_run: Ran) -> list[oracle.Exposure]:
    return _oracles_exposures(synthetic_run.raw, synthetic_run.root)


@pytest.mark.parametrize("window", WINDOWS)
def test_two_tower_rows_are_the_oracles_positives(
    synthetic_run: Ran, expected: list[oracle.Exposure], window: str
) -> None:
    rows = synthetic_run.result[f"two_tower_{window}"].pandas()
    found = rows[["user_id", "video_id", "interaction_time", "weight"]]
    positives = [e for e in expected if e.window == window and e.label == 1]
    wanted = sorted((e.user_id, e.video_id, e.interaction_time, np.float32(e.weight)) for e in positives)
    assert sorted(found.itertuples(index=False, name=None)) == wanted
    assert {weight for *_, weight in wanted} >= {np.float32(0.5), np.float32(0.8)}


@pytest.mark.parametrize("window", WINDOWS)
def test_ranker_rows_are_what_the_oracle_allows(
    synthetic_run: Ran, expected: list[oracle.Exposure], window: str
) -> None:
    rows = synthetic_run.result[f"ranker_{window}"].pandas()
    rows["source"] = rows["source"].str.decode("utf-8")
    ranker = synthetic_run.result.manifest["settings"]["ranker"]
    ratio, alpha = ranker["negative_sample_ratio"], ranker["popularity_alpha"]
    kept = ["user_id", "video_id", "interaction_time", "label", "weight", "source", "log_q"]
    counts = oracle.catalogue(expected)
    oracle.check_ranker(rows[kept].to_dict("records"), expected, ratio, counts, alpha, window=window)
    assert set(rows["source"]) == {"positive", "exposed", "sampled"}


def test_all_users_and_videos_are_written_once(ran: Ran) -> None:
    for name, key in (("users", "user_id"), ("videos", "video_id")):
        written = ran.result[name].pandas()[key]
        assert sorted(written) == sorted(raw_frames(ran.raw)[name][key])


def test_negatives_are_never_positives_of_their_user_and_window(ran: Ran) -> None:
    positives: set[tuple[int, int]] = set()
    for window in WINDOWS:
        rows = ran.result[f"ranker_{window}"].pandas()
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
    sources = {source for feature in FEATURES if feature.name in features for source in feature.sources}
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
    for window in WINDOWS:
        rows = synthetic_run.result[f"two_tower_{window}"].pandas()
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
    for window in WINDOWS:
        sources = collections.Counter(ran.result[f"ranker_{window}"].pandas()["source"])
        assert {f"sources/{window}/{source.decode()}": n for source, n in sources.items()}.items() <= counts.items()
        assert sources[b"positive"] == counts[f"exposures/{window}/positive"] == counts[f"written/two_tower/{window}"]
        assert sources[b"exposed"] == counts[f"exposures/{window}/exposed"]
    assert json.loads((ran.root / "artifacts/manifest.json").read_text()) == ran.result.manifest


def test_every_exposure_is_positive_exposed_or_contradicted(
    synthetic_run: Ran, expected: list[oracle.Exposure]
) -> None:
    counts = synthetic_run.result.manifest["counts"]
    found = {name: n for name, n in counts.items() if name.startswith("exposures/")}
    kinds = {1: "positive", 0: "exposed", None: "contradicted"}
    assert found == collections.Counter(f"exposures/{e.window}/{kinds[e.label]}" for e in expected)
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
    assert sum("Counting the views" in text for text in movielens_run.said) == 1
    assert len(warnings) == len(set(warnings))


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
    assert set(domains) == {f.name for f in FEATURES if f.is_categorical} & set(spec)
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
    top = {"processed_data", "artifacts", "rejected"} | ({"raw"} if ran.raw.parent == ran.root else set())
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
    with pytest.raises(InputError, match=r"holds Parquet files; read them with pandas\(\)"):
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


def lines_of(ran: Ran, vocabulary: str) -> list[str]:
    return (ran.root / f"artifacts/vocabularies/{vocabulary}.txt").read_text().split("\n")[:-1]


@pytest.mark.parametrize("feature", [f for f in FEATURES if f.vocabulary], ids=lambda feature: feature.name)
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
    assert files == {vocabulary.name for vocabulary in VOCABULARIES}


def test_vocabularies_hold_what_the_training_window_has_most_frequent_first(ran: Ran) -> None:
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


@pytest.mark.parametrize("feature", [f for f in FEATURES if isinstance(f.op, ZScore)], ids=lambda feature: feature.name)
def test_normalizers_are_those_of_the_graph_and_of_the_training_window(ran: Ran, feature: Feature) -> None:
    (source,) = feature.sources
    found = json.loads((ran.root / f"artifacts/normalizers/{feature.name}.json").read_text())
    assert (found["column"], found["log1p"]) == (source, feature.op.log1p)
    table = "users" if RAW[source].table == "users" else "videos"
    values = training_rows(ran)[table].get(source, pd.Series(dtype=object)).dropna().astype(np.float64)
    scaled = np.log1p(values) if feature.op.log1p else values
    assert found["mean"] == pytest.approx(scaled.mean() if len(values) else 0, rel=1e-5)
    assert found["std"] == pytest.approx(scaled.std(ddof=0) if len(values) else 0, rel=1e-5)
    probe = np.array([0, 1, 7, 40, 1000, 10**6])
    wanted = (np.log1p(probe) if feature.op.log1p else probe) - found["mean"]
    wanted = wanted / found["std"] if found["std"] else 0 * wanted
    output = engineered(ran.root, {source: pd.Series([*probe, None], dtype=object)})[feature.name].numpy()
    np.testing.assert_allclose(output, [*wanted, 0.0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("feature", [f for f in FEATURES if isinstance(f.op, Bucket)], ids=lambda feature: feature.name)
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


def test_popularity_levels_are_those_of_the_graph_and_of_the_training_window(ran: Ran) -> None:
    (feature,) = [feature for feature in FEATURES if isinstance(feature.op, Level)]
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
    sources = {source for feature in switched_on(Settings()) for source in feature.sources}
    assert {feature.name for feature in output.raw_metadata.schema.feature} == sources
    assert set(output.raw_feature_spec()) == sources
    assert all(isinstance(spec, tf.io.VarLenFeature) for spec in output.raw_feature_spec().values())


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
