"""A refresh by other runners and on an object store: the bytes of one on this machine, whole or not at all."""

import json
import pathlib
import shutil
import uuid
from collections.abc import Callable

import pytest
from compared_outputs import assert_same_output
from object_store import ObjectStore
from workspace import files_seen

import recsys_tft
from bench.determinism import portable_runner
from recsys_tft.errors import InputError
from recsys_tft.run_layout import periods
from recsys_tft.run_layout.output import REPLACED
from recsys_tft.storage import object_store
from recsys_tft.storage.files import copy, exists, folders_with, write_text

pytestmark = pytest.mark.slow
DAY, LAST = "2025-03-04", "2025-03-03"


@pytest.fixture(scope="module")
def stored(first_days: pathlib.Path) -> str:
    """The folder of those days on an object store, where the next one has been refreshed too."""
    bucket = f"ram://{uuid.uuid4().hex}"
    for root in ("out", *(f"out/periods/{name}" for name in ("2025-03-02", LAST)), "data"):
        for name, path in files_seen(first_days / root).items():
            if not name.startswith("periods/"):
                copy(str(path), f"{bucket}/{root}/{name}")
    before = contents(f"{bucket}/out")
    done = recsys_tft.refresh(f"{bucket}/out", f"{bucket}/data/{DAY}", beam_args=[f"--temp_location={bucket}/temp"])
    assert done["ranker_train"].pandas().shape[0] == done.manifest["counts"]["written/ranker/train"]
    after = contents(f"{bucket}/out")
    assert {name: data for name, data in after.items() if not name.startswith(f"periods/{DAY}/")} == before
    return bucket


@pytest.fixture
def bucket(stored: str) -> str:
    """A copy of it."""
    other = f"ram://{uuid.uuid4().hex}"
    for path in object_store.below(f"{stored}/out"):
        copy(path, other + path.removeprefix(stored))
    return other


def contents(folder: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{folder}/"): ObjectStore(None).open(path).read() for path in object_store.below(folder)}


def test_a_refresh_on_an_object_store_writes_what_one_on_this_machine_writes(
    fourth_day: pathlib.Path, stored: str, tmp_path: pathlib.Path
) -> None:
    for name, data in contents(f"{stored}/out/periods/{DAY}").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert {path.name for path in tmp_path.iterdir()} == {*REPLACED} - {"rejected"}
    assert_same_output(tmp_path, fourth_day / "out/periods" / DAY, "processed_data", "artifacts", "state")


def test_workers_in_another_process_write_what_threads_write(
    first_days: pathlib.Path, fourth_day: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(first_days, tmp_path / "days", symlinks=True)
    with portable_runner() as options:
        recsys_tft.refresh(str(tmp_path / "days/out"), str(first_days / "data" / DAY), beam_args=options)
    assert_same_output(tmp_path / "days/out/periods" / DAY, fourth_day / "out/periods" / DAY, *REPLACED)


def test_on_an_object_store_too_a_period_is_made_again_only_if_asked(bucket: str, stored: str) -> None:
    day, before = f"{stored}/data/{DAY}", contents(bucket)
    with pytest.raises(InputError, match=f"{bucket}/out/periods/{DAY} exists already; give --overwrite"):
        recsys_tft.refresh(f"{bucket}/out", day)
    with pytest.raises(InputError, match="only the last period, 2025-03-04, can be made again"):
        recsys_tft.refresh(f"{bucket}/out", day, LAST, overwrite=True)
    with pytest.raises(InputError, match="would come before the last one"):
        recsys_tft.refresh(f"{bucket}/out", day, "2025-03-01")
    assert contents(bucket) == before
    recsys_tft.refresh(f"{bucket}/out", day, overwrite=True, beam_args=[f"--temp_location={stored}/temp"])
    changed = {name for name, data in contents(bucket).items() if before[name] != data}
    of_time = ("manifest.json", "saved_model.pb", "fingerprint.pb")  # which hold the time or a path
    assert all(name.startswith(f"out/periods/{DAY}/") and name.endswith(of_time) for name in changed)
    assert contents(bucket).keys() == before.keys()


def test_a_refresh_that_fails_leaves_an_object_store_as_it_was(
    bucket: str, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no quota")

    before = contents(bucket)
    monkeypatch.setattr("recsys_tft.run_layout.output.write_text", fail)  # the marker of a commit
    options = [f"--temp_location={stored}/temp"]
    with pytest.raises(OSError, match="no quota"):
        recsys_tft.refresh(f"{bucket}/out", f"{stored}/data/{DAY}", overwrite=True, beam_args=options)
    assert contents(bucket) == before


def stage(period: str) -> None:
    """Puts a period back to where it was just before its commit."""
    paths = object_store.below(period)
    object_store.move([(path, path.replace(f"{period}/", f"{period}/.staging/")) for path in paths])


def test_what_a_killed_refresh_has_staged_is_no_period(bucket: str, fourth_day: pathlib.Path) -> None:
    stage(f"{bucket}/out/periods/{DAY}")
    with periods.open_start(f"{bucket}/out", DAY, overwrite=False) as start:
        assert start.state.lineage["after"] == run_of(fourth_day / "out/periods" / LAST)
    assert not exists(f"{bucket}/out/periods/{DAY}/artifacts")


def test_a_commit_that_was_killed_is_finished_by_the_next_refresh(bucket: str, fourth_day: pathlib.Path) -> None:
    before = contents(bucket)
    stage(f"{bucket}/out/periods/{DAY}")
    write_text(f"{bucket}/out/periods/{DAY}/.staging/complete", "")
    with periods.open_start(f"{bucket}/out", "2025-03-05", overwrite=False) as start:
        assert start.folder == f"{bucket}/out/periods/2025-03-05"
        assert start.state.lineage["after"] == run_of(fourth_day / "out/periods" / DAY)
    assert contents(bucket) == before


def run_of(root: pathlib.Path) -> str:
    return json.loads((root / "artifacts/manifest.json").read_text())["run"]


def test_two_refreshes_from_the_same_state_are_found_out(bucket: str, fourth_day: pathlib.Path) -> None:
    path = f"{bucket}/out/periods/{DAY}/artifacts/manifest.json"
    manifest = json.loads(ObjectStore(None).open(path).read())
    before = json.loads((fourth_day / "out/periods" / LAST / "artifacts/manifest.json").read_text())
    manifest["refresh"]["after"] = before["refresh"]["after"]
    write_text(path, json.dumps(manifest))
    sentence = f"{DAY}: starts from the same state as {LAST}, as two refreshes ran at the same time; make it"
    with pytest.raises(InputError, match=sentence), periods.open_start(f"{bucket}/out", "2025-03-05", overwrite=False):
        pass
    with periods.open_start(f"{bucket}/out", DAY, overwrite=True) as start:
        assert start.state.lineage["after"] == run_of(fourth_day / "out/periods" / LAST)


@pytest.mark.parametrize("make", [str, lambda path: f"ram://{uuid.uuid4().hex}"])
def test_folders_are_those_that_hold_a_file(tmp_path: pathlib.Path, make: Callable[[pathlib.Path], str]) -> None:
    root = make(tmp_path)
    for name in ("[b]/of/file", "a/of/file", "c/of/other", "c/file", "of/file"):
        write_text(f"{root}/x*y/{name}", "")
    assert folders_with(f"{root}/x*y", "of/file") == ["[b]", "a"]
    assert folders_with(f"{root}/nothing", "of/file") == []
