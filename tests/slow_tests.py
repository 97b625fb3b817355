"""Which tests `make test-fast` leaves out: those marked slow, and those of a run that takes long to make.

It keeps one whole run, `synthetic_run`. A test that is not slow may look at it, and makes none of its own.
"""

import contextlib
import sys
from collections.abc import Generator, Iterator

import pytest

# Fixtures that run the main job on more, and train and export.
LONG = {"movielens_run", "texts_run", "served", "served_texts", "own_ran", "cloud"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: runs the main job, trains, exports, or loads TensorFlow in a new process")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and LONG & _used(item):
            item.add_marker(pytest.mark.slow)


def _used(item: pytest.Function) -> set[str]:
    """The names of its fixtures, and of those that it is given in turn."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {*item.fixturenames, *(value for value in given if isinstance(value, str))}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    may_run = item.get_closest_marker("slow") or "unfitted" in getattr(item, "fixturenames", ())
    with contextlib.nullcontext() if may_run else _no_runs():
        return (yield)


@contextlib.contextmanager
def _no_runs() -> Iterator[None]:
    """Fails a test that runs the main job and is not marked."""

    def fit(*_: object) -> None:
        raise AssertionError("a test that runs the main job is slow: mark it with @pytest.mark.slow")

    with pytest.MonkeyPatch.context() as patch:
        if main_job := sys.modules.get("recsys_tft.beam_pipelines.main_job"):
            patch.setattr(main_job.MainJob, "_fit", fit)
        yield
