"""The public API says its types, and `make lint` checks a user's file against them."""

import ast
import inspect
import pathlib
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import recsys_tft

ROOT = pathlib.Path(__file__).parent.parent


def functions_of(public: Any) -> Iterator[Callable]:
    """The function, or the public methods of the class that are our own."""
    if not inspect.isclass(public):
        yield inspect.unwrap(public)
        return
    for name, member in inspect.getmembers(public):
        function = inspect.unwrap(member.fget if isinstance(member, property) else member)
        is_ours = inspect.isfunction(function) and function.__module__.startswith("recsys_tft.")
        if is_ours and (name == "__init__" or not name.startswith("_")):
            yield function


@pytest.mark.parametrize("name", recsys_tft.__all__)
def test_every_parameter_and_every_return_of_a_public_name_has_a_type(name: str) -> None:
    functions = list(functions_of(getattr(recsys_tft, name)))
    assert functions
    for function in functions:
        signature = inspect.signature(function)
        untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
        assert untyped == [], function
        assert function.__name__ == "__init__" or signature.return_annotation is not signature.empty, function


def test_the_checked_file_of_a_user_names_the_whole_api() -> None:
    tree = ast.parse((ROOT / "tests/api_user.py").read_text())
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(recsys_tft.__all__) <= named


def test_no_module_is_left_out_of_the_check_of_types() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    loosened = [name for own in (settings, *settings["overrides"]) for name in own if name.startswith("ignore_errors")]
    untyped = [name for own in settings["overrides"] if own.get("ignore_missing_imports") for name in own["module"]]
    assert loosened == []
    assert not any(name.startswith(("recsys_tft", "beam_pipelines", "bench")) for name in untyped)
