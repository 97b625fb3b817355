"""The periods of an output: each refresh is an output of its own, `OUTPUT_DIR/periods/NAME`."""

import contextlib
import dataclasses
import pathlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from recsys_tft.errors import InputError, UsageError
from recsys_tft.run_layout import run_folders, state_files
from recsys_tft.run_layout.output import MANIFEST, MARKER, Output
from recsys_tft.run_layout.state_files import EarlierState
from recsys_tft.storage.files import STAGING, folders_with, is_local

FOLDER = "periods"
REFRESH = "refresh"  # the key of a manifest with the run of a period, and the output before it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


@dataclasses.dataclass(frozen=True)
class Start:
    """The start of a refresh.

    Attributes:
        folder: of the new period.
        manifest: of the run.
        state: to start from.
    """

    folder: str
    manifest: Mapping[str, Any]
    state: EarlierState


def folders(output_dir: str) -> dict[str, str]:
    """The folders of the periods of an output by name, in order.

    Raises:
        InputError: if one belongs to another run than the output, is damaged, or is not on this machine.
    """
    root = posixpath.join(output_dir, FOLDER)
    return {name: posixpath.join(root, name) for name in _manifests(output_dir)}


def _manifests(output_dir: str, anywhere: bool = False) -> dict[str, dict[str, Any]]:
    """The manifests of the periods."""
    root = posixpath.join(output_dir, FOLDER)
    names = folders_with(root, posixpath.join("artifacts", MANIFEST))
    run = run_folders.manifest(output_dir, anywhere).get("run") if names else None
    manifests = {name: run_folders.manifest(posixpath.join(root, name), anywhere) for name in names}
    for name, manifest in manifests.items():
        run_of_period = manifest.get(REFRESH, {}).get("run")
        if run_of_period != run:
            raise InputError(
                f"{posixpath.join(root, name)}: is a refresh of the run {run_of_period}, but {output_dir} is of the "
                f"run {run}; remove {root}, and refresh again."
            )
    return manifests


def output_of(folder: str) -> str:
    """The output of a period, given its folder; any other folder is returned as it is."""
    path = pathlib.Path(folder)
    is_period = path.parent.name == FOLDER and REFRESH in run_folders.manifest(folder)
    return str(path.parent.parent) if is_period else folder


def name_of(data_dir: str) -> str:
    """The default name of a period, from the folder of its tables: `dt=2025-03-02` gives 2025-03-02."""
    return pathlib.PurePath(data_dir).name.rpartition("=")[2]


@contextlib.contextmanager
def open_start(output_dir: str, name: str, overwrite: bool) -> Iterator[Start]:
    """The start of the next period; its run and state are held while the block runs.

    Args:
        output_dir: of the run.
        name: of the period.
        overwrite: whether the last period may be made again.

    Raises:
        InputError: if there is no run or state, or the period is not the next one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name is {name!r}; expected a name such as 2025-03-02.")
    root = posixpath.join(output_dir, FOLDER)
    if not is_local(output_dir):
        for period in folders_with(root, posixpath.join(STAGING, MARKER)):  # whose commit was killed
            Output.at(posixpath.join(root, period)).resume()
    earlier = _manifests(output_dir, anywhere=True)
    folder, last = posixpath.join(root, name), list(earlier)[-1] if earlier else ""
    if name in earlier:
        if not overwrite:
            raise InputError(f"{folder} exists already; give --overwrite to make the last period again.")
        if name != last:
            raise InputError(f"{folder}: only the last period, {last}, can be made again.")
        del earlier[name]
    elif name < last:
        raise InputError(
            f"The period {name!r} would come before the last one, {last!r}, as periods are in the order of their "
            "names; give a later --name."
        )
    _check_one_follows(root, earlier)
    previous_dir = posixpath.join(root, list(earlier)[-1]) if earlier else output_dir
    with run_folders.held(output_dir, anywhere=True) as run, run_folders.held(previous_dir, anywhere=True) as previous:
        manifest = run_folders.manifest(run, anywhere=True)
        state = state_files.open_state(previous, previous_dir)
        after = run_folders.manifest(previous, anywhere=True).get("run")
        lineage = {"name": name, "run": manifest.get("run"), "after": after}
        yield Start(folder, manifest, dataclasses.replace(state, lineage=lineage))


def _check_one_follows(root: str, earlier: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse two periods that start from the same state, as concurrent refreshes on an object store may do."""
    first_after: dict[str, str] = {}
    for name, manifest in earlier.items():
        other = first_after.setdefault(manifest[REFRESH]["after"], name)
        if other != name:
            raise InputError(
                f"{posixpath.join(root, name)}: starts from the same state as {other}, as two refreshes ran at the "
                "same time; make it again with --overwrite."
            )
