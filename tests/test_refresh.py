"""Refreshes: a run over the first day and refreshes of later ones make the rows of one run over all of them."""

import datetime
import itertools
import json
import pathlib
import re
import shlex
import shutil
from collections.abc import Callable

import framed
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import pipeline_in
from days import delay, moments, one_run, write_days
from opened_states import check_state
from workspace import digests

import recsys_tft
from recsys_tft import ProcessingPipeline, cli
from recsys_tft.columns import IdKind
from recsys_tft.commands.vocabulary_command import differences
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.online import opening
from recsys_tft.online.event_rows import EventReader
from recsys_tft.online.opening import open_live
from recsys_tft.reading.columns import columns_of
from recsys_tft.run_layout import run_folders, state_files
from recsys_tft.tables import synthetic
from recsys_tft.verifying import verification

CONFIG = """
title_encoder: none
output: {users_per_shard: 60, videos_per_shard: 120, user_exposures_per_shard: 15}
statistics: {enabled: false}
labels: {positive: {like: 1.0, comment: 1.0, share: 1.0, watch: 0.8, click: 0.5}}
ranker: {popularity_alpha: 0.75}
recent: {enabled: true}
cooccurrence: {enabled: true}
counters: {delay: 90m, every: 6h}
split: {train: 0.7, val: 0.2}
"""
PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "daily.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("sh", "python")}
SIZES = {"users": 100, "videos": 200, "interactions": 2500}
FULL = "vocabularies: {default: {max_size: 2}}\n"  # which never grow
COUNTS = ["view_count", "like_count", "comment_count", "popularity"]


def rows_of(root: pathlib.Path, split: str) -> dict[str, list[bytes]]:
    """The records of a split by data set; how those of an active user are divided into files is no part of them."""
    return {
        data_set: sorted(
            message
            for path in (root / data_set / split).glob("part-*")
            for message, *_ in framed.records(path.read_bytes())
        )
        for data_set in ("two_tower", "ranker")
    }


def two_tower_of(root: pathlib.Path, split: str, schema: pathlib.Path) -> list[str]:
    """The rows of the two-tower model, without the numbers of rows of videos/, of which later days have more."""
    files = sorted((root / "two_tower" / split).glob("part-*"))
    columns = [name for name in columns_of(str(schema)) if name != "candidate_row"]
    rows = recsys_tft.read(files, columns, spec=str(schema)).arrow()
    return sorted(str(row) for batch in rows for row in batch.to_pylist())


def refreshed(
    folder: pathlib.Path, days: list[pathlib.Path], config: str = CONFIG
) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """The output of a run over the first day, and the periods of the others."""
    pipeline, _ = pipeline_in(folder, config, workers=2)
    pipeline.run(str(days[0]))
    out = folder / "out"
    for day in days[1:]:
        recsys_tft.refresh(str(out), str(day), workers=2)
    return out, [out / "periods" / day.name for day in days[1:]]


@pytest.mark.slow
def test_rows_of_refreshes_are_those_of_one_run_over_all_days(tmp_path: pathlib.Path) -> None:
    raw = tmp_path / "raw"
    synthetic.write_tables(raw, **SIZES)
    videos = pq.read_table(raw / "videos.parquet")
    pq.write_table(videos.drop_columns(COUNTS), raw / "videos.parquet")
    days = write_days(raw, tmp_path / "days", moments(raw, 3), whole=(0, 2))
    out, periods = refreshed(tmp_path, days, CONFIG + FULL)
    whole = one_run(out, raw, tmp_path / "one", periods[-1])
    for split, period in zip(SPLITS, periods, strict=True):
        rows = rows_of(period / "processed_data", "train")
        assert rows == rows_of(whole, split)
        assert min(map(len, rows.values())) > 0
        counts = json.loads((period / "artifacts/manifest.json").read_text())["counts"]
        assert counts["sources/train/positive"] == counts["written/two_tower/train"] > 0
        assert not any(one.came or one.left or one.moved for one in differences(str(out), str(period)))
    check_online(out, periods[0], days[1])


