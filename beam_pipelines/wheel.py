"""This package as it is installed, with all that was changed in it, as a wheel that any machine can install."""

import base64
import hashlib
import os
import pathlib
import re
import zipfile
from importlib import metadata

DISTRIBUTION = "recsys_tft"
_TIME = (1980, 1, 1, 0, 0, 0)  # the first one that a zip file knows, so that the same code makes the same bytes


def build(folder: str | os.PathLike[str]) -> str:
    """Writes the wheel into a folder, and returns its path.

    It asks for exactly the versions of its dependencies that are installed here, so that workers compute what this
    machine would. Building it takes no tool, no network, and not the checkout that the package came from.
    """
    described = f"{DISTRIBUTION}-{version()}.dist-info"
    files = dict(sorted(_modules().items()))
    files[f"{described}/METADATA"] = _metadata().encode()
    files[f"{described}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: recsys_tft\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items()]
    files[f"{described}/RECORD"] = "".join([*record, f"{described}/RECORD,,\n"]).encode()
    path = pathlib.Path(folder, f"{DISTRIBUTION}-{version()}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            wheel.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return str(path)


def version() -> str:
    """Of the package."""
    return metadata.version(DISTRIBUTION)


def _modules() -> dict[str, bytes]:
    """The files of the top-level modules and packages, by their names in the wheel.

    They are taken from beside this package, whatever else of these names can be imported.
    """
    root = pathlib.Path(__file__).resolve().parents[1]
    found = {}
    for name in metadata.distribution(DISTRIBUTION).read_text("top_level.txt").split():
        files = sorted((root / name).rglob("*.py")) or [root / f"{name}.py"]
        found |= {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    return found


def _metadata() -> str:
    head = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version()}\n"
    return head + "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements())


def requirements() -> list[str]:
    """What the package needs, in the versions that are installed: `name==version`."""
    needed = [text for text in metadata.requires(DISTRIBUTION) or () if "extra ==" not in text]
    names = [re.match(r"[\w.-]+", text)[0] for text in needed]
    return [f"{name}=={metadata.version(name)}" for name in names]


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
