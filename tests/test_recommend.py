"""Exports by version, and the four stages on them, of tables with integers and with strings as ids."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import tensorflow_transform as tft
from loaded_graphs import recommender_of
from odd_ids import text
from workspace import files_seen

from recsys_tft import Recommender, cli, ids, libraries, vocabularies
from recsys_tft.commands import recommend_options
from recsys_tft.errors import InputError
from recsys_tft.exporting import export, stored_entities
from recsys_tft.ranking import trained_ranker
from recsys_tft.recommending import entity_store
from recsys_tft.recommending import recommender as recommender_module
from recsys_tft.recommending.recommender import Request
from recsys_tft.recommending.request import Wanted
from recsys_tft.serving import approximate_index, saved_graphs, serving_models
from recsys_tft.serving.serving_folders import NAMES, STORE, latest


@pytest.fixture(scope="module")
def recommender(served: pathlib.Path) -> Recommender:
    return recommender_of(served)


@dataclasses.dataclass(frozen=True)
class Home:
    """An export of tables with ids of some kind.

    Attributes:
        root: the folder of the run.
        recommender: of the export.
        has_texts: whether ids are strings.
    """

    root: pathlib.Path
    recommender: Recommender
    has_texts: bool

    def id(self, number: int) -> int | str:
        """The id that stands where in the tables with integers the number does."""
        return text(number) if self.has_texts else number


@pytest.fixture(scope="module", params=["served", "served_texts"])
def home(request: pytest.FixtureRequest) -> Home:
    root = request.getfixturevalue(request.param)
    return Home(root, recommender_of(root), request.param == "served_texts")


def tables(served: pathlib.Path) -> dict[str, list[dict]]:
    return {
        name: pq.read_table(served / "raw" / f"{name}.parquet").to_pylist()
        for name in ("users", "videos", "interactions")
    }


def opened(served: pathlib.Path) -> dict:
    """By plain Python: the videos that each user has opened."""
    found: dict = {}
    for event in tables(served)["interactions"]:
        if event["interaction_type"] != "impression" or (event["watch_time"] or 0) > 0:
            found.setdefault(event["user_id"], set()).add(event["video_id"])
    return found


# --- The four stages


def test_nothing_that_the_user_has_opened_is_recommended(home: Home) -> None:
    seen = opened(home.root)
    for user in sorted(seen)[:20]:
        found = home.recommender.recommend(user, 300)
        assert found.is_known
        assert found.removed["seen"] == len(seen[user])
        assert not {item.video_id for item in found.items} & seen[user]
        assert found.candidates == 300 - len(seen[user])
        assert found.ranked == min(200, found.candidates) == len(found.items)


def test_the_stored_user_is_the_raw_one_with_the_last_watched_category(home: Home) -> None:
    raw = tables(home.root)
    categories = {video["video_id"]: video["category"] for video in raw["videos"]}
    last: dict = {}
    for event in raw["interactions"]:
        if event["interaction_type"] != "impression" or (event["watch_time"] or 0) > 0:
            video = event["video_id"]
            key = (event["interaction_time"], video.encode() if home.has_texts else video, video)
            last[event["user_id"]] = max(last.get(event["user_id"], key), key)
    for user in raw["users"]:
        row = home.recommender.store.user(user["user_id"]).to_pylist()[0]
        known = categories[last[user["user_id"]][2]] if user["user_id"] in last else user["previously_watched_category"]
        assert row["previously_watched_category"] == (known and known.encode())
        assert row["user_id"] == (user["user_id"].encode() if home.has_texts else user["user_id"])
        assert (row["country"], row["age"]) == (user["country"] and user["country"].encode(), user["age"])


def test_scores_are_those_of_the_models_and_items_in_order(home: Home) -> None:
    recommender, user, moment = home.recommender, home.id(3), 1_740_000_000_000_000
    found, again = (recommender.recommend(user, 50, time=moment) for _ in range(2))
    assert found.items == again.items
    known = recommender.request(user, moment).columns(recommender.store.user(user))
    scores = recommender.rank(known, recommender.candidates([item.video_id for item in found.items], moment))
    np.testing.assert_allclose([item.rank_score for item in found.items], scores, atol=1e-6)
    unmoved = [item.score for item in found.items[10:]]
    assert unmoved == sorted(unmoved, reverse=True)


@pytest.mark.parametrize("is_nobody", [False, True])
def test_an_unknown_user_is_a_cold_start_from_what_is_given(home: Home, is_nobody: bool) -> None:
    recommender, user = home.recommender, None if is_nobody else home.id(10**12)
    young, old = (recommender.recommend(user, 20, age=age, country="DE", user_language="de") for age in (16, 70))
    assert not young.is_known
    assert len(young.items) == 20
    assert [item.rank_score for item in young.items] != [item.rank_score for item in old.items]
    assert recommender.recommend(user, 5).items


def test_what_is_given_takes_the_place_of_what_is_stored(home: Home) -> None:
    recommender, user, moment = home.recommender, home.id(3), 1_740_000_000_000_000
    stored = recommender.store.user(user)
    (age,), (history,) = stored["age"].to_pylist(), stored["history_video_ids"].to_pylist()
    plain = recommender.recommend(user, 5, moment).items
    assert recommender.recommend(user, 5, moment, age=age, history_video_ids=history).items == plain
    assert recommender.recommend(user, 5, moment, history_video_ids=[home.id(8), home.id(9)]).items != plain


def test_categories_of_a_history_that_is_given_are_those_of_its_videos(home: Home) -> None:
    categories = {video["video_id"]: video["category"] for video in tables(home.root)["videos"]}
    given = [home.id(number) for number in (11, 10, 10**9, 16)]
    known = home.recommender.known(home.recommender.request(home.id(3), 0, history_video_ids=given))
    expected = [categories.get(video) and categories[video].encode() for video in given]
    assert known["history_categories"].to_pylist() == [expected]


def test_several_requests_are_answered_together_as_each_is_alone(home: Home) -> None:
    random, recommender = np.random.default_rng(0), home.recommender
    wanted = []
    for number in range(24):
        user = [home.id(int(random.integers(150))), home.id(10**12), None][number % 3]
        given = [{}, {"age": 30, "country": "DE"}, {"history_video_ids": [home.id(8)] * (number % 5)}][number % 4 % 3]
        wanted.append(Wanted(recommender.request(user, 1_740_000_000_000_000, **given), 1 + number))
    alone = [recommender.recommend_each([each])[0] for each in wanted]
    for size in (2, 7, 24):
        for start in range(0, 24, size):
            found = recommender.recommend_each(wanted[start : start + size])
            without_seconds = [dataclasses.replace(each, seconds={}) for each in found]
            assert without_seconds == [dataclasses.replace(each, seconds={}) for each in alone[start : start + size]]


@pytest.mark.usefixtures("loaded_once")
def test_options_of_a_config_take_the_place_of_the_runs(home: Home, tmp_path: pathlib.Path) -> None:
    lists = {"categories": ["music"], "videos": [home.id(number) for number in range(150)]}
    filters = {"seen": False, "blocked": lists}
    (tmp_path / "c.yaml").write_text(
        json.dumps({"recommender": {"candidates": 40, "ranked": 15, "filters": filters}}, ensure_ascii=False)
    )
    served = home.root
    found = Recommender(str(served), str(tmp_path / "c.yaml")).recommend(home.id(3), 100)
    assert not {item.video_id for item in found.items} & set(lists["videos"])
    assert (found.candidates, found.ranked, found.removed["seen"]) == (40, len(found.items), 0)
    assert found.ranked <= 15
    assert all(item.category != "music" for item in found.items)
    (tmp_path / "c.yaml").write_text("recommender: {filters: {unavailable: {DE: {categorie: [a]}}}}")
    with pytest.raises(InputError, match=r"unknown setting.*categorie'. Did you mean 'categories'"):
        Recommender(str(served), str(tmp_path / "c.yaml"))


def test_explanations_sum_to_the_score_before_its_calibration_but_for_a_constant(home: Home) -> None:
    recommender, user, moment = home.recommender, home.id(3), 1_740_000_000_000_000
    found = recommender.recommend(user, 8, moment)
    reasons = recommender.explain(user, [item.video_id for item in found.items], moment)
    scores = np.array([item.rank_score for item in found.items], np.float64)
    calibrated = trained_ranker.load(str(home.root)).calibration
    logits = np.log(scores / (1 - scores))
    segment = np.searchsorted(calibrated.logits, logits, side="right")
    knot, slope = np.maximum(segment - 1, 0), calibrated.slopes[segment]
    raw = calibrated.scores[knot] + (logits - calibrated.logits[knot]) / slope
    rest = raw - [sum(value for _, value in row) for row in reasons]
    rounding = np.finfo(np.float32).eps / (scores * (1 - scores)) / slope  # of a float32 score, in the one made of it
    assert (np.abs(rest - rest[0]) <= rounding + rounding[0] + 1e-6).all()
    for row in reasons:
        weights = [abs(value) for _, value in row]
        assert weights == sorted(weights, reverse=True)
        assert len({columns for columns, _ in row}) == len(row)


@pytest.mark.usefixtures("loaded_once")
def test_an_approximate_index_finds_nearly_the_same(home: Home) -> None:
    moment, seen = 1_740_000_000_000_000, opened(home.root)
    approximate = Recommender(str(home.root), index="hnsw")
    same = []
    for user in map(home.id, range(1, 11)):
        exact, found = (r.recommend(user, 30, moment) for r in (home.recommender, approximate))
        same += [item.video_id in {other.video_id for other in exact.items} for item in found.items]
        assert not {item.video_id for item in found.items} & seen.get(user, set())
    assert np.mean(same) > 0.9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"age": "old"}, "age is 'old'; expected int64"),
        ({"contry": "DE"}, "'contry' is not known of a user or a moment. Did you mean 'country'"),
    ],
)
def test_wrong_columns_are_errors(recommender: Recommender, given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recommender.recommend(3, 5, **given)


def test_k_below_1_is_an_error(recommender: Recommender) -> None:
    with pytest.raises(InputError, match="k is 0"):
        recommender.recommend(3, 0)


def test_the_files_of_the_store_hold_ids_as_they_were_given(home: Home) -> None:
    folder, raw = home.root / "serving/store/1", tables(home.root)
    stored = {name: feather.read_table(folder / f"{name}.arrow") for name in ("users", "videos", "seen")}

    def given(values: list) -> list:
        return [value.decode() for value in values] if home.has_texts else values

    for name, key in (("users", "user_id"), ("videos", "video_id")):
        assert sorted(given(stored[name][key].to_pylist())) == sorted(row[key] for row in raw[name])
    rows = stored["seen"].select(["user_id", "video_ids"]).to_pylist()
    found = {given([row["user_id"]])[0]: set(given(row["video_ids"])) for row in rows}
    assert found == opened(home.root)


def test_an_id_that_shares_its_code_with_another_finds_no_row(
    served_texts: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = entity_store.EntityStore(served_texts / "serving/store/1")
    (code,) = ids.codes_of(pa.array([text(3).encode()])).to_pylist()
    monkeypatch.setattr(ids, "codes_of", lambda wanted: pa.array([code] * len(wanted)))
    assert store.knows(text(3))
    assert store.user(text(3))["user_id"].to_pylist() == [text(3).encode()]
    for other in ("another", text(3).lower(), "", None):
        assert not store.knows(other)
        assert not len(store.user(other))


def test_explanations_of_an_unknown_video_are_one_sentence(home: Home) -> None:
    with pytest.raises(InputError, match="The export has no video "):
        home.recommender.explain(home.id(3), [home.id(10**9)])


# --- Approximate indexes


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_index_finds_the_best_but_what_is_excluded_and_survives_a_file(
    kind: approximate_index.Kind, tmp_path: pathlib.Path
) -> None:
    random = np.random.default_rng(0)
    vectors, queries = (random.normal(size=(size, 8)).astype(np.float32) for size in (3000, 20))
    ids = random.permutation(10_000)[:3000].astype(np.int64)
    approximate_index.build(ids, vectors, kind).write(tmp_path / f"{kind}.faiss")
    index = approximate_index.read(tmp_path / f"{kind}.faiss")
    assert len(index) == 3000
    assert approximate_index.recall(index, ids, vectors, queries, 10) > 0.7
    best, scores = index.best(queries, 10, np.zeros(0, np.int64))
    expected = vectors[[ids.tolist().index(i) for i in best[0]]] @ queries[0]
    np.testing.assert_allclose(scores[0], expected, rtol=0, atol=1e-4)  # of 8 products, which add up to less than 50
    assert (np.diff(scores, axis=1) <= 0).all()
    rest, _ = index.best(queries[:1], 10, best[0, :4])
    assert rest[0, :6].tolist() == best[0, 4:].tolist()


def test_faiss_has_no_place_for_negative_ids() -> None:
    with pytest.raises(InputError, match="negative video_id -4"):
        approximate_index.build(np.array([-4]), np.ones((1, 8), np.float32), "hnsw")


# --- Exports


@pytest.fixture
def copy(served: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    shutil.copytree(served, tmp_path / "out", symlinks=True)
    return tmp_path / "out"


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_seen(folder).items()}


@pytest.mark.usefixtures("loaded_once")
def test_a_second_export_is_a_new_version_says_so_and_leaves_the_first_alone(
    copy: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(copy / "serving")
    assert cli.main(["export", "--output-dir", str(copy), "--index", "ivf"]) == 0
    printed = capsys.readouterr().out
    assert "Version 2" in printed
    assert all(f"\n{name} " in printed for name in (*NAMES, STORE))
    assert "The approximate index finds" in printed
    after = files(copy / "serving")
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after} == {*NAMES, STORE}
    assert all(path.name in ("1", "2") for name in (*NAMES, STORE) for path in (copy / "serving" / name).iterdir())
    assert Recommender(str(copy)).version == 2
    assert Recommender(str(copy), version=1).version == 1
    with pytest.raises(InputError, match="looked for version 3, found versions 1, 2"):
        Recommender(str(copy), version=3)


def test_an_export_that_fails_leaves_nothing(copy: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, there = files(copy / "serving"), set((copy / "serving").iterdir())

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(stored_entities, "write", fail)
    monkeypatch.setattr(serving_models.ServingModel, "save", lambda self, folder: pathlib.Path(folder).mkdir())
    with pytest.raises(OSError, match="no space left"):
        export.export(str(copy))
    assert files(copy / "serving") == before
    assert set((copy / "serving").iterdir()) == there


def test_a_version_without_its_store_is_none(copy: pathlib.Path) -> None:
    shutil.copytree(copy / "serving/ranker/1", copy / "serving/ranker/2")
    assert latest(copy / "serving") == 1
    (copy / "serving/store").unlink()
    with pytest.raises(InputError, match="looked for an exported version, found none; run recsys-tft export first"):
        latest(copy / "serving")


def test_what_is_missing_or_of_another_run_is_named(copy: pathlib.Path) -> None:
    shutil.move(copy / "raw", copy / "tables")
    with pytest.raises(InputError, match="has no raw tables; name their folder with --data-dir"):
        export.export(str(copy))
    columns = copy / "models/ranker/columns.json"
    described = json.loads(columns.read_text())
    columns.write_text(json.dumps({**described, "transform_graph": "other"}))
    with pytest.raises(InputError, match="ranker: trained on another run"):
        export.export(str(copy), str(copy / "tables"))
    (copy / "models/ranker").unlink()
    with pytest.raises(InputError, match="train it first"):
        export.export(str(copy), str(copy / "tables"))


# --- Commands


@pytest.mark.usefixtures("loaded_once")
def test_the_command_prints_a_table_with_titles_and_reasons(
    served: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["recommend", "--output-dir", str(served), "--user-id", "3", "-k", "4", "--explain"]
    assert cli.main([*command, "--time", "2025-02-20T12:00"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == [
        "video_id",
        "title",
        "category",
        "retrieval",
        "ranker",
        "score",
        "rank",
        "moved",
        "by",
        "because",
        "of",
    ]
    assert " ranked\n" in printed
    assert cli.main([*command, "--time", "2025-02-20T12:00"]) == 0
    assert capsys.readouterr().out == printed
    assert cli.main(command) == 0
    assert " ranked (retrieval " in capsys.readouterr().out


def test_json_is_for_programs_and_says_that_the_user_is_unknown(served: pathlib.Path) -> None:
    command = [
        sys.executable,
        "-m",
        "recsys_tft",
        "recommend",
        "--output-dir",
        str(served),
        "--country",
        "DE",
        "--age",
        "30",
    ]
    done = subprocess.run([*command, "--json", "--explain", "-k", "3"], capture_output=True, text=True, check=True)
    assert not done.stderr
    found = json.loads(done.stdout)
    assert found["is_known"] is False
    assert found["version"] == 1
    assert len(found["items"]) == 3
    assert set(found["items"][0]) >= {
        "video_id",
        "title",
        "category",
        "retrieval_score",
        "rank_score",
        "rules",
        "because_of",
    }


@pytest.fixture(scope="module")
def texts(served_texts: pathlib.Path) -> Recommender:
    return recommender_of(served_texts)


# Of them 1 is "001" beside "1" of 7, and 6 ends with a NUL, which no argument may hold.
@pytest.mark.parametrize("number", [1, 3, 4, 5, 7, 8, 9, 10**9])
def test_the_command_takes_and_prints_ids_as_they_are(
    texts: Recommender,
    served_texts: pathlib.Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(recommender_module, "Recommender", lambda *_: texts)  # which has loaded its models
    user, history = text(number), [text(other) for other in (4, 14, 5, 11, 8)]
    command = ["recommend", "--output-dir", str(served_texts), "--user-id", user, "--history-video-ids", *history]
    assert cli.main([*command, "-k", "60", "--json", "--time", "2025-02-20T12:00"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["is_known"] == (number < 100)
    given = {"history_video_ids": history}
    expected = texts.recommend(user, 60, 1_740_052_800_000_000, **given).items
    assert [item["video_id"] for item in found["items"]] == [item.video_id for item in expected]
    assert cli.main([*command, "-k", "60", "--time", "2025-02-20T12:00"]) == 0
    printed = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in printed)
    for shown in (r"\n/🎬", r"\x00", r"[b]", r"\x1b[31m"):
        assert shown in printed


def test_the_last_of_an_option_for_ids_is_where_the_next_option_begins() -> None:
    shielded = recommend_options.shielded
    given = ["recommend", "--history-video-ids", "-a b", "c", "-d", "-k", "5", "--user-id", "-k5x", "--json"]
    expected = [argument.replace("-a b", "\0-a b") if argument == "-a b" else argument for argument in given]
    expected[4], expected[8] = "\0-d", "\0-k5x"
    assert shielded(given) == expected
    assert shielded(["run", *given[1:]]) == ["run", *given[1:]]
    assert shielded(["recommend", "--user-id", "-5", "-d"]) == ["recommend", "--user-id", "-5", "-d"]


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ("blocked: {videos: [7]}", "recommender.filters.blocked.videos holds 7; expected a string, in quotes"),
        ("unavailable: {DE: {channels: [0x1f]}}", "unavailable.DE.channels"),
    ],
)
def test_blocked_ids_of_another_kind_are_named_before_anything_is_loaded(
    served_texts: pathlib.Path,
    filters: str,
    told: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "c.yaml").write_text(f"recommender: {{filters: {{{filters}}}}}")
    monkeypatch.setattr(libraries, "load", lambda *_: pytest.fail("loaded"))
    assert cli.main(["recommend", "--output-dir", str(served_texts), "--config", str(tmp_path / "c.yaml")]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-k", "0"], 2, "-k is 0; it needs at least 1."),
        (["--time", "noon"], 2, "--time is 'noon'; expected a time such as 2025-03-01T12:00."),
        (["--version", "9"], 1, "looked for version 9, found versions 1"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    served: pathlib.Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["recommend", "--output-dir", str(served), *arguments]) == code
    assert message in capsys.readouterr().err


def test_an_output_in_a_folder_with_brackets_is_served_and_read(served: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """TensorFlow looks for a model's variables by a pattern, and tf.Transform for a vocabulary."""
    out = tmp_path / "out [v1]" / "*?"
    shutil.copytree(served, out, symlinks=True)
    assert Recommender(str(out)).recommend(3, 2, time=0).items == recommender_of(served).recommend(3, 2, time=0).items
    graph = tft.TFTransformOutput(str(out / "artifacts" / "transform_graph"))
    assert vocabularies.values_of("category", graph.transform_savedmodel_dir)
    assert saved_graphs.load_transform(str(out)).fitted()


@pytest.mark.parametrize("ids", [[23.5], [17, 23.9], (2.25,)])
def test_a_fraction_in_a_list_of_ids_is_refused(ids: list[float]) -> None:
    with pytest.raises(InputError, match=r"history_video_ids is .*; expected list"):
        Request(5, {"history_video_ids": ids}, 0)
