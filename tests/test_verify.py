"""`recsys-tft verify`: what is equal passes; what was altered is named."""

import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import odd_ids
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from conftest import Ran
from rewritten_rows import rewrite

from recsys_tft import cli
from recsys_tft.columns import KEYS, IdKind
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.raw_replay import raw_rows
from recsys_tft.tables import synthetic
from recsys_tft.verifying import raw_matches
from recsys_tft.verifying.verification import verify

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture
def copy(served: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The served output, free to be damaged, without models."""
    shutil.copytree(served, tmp_path / "out", ignore=shutil.ignore_patterns("models"))
    return tmp_path / "out"


def without_serving(folder: pathlib.Path) -> pathlib.Path:
    shutil.rmtree(folder / "serving", ignore_errors=True)
    return folder


def value(example: tf.train.Example, name: str) -> int:
    return example.features.feature[name].int64_list.value[0]


# --- Equal


def test_all_rows_of_all_folders_agree_with_all_graphs(served: pathlib.Path) -> None:
    found = verify(str(served), rows=None)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert set(found.lines) == set(DEFAULT.by_name)
    assert all(line.rows and not line.unequal for line in found.lines.values())
    by = {graph for line in found.lines.values() for graph in line.graphs}
    assert by == {"transform_graph", "query_tower", "candidate_tower", "retrieval", "ranker"}
    assert found.rows["users"] == 150
    assert found.rows["videos"] == 300


def test_rows_with_ids_of_odd_characters_agree_with_all_graphs(served_texts: pathlib.Path) -> None:
    found = verify(str(served_texts), rows=500)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert {name for name, line in found.lines.items() if line.rows and not line.unequal} == set(found.lines)
    assert set(found.lines) == set(DEFAULT.by_name) - {"title_embedding"}
    by = {graph for line in found.lines.values() for graph in line.graphs}
    assert by == {"transform_graph", "query_tower", "candidate_tower", "retrieval", "ranker"}
    assert found.rows["users"] == 150


@pytest.mark.slow
def test_a_run_of_several_shards_without_an_export_is_verified(synthetic_run: Ran) -> None:
    found = verify(str(synthetic_run.root), str(synthetic_run.raw), rows=2000)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert set(found.lines) == {feature.name for feature in DEFAULT.switched_on(Settings())} - {"title_embedding"}
    assert 0 < found.rows["ranker/train"] < 2100


def test_movielens_agrees_where_many_exposures_share_an_instant(movielens_run: Ran) -> None:
    assert verify(str(movielens_run.root), str(movielens_run.raw), rows=1000).is_equal


@pytest.mark.slow
def test_the_command_prints_a_line_per_feature_and_exits_with_0(
    synthetic_run: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "--output-dir", str(synthetic_run.root), "--rows", "200"]) == 0
    printed = capsys.readouterr().out
    for name, feature in DEFAULT.by_name.items():
        assert (f"\n{name} " in printed) == (name != "title_embedding" and feature.is_on(Settings()))
    assert "All values are equal." in printed


# --- Altered


def test_an_altered_token_is_named_with_its_row_and_both_values(
    copy: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(example: tf.train.Example) -> None:
        example.features.feature["category_token"].int64_list.value[0] += 1

    folder = without_serving(copy) / "processed_data/ranker/train"
    altered = rewrite(folder, change, 11)
    assert cli.main(["verify", "--output-dir", str(copy), "--all"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    user, video, time = (value(altered, name) for name in ("user_id", "video_id", "interaction_time"))
    token = value(altered, "category_token")
    assert (
        f"DIFFERENT: category_token of user_id {user}, video_id {video}, interaction_time {time} in ranker/train: "
        f"{token} on disk, {token - 1} by transform_graph"
    ) in printed
    assert "Training and serving disagree." in printed


def with_user(rows: list[tf.train.Example], user: str) -> int:
    return next(n for n, row in enumerate(rows) if row.features.feature["user_id"].bytes_list.value[0] == user.encode())


def test_what_is_altered_of_ids_of_text_is_named_by_them(
    served_texts: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    shutil.copytree(served_texts, root, ignore=shutil.ignore_patterns("models", "serving"))
    (file, *_) = sorted((root / "processed_data/users").glob("part-*.tfrecord"))
    rows = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))]
    numbers = [number for number in range(1, 150) if number % 10 in (5, 8)]  # with a newline, and to be escaped
    known = {row.features.feature["user_id"].bytes_list.value[0].decode() for row in rows}
    altered = [odd_ids.text(number) for number in numbers if odd_ids.text(number) in known]
    one, other = (next(text for text in altered if mark in text) for mark in ("\n", "\x1b"))

    def token(example: tf.train.Example) -> None:
        example.features.feature["country_token"].int64_list.value[0] += 1

    def stranger(example: tf.train.Example) -> None:
        example.features.feature["user_id"].bytes_list.value[0] = b"nobody\r"

    folder = root / "processed_data/users"
    was = value(rewrite(folder, token, with_user(rows, one)), "country_token") - 1
    rewrite(folder, stranger, with_user(rows, other))
    assert cli.main(["verify", "--output-dir", str(root), "--all"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    shown = one.replace("\n", "\\n")
    assert f"country_token of user_id {shown} in users: {was + 1} on disk, {was} by transform_graph" in printed
    assert "row of user_id nobody\\r in users: a row on disk, no such row by the raw tables" in printed
    assert printed.count("DIFFERENT:") == 2


ALTERATIONS: list[tuple[str, str, Callable[[object], None]]] = [
    ("users", "age_z", lambda feature: feature.float_list.value.__setitem__(0, 1.25)),
    ("users", "user_id", lambda feature: feature.int64_list.value.__setitem__(0, 10**9)),
    ("two_tower/val", "interaction_time", lambda feature: feature.int64_list.value.__setitem__(0, 5)),
    ("two_tower/train", "user_id", lambda feature: feature.int64_list.value.__setitem__(0, 10**9)),
    ("ranker/test", "interaction_time_hour_sin", lambda feature: feature.float_list.value.__setitem__(0, 0.5)),
    ("ranker/val", "device_token", lambda feature: feature.int64_list.value.__setitem__(0, 77)),
    ("videos", "title_embedding", lambda feature: feature.float_list.value.__setitem__(2, 0.75)),
    ("videos", "tags_tokens", lambda feature: feature.int64_list.value.append(3)),
    ("two_tower/test", "popularity_onehot", lambda feature: feature.float_list.value.__setitem__(1, 0.5)),
    ("two_tower/test", "age_z", lambda feature: feature.float_list.value.__setitem__(0, float("nan"))),
]


def test_an_altered_row_of_any_folder_is_caught(copy: pathlib.Path) -> None:
    for row, (folder, name, change) in enumerate(ALTERATIONS):
        rewrite(
            without_serving(copy) / "processed_data" / folder,
            lambda example, name=name, change=change: change(example.features.feature[name]),
            row,
        )
    found = verify(str(copy), rows=None)
    expected = {(folder, name if name in DEFAULT.by_name else "row") for folder, name, _ in ALTERATIONS}
    assert {(difference.folder, difference.feature) for difference in found.differences} == expected


def swap_first_lines(file: pathlib.Path) -> None:
    first, second, *rest = file.read_text().splitlines()
    file.write_text("\n".join([second, first, *rest]) + "\n")


def test_an_altered_transform_graph_is_caught(copy: pathlib.Path) -> None:
    (vocabulary,) = without_serving(copy).glob("artifacts/transform_graph/transform_fn/assets/user_id*")
    swap_first_lines(vocabulary)
    found = verify(str(copy), rows=300)
    assert {difference.feature for difference in found.differences} == {"user_id_token"}
    assert {difference.graph for difference in found.differences} == {"transform_graph"}


def test_an_altered_serving_model_is_caught(copy: pathlib.Path) -> None:
    swap_first_lines(copy / "serving/query_tower/1/assets/user_id")
    found = verify(str(copy), rows=300)
    assert {difference.graph for difference in found.differences} == {"query_tower/1"}
    assert found.lines["user_id_token"].unequal
    assert not found.lines["country_token"].unequal


def test_an_export_of_another_graph_is_an_error(copy: pathlib.Path) -> None:
    (vocabulary,) = copy.glob("artifacts/transform_graph/transform_fn/assets/user_id*")
    swap_first_lines(vocabulary)
    with pytest.raises(InputError, match="version 1 is of another run"):
        verify(str(copy))


def test_a_row_too_few_is_an_error(copy: pathlib.Path) -> None:
    (file, *_) = sorted((copy / "processed_data/users").glob("part-*"))
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records[1:]:
            writer.write(record)
    with pytest.raises(InputError, match="users has 149 rows, but the manifest says 150"):
        verify(str(copy))


def test_a_damaged_file_is_named(copy: pathlib.Path) -> None:
    (file, *_) = sorted((copy / "processed_data/users").glob("part-*"))
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"part-00000.*the rows cannot be read"):
        verify(str(copy))


def test_raw_tables_of_an_earlier_run_are_not_taken_for_those_of_this_one(copy: pathlib.Path) -> None:
    videos = copy / "raw" / "videos.parquet"
    pq.write_table(pq.read_table(videos).slice(1), videos)
    with pytest.raises(InputError, match="raw: not the tables of the run; name their folder with --data-d"):
        verify(str(copy))


READ_AS_OTHERS = (
    (IdKind.INTEGER, IdKind.STRING), (IdKind.INTEGER, IdKind.UUID), (IdKind.INTEGER, IdKind.UINT64),
    (IdKind.STRING, IdKind.UUID), (IdKind.UUID, IdKind.INTEGER), (IdKind.UUID, IdKind.STRING),
    (IdKind.UUID, IdKind.UINT64), (IdKind.UINT64, IdKind.STRING), (IdKind.UINT64, IdKind.UUID),
)  # fmt: skip


@pytest.mark.parametrize(("own", "other"), READ_AS_OTHERS, ids=[f"{own}-{other}" for own, other in READ_AS_OTHERS])
def test_tables_of_another_kind_of_ids_are_one_sentence(tmp_path: pathlib.Path, own: IdKind, other: IdKind) -> None:
    synthetic.write_tables(tmp_path, users=20, videos=10, interactions=100, ids=other)
    chosen = settings.parse({"ids": dict.fromkeys(KEYS.values(), own)}, "the test")
    for find in (raw_rows.find, raw_rows.read):
        with pytest.raises(InputError) as found:
            find(str(tmp_path), chosen)
        assert str(found.value) == (
            f"{tmp_path}: the user_ids there are of the kind {other}, but those of the run are of the kind {own}; "
            "name the tables of the run with --data-dir."
        )


def test_what_is_wrong_besides_with_tables_of_the_same_ids_is_told(tmp_path: pathlib.Path) -> None:
    synthetic.write_tables(tmp_path, users=20, videos=10, interactions=100, ids=IdKind.STRING)
    users = pq.read_table(tmp_path / "users.parquet")
    pq.write_table(users.rename_columns({"user_id": "who"}), tmp_path / "users.parquet")
    chosen = settings.parse({"ids": dict.fromkeys(KEYS.values(), IdKind.STRING)}, "the test")
    with pytest.raises(InputError, match="the table users has no column 'user_id'"):
        raw_rows.find(str(tmp_path), chosen)


def test_tables_of_none_of_the_users_are_one_sentence(
    served_texts: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.write_tables(tmp_path, users=20, videos=10, interactions=100, ids=IdKind.UINT64)
    command = ["verify", "--output-dir", str(served_texts), "--data-dir", str(tmp_path)]
    assert cli.main(command) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path}: these tables have no user of the run, such as " in " ".join(told.split())
    assert "name the tables of the run with --data-dir." in " ".join(told.split())
    assert "Traceback" not in told


def test_missing_raw_tables_and_missing_runs_are_named(copy: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.rmtree(copy / "raw")
    with pytest.raises(InputError, match="has no raw tables; name their folder with --data-dir"):
        verify(str(copy))
    with pytest.raises(InputError, match="no run there; run the main job first"):
        verify(str(tmp_path / "nothing"))


# --- Finding raw rows


def test_rows_are_matched_by_key_and_unknown_keys_are_missing() -> None:
    raw = pa.table({"user_id": [2, 4, 9], "age": [20, 40, 90]})
    found = raw_matches.by_key(raw, "user_id", np.array([9, 3, 2, 9]))
    assert [raw["age"][2 * (a == 9)].as_py() for a in (2, 9)] == [20, 90]
    assert found.raw["user_id"].to_pylist() == [2, 9]
    assert found.owner.tolist() == [0, 2, 3]
    assert found.row.tolist() == [1, 0, 1]
    assert found.missing.tolist() == [1]


def test_exposures_of_one_instant_are_all_candidates(tmp_path: pathlib.Path) -> None:
    time = pa.array([100, 100, 5000], pa.timestamp("s", "UTC"))
    tables = {
        "users": {"user_id": [1]},
        "videos": {"video_id": [5, 6, 7], "category": ["a", "b", "c"]},
        "channels": {"channel_id": pa.array([], pa.int64())},
        "interactions": {
            "user_id": [1, 1, 1], "video_id": [5, 6, 7], "interaction_time": time,
            "interaction_type": ["click", "click", "click"], "device": ["tv", "phone", "tv"],
        },
    }  # fmt: skip
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    chosen = settings.Settings()
    raw = raw_rows.read(str(tmp_path), chosen)
    moments = np.array([5000, 100, 101]) * 1_000_000
    users = np.array([1, 1, 1])
    labelled = raw_matches.labelled(raw, users, (4_000_000_000, None), chosen)
    found = raw_matches.by_exposure(raw, labelled, users, moments, chosen)
    devices = found.raw["device"].to_pylist()
    pairs = [(owner, devices[row]) for owner, row in zip(found.owner.tolist(), found.row.tolist(), strict=True)]
    assert sorted(pairs) == [(0, b"tv"), (1, b"phone"), (1, b"tv")]
    assert found.missing.tolist() == [2]
    (row,) = found.row[found.owner == 0]
    assert found.raw["previously_watched_category"][int(row)].as_py() == b"b"  # of the last one before, the larger id


@pytest.mark.slow
def test_a_graph_that_is_loaded_first_knows_the_ops_of_texts(synthetic_run: Ran) -> None:
    graph = synthetic_run.root / "artifacts/transform_graph/transform_fn"
    code = (
        "import sys; from recsys_tft.serving import saved_graphs; "
        "saved_graphs.load_transform(sys.argv[1]); sys.exit('tensorflow_text' not in sys.modules)"
    )
    assert graph.is_dir()
    assert subprocess.run([sys.executable, "-c", code, str(synthetic_run.root)], check=False).returncode == 0
