"""Errors of other libraries, and files that something has damaged: one sentence that names what, and what to do."""

import errno
import json
import pathlib
from collections.abc import Callable

import catboost
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.io.filesystem import BeamIOError

from recsys_tft.cli import main
from recsys_tft.errors import InputError, readable, reason
from recsys_tft.faults import sentence_for, sentences
from recsys_tft.ranking import catboost_ranker, trained_ranker
from recsys_tft.recommending import entity_store
from recsys_tft.run_layout.run_folders import manifest
from recsys_tft.serving import serving_folders
from recsys_tft.training.model_folders import ModelFolder


def raised(act: Callable[[], object]) -> BaseException:
    try:
        act()
    except Exception as error:  # of any kind: it is what the caller asks for
        return error
    raise AssertionError("nothing was raised")


def in_runner(error: BaseException) -> RuntimeError:
    return RuntimeError(f"{type(error).__name__}: {error} [while running 'Write']")


DISK = OSError(errno.ENOSPC, "No space left on device", "out/part-0")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DISK, "out/part-0: the disk is full"),
        (in_runner(DISK), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "cache"), "cache: permission denied"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "a: too many open files"),
        (OSError(errno.EFBIG, "File too large"), "the file is too large for a limit here; raise that (ulimit -f)"),
        (BeamIOError("Match failed", {"gs://b": OSError(errno.ECONNREFUSED, "Connection refused")}), "Connection ref"),
        (MemoryError(), "there is not enough memory"),
        (in_runner(MemoryError()), "there is not enough memory"),
        (raised(lambda: np.zeros(10**15)), "there is not enough memory"),
        (pa.lib.ArrowMemoryError("malloc of size 9 failed"), "there is not enough memory"),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), "a package is missing"),
        (ModuleNotFoundError("No module named 'tensorflow_text'", name="tensorflow_text"), "a package is missing"),
        (raised(lambda: np.int64(10**30)), "a number is too large"),
        (raised(lambda: pa.array([1]).cast(pa.date32()).cast(pa.string()).cast(pa.int64())), "Arrow cannot read"),
        (catboost.CatBoostError("catboost/libs/data/x.cpp:9: Labels variable is empty"), "CatBoost stopped (Labels v"),
        (RecursionError("maximum recursion depth"), "something is nested too deeply"),
        (ValueError("Pipeline has validations errors: \nInvalid GCS path"), "Beam rejects its options: "),
    ],
)
def test_an_error_of_a_library_is_one_sentence_for_the_command_and_for_python(error: Exception, sentence: str) -> None:
    found = sentence_for(error)
    assert found.startswith(sentence)
    assert found.endswith(".")
    assert "\n" not in found
    with pytest.raises(InputError) as caught, sentences():
        raise error
    assert str(caught.value) in (found, str(error))


def test_what_is_not_known_stays_an_error_of_its_own() -> None:
    assert sentence_for(KeyError("x")) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("no errno"), "no errno"),
        (OSError(), "OSError"),
        (OSError(errno.ENOENT, "No such file or directory", "x"), "No such file or directory"),
        (BeamIOError("Rename failed", {("a", "b"): FileNotFoundError(2, "No such file")}), "No such file"),
        (ValueError("Graph execution error:\n\nno table\n"), "no table"),
    ],
)
def test_no_reason_is_none(error: Exception, words: str) -> None:
    assert reason(error) == words


def test_constant_columns_are_named_and_not_catboost_s_line(tmp_path: pathlib.Path) -> None:
    pool = catboost.Pool(np.ones((4, 2)), [0, 1, 0, 1])
    error = raised(lambda: catboost.CatBoost({"logging_level": "Silent", "allow_writing_files": False}).fit(pool))
    found = catboost_ranker._explained(error, ModelFolder(str(tmp_path), "ranker"), 4)
    assert found.startswith(f"{tmp_path}/processed_data/ranker/train: every column that the ranker reads has one value")
    assert ".cpp" not in found


DAMAGES = [b"", b'{"settings": {', b"[1]", b"null", b"{}", b"\xff\xfe\x00", None]


def spoil(path: pathlib.Path, data: bytes | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if data is None else path.write_bytes(data)


@pytest.mark.parametrize("data", DAMAGES)
@pytest.mark.parametrize(
    ("file", "read", "command"),
    [
        ("artifacts/manifest.json", lambda root: manifest(str(root)), "recsys-tft run"),
        ("models/ranker/columns.json", lambda root: ModelFolder(str(root), "ranker").read("columns.json"), "ranker"),
        (
            "models/ranker/calibration.json",
            lambda root: trained_ranker.calibration_of(ModelFolder(str(root), "ranker")),
            "ranker",
        ),
        ("models/two_tower/model.json", lambda root: ModelFolder(str(root), "two_tower").read("model.json"), "two-tow"),
        ("store/export.json", lambda root: serving_folders.description(root / "store"), "recsys-tft export"),
    ],
)
def test_damaged_json_is_named_with_the_command_that_makes_it_anew(
    tmp_path: pathlib.Path, file: str, read: Callable, command: str, data: bytes | None
) -> None:
    spoil(tmp_path / file, data)
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / file}: damaged")
    assert command in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"ARROW1", b"garbage" * 100, None])
def test_a_damaged_store_is_named(tmp_path: pathlib.Path, data: bytes | None) -> None:
    spoil(tmp_path / "users.arrow", data)
    with pytest.raises(InputError, match=rf"{tmp_path}/users.arrow: damaged .*recsys-tft export"):
        entity_store.EntityStore(tmp_path)


def test_another_mistake_inside_is_not_taken_for_damage() -> None:
    with pytest.raises(InputError) as caught, readable("file", "do it again"):
        raise InputError("what it is.")
    assert str(caught.value) == "what it is."
    with pytest.raises(ZeroDivisionError), readable("file", "do it again"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "command",
    [["export"], ["verify"], ["audit"], ["train", "ranker"], ["train", "two-tower"]],
)
def test_a_damaged_manifest_is_named_by_every_command(
    tmp_path: pathlib.Path, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    spoil(tmp_path / "artifacts/manifest.json", json.dumps({"settings": {}}).encode())
    assert main([*command, "--output-dir", str(tmp_path)]) == 1
    assert capfd.readouterr().err.startswith(f"error: {tmp_path}/artifacts/manifest.json: damaged: it lacks 'inputs'")
