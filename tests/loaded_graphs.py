"""Saved graphs that are loaded once per process, where a test is of what is done with them: to load one takes a second.

A graph is known by the bytes of its files, so that a copy is the same one, and one that a test alters is loaded anew.
"""

import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from recsys_tft import Recommender


def _digest(folder: str) -> str:
    files = sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    names = [str(path.relative_to(folder)) for path in files]
    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return repr(list(zip(names, contents, strict=True)))


def _by_bytes(load: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of a folder, which remembers what it returned for the same files."""
    known: dict[str, Any] = {}

    def of(folder: str, *rest: str) -> Any:
        digest = _digest(folder)
        if digest not in known:
            known[digest] = load(folder, *rest)
        return known[digest]

    return of


@functools.cache
def _loaders() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from recsys_tft import transform_graph
    from recsys_tft.serving import served_models

    return _by_bytes(transform_graph.TransformGraph.load), _by_bytes(served_models.load)


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has graphs of the same bytes loaded once, with what was traced of them."""
    from recsys_tft.serving import saved_graphs

    transform, served = _loaders()
    monkeypatch.setattr(saved_graphs.TransformGraph, "load", transform)
    monkeypatch.setattr(saved_graphs.served_models, "load", served)


@functools.cache
def recommender_of(root: pathlib.Path) -> "Recommender":
    """Of an output that no test alters."""
    from recsys_tft import Recommender

    return Recommender(str(root))
