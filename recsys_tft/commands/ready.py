"""Prerequisites of commands, checked before the libraries that take seconds to load: cheap mistakes come first."""

import datetime
import importlib.util
import pathlib
import sys
from collections.abc import Sequence

from recsys_tft.columns import END_OF_TIME
from recsys_tft.errors import InputError, UsageError, require_local
from recsys_tft.run_layout import run_folders
from recsys_tft.serving import serving_folders
from recsys_tft.storage import ownership, places

LEAST, MOST = -(2**63), 2**63 - 1  # that a number may be; of a column the least is missing
MOST_SHOWN = 1_000_000  # videos of a recommendation


def within(option: str, value: int | None, least: int, most: int = MOST) -> None:
    """Refuse a number beyond its limits; None is one that was not given.

    Raises:
        UsageError: naming the option, the number and the limit.
    """
    if value is not None and value < least:
        raise UsageError(f"{option} is {_short(value)}; it needs at least {least}.")
    if value is not None and value > most:
        raise UsageError(f"{option} is {_short(value)}; it takes at most {most}.")


def _short(value: int) -> str:
    if abs(value) < 10**24:
        return str(value)
    return f"a number of {len(str(abs(value))) if abs(value) < 10**4000 else 'thousands of'} digits"


def microseconds(option: str, text: str) -> int:
    """The time that an option names, in microseconds since 1970.

    Raises:
        UsageError: if it is not a time, or one that no row may have.
    """
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}; expected a time such as 2025-03-01T12:00.") from None
    aware = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    found = (aware - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
    if not 0 <= found < END_OF_TIME:
        raise UsageError(f"{option} is {text!r}; expected a time between 1970 and 2200.")
    return found


def folder(option: str, place: str | None) -> None:
    """Refuse a folder without a name, or on no filesystem that is known."""
    places.check(option, place)


def local_folder(option: str, place: str) -> None:
    """Refuse a folder to write that has no name, or is not on this machine."""
    places.check(option, place)
    if places.scheme(place):
        raise UsageError(f"{option} is '{place}'; name a local folder, and copy it from there.")


def run_there(output_dir: str) -> dict:
    """The manifest of a run on this machine.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    require_local(output_dir)
    places.check("--output-dir", output_dir)
    warn_of_others(output_dir)
    return run_folders.manifest(output_dir)


def warn_of_others(output_dir: str) -> None:
    """Say on stderr that another user may have changed an output."""
    if sentence := ownership.warning(output_dir):
        print(f"warning: {sentence}", file=sys.stderr)


def rows_there(output_dir: str, *below: str) -> None:
    """Refuse a run whose rows are gone."""
    path = pathlib.Path(output_dir, "processed_data", *below)
    if not path.is_dir():
        raise InputError(f"{path}: there are no rows; {run_folders.run_again(output_dir)}.")


def raw_there(output_dir: str, data_dir: str | Sequence[str] | None) -> None:
    """Refuse raw tables that are not where they are said to be.

    Raises:
        InputError: if a folder is not there, or has to be named.
    """
    if data_dir is not None:
        for each in [data_dir] if isinstance(data_dir, str) else data_dir:
            places.check_data(each)
    elif not pathlib.Path(output_dir, "raw").is_dir():
        raise InputError(f"{output_dir} has no raw tables; name their folder with --data-dir.")


def models_there(output_dir: str) -> None:
    """Refuse a run unless both models are trained."""
    from recsys_tft.training import model_folders

    for name, file in model_folders.DESCRIPTIONS.items():
        model_folders.ModelFolder(output_dir, name).check(file)


def export_there(output_dir: str, version: int | None, index: str | None) -> None:
    """Refuse an export that is not there, or that lacks the index that is asked for."""
    places.check("--output-dir", output_dir)
    root = serving_folders.serving_folder(output_dir)
    chosen = str(serving_folders.latest(root, version))
    warn_of_others(output_dir)
    serving_folders.description(root / serving_folders.STORE / chosen)
    if index is not None:
        index_installed()
        path = root / "retrieval" / chosen / serving_folders.EXTRA / f"{index}.faiss"
        if not path.exists():
            raise InputError(f"{path}: no such index; run recsys-tft export --index {index}.")


def index_installed() -> None:
    """Refuse an approximate index where the library that makes it is missing."""
    if importlib.util.find_spec("faiss") is None:
        raise InputError("faiss is not installed: run `pip install 'recsys_tft[faiss]'`.")


def server_installed() -> None:
    """Refuse to serve where a library that this needs is missing."""
    for name in ("starlette", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is not installed: run `pip install 'recsys_tft[serve]'`.")