def check_online(out: pathlib.Path, period: pathlib.Path, day: pathlib.Path) -> None:
    """The state of a run and the events of the first period are the state of that."""
    graph, later = run_folders.fingerprint(str(out)), {period.name: str(period)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening.periods, "folders", lambda _: {})
        live = open_live(str(out), graph)
        patch.setattr(opening.periods, "folders", lambda _: later)
        wanted = open_live(str(out), graph)
    events = pq.read_table(day / "interactions.parquet")
    read = EventReader(live.rules.settings, live.rules.videos).read(
        events.append_column("event_id", pa.array(range(len(events))))
    )
    assert not read.rejected
    assert not live.state.observe(read.events).any()
    assert live.until < wanted.until
    users, videos = live.rules.users["user_id"].to_numpy(), live.state.video_ids
    for moment in (wanted.until, wanted.until + 90 * 60 * 10**6 + 1, wanted.until + 9 * 86_400_000_000):
        assert live.state.known_of(users, moment).equals(wanted.state.known_of(users, moment))
        for name, values in wanted.state.values(videos, moment).items():
            assert live.state.values(videos, moment)[name].tolist() == values.tolist()
        assert live.state.first_seen(videos, moment).tolist() == wanted.state.first_seen(videos, moment).tolist()
    assert [live.state.seen(user).tolist() for user in users[:20].tolist()] == [
        wanted.state.seen(user).tolist() for user in users[:20].tolist()
    ]


@pytest.mark.slow
def test_tables_that_change_and_vocabularies_that_grow_make_the_rows_of_one_run(tmp_path: pathlib.Path) -> None:
    raw = tmp_path / "raw"
    synthetic.write_tables(raw, **SIZES, versioned=True, ids=IdKind.STRING)
    days = write_days(raw, tmp_path / "days", moments(raw, 3), whole=())
    late = delay(days, every=3)
    out, periods = refreshed(tmp_path, days, CONFIG + "vocabularies: {tags: {min_count: 2}}\nlate: 20d\n")
    last = periods[-1]
    counts = [json.loads((path / "artifacts/manifest.json").read_text())["counts"] for path in periods]
    assert sum(each.get("late/interactions/used", 0) for each in counts) == late > 20
    whole = one_run(out, raw, tmp_path / "one", last)
    found, wanted = rows_of(last / "processed_data", "train"), rows_of(whole, SPLITS[-1])
    assert found["ranker"] == wanted["ranker"]
    schema = last / "processed_data/two_tower/train/schema.pbtxt"
    roots = {last / "processed_data": "train", whole: SPLITS[-1]}
    one, other = (two_tower_of(*each, schema) for each in roots.items())  # some videos come later
    assert one == other
    check_vocabularies([out, *periods], raw)
    check_state(out, last, raw)


def check_vocabularies(outputs: list[pathlib.Path], raw: pathlib.Path) -> None:
    """No token has moved, new values come behind, and what is seen often enough in all is there."""
    for before, after in itertools.pairwise(outputs):
        found = {one.name: one for one in differences(str(before), str(after))}
        assert not any(one.left or one.moved for one in found.values())
        assert found["user_id"].came
    every = {one.name: one for one in differences(str(outputs[0]), str(outputs[-1]))}
    events = pq.read_table(raw / "interactions.parquet")
    until = json.loads((outputs[0] / "artifacts/manifest.json").read_text())["splits"]["val_from"]
    since = json.loads((outputs[-1] / "artifacts/manifest.json").read_text())["splits"]["periods"][0]
    train, later = (datetime.datetime.fromisoformat(text.replace(" UTC", "+00:00")) for text in (until, since))
    time = events["interaction_time"]
    fitted = events.filter(pc.or_(pc.less(time, train), pc.greater_equal(time, later)))
    for name in ("user_id", "video_id"):
        assert every[name].sizes[1] == 2 + len(pc.unique(fitted[name]))  # missing, unseen


@pytest.mark.slow
def test_a_period_of_a_run_that_is_split_per_user_is_what_is_served(tmp_path: pathlib.Path) -> None:
    raw = tmp_path / "raw"
    synthetic.write_tables(raw, users=30, videos=40, interactions=600)
    days = write_days(raw, tmp_path / "days", moments(raw, 1), whole=(0,))
    _, (period,) = refreshed(tmp_path, days, CONFIG.replace("split: {", "split: {kind: time_per_user, "))
    for folders in ([str(day) for day in days], str(raw)):
        found = verification.verify(str(period), folders, rows=60)
        assert found.is_equal, found.differences
        assert found.rows["ranker/train"] > 50


