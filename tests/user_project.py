"""A user's project in a folder of its own, with modules that this process forgets again."""

import pathlib
import sys
from collections.abc import Iterator

import pytest

from recsys_tft import feature_tables

HEAD = """
from recsys_tft.columns import BOOL, FLOAT, INT64, STRING, STRINGS, TIMESTAMP, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import CANDIDATE, QUERY, RANKER, Feature
from recsys_tft.ops import Lookup
from recsys_tft.signals import Signal
from recsys_tft.vocabularies import Vocabulary
"""


class Project:
    """A folder that a config, and the modules that it names, are written to."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def write(self, name: str, text: str) -> pathlib.Path:
        """A file as it is."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def table(self, arguments: str, name: str = "features.py") -> pathlib.Path:
        """A module whose TABLE extends ours."""
        return self.write(name, f"{HEAD}\nTABLE = DEFAULT.extend({arguments})\n")

    def config(self, text: str = "features: features.py") -> str:
        return str(self.write("my.yaml", f"title_encoder: none\n{text}\n"))


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Leaves no module of a project behind."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    forget(modules)
    sys.path[:] = path


def forget(modules: set[str]) -> None:
    """Takes away the user's modules that came since, as a new process would not have them."""
    for name in set(sys.modules) - modules:
        places = [getattr(sys.modules[name], "__file__", None) or "/", *getattr(sys.modules[name], "__path__", ())]
        if any(pathlib.Path(place).is_relative_to(_folder_of_tests()) for place in places):
            del sys.modules[name]
    feature_tables._load.cache_clear()
    feature_tables.code_of.cache_clear()


def _folder_of_tests() -> pathlib.Path:
    import tempfile

    return pathlib.Path(tempfile.gettempdir()).resolve()


@pytest.fixture
def project(tmp_path: pathlib.Path, forgetful: None) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)
