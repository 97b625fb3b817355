"""Which tests `make test-fast` leaves out: those marked slow, and those of a run that takes long to make.

It keeps one whole run, `synthetic_run`. A test that is not slow may look at it, and makes none of its own.

And in which order files of tests are begun: the longest first, so that all cores end at about the same time.
"""

import contextlib
import sys
from collections.abc import Generator, Iterator

import pytest

# Fixtures that run the main job on more, and train and export.
LONG = {
    "both", "cloud", "compact", "fitted_alone", "fitted_by_tfx", "movielens_run", "own_ran", "parquet_result", "served",
    "served_texts", "texts_run",
}  # fmt: skip
# Files that take more than ten seconds of a core. The first two make what most of the others look at.
FIRST = (
    "verify", "as_of_runs", "your_own_features", "own_columns", "versioned_runs", "determinism", "leak_audit",
    "dataflow", "version_folders",
    "preprocessing_fn", "recommend", "serving_models", "examples", "own_signals_run", "readme", "odd_data",
    "two_tower_training", "bert", "faults", "titles", "tutorial", "output_folder", "portable_runner", "main_job",
    "main_job_files", "rejected_rows", "missing", "as_of_serving", "own_signals", "recent", "object_store", "ops",
    "catboost_graph", "cooccurrence", "versions",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and LONG & _used(item):
            item.add_marker(pytest.mark.slow)
    places = {f"test_{name}.py": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))  # which keeps the order within a file


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
