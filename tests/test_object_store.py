"""The output on an object store, where no folder exists, none is moved, and a commit can be seen half-way."""

import pathlib
import uuid
from collections.abc import Callable

import pytest
from apache_beam.io.filesystem import BeamIOError
from compared_outputs import counted, files_below
from conftest import Ran
from object_store import ObjectStore

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.errors import InputError
from recsys_tft.run_layout.output import REPLACED, Output
from recsys_tft.storage import object_store
from recsys_tft.storage.files import exists, read_text, write_text


@pytest.fixture
def bucket() -> str:
    """A folder of its own in the store, which lasts as long as the process."""
    return f"ram://{uuid.uuid4().hex}/out"


def contents(folder: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{folder}/"): read(path) for path in object_store.below(folder)}


def read(path: str) -> bytes:
    return ObjectStore(None).open(path).read()


@pytest.mark.slow
def test_a_run_writes_the_same_bytes_to_an_object_store(
    synthetic_run: Ran, bucket: str, tmp_path: pathlib.Path
) -> None:
    scratch = f"--temp_location={bucket}-temporary"
    config = PipelineConfig(output_dir=bucket, config=str(synthetic_run.config), beam_args=(scratch,))
    ran = ProcessingPipeline(config).run(str(synthetic_run.raw))
    assert ran.counters == counted(synthetic_run.result.manifest)
    for path, data in contents(bucket).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    expected = {name: data for name, data in files_below(synthetic_run.root).items() if not name.startswith("raw/")}
    assert files_below(tmp_path) == expected
    assert object_store.below(f"{bucket}-temporary")  # tf.Transform's own files; nothing was put elsewhere


@pytest.fixture
def staged(bucket: str) -> Output:
    """A new output that is whole beside an old one of which one name stays and one does not."""
    output = Output.at(bucket)
    for name in REPLACED:
        write_text(f"{output.target(name)}/both", f"old {name}")
        write_text(f"{output.target(name)}/below/old", f"old {name}")
    write_text(output.manifest, "the old manifest")
    output.begin(overwrite=True)
    for name in REPLACED:
        write_text(output.staged(name, "both"), f"new {name}")
        write_text(output.staged(name, "new"), f"new {name}")
    write_text(output.staged("artifacts", "manifest.json"), "the new manifest")
    return output


NEW = {f"{name}/{file}": f"new {name}".encode() for name in REPLACED for file in ("both", "new")}
NEW["artifacts/manifest.json"] = b"the new manifest"


ACTS = 1 + 1 + 2 * len(REPLACED) + len(REPLACED) + 1  # marker, old manifest, moved, obsolete, new manifest


@pytest.mark.parametrize("number", range(1, ACTS + 1))
def test_a_commit_that_is_killed_anywhere_is_finished_by_the_next_attempt(
    staged: Output, bucket: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    done: list[str] = []

    def or_die(act: Callable[..., None]) -> Callable[..., None]:
        def acting(store: ObjectStore, *paths: list[str]) -> None:
            if len(done) == number:
                raise SystemExit("killed")
            done.append(act.__name__)
            act(store, *paths)

        return acting

    with monkeypatch.context() as patched:
        patched.setattr(object_store, "_AT_A_TIME", 1)
        patched.setattr(object_store, "_THREADS", 1)
        patched.setattr(ObjectStore, "rename", or_die(ObjectStore.rename))
        patched.setattr(ObjectStore, "delete", or_die(ObjectStore.delete))
        with pytest.raises(SystemExit):
            staged.commit()
    if exists(staged.manifest):  # what it describes is whole
        of_it = {"the old manifest": b"old ", "the new manifest": b"new "}[read_text(staged.manifest)]
        assert all(read(f"{staged.target(name)}/both").startswith(of_it) for name in REPLACED)
    staged.resume()
    assert contents(bucket) == NEW


def test_an_object_that_another_attempt_has_moved_is_not_missed(staged: Output, bucket: str) -> None:
    moves = [(path, path.replace(".staging/", "")) for path in object_store.below(f"{bucket}/.staging")]
    object_store.move(moves[:3])
    object_store.move(moves)
    assert not object_store.below(f"{bucket}/.staging")
    with pytest.raises(BeamIOError):
        ObjectStore(None).rename([moves[0][0]], [moves[0][1]])


def test_an_output_that_is_there_is_refused(staged: Output, bucket: str) -> None:
    staged.commit()
    with pytest.raises(InputError, match=f"{bucket}/processed_data exists already; give --overwrite"):
        Output.at(bucket).begin(overwrite=False)
    assert contents(bucket) == NEW
