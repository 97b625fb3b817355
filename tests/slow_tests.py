"""Which tests `make test-fast` leaves out: those marked slow, and those of a run that takes long to make.

It keeps one whole run, `synthetic_run`. A test that is not slow may look at it, and makes none of its own.

And in which order files of tests are begun: the longest first, so that all cores end at about the same time.
"""

import contextlib
import sys
from collections.abc import Generator, Iterator

import pytest

# Fixtures that run the main job on more, train and export, or start processes.
LONG = {
    "both", "cloud", "compact", "fitted_alone", "fitted_by_tfx", "movielens_run", "own_ran", "parquet_result", "served",
    "served_texts", "small", "texts_run",
}  # fmt: skip
# Files that take more than eight seconds of a core. The first two make what most of the others look at.
FIRST = (
    "verify", "as_of_runs", "refresh", "stored_refresh", "retiring", "dataflow_refresh",
    "periods", "server", "wire", "ranker_kinds", "two_tower_training",
    "your_own_features",
    "leak_audit", "determinism", "own_columns", "graph_fitting", "served_models", "recommend", "compact_files",
    "preprocessing_fn", "bert", "versioned_runs", "main_job", "loaded", "dataflow", "own_signals_run",
    "serving_models", "examples", "titles", "positive_rates", "recent", "minilm_export", "object_store", "missing",
    "layering", "own_signals", "odd_data", "reading", "cooccurrence", "tutorial", "ops", "catboost_graph",
    "version_folders", "faults", "readme", "output_folder", "xgboost_graph", "carried", "late_events", "main_job_files",
    "as_of_serving", "versions", "title_encoder", "rejected_rows", "dataflow_options", "portable_runner",
    "counters", "online", "verify_online", "observe", "redis", "served_requests", "report", "comparing", "vectors",
    "notebook", "docstrings", "docs", "site",
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
