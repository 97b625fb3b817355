"""Builds a wheel of this package as it is installed, with local changes, for any machine."""

import base64
import hashlib
import os
import pathlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata

DISTRIBUTION = "recsys_tft"
PROJECT = "features_of_recsys_tft_user"  # the name of the wheel with a user's modules
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest one in zip files: the same code makes the same bytes


def build(folder: str | os.PathLike[str]) -> str:
    """Writes the wheel into a folder, and returns its path.

    It requires exactly the versions of dependencies that are installed here, so that workers compute the same as this
    machine would. Building it takes no tool, no network and no checkout of the package.
    """
    return _write(folder, DISTRIBUTION, version(), _modules(), requirements())


def build_project(folder: str | os.PathLike[str], modules: Mapping[str, pathlib.Path]) -> str:
    """Writes the modules of a user's project as a wheel, and returns its path; there they have the same names.

    Args:
        folder: where to write it.
        modules: files by dotted names.
    """
    files = {_path_of(name, file): file.read_bytes() for name, file in modules.items()}
    # Other modules give another version, so that a worker with an earlier one installs this one.
    code = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    return _write(folder, PROJECT, f"0.{int(code[:12], 16)}", files, [])


def _path_of(module: str, file: pathlib.Path) -> str:
    path = module.replace(".", "/")
    return f"{path}/{file.name}" if file.name == "__init__.py" else f"{path}.py"


def _write(
    folder: str | os.PathLike[str],
    distribution: str,
    version: str,
    modules: Mapping[str, bytes],
    requirements: Sequence[str],
) -> str:
    described = f"{distribution}-{version}.dist-info"
    files = dict(sorted(modules.items()))
    files[f"{described}/METADATA"] = _metadata(distribution, version, requirements).encode()
    files[f"{described}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: recsys_tft\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items()]
    files[f"{described}/RECORD"] = "".join([*record, f"{described}/RECORD,,\n"]).encode()
    path = pathlib.Path(folder, f"{distribution}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            wheel.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return str(path)


def version() -> str:
    """The version of the package."""
    return metadata.version(DISTRIBUTION)


def _modules() -> dict[str, bytes]:
    """The files of the top-level modules and packages, by their names in the wheel.

    They are found beside this package, whatever else can be imported by these names.
    """
    root = pathlib.Path(__file__).resolve().parents[1]
    found: dict[str, bytes] = {}
    for name in (metadata.distribution(DISTRIBUTION).read_text("top_level.txt") or "").split():
        files = sorted((root / name).rglob("*.py")) or [root / f"{name}.py"]
        found |= {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    return found


def _metadata(distribution: str, version: str, requirements: Sequence[str]) -> str:
    head = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    return head + "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements)


def requirements() -> list[str]:
    """The requirements of the package, in the installed versions: `name==version`."""
    needed = [text for text in metadata.requires(DISTRIBUTION) or () if "extra ==" not in text]
    names = [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed]
    return [f"{name}=={metadata.version(name)}" for name in names]


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
