"""The output of a run as its readers open it: rows and artifacts of one run, which stay while they are read."""

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

RENAMED = {"windows": "splits"}  # what a manifest, a state and a model of release 0.2.0 call what is called so now


@contextlib.contextmanager
def held(output_dir: str, anywhere: bool = False) -> Iterator[str]:
    """The folder of `artifacts` and `processed_data` of a run, which stays as it is as long as the block runs.

    Args:
        output_dir: of the run.
        anywhere: whether it may be on an object store too, where nothing keeps others from replacing it.

    Raises:
        InputError: if there is no run, or not on this machine, or the rows are of another run than the artifacts.
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
    """Puts raw tables in their place, if a run was killed after its commit and before that."""
    output = Output.at(output_dir)
    if output.is_settled:
        return
    with contextlib.suppress(InputError), sole_writer(pathlib.Path(output_dir), "run"):
        output.resume()


def _hold(root: pathlib.Path, stack: contextlib.ExitStack) -> pathlib.Path:
    """The version that artifacts and processed_data show together, which is held; the root where there is none."""
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
    """What makes a damaged output anew."""
    return f"run the main job again (recsys-tft run --output-dir {output_dir} --overwrite)"


def fingerprint(output_dir: str) -> str:
    """A hash of the transform graph's files, which tells whether a model belongs to it."""
    root = pathlib.Path(output_dir, "artifacts", "transform_graph")
    found = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
