"""Modules of a user's project: where they are, which ones a feature table imports, and hashes of their code."""

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
        """A name that finds it from any working folder of this machine; for an installed module its own."""
        return self.module if self.is_installed else f"{self.root}:{self.module}"

    @property
    def is_installed(self) -> bool:
        """Whether pip installed it, so that its root has modules of others too."""
        return any(part in _INSTALLED for part in self.root.parts)

    def relative(self, file: pathlib.Path) -> str:
        """The path of a file below the root."""
        return file.relative_to(self.root).as_posix()


def find(name: str, folder: str | None = None) -> tuple[Place | None, str]:
    """Find a module by a dotted path, a file, or a `Place.name`; also returns the searched places, in words.

    Args:
        name: such as `shop.features`, `shop/features.py`.
        folder: searched before the working folder and sys.path.
    """
    folders = [pathlib.Path(place).absolute() for place in dict.fromkeys([folder or os.curdir, os.curdir])]
    words = " and ".join(map(str, dict.fromkeys(folders)))
    if name.endswith(".py") or "/" in name.rpartition(":")[2] or os.sep in name.rpartition(":")[2]:
        files = [place / name for place in folders]
        return next((_file_place(file) for file in files if file.is_file()), None), words
    root, _, module = name.rpartition(":")
    roots = [pathlib.Path(root), *folders] if root else folders
    on_path = [pathlib.Path(entry or os.curdir).absolute() for entry in sys.path]
    places = (_place_in(place, module) for place in [*roots, *on_path])
    return next(filter(None, places), None) or _by_finders(module), f"{words} and on sys.path"


def _file_place(file: pathlib.Path) -> Place:
    """The module of a file, within the outermost package around it by `__init__.py` files."""
    file = pathlib.Path(os.path.normpath(file.absolute()))
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    parts = file.relative_to(root).with_suffix("").parts
    return Place(root, ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file)


def _place_in(root: pathlib.Path, module: str) -> Place | None:
    base = root.joinpath(*module.split("."))
    for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if file.is_file():
            return Place(pathlib.Path(os.path.normpath(root)), module, pathlib.Path(os.path.normpath(file)))
    return None


def _by_finders(module: str) -> Place | None:
    """A module that is not in a folder of sys.path, such as one of an editable installation."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    file = pathlib.Path((spec and spec.origin) or "")
    if file.suffix != ".py" or not file.is_file():  # a loaded one may be gone since
        return None
    depth = len(module.split(".")) - (file.name != "__init__.py")
    return Place(file.parents[depth], module, file)


def files(place: Place) -> dict[str, pathlib.Path]:
    """The files below the root that the module imports anywhere in its code, by module; its own file first.

    They are found in the code, independent of what the process has imported.
    """
    sources: dict[str, pathlib.Path] = {}
    waiting = [place.module]
    while waiting:
        module = waiting.pop(0)
        module_place = _place_in(place.root, module)
        top = module.partition(".")[0]
        if module in sources or module_place is None or top in _OURS:
            continue
        if place.is_installed and top != place.module.partition(".")[0]:
            continue
        sources[module] = module_place.file
        waiting += _parents(module)
        waiting += _imported(module_place)
    return sources


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _imported(place: Place) -> Iterator[str]:
    """The names imported by a file that may be modules."""
    package = place.module if place.file.name == "__init__.py" else place.module.rpartition(".")[0]
    try:
        tree = ast.parse(place.file.read_bytes())
    except SyntaxError:  # reported by the import
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
    """A hash of the code of each of `files`, without comments and layout, by its path below the root."""
    return {place.relative(file): _hash(file) for file in sorted(files(place).values())}


def _hash(file: pathlib.Path) -> str:
    # As text, since the form of a syntax tree differs between releases of Python.
    code = ast.unparse(ast.parse(file.read_bytes()))
    return hashlib.sha256(code.encode()).hexdigest()[:16]
