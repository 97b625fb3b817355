"""Training, serving and verifying a run and its periods as one data set, as docs/daily.md says."""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import shlex
import shutil
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, once

from recsys_tft import Recommender, cli
from recsys_tft.errors import InputError
from recsys_tft.exporting import export
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.ranking import ranker_rows, ranker_training, trained_ranker
from recsys_tft.retrieval import growth, two_tower, two_tower_training, warm_start
from recsys_tft.retrieval.two_tower_fit import Fit
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows
from recsys_tft.run_layout import run_folders
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.training import timeline
from recsys_tft.training.model_folders import ModelFolder, settings_for
from recsys_tft.training.timeline import NEW, OLD
from recsys_tft.verifying import verification

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "daily.md").read_text()
A_DAY = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1]
DAYS = [f"data/2025-03-0{number}" for number in (1, 2, 3, 4)]
LAST = "2025-03-04"
NEW_VIDEO, NEW_USER = -7, 801  # before all others in the order of ids
QUICK = "two_tower: {epochs: 2}\nranker: {iterations: 8, shap_rows: 20}\n"
# The splits after three refreshes, by the folders that they are read from.
OF_RUN = "processed_data/{}/{}"
PARTS = {
    "train": [*(OF_RUN.format("{}", split) for split in SPLITS), "periods/2025-03-02/processed_data/{}/train"],
    "val": ["periods/2025-03-03/processed_data/{}/train"],
    "test": [f"periods/{LAST}/processed_data/{{}}/train"],
}


def add_to_last_day(folder: pathlib.Path) -> None:
    """A video and a user that come with the last day, and are seen on it."""
    day = folder / DAYS[-1]
    for name, key in (("videos", NEW_VIDEO), ("users", NEW_USER)):
        one = pq.read_table(folder / "raw" / f"{name}.parquet").slice(0, 1)
        place = one.column_names.index(f"{name[:-1]}_id")
        pq.write_table(one.set_column(place, one.column_names[place], pa.array([key])), day / f"{name}.parquet")
    events = pq.read_table(day / "interactions.parquet")
    users = [*events["user_id"].unique().to_pylist()[:5], NEW_USER]
    rows = events.take(pa.array([0] * len(users)))
    for name, values in (("user_id", users), ("video_id", [NEW_VIDEO] * len(users))):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    pq.write_table(pa.concat_tables([events, rows]), day / "interactions.parquet")


