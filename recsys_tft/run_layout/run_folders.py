"""Opens the output of a run for readers: rows and artifacts of one run, unchanged while they are read."""

import contextlib
import hashlib
import pathlib
import posixpath
from collections.abc import Iterator
from typing import Any

from recsys_tft.errors import InputError, require_local
from recsys_tft.run_layout.output import MANIFEST, Output
from recsys_tft.storage import json_files
from recsys_tft.storage.files import exists, is_local
from recsys_tft.storage.locks import sole_writer
from recsys_tft.storage.version_folders import Held

RENAMED = {"windows": "splits"}  # keys in manifests, states and models of release 0.2.0, and their names today


@contextlib.contextmanager
def held(output_dir: str, anywhere: bool = False) -> Iterator[str]:
    """Hold the folder of `artifacts` and `processed_data` of a run, so that it is unchanged while the block runs.

    Args:
        output_dir: of the run.
        anywhere: whether it may be on an object store too, where it cannot be held.

    Raises:
        InputError: if there is no run, it is not on this machine, or rows and artifacts are of different runs.
    """
    if anywhere and not is_local(output_dir):
        output = Output.at(output_dir)
        output.resume()
        manifest(output_dir, anywhere)
        output.check_one_run()
        yield output_dir.rstrip("/")
        return
    manifest(output_dir)  # an error where there is none
    _settle(output_dir)
    root = pathlib.Path(output_dir)
    with contextlib.ExitStack() as stack:
        folder = _hold(root, stack)
        Output.at(str(folder)).check_one_run()
        yield str(folder)


def _settle(output_dir: str) -> None:
    """Move raw tables to their target, if a run was killed between its commit and that."""
    output = Output.at(output_dir)
    if output.is_settled:
        return
    with contextlib.suppress(InputError), sole_writer(pathlib.Path(output_dir), "run"):
        output.resume()


def _hold(root: pathlib.Path, stack: contextlib.ExitStack) -> pathlib.Path:
    """Hold the version that artifacts and processed_data link to; the root if there is none."""
    rows = root / "processed_data"
    while rows.exists():
        version = Held(root / "artifacts")
        beside = version.folder / "processed_data"
        if beside.exists() and beside.samefile(rows):
            stack.enter_context(version)
            return version.folder
        if (root / "artifacts").resolve() == version.path.resolve():
            break
    return root


def manifest(output_dir: str, anywhere: bool = False) -> dict[str, Any]:
    """The manifest of the run, which may be on an object store if it may be `anywhere`.

    Raises:
        InputError: if there is none, or it is not on this machine.
    """
    if not anywhere:
        require_local(output_dir)
    path = posixpath.join(output_dir, "artifacts", MANIFEST)
    if not exists(path):
        raise InputError(f"{path}: no run there; run the main job first (recsys-tft run --output-dir {output_dir}).")
    keys = "settings", "inputs", "splits", "counts"
    return json_files.read(path, run_again(output_dir), keys, RENAMED)


def run_again(output_dir: str) -> str:
    """The advice for a damaged output."""
    return f"run the main job again (recsys-tft run --output-dir {output_dir} --overwrite)"


def fingerprint(output_dir: str) -> str:
    """A hash of the transform graph's files, which identifies the run of a model."""
    root = pathlib.Path(output_dir, "artifacts", "transform_graph")
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
