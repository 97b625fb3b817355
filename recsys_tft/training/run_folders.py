"""The output of a run as its readers open it: rows and artifacts of one run, which stay while they are read."""

import contextlib
import pathlib
from collections.abc import Iterator

from recsys_tft.errors import InputError
from recsys_tft.storage.locks import sole_writer
from recsys_tft.storage.output import Output
from recsys_tft.storage.version_folders import Held
from recsys_tft.training import model_folders


@contextlib.contextmanager
def held(output_dir: str) -> Iterator[str]:
    """The folder of `artifacts` and `processed_data` of a run, which stays as it is as long as the block runs.

    Raises:
        InputError: if there is no run on this machine, or the rows are of another run than the artifacts.
    """
    model_folders.manifest(output_dir)  # an error where there is none
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
