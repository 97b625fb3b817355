"""Which tests `make test-fast` leaves out: those marked slow, those of a run that takes long to make, and those that
have taken over a second of a core by themselves; of others that do, `make test-fast` says so at its end.

It keeps one whole run, `synthetic_run`. A test that is not slow may look at it, and makes none of its own. Of random
cases it draws a quarter of those that `make test` does.

And in which order files of tests are begun: the longest first, so that all cores end at about the same time.
"""

import contextlib
import resource
import sys
from collections.abc import Callable, Generator, Iterator

import hypothesis
import pytest

# Fixtures that run the main job on more, train and export, or start processes.
LONG = {
    "both", "cloud", "compact", "first_days", "fitted_alone", "fitted_by_tfx", "movielens_run", "own_ran",
    "parquet_result", "served", "served_texts", "small", "texts_run", "trained",
}  # fmt: skip
# Tests that take over a second of a core though they run no job and train no model of a run, by file.
OVER_A_SECOND = {
    "bert": ("test_every_code_point_is_tokenized_as_by_hugging_face", "test_frozen_weights_give_the_same_vectors"),
    "calibration": ("test_the_method_is_that_of_the_less_log_loss_on_other_users",),
    "carried": ("test_what_is_counted_of_videos_is_that_of_one_run",),
    "catboost_graph": ("test_the_graph_scores_as_catboost_does",),
    "graph_fitting": (
        "test_an_analyzer_of_tf_transform_in_an_op_is_refused_before_anything_is_read",
        "test_a_table_with_an_encoder_of_texts_is_traced_before_anything_is_read",
    ),
    "history_encoders": ("test_the_order_of_the_history_matters_to_all_but_the_bag",),
    "late_events": (
        "test_the_state_is_that_of_events_in_time",
        "test_rows_of_the_new_period_are_those_of_one_run_over_all_that_has_come",
    ),
    "main_job": (
        "test_engineered_values_are_what_the_graph_makes_of_the_joined_raw_row",
        "test_the_graph_can_be_called_as_a_saved_model",
    ),
    "minilm_export": ("test_the_export_is_made_once", "test_an_export_is_used_without_the_package"),
    "multilingual": ("test_the_name_stands_for_an_export_that_is_made_once",),
    "online": ("test_what_is_found_out_of_several_users_at_once_is_that_of_each",),
    "parquet_rows": (
        "test_arrow_reads_what_was_joined",
        "test_polars_reads_what_was_joined",
        "test_the_metadata_are_those_that_arrow_writes",
    ),
    "preprocessing_fn": ("test_without_settings_the_defaults_apply", "test_ids_are_what_the_inputs_have"),
    "tfrecord": ("test_rows_are_written_where_compiled_code_cannot_be_kept",),
    "title_encoder": (
        "test_a_frozen_encoder_keeps_its_tables",
        "test_the_op_loads_no_encoder_beside_the_one_that_it_is_given",
    ),
    "two_tower": (
        "test_tables_in_steps_keep_their_shapes_and_what_they_have_learned",
        "test_values_are_shown_as_unseen_equally_often_and_the_choice_has_its_probability",
    ),
    "two_tower_training": ("test_baselines_have_the_options_that_are_best_on_val",),
    "vectors": ("test_rows_become_the_json_that_python_reads_as_the_same_values",),
    "versions": ("test_versions_from_a_moment_on_change_no_exposure_until_then",),
    "xgboost_graph": (
        "test_the_graph_scores_as_xgboost_does_to_the_last_bit",
        "test_infinite_numbers_score_as_where_xgboost_takes_them",
    ),
}
# Files that take more than eight seconds of a core. The first two make what most of the others look at.
FIRST = (
    "verify", "as_of_runs", "refresh", "changed_tables", "stored_refresh", "retiring", "dataflow_refresh",
    "periods", "server", "wire", "ranker_kinds", "two_tower_training",
    "your_own_features",
    "leak_audit", "determinism", "own_columns", "graph_fitting", "served_models", "recommend", "compact_files",
    "preprocessing_fn", "bert", "versioned_runs", "main_job", "loaded", "dataflow", "own_signals_run",
    "serving_models", "examples", "titles", "positive_rates", "recent", "minilm_export", "object_store", "missing",
    "layering", "own_signals", "odd_data", "reading", "cooccurrence", "tutorial", "ops", "catboost_graph",
    "version_folders", "faults", "readme", "output_folder", "xgboost_graph", "carried", "late_events", "main_job_files",
    "as_of_serving", "versions", "title_encoder", "rejected_rows", "dataflow_options", "portable_runner",
    "counters", "parquet_rows", "online", "verify_online", "observe", "redis", "served_requests", "report", "comparing",
    "vectors", "notebook", "docstrings", "docs", "site",
)  # fmt: skip
_SECONDS = "core seconds"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and (LONG & _used(item) or _is_over_a_second(item)):
            item.add_marker(pytest.mark.slow)
    places = {f"test_{name}.py": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))  # which keeps the order within a file
    if _is_fast(config):
        for function in {item.function for item in items if isinstance(item, pytest.Function)}:
            _draw_fewer(function)


def _is_fast(config: pytest.Config) -> bool:
    """Whether this is `make test-fast`."""
    return config.option.markexpr == "not slow"


def _draw_fewer(function: Callable) -> None:
    """Has a test of random cases try a quarter of them."""
    own = getattr(function, "_hypothesis_internal_use_settings", None)  # where Hypothesis's own plugin finds them
    if own is not None:
        fewer = hypothesis.settings(own, max_examples=max(own.max_examples // 4, 1))
        function._hypothesis_internal_use_settings = fewer


def _is_over_a_second(item: pytest.Function) -> bool:
    return item.originalname in OVER_A_SECOND.get(item.path.stem.removeprefix("test_"), ())


def _used(item: pytest.Function) -> set[str]:
    """The names of its fixtures, and of those that it is given in turn."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {*item.fixturenames, *(value for value in given if isinstance(value, str))}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    is_slow, before = item.get_closest_marker("slow"), _core_seconds()
    may_run = is_slow or "unfitted" in getattr(item, "fixturenames", ())
    with contextlib.nullcontext() if may_run else _no_runs():
        found = yield
    if not is_slow:
        item.user_properties.append((_SECONDS, _core_seconds() - before))
    return found


def _core_seconds() -> float:
    """How many this process and the ended ones that it has started have taken."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _is_fast(config):
        return
    reports = (report for report in terminalreporter.getreports("passed") if report.when == "call")
    seconds = {report.nodeid: dict(report.user_properties).get(_SECONDS, 0.0) for report in reports}
    for nodeid in sorted(seconds, key=seconds.__getitem__, reverse=True):
        if seconds[nodeid] > 1:
            terminalreporter.write_line(f"{seconds[nodeid]:.1f} seconds of a core, and not slow: {nodeid}")


@contextlib.contextmanager
def _no_runs() -> Iterator[None]:
    """Fails a test that runs the main job and is not marked."""

    def fit(*_: object) -> None:
        raise AssertionError("a test that runs the main job is slow: mark it with @pytest.mark.slow")

    with pytest.MonkeyPatch.context() as patch:
        if main_job := sys.modules.get("recsys_tft.beam_pipelines.main_job"):
            patch.setattr(main_job.MainJob, "_fit", fit)
        yield
