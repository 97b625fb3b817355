"""The examples in docstrings of public names run as they stand, and each that users call has one."""

import doctest
import pathlib
import shutil
import sys

import pytest

import recsys_tft

FLAGS = doctest.NORMALIZE_WHITESPACE


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a public name and of its methods, which see what stands in its module."""
    value = getattr(recsys_tft, name)
    module = sys.modules[value.__module__]
    return [test for test in doctest.DocTestFinder().find(value, name, module, dict(vars(module))) if test.examples]


@pytest.mark.parametrize("name", recsys_tft.__all__)
def test_every_public_name_has_an_example_and_says_what_it_is(name: str) -> None:
    tests = examples(name)
    assert tests or name == "RunResult"  # which only a run makes
    assert not any(example.options.get(doctest.SKIP) for test in tests for example in test.examples)
    assert getattr(recsys_tft, name).__doc__.split()[0] not in ("What", "Of", "Those", "As", "Whether")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*recsys_tft.__all__} - {"RunResult", "refresh"}))
def test_the_example_runs(
    name: str, served: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").symlink_to(served)
    run(name, tmp_path, monkeypatch)


@pytest.mark.slow
def test_the_example_of_a_refresh_runs(
    first_days: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("refresh", shutil.copytree(first_days, tmp_path / "days", symlinks=True), monkeypatch)


def run(name: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    runner, told = doctest.DocTestRunner(optionflags=FLAGS), []
    for test in examples(name):
        runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)
