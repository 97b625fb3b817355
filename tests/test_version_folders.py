"""Commits: a writer is killed before each of its calls, and readers see the old or the new under all names."""

import dataclasses
import fcntl
import multiprocessing
import pathlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
from killed import killed_at

from recsys_tft.errors import InputError
from recsys_tft.run_layout import run_folders
from recsys_tft.run_layout.output import REPLACED, Output
from recsys_tft.serving import serving_folders
from recsys_tft.storage import version_folders
from recsys_tft.storage.locks import sole_writer
from recsys_tft.storage.version_folders import Held, VersionFolders
from recsys_tft.training.model_folders import ModelFolder

MANIFEST = '{"settings": {}, "inputs": {}, "splits": {}, "counts": {}}'


@dataclasses.dataclass(frozen=True)
class Writer:
    """Something that commits.

    Attributes:
        before: makes what is there before, under `root`.
        write: writes and commits what is named.
        names: what is seen of it, below the root.
        moved: what is moved in after the commit, before which readers see to it.
    """

    before: Callable[[pathlib.Path], None]
    write: Callable[[pathlib.Path, str], None]
    names: tuple[str, ...]
    moved: tuple[str, ...] = ()

    @property
    def earlier(self) -> str:
        """What is seen before."""
        return "" if self.before is nothing else "old"

    @property
    def after(self) -> str:
        """What is seen when "new" is written; an export is seen beside earlier ones."""
        return f"{self.earlier if self.write is export else ''}new"


def nothing(_: pathlib.Path) -> None:
    pass


def folders(root: pathlib.Path) -> None:
    """As releases without versions wrote an output."""
    for name in REPLACED:
        (root / name).mkdir(parents=True)
        (root / name / "of").write_text("old")
    (root / "artifacts" / "manifest.json").write_text(MANIFEST)


def run(root: pathlib.Path, of: str) -> None:
    output = Output.at(str(root))
    output.begin(overwrite=True)
    for name in REPLACED:
        pathlib.Path(output.staged(name), "of").write_text(of)
    pathlib.Path(output.staged("artifacts"), "manifest.json").write_text(MANIFEST)
    pathlib.Path(output.scratch("artifacts")).mkdir()
    output.commit()


def locked_run(root: pathlib.Path, of: str) -> None:
    with sole_writer(root, "run"):
        run(root, of)


def old_run(root: pathlib.Path) -> None:
    run(root, "old")


def links_elsewhere(root: pathlib.Path) -> None:
    """What somebody made who keeps the rows on another disk, and copied the artifacts back as a folder."""
    old_run(root)
    shutil.copytree(root / "artifacts", root.with_name("copy"))
    (root / "artifacts").unlink()
    root.with_name("copy").rename(root / "artifacts")
    shutil.copytree(root / "processed_data", root.with_name("disk"))
    (root / "processed_data").unlink()
    (root / "processed_data").symlink_to(root.with_name("disk"))


def synthetic(root: pathlib.Path, of: str) -> None:
    output = Output.at(str(root))
    output.begin(overwrite=True)
    for name in (*REPLACED, "raw"):
        pathlib.Path(output.staged(name)).mkdir(exist_ok=True)
        pathlib.Path(output.staged(name), "of").write_text(of)
    pathlib.Path(output.staged("artifacts"), "manifest.json").write_text(MANIFEST)
    output.commit()


def old_synthetic(root: pathlib.Path) -> None:
    synthetic(root, "old")


def model(root: pathlib.Path, of: str) -> None:
    folder = ModelFolder(str(root), "ranker")
    with folder.writing(overwrite=True):
        folder.begin(False, {"of": of})
        (folder.work / "of").write_text(of)
        folder.commit()


def old_model(root: pathlib.Path) -> None:
    model(root, "old")


def model_folder(root: pathlib.Path) -> None:
    (root / "models" / "ranker").mkdir(parents=True)
    (root / "models" / "ranker" / "of").write_text("old")


def export(root: pathlib.Path, of: str) -> None:
    with serving_folders.next_version(str(root)) as (_, staged):
        for folder in staged.values():
            folder.mkdir()
            (folder / "of").write_text(of)


def old_export(root: pathlib.Path) -> None:
    export(root, "old")


def export_folders(root: pathlib.Path) -> None:
    for name in EXPORTED:
        (root / "serving" / name / "1").mkdir(parents=True)
        (root / "serving" / name / "1" / "of").write_text("old")