# --- What goes wrong


@pytest.fixture
def folder(first_days: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of it."""
    shutil.copytree(first_days, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_what_a_run_of_release_0_2_0_called_windows_are_its_splits(folder: pathlib.Path) -> None:
    out = folder / "out"

    def found() -> tuple[object, object]:
        return run_folders.manifest(str(out))["splits"], state_files.open_state(str(out), str(out)).splits

    now = found()
    for path in (out / "artifacts/manifest.json", out / "state/state.json"):
        written = json.loads(path.read_text())
        path.write_text(json.dumps(written | {"windows": written.pop("splits")}))
    assert found() == now


def test_the_commands_and_the_rows_of_all_days_are_as_the_page_says(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for line in next(block for block in BLOCKS["sh"] if "vocabulary" in block).splitlines():
        assert cli.main(shlex.split(line)[1:]) == 0
    table = capsys.readouterr().out
    assert re.search(r"^user_id +\d+ +\d+ +[1-9]\d* +0 +0$", table, re.MULTILINE), table
    names = {"recsys_tft": recsys_tft}
    exec(BLOCKS["python"][0], names)
    outputs = [folder / "out", *(folder / "out/periods" / day for day in ("2025-03-02", "2025-03-03"))]
    counts = [json.loads((path / "artifacts/manifest.json").read_text())["counts"] for path in outputs]
    written = sum(each[f"written/ranker/{split}"] for each in counts for split in SPLITS)
    assert sum(len(batch["label"]) for batch in names["rows"]) == written > 0


Fails = Callable[..., str]


@pytest.fixture
def fails(folder: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> Fails:
    """Refreshes in vain, and returns the sentence; the output stays as it was."""

    def run(day: str, *options: str) -> str:
        before = digests(folder / "out")
        capfd.readouterr()
        arguments = ["--output-dir", str(folder / "out"), "--data-dir", str(folder / "data" / day)]
        assert cli.main(["refresh", *arguments, *options]) == 1
        error = capfd.readouterr().err
        assert re.fullmatch(r"error: [^\n]+\.\n", error), error
        assert digests(folder / "out") == before
        return error.replace(str(folder), "").removeprefix("error: ").rstrip()

    return run


def test_a_period_that_is_there_is_made_again_only_if_asked(fails: Fails) -> None:
    assert (
        fails("2025-03-03") == "/out/periods/2025-03-03 exists already; give --overwrite to make the last period again."
    )


def test_periods_are_in_the_order_of_their_names(fails: Fails) -> None:
    sentence = fails("2025-03-04", "--name", "2025-03-01")
    assert sentence.startswith("The period '2025-03-01' would come before the last one, '2025-03-03', as periods are")


@pytest.mark.slow
def test_a_day_before_what_is_known_is_late(fails: Fails) -> None:
    sentence = fails("2025-03-01", "--name", "2025-03-05")
    assert re.match(
        r"(\d+) of \1 rows of interactions are unusable, mostly because interaction_time is before", sentence
    )


def test_a_day_without_interactions_is_refused(folder: pathlib.Path, fails: Fails) -> None:
    path = folder / "data/2025-03-04/interactions.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert fails("2025-03-04").endswith("the table interactions is empty; it needs at least one row.")


def test_tables_that_begin_to_have_versions_are_refused(folder: pathlib.Path, fails: Fails) -> None:
    users = pq.read_table(folder / "raw/users.parquet")
    time = pa.array([0] * len(users), pa.timestamp("us", "UTC"))
    pq.write_table(users.append_column("updated_at", time), folder / "data/2025-03-04/users.parquet")
    assert fails("2025-03-04").endswith("users.parquet: has a column updated_at, and the users of the run had none.")


def test_periods_of_another_run_are_refused(folder: pathlib.Path, fails: Fails) -> None:
    manifest = folder / "out/artifacts/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"run": "another"}))
    rows = folder / "out/processed_data/run.json"
    rows.write_text(json.dumps({"run": "another"}))
    assert "but /out is of the run another; remove /out/periods, and refresh again." in fails("2025-03-04")


def without_state(state: pathlib.Path) -> None:
    shutil.rmtree(state)


def of_another_version(state: pathlib.Path) -> None:
    path = state / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))


def without_a_file(state: pathlib.Path) -> None:
    (state / "steps/part-00000.parquet").unlink()


def cut_short(state: pathlib.Path) -> None:
    path = state / "viewed/part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])


def no_json(state: pathlib.Path) -> None:
    (state / "state.json").write_text("{")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (
            without_state,
            "has no state to start from; run the main job again, or the refresh that wrote it with --overwrite.",
        ),
        (of_another_version, "state.json: is of version 2, and this release reads version 1; run the main job again"),
        (without_a_file, "state/steps/part-00000.parquet: is gone; run the main job again, or the refresh"),
        (cut_short, "state/viewed/part-00000.parquet: has "),
        (no_json, "state.json: damaged or not readable"),
    ],
)
def test_a_state_that_is_not_whole_is_refused(
    folder: pathlib.Path, fails: Fails, harm: Callable[[pathlib.Path], None], sentence: str
) -> None:
    harm((folder / "out/periods/2025-03-03/state").resolve())
    assert sentence in fails("2025-03-04")


@pytest.mark.slow
def test_a_damaged_user_is_found(folder: pathlib.Path, fails: Fails) -> None:
    path = folder / "out/periods/2025-03-03/state/positives/part-00000.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 1  # in the first page
    path.write_bytes(damaged)
    assert "state/positives/part-00000.parquet: damaged or not readable" in fails("2025-03-04")


@pytest.mark.slow
def test_a_refresh_that_is_interrupted_leaves_all_as_it_was(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = digests(folder / "out")
    monkeypatch.setattr(ProcessingPipeline, "_run", interrupt)
    for day, *options in (["2025-03-04"], ["2025-03-03", "--overwrite"]):
        arguments = ["--output-dir", str(folder / "out"), "--data-dir", str(folder / "data" / day)]
        assert cli.main(["refresh", *arguments, *options]) == 1
        assert digests(folder / "out") == before


def made(period: pathlib.Path) -> dict[str, str]:
    """A hash of each file, but for those that hold the time or a path."""
    besides = ("manifest.json", "saved_model.pb", "fingerprint.pb")
    return {name: digest for name, digest in digests(period).items() if not name.endswith(besides)}


@pytest.mark.slow
def test_the_last_period_made_again_is_the_same(folder: pathlib.Path) -> None:
    out, period = folder / "out", folder / "out/periods/2025-03-03"
    before = made(period)
    done = recsys_tft.refresh(str(out), str(folder / "data/2025-03-03"), overwrite=True)
    assert made(period) == before
    assert done["ranker_train"].pandas().shape[0] == done.manifest["counts"]["written/ranker/train"]


@pytest.mark.slow
def test_a_missed_day_and_new_videos_alone_are_told_of(folder: pathlib.Path) -> None:
    raw, day = folder / "raw", folder / "data/2025-03-09"
    day.mkdir()
    events, videos = pq.read_table(raw / "interactions.parquet").slice(0, 50), pq.read_table(raw / "videos.parquet")
    later = pc.add(events["interaction_time"], pa.scalar(100 * 86_400_000_000, pa.duration("us")))
    events = events.set_column(events.column_names.index("interaction_time"), "interaction_time", later)
    for name, table in (("interactions", events), ("videos", videos)):
        place = table.column_names.index("video_id")
        table = table.set_column(place, "video_id", pc.add(table["video_id"], 1000))
        pq.write_table(table, day / f"{name}.parquet")
    done = recsys_tft.refresh(str(folder / "out"), str(day))
    assert any(text.startswith("no interaction is between 2025-") for text in done.manifest["warnings"])
    rows = done["two_tower_train"].pandas()
    assert (rows["video_id"] > 1000).all()
    found = {
        one.name: one
        for one in differences(str(folder / "out/periods/2025-03-03"), str(folder / "out/periods" / day.name))
    }
    assert (rows["video_id_token"] >= found["video_id"].sizes[0]).all()
    assert not found["video_id"].moved
