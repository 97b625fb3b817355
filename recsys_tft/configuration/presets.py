"""The configs that come with the package: a file of `configs/` by its name, such as `movielens`."""

import functools
import pathlib

ALL_SETTINGS = "processing_config"  # every setting with its default
_PACKAGE = pathlib.Path(__file__).parent.parent


@functools.cache
def files() -> dict[str, pathlib.Path]:
    """The files by name: in an installed package those inside it, in a checkout those beside it."""
    installed = _PACKAGE / "configs"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def resolved(config: str) -> str:
    """The path for `--config`: a file of that name comes first, then a preset."""
    return config if config not in files() or pathlib.Path(config).is_file() else str(files()[config])