@pytest.fixture(scope="session")
def trained(first_days: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run and two periods, on which both models are trained; and a day with a new video and a new user."""

    def make(folder: pathlib.Path) -> pathlib.Path:
        shutil.copytree(first_days, folder, symlinks=True, dirs_exist_ok=True)
        add_to_last_day(folder)
        (folder / "quick.yaml").write_text(QUICK)
        for train in (two_tower_training.train, ranker_training.train):
            train(str(folder / "out"), str(folder / "quick.yaml"))
        return folder

    return once(tmp_path_factory, "trained-periods", make)


@pytest.fixture(scope="session")
def daily(trained: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """The same after the day that the page describes; and what its commands printed."""

    def make(folder: pathlib.Path) -> tuple[pathlib.Path, str]:
        shutil.copytree(trained, folder, symlinks=True, dirs_exist_ok=True)
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as told:
            patch.chdir(folder)
            for line in A_DAY.replace("\\\n", "").splitlines():
                assert cli.main(shlex.split(line)[1:]) == 0, line
        return folder, told.getvalue()

    return once(tmp_path_factory, "daily", make)


@pytest.fixture
def out(daily: tuple[pathlib.Path, str]) -> pathlib.Path:
    return daily[0] / "out"


@pytest.fixture
def behind(daily: tuple[pathlib.Path, str], trained: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder after the day, but with the models of the day before."""
    shutil.copytree(daily[0], tmp_path / "behind", symlinks=True)
    shutil.rmtree(tmp_path / "behind/out/models")
    shutil.copytree(trained / "out/models", tmp_path / "behind/out/models", symlinks=True)
    return tmp_path / "behind"


@contextlib.contextmanager
def rows_of(out: pathlib.Path, *fitted: str) -> Iterator[TwoTowerRows]:
    with timeline.held(str(out)) as splits:
        yield TwoTowerRows(splits.since(fitted), *two_tower.features_for(settings_for(str(out), None, None)))


def on_disk(out: pathlib.Path, data_set: str, split: str) -> pd.DataFrame:
    """The rows of a split, read by pandas."""
    parts = [DataFolder(str(out / part.format(data_set))).pandas() for part in PARTS[split]]
    return pd.concat(parts, ignore_index=True)


# --- Reading


@pytest.mark.slow
def test_a_training_reads_the_rows_of_all_splits(out: pathlib.Path) -> None:
    newest = DataFolder(str(out / f"periods/{LAST}/processed_data/videos")).pandas()
    with rows_of(out) as rows:
        assert rows.candidates == len(newest) == 41
        np.testing.assert_array_equal(rows.videos["video_id_token"], newest["video_id_token"])
        for split in SPLITS:
            wanted, found = on_disk(out, "two_tower", split), rows.keys[split]
            for name in ("user_id", "interaction_time"):
                np.testing.assert_array_equal(found[name], wanted[name])
            np.testing.assert_array_equal(rows.video_ids[found["candidate_row"]], wanted["video_id"])
            tokens = newest["video_id_token"].to_numpy()[found["candidate_row"]]
            same = tokens == wanted["video_id_token"]
            assert same[wanted["video_id_token"] > 1].all()  # what was unknown then may have a token by now
        wanted = on_disk(out, "two_tower", "train")
        places = {video: row for row, video in enumerate(newest["video_id"])}
        assert (wanted["candidate_row"] != wanted["video_id"].map(places)).any()  # on disk they are others
        drawn = sorted(zip(wanted["video_id"].map(places), wanted["weight"], strict=True))
        for held in (10**6, 20):  # all in memory, and not
            batches = list(rows.shuffled(held).batches(1, 0))
            pairs = [(int(batch["candidate_row"][0]), float(batch["weight"][0])) for batch in batches]
            np.testing.assert_allclose(sorted(pairs), drawn)
        rows_of_ranker = {w: ranker_rows.read(rows.timeline, w, (), ()) for w in SPLITS}
    for split, found in rows_of_ranker.items():
        wanted = on_disk(out, "ranker", split).sort_values(["user_id", "interaction_time", "video_id"])
        for name in ranker_rows.KEYS:
            np.testing.assert_array_equal(found.keys[name], wanted[name])


def test_rows_go_by_the_ids_of_videos_of_any_kind(of_any_ids: Ran) -> None:
    one = timeline.single_run(str(of_any_ids.root))
    features = two_tower.features_for(settings_for(str(of_any_ids.root), None, None))
    usual, by_id = (TwoTowerRows(each, *features) for each in (one, dataclasses.replace(one, period="a day")))
    for split in SPLITS:
        np.testing.assert_array_equal(by_id.keys[split]["candidate_row"], usual.keys[split]["candidate_row"])
    batches = [list(rows.shuffled(10**6).batches(64, 0)) for rows in (usual, by_id)]
    for one, other in zip(*batches, strict=True):
        np.testing.assert_array_equal(one["candidate_row"], other["candidate_row"])


def test_a_split_without_positives_goes_with_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"run": {"train": 9, "val": 2}, "a": {"train": 3}, "b": {}, "c": {"train": 1}}
    manifests = {
        name: {"counts": {f"written/two_tower/{split}": rows for split, rows in of.items()}}
        for name, of in counts.items()
    }
    monkeypatch.setattr(run_folders, "manifest", manifests.__getitem__)

    def names(*periods: str) -> list[list[str]]:
        found = timeline._joined("run", {period: period for period in periods})
        return [found.names(split) for split in SPLITS]

    assert names("a") == [["run.train"], ["run.val", "run.test"], ["a"]]
    assert names("a", "b") == [["run.train"], ["run.val", "run.test"], ["a", "b"]]
    assert names("a", "b", "c") == [["run.train", "run.val", "run.test"], ["a", "b"], ["c"]]
    counts["run"]["val"] = 0
    manifests["run"]["counts"]["written/two_tower/val"] = 0
    assert names("a") == [["run.train", "run.val", "run.test"], ["a"], []]
    assert names() == [["run.train"], ["run.val"], ["run.test"]]


@pytest.mark.slow
def test_older_rows_are_replayed_beside_all_new_ones(out: pathlib.Path) -> None:
    with rows_of(out, "run.train", "run.val", "run.test") as rows:
        assert rows.timeline.names(NEW) == ["2025-03-02"]
        fresh = rows.fitting(NEW, after=(OLD,), replay=0.5)
        new, old = (sorted(rows.keys[w]["candidate_row"].tolist()) for w in (NEW, OLD))
        batches = [batch["candidate_row"].numpy() for batch in fresh.shuffled(10**6).batches(2, 0)]
        assert sorted(int(rows[0]) for rows in batches) == new
        assert {int(rows[1]) for rows in batches} <= set(old)
        assert fresh.examples == 2 * len(new)
        assert fresh.counts.sum() == pytest.approx(fresh.examples)
        assert (fresh.counts[np.unique(old)] > 0).all()  # each may be among the negatives of a batch
        every = rows.fitting("train")
        for name, counts in fresh.trained.query_counts.items():
            np.testing.assert_array_equal(counts, every.query_counts[name])
        np.testing.assert_array_equal(fresh.trained.counts, every.counts)


# --- Going on


