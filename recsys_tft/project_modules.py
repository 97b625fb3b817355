"""Modules of a user's project: their places, those that belong to a feature table, and their code."""

import ast
import dataclasses
import hashlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterator

_INSTALLED = ("site-packages", "dist-packages")
_OURS = ("recsys_tft", "beam_pipelines", "preprocessing_fn")


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of a module.

    Attributes:
        root: the folder that has to be on sys.path for it, absolute.
        module: its dotted name.
        file: its source, absolute.
    """

    root: pathlib.Path
    module: str
    file: pathlib.Path

    @property
    def name(self) -> str:
        """The name that finds it from any working folder on this machine; an installed module's own name."""
        return self.module if self.is_installed else f"{self.root}:{self.module}"

    @property
    def is_installed(self) -> bool:
        """Whether pip put it there, so that its root holds much that is not the user's."""
        return any(part in _INSTALLED for part in self.root.parts)

    def relative(self, file: pathlib.Path) -> str:
        """A file below the root as people name it."""
        return file.relative_to(self.root).as_posix()


def find(name: str, folder: str | None = None) -> tuple[Place | None, str]:
    """The module that a dotted path, a file, or `Place.name` names; and where it was looked for, in words.

    Args:
        name: such as `shop.features`, `shop/features.py`.
        folder: in which to look before the working folder and sys.path.
    """
    folders = [pathlib.Path(place).absolute() for place in dict.fromkeys([folder or os.curdir, os.curdir])]
    words = " and ".join(map(str, dict.fromkeys(folders)))
    if name.endswith(".py") or "/" in name.rpartition(":")[2] or os.sep in name.rpartition(":")[2]:
        files = [place / name for place in folders]
        return next((_of_file(file) for file in files if file.is_file()), None), words
    root, _, module = name.rpartition(":")
    roots = [pathlib.Path(root), *folders] if root else folders
    on_path = [pathlib.Path(entry or os.curdir).absolute() for entry in sys.path]
    found = (_in(place, module) for place in [*roots, *on_path])
    return next(filter(None, found), None) or _by_finders(module), f"{words} and on sys.path"


def _of_file(file: pathlib.Path) -> Place:
    """A file is a module of the outermost package around it, which an `__init__.py` in each folder makes one."""
    file = pathlib.Path(os.path.normpath(file.absolute()))
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    parts = file.relative_to(root).with_suffix("").parts
    return Place(root, ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file)


def _in(root: pathlib.Path, module: str) -> Place | None:
    base = root.joinpath(*module.split("."))
    for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if file.is_file():
            return Place(pathlib.Path(os.path.normpath(root)), module, pathlib.Path(os.path.normpath(file)))
    return None


def _by_finders(module: str) -> Place | None:
    """A module that something else than a folder of sys.path knows, such as one of an editable installation."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    file = pathlib.Path((spec and spec.origin) or "")
    if file.suffix != ".py" or not file.is_file():  # one that is loaded may be gone since
        return None
    depth = len(module.split(".")) - (file.name != "__init__.py")
    return Place(file.parents[depth], module, file)


def files(place: Place) -> dict[str, pathlib.Path]:
    """The files below the root that the module's code imports, wherever it does so, by their modules; its own first.

    Found in the code, so that what else a process has imported does not matter.
    """
    found: dict[str, pathlib.Path] = {}
    waiting = [place.module]
    while waiting:
        module = waiting.pop(0)
        beside = _in(place.root, module)
        top = module.partition(".")[0]
        if module in found or beside is None or top in _OURS:
            continue
        if place.is_installed and top != place.module.partition(".")[0]:
            continue
        found[module] = beside.file
        waiting += _parents(module)
        waiting += _imported(beside)
    return found


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _imported(place: Place) -> Iterator[str]:
    """The names imported by a file that may be modules."""
    package = place.module if place.file.name == "__init__.py" else place.module.rpartition(".")[0]
    try:
        tree = ast.parse(place.file.read_bytes())
    except SyntaxError:  # which the import says better
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (*_parents(alias.name), alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (*_parents(base), base)
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def hashes(place: Place) -> dict[str, str]:
    """A hash of the code of each of `files`, by its name below the root; comments and layout are no part of it."""
    return {place.relative(file): _hash(file) for file in sorted(files(place).values())}


def _hash(file: pathlib.Path) -> str:
    # As text, since the form of a syntax tree differs between releases of Python.
    code = ast.unparse(ast.parse(file.read_bytes()))
    return hashlib.sha256(code.encode()).hexdigest()[:16]
