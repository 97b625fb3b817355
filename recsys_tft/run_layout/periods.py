"""The periods of an output: each refresh is an output of its own, `OUTPUT_DIR/periods/NAME`, beside those before it."""

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from recsys_tft.errors import InputError, UsageError
from recsys_tft.run_layout import run_folders, state_files
from recsys_tft.run_layout.state_files import EarlierState

FOLDER = "periods"
REFRESH = "refresh"  # the key of a manifest that says of which run a period is, and which one it follows
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a refresh begins.

    Attributes:
        folder: of the new period.
        manifest: of the run.
        state: what is known at its beginning.
    """

    folder: pathlib.Path
    manifest: Mapping[str, Any]
    state: EarlierState


def folders(output_dir: str) -> dict[str, pathlib.Path]:
    """The folders of the periods of an output by name, in their order.

    Raises:
        InputError: if one is of another run than the output, or damaged.
    """
    root = pathlib.Path(output_dir, FOLDER)
    found = {path.name: path for path in sorted(root.glob("*/")) if (path / "artifacts" / "manifest.json").exists()}
    run = run_folders.manifest(output_dir).get("run") if found else None
    for path in found.values():
        of_run = run_folders.manifest(str(path)).get(REFRESH, {}).get("run")
        if of_run != run:
            raise InputError(
                f"{path}: is a refresh of the run {of_run}, but {output_dir} is of the run {run}; remove {root}, and "
                "refresh again."
            )
    return found


def output_of(folder: str) -> str:
    """The output that a period is of, whose folder is given; of any other folder itself."""
    path = pathlib.Path(folder)
    is_period = path.parent.name == FOLDER and REFRESH in run_folders.manifest(folder)
    return str(path.parent.parent) if is_period else folder


def name_of(data_dir: str) -> str:
    """What a period of the tables in a folder is called, if nobody says: `dt=2025-03-02` is 2025-03-02."""
    return pathlib.PurePath(data_dir).name.rpartition("=")[2]


@contextlib.contextmanager
def begun(output_dir: str, name: str, overwrite: bool) -> Iterator[Start]:
    """Where the next period begins; what it starts from stays as it is as long as the block runs.

    Args:
        output_dir: of the run.
        name: of the period.
        overwrite: whether the last period may be made again.

    Raises:
        InputError: if there is no run or state, or the period is not a next one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name is {name!r}; a period has a name such as 2025-03-02.")
    earlier = folders(output_dir)
    if name in earlier:
        if not overwrite:
            raise InputError(f"{earlier[name]} exists already; give --overwrite to make the last period again.")
        if name != list(earlier)[-1]:
            raise InputError(f"{earlier[name]}: only the last period, {list(earlier)[-1]}, can be made again.")
        del earlier[name]
    elif earlier and name < list(earlier)[-1]:
        last = list(earlier)[-1]
        raise InputError(
            f"The period {name!r} would come before the last one, {last!r}, as periods are in the order of their "
            "names; give a later --name."
        )
    told = str(list(earlier.values())[-1]) if earlier else output_dir
    with run_folders.held(output_dir) as run, run_folders.held(told) as previous:
        manifest = run_folders.manifest(run)
        state = state_files.open_state(previous, told)
        after = run_folders.manifest(previous).get("run")
        lineage = {"name": name, "run": manifest.get("run"), "after": after}
        folder = pathlib.Path(output_dir, FOLDER, name)
        yield Start(folder, manifest, dataclasses.replace(state, lineage=lineage))