EXPORTED = (*serving_folders.NAMES, serving_folders.STORE)
MODELS = tuple(f"serving/{name}/*" for name in EXPORTED)
WRITERS = {
    "first run": Writer(nothing, run, REPLACED),
    "run over a run": Writer(old_run, run, REPLACED),
    "run over folders": Writer(folders, run, REPLACED),
    "run over links elsewhere": Writer(links_elsewhere, run, REPLACED),
    "first synthetic run": Writer(nothing, synthetic, REPLACED, ("raw",)),
    "synthetic run over another": Writer(old_synthetic, synthetic, REPLACED, ("raw",)),
    "first model": Writer(nothing, model, ("models/ranker",)),
    "model over a model": Writer(old_model, model, ("models/ranker",)),
    "model over a folder": Writer(model_folder, model, ("models/ranker",)),
    "first export": Writer(nothing, export, MODELS),
    "second export": Writer(old_export, export, MODELS),
    "export beside folders": Writer(export_folders, export, MODELS),
}


def seen(root: pathlib.Path, names: tuple[str, ...]) -> list[str]:
    """What is seen under each name: of an export the contents of all versions."""
    return ["".join(path.joinpath("of").read_text() for path in sorted(root.glob(name))) for name in names]


def settle(root: pathlib.Path) -> None:
    """What each reader does first."""
    with run_folders.held(str(root)):
        pass


