"""Prerequisites of commands, checked before libraries that take seconds to load."""

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

LEAST, MOST = -(2**63), 2**63 - 1  # of int64; in a column the least one is missing
MOST_SHOWN = 1_000_000  # videos of a recommendation


def within(option: str, value: int | None, least: int, most: int = MOST) -> None:
    """Refuse a number beyond its limits; None: not given.

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
    """Parse the time of an option, as microseconds since 1970.

    Raises:
        UsageError: if it is not a time between 1970 and 2200.
    """
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}; expected a time such as 2025-03-01T12:00.") from None
    aware = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    since_1970 = (aware - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
    if not 0 <= since_1970 < END_OF_TIME:
        raise UsageError(f"{option} is {text!r}; expected a time between 1970 and 2200.")
    return since_1970


def folder(option: str, place: str | None) -> None:
    """Refuse a folder without a name, or on an unknown filesystem."""
    places.check(option, place)


def local_folder(option: str, place: str) -> None:
    """Refuse an output folder without a name, or not on this machine."""
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
    """Warn on stderr if another user may have changed an output."""
    if sentence := ownership.warning(output_dir):
        print(f"warning: {sentence}", file=sys.stderr)


def rows_there(output_dir: str, *below: str) -> None:
    """Refuse a run without rows."""
    path = pathlib.Path(output_dir, "processed_data", *below)
    if not path.is_dir():
        raise InputError(f"{path}: there are no rows; {run_folders.run_again(output_dir)}.")


def raw_there(output_dir: str, data_dir: str | Sequence[str] | None) -> None:
    """Refuse missing raw tables.

    Raises:
        InputError: if a folder does not exist, or has to be named.
    """
    if data_dir is not None:
        for folder in [data_dir] if isinstance(data_dir, str) else data_dir:
            places.check_data(folder)
    elif not pathlib.Path(output_dir, "raw").is_dir():
        raise InputError(f"{output_dir} has no raw tables; name their folder with --data-dir.")


def models_there(output_dir: str) -> None:
    """Refuse a run unless both models are trained."""
    from recsys_tft.training import model_folders

    for name, file in model_folders.DESCRIPTIONS.items():
        model_folders.ModelFolder(output_dir, name).check(file)


def export_there(output_dir: str, version: int | None, index: str | None) -> None:
    """Refuse a missing export, or one without the requested index."""
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
    """Refuse an approximate index if faiss is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise InputError("faiss is not installed: run `pip install 'recsys_tft[faiss]'`.")


def server_installed() -> None:
    """Refuse to serve if a library for it is not installed."""
    for name in ("starlette", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is not installed: run `pip install 'recsys_tft[serve]'`.")