@pytest.mark.slow
def test_a_model_that_goes_on_begins_with_what_it_was(behind: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out, said = behind / "out", []
    model, folder = two_tower.load(str(out)), ModelFolder(str(out), two_tower.FOLDER)
    chosen = settings_for(str(out), None, None)
    with rows_of(out) as rows:
        start = warm_start.find(folder, rows.timeline, chosen, said.append)
        assert said == ["Going on from the model of 2025-03-03, with the new rows of 2025-03-02"]
        fit = Fit(growth.larger(start.model, rows.categories, chosen), rows, tmp_path, said.append, start.slots)
        served = growth.grown(model, rows.categories)
        for why, other in {
            "two_tower.dim 32, and 8 is asked for": chosen.replace({"two_tower": {"dim": 8}}),
            "embeddings": chosen.replace({"embeddings": {"user_id_dim": 8}}),
            "": chosen.replace({"two_tower": {"warm_start": False}}),
        }.items():
            assert warm_start.find(folder, rows.timeline, other, said.append) is None
            assert why in said[-1]
        (folder.target / warm_start.SLOTS).unlink()
        assert warm_start.find(folder, rows.timeline, chosen, said.append) is None
        assert said[-1].endswith("of a release that kept no state of the optimizer")
        assert growth.grown(model, model.categories) is model
    grew = set()
    tables = {id(table.embeddings): name for name, table in fit.model.tables().items()}
    for old, new, other in zip(model.variables(), fit.model.variables(), served.variables(), strict=True):
        before, after, shown = map(np.asarray, (old, new, other))
        for found in (after, shown):
            np.testing.assert_array_equal(found[tuple(map(slice, before.shape))], before)
        if before.shape != after.shape:
            grew.add(tables[id(new)])
            assert len(np.unique(after[len(before) :])) == after[len(before) :].size
            np.testing.assert_array_equal(shown[len(before) :], np.broadcast_to(before[1], shown[len(before) :].shape))
    assert grew >= {"user_id", "video_id"}
    for old, new in zip(start.slots, map(np.asarray, fit.slots), strict=True):
        np.testing.assert_array_equal(new[tuple(map(slice, old.shape))], old)
        assert not new[old.shape[0] :].any() if old.ndim else new == old
    assert max(float(np.abs(slot).max()) for slot in start.slots) > 1  # how many steps there were


@pytest.mark.slow
def test_the_day_of_the_page(daily: tuple[pathlib.Path, str]) -> None:
    folder, told = daily
    assert "All values are equal." in told
    assert "two_tower of train and val" in told
    for name in ("two_tower", "ranker"):
        with pytest.raises(InputError, match="exists already; --overwrite replaces it"):
            ModelFolder(str(folder / "out"), name).check_free(overwrite=False)
    assert re.search(r"^user_id_token .* query_tower, ranker, retrieval, transform_graph", told, re.MULTILINE)
    for name, file in (("two_tower", "model.json"), ("ranker", "columns.json")):
        described = json.loads((folder / "out/models" / name / file).read_text())
        assert described["period"] == LAST
        assert described["splits"] == {
            "train": ["run.train", "run.val", "run.test", "2025-03-02"], "val": ["2025-03-03"], "test": [LAST],
        }  # fmt: skip
    described = ModelFolder(str(folder / "out"), "two_tower").read("model.json")
    assert described["start"] == {"period": "2025-03-03", "fitted": ["run.train", "run.val", "run.test"]}
    rows = trained_ranker.load(str(folder / "out")).rows("test")
    assert len(rows) == len(on_disk(folder / "out", "ranker", "test"))
    recommender = Recommender(str(folder / "out"))
    assert recommender.recommend(NEW_USER, k=1).is_known
    assert NEW_VIDEO in {item.video_id for item in recommender.recommend(None, k=50).items}


@pytest.mark.slow
def test_models_of_an_earlier_period_take_what_came_since_as_unseen(behind: pathlib.Path) -> None:
    out, said = str(behind / "out"), []
    for name in ("two_tower", "ranker"):
        ModelFolder(out, name).check_free(overwrite=False)  # as there is a later period
    export.export(out, [str(behind / day) for day in DAYS], say=said.append)
    path = pathlib.Path(out, "models/two_tower")
    assert f"{path} is trained through 2025-03-03: it treats newer values as out-of-vocabulary" in said
    assert NEW_VIDEO in {item.video_id for item in Recommender(out).recommend(None, k=50).items}
    of_run = verification.verify(out, str(behind / DAYS[0]), rows=30)  # which the export is not of
    assert of_run.is_equal
    assert set.union(*(line.graphs for line in of_run.lines.values())) == {"transform_graph"}
    shutil.rmtree(pathlib.Path(out, "periods/2025-03-03"))
    with pytest.raises(InputError, match="exists already; --overwrite replaces it"):
        ModelFolder(out, "ranker").check_free(overwrite=False)
    with pytest.raises(InputError, match="models/ranker: trained on another run than the one in"):
        export.export(out, [str(behind / day) for day in DAYS])


@pytest.mark.slow
def test_the_folders_of_all_days_are_asked_for(out: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    days = [str(out.parent / day) for day in DAYS]
    capfd.readouterr()
    for given, sentence in {
        tuple(days[:2]): "--data-dir names 2 folders; expected those of the run and of 3 periods, in order, or one "
        "with all tables.",
        (days[0],): f"The raw tables have no video {NEW_VIDEO}, but the run in {out} has.",
    }.items():
        assert cli.main(["export", "--output-dir", str(out), "--data-dir", *given]) == 1
        assert sentence in capfd.readouterr().err