@pytest.fixture(scope="module")
def small() -> Iterator[ProcessPoolExecutor]:
    """A process that has loaded no more than this file: to fork one with TensorFlow takes fifty times as long."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield process


def killed_everywhere(writer: Writer, folder: pathlib.Path, after: Callable[[pathlib.Path, int], None]) -> int:
    """Kills a writer of something new before each of its calls; returns how many there were."""
    for number in range(1000):
        root = folder / str(number) / "out"
        root.mkdir(parents=True)
        writer.before(root)
        if not killed_at(number, lambda root=root: writer.write(root, "new"), root):
            assert set(seen(root, writer.names)) == {writer.after}
            return number
        after(root, number)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_writer_leaves_the_old_or_the_new_under_all_names(
    small: ProcessPoolExecutor, name: str, tmp_path: pathlib.Path
) -> None:
    small.submit(leaves_the_old_or_the_new, name, tmp_path).result()


def leaves_the_old_or_the_new(name: str, folder: pathlib.Path) -> None:
    writer = WRITERS[name]
    found = {writer.after}

    def look(root: pathlib.Path, _: int) -> None:
        (one,) = set(seen(root, writer.names))  # never a mix
        found.add(one)
        if writer.moved and one:
            settle(root)
            assert set(seen(root, writer.moved)) == {one}
        writer.write(root, "next")  # the next writer is not kept from its work
        assert set(seen(root, writer.names)) == {f"{one}next" if writer.write is export else "next"}
        assert set(seen(root, writer.moved)) <= {"next"}

    assert killed_everywhere(writer, folder, look) > 5
    assert found == {writer.earlier, writer.after}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_left_of_what_was_replaced_or_killed(
    small: ProcessPoolExecutor, name: str, tmp_path: pathlib.Path
) -> None:
    small.submit(leaves_nothing, name, tmp_path).result()


def leaves_nothing(name: str, folder: pathlib.Path) -> None:
    writer = WRITERS[name]

    def look(root: pathlib.Path, _: int) -> None:
        writer.write(root, "next")
        for versions in root.rglob(f"*{version_folders.VERSIONS}"):
            assert len(list(versions.iterdir())) == 1
        left = {path.name for path in root.rglob(".*")} - {version_folders.CURRENT}
        assert not [name for name in left if not name.endswith(version_folders.VERSIONS)]
        assert not [path for path in root.rglob("*") if path.is_symlink() and not path.exists()]

    killed_everywhere(writer, folder, look)


@pytest.mark.parametrize("name", ["run over folders", "model over a folder", "export beside folders"])
def test_a_filesystem_that_cannot_swap_gets_links_all_the_same(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_folders, "swap", lambda *_: False)
    writer = WRITERS[name]
    writer.before(tmp_path)
    for of in ("new", "newer"):
        writer.write(tmp_path, of)
    assert set(seen(tmp_path, writer.names)) == {"oldnewnewer" if writer.write is export else "newer"}


@pytest.mark.parametrize("name", ["run over folders", "model over a folder", "export beside folders"])
def test_where_the_filesystem_cannot_swap_a_kill_loses_nothing(
    small: ProcessPoolExecutor, name: str, tmp_path: pathlib.Path
) -> None:
    """A folder of an earlier release may be missing there until the next writer begins."""
    small.submit(loses_nothing, name, tmp_path).result()


def loses_nothing(name: str, folder: pathlib.Path) -> None:
    writer = WRITERS[name]
    folders_of = {
        run: lambda root: VersionFolders(root, REPLACED),
        model: lambda root: ModelFolder(str(root), "ranker")._folders,
        export: lambda root: serving_folders.folders(str(root)),
    }

    def look(root: pathlib.Path, _: int) -> None:
        begun = folders_of[writer.write](root)
        if begun.root.is_dir():
            begun.begin()
            begun.discard()
        assert set(seen(root, writer.names)) in ({"old"}, {writer.after})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(version_folders, "swap", lambda *_: False)
        killed_everywhere(writer, folder, look)


def test_a_version_that_another_writer_commits_while_this_one_prunes_is_no_fault(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(tmp_path, "old")
    readlink = pathlib.Path.readlink

    def gone(path: pathlib.Path) -> pathlib.Path:
        if path.name == "two_tower.training":
            path.unlink()
        return readlink(path)

    (tmp_path / "models" / "two_tower.training").symlink_to(".two_tower.versions/1")
    monkeypatch.setattr(pathlib.Path, "readlink", gone)
    model(tmp_path, "new")
    assert (tmp_path / "models/ranker/of").read_text() == "new"


def test_raw_tables_are_replaced_where_the_filesystem_cannot_swap(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_folders, "swap", lambda *_: False)
    for of in ("old", "new"):
        synthetic(tmp_path, of)
    assert seen(tmp_path, ("raw", "artifacts")) == ["new", "new"]
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["of"]


def test_a_reader_keeps_the_version_that_it_holds(tmp_path: pathlib.Path) -> None:
    run(tmp_path, "old")
    with run_folders.held(str(tmp_path)) as folder:
        for of in ("new", "newer"):
            run(tmp_path, of)
            assert (pathlib.Path(folder) / "processed_data" / "of").read_text() == "old"
        assert len(list((tmp_path / version_folders.VERSIONS).iterdir())) == 2
    run(tmp_path, "newest")
    assert len(list((tmp_path / version_folders.VERSIONS).iterdir())) == 1


def test_a_reader_of_a_model_keeps_it(tmp_path: pathlib.Path) -> None:
    model(tmp_path, "old")
    with ModelFolder(str(tmp_path), "ranker").held() as held:
        model(tmp_path, "new")
        assert (held.target / "of").read_text() == "old"
    assert (tmp_path / "models/ranker/of").read_text() == "new"


def test_a_reader_of_folders_that_are_no_versions_reads_them(tmp_path: pathlib.Path) -> None:
    folders(tmp_path)
    with run_folders.held(str(tmp_path)) as folder:
        assert folder == str(tmp_path)
    with Held(tmp_path / "artifacts") as held:
        assert (held.folder, held.path) == (tmp_path, tmp_path / "artifacts")


def test_a_copy_that_followed_the_links_is_an_output(tmp_path: pathlib.Path) -> None:
    run(tmp_path / "out", "old")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    with run_folders.held(str(tmp_path / "copy")) as folder:
        assert (pathlib.Path(folder) / "processed_data" / "of").read_text() == "old"
    run(tmp_path / "copy", "new")
    assert set(seen(tmp_path / "copy", REPLACED)) == {"new"}
    assert set(seen(tmp_path / "out", REPLACED)) == {"old"}


def test_a_copy_of_the_links_is_an_output_of_its_own(tmp_path: pathlib.Path) -> None:
    run(tmp_path / "out", "old")
    shutil.copytree(tmp_path / "out", tmp_path / "copy", symlinks=True)
    run(tmp_path / "copy", "new")
    assert set(seen(tmp_path / "copy", REPLACED)) == {"new"}
    assert set(seen(tmp_path / "out", REPLACED)) == {"old"}


def test_rows_and_artifacts_of_two_runs_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    output = Output.at(str(tmp_path / "rest"), artifacts=str(tmp_path / "a"), processed_data=str(tmp_path / "rows"))
    for name, of in (("a/manifest.json", "1f"), ("rows/run.json", "2e")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f'{{"run": "{of}"}}')
    with pytest.raises(InputError) as caught:
        output.check_one_run()
    assert str(caught.value) == (
        f"{tmp_path}/a is of the run 1f, but {tmp_path}/rows is of the run 2e; run the main job again with --overwrite."
    )


def test_parts_in_folders_apart_are_each_replaced(tmp_path: pathlib.Path) -> None:
    output = Output.at(
        str(tmp_path / "rest"), artifacts=str(tmp_path / "a" / "art"), processed_data=str(tmp_path / "b" / "rows")
    )
    for of in ("old", "new"):
        output.begin(overwrite=True)
        for name in REPLACED:
            pathlib.Path(output.staged(name), "of").write_text(of)
        output.commit()
    assert seen(tmp_path, ("a/art", "b/rows", "rest/rejected")) == ["new", "new", "new"]


def test_outputs_of_other_names_in_one_folder_leave_each_other_alone(tmp_path: pathlib.Path) -> None:
    for number in (1, 2, 1):
        names = {name: str(tmp_path / f"{name}_{number}") for name in ("artifacts", "processed_data")}
        output = Output.at(str(tmp_path / f"rest_{number}"), **names)
        output.begin(overwrite=True)
        for name in REPLACED:
            pathlib.Path(output.staged(name), "of").write_text(str(number))
        output.commit()
    shown = ("artifacts_1", "processed_data_1", "artifacts_2", "processed_data_2")
    assert seen(tmp_path, shown) == ["1", "1", "2", "2"]


# --- Links that somebody else has put there


@pytest.mark.parametrize("place", [".lock", ".versions", "models", "serving", "models/.ranker.lock", "serving/.lock"])
def test_no_link_is_followed_out_of_the_output(place: str, tmp_path: pathlib.Path) -> None:
    precious, out = tmp_path / "precious", tmp_path / "out"
    (out / place).parent.mkdir(parents=True)
    precious.mkdir()
    (precious / "file").write_text("precious")
    (out / place).symlink_to(precious / "file" if "lock" in place else precious)
    write = {"models": model, "serving": export}.get(place.split("/")[0], locked_run)
    with pytest.raises(InputError, match=r"a link to|out of the output"):
        write(out, "new")
    assert [path.name for path in precious.iterdir()] == ["file"]
    assert (precious / "file").read_text() == "precious"


@pytest.mark.parametrize("place", [".staging", ".current", "artifacts", "raw", "models/ranker", "serving/ranker"])
def test_a_link_in_the_place_of_a_part_is_replaced_and_what_it_leads_to_stays(
    place: str, tmp_path: pathlib.Path
) -> None:
    precious, out = tmp_path / "precious", tmp_path / "out"
    (out / place).parent.mkdir(parents=True)
    precious.mkdir()
    (precious / "file").write_text("precious")
    (out / place).symlink_to(precious)
    for write in (synthetic, model, export):
        write(out, "new")
    assert [path.name for path in precious.iterdir()] == ["file"]
    assert set(seen(out, (*REPLACED, "raw", "models/ranker"))) == {"new"}


# --- One writer at a time


def test_a_second_writer_is_refused_and_the_lock_goes(tmp_path: pathlib.Path) -> None:
    with sole_writer(tmp_path / "out", "run"):
        with (
            pytest.raises(InputError, match=f"^{tmp_path}/out: another run is writing there.$"),
            sole_writer(tmp_path / "out", "run"),
        ):
            pass
        assert (tmp_path / "out" / ".lock").is_file()
    assert not (tmp_path / "out").exists()


def test_a_lock_that_went_while_it_was_waited_for_is_not_taken(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two writers that open one lock file, one may get it when the first has removed it: then it is another's."""
    lock, flock = tmp_path / ".lock", fcntl.flock
    calls: list[int] = []

    def late(opened: int, operation: int) -> None:
        if not calls:
            lock.unlink()
        calls.append(opened)
        flock(opened, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with sole_writer(tmp_path, "run"):
        assert len(calls) == 2
        assert lock.is_file()


def test_trainings_of_two_models_do_not_remove_each_other(tmp_path: pathlib.Path) -> None:
    ranker, towers = (ModelFolder(str(tmp_path), name) for name in ("ranker", "two_tower"))
    with ranker.writing(False), towers.writing(False):
        ranker.begin(False, {})
        towers.begin(False, {})
        (towers.work / "of").write_text("towers")
        ranker.commit()
        towers.commit()
    assert (tmp_path / "models/two_tower/of").read_text() == "towers"


def test_an_interrupted_training_of_a_release_without_versions_is_resumed(tmp_path: pathlib.Path) -> None:
    folder = ModelFolder(str(tmp_path), "ranker")
    folder.work.mkdir(parents=True)
    (folder.work / "begun.json").write_text('{"of": 1}')
    (folder.work / "of").write_text("resumed")
    with folder.writing(False):
        folder.begin(True, {"of": 1})
        folder.commit()
    assert seen(tmp_path, ("models/ranker",)) == ["resumed"]
    assert (tmp_path / "models" / "ranker").is_symlink()
