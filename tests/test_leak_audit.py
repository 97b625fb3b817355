"""`recsys-tft audit`: a run without a leak passes, and each leak that is planted is found by its feature."""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from conftest import Ran

from beam_pipelines import join
from recsys_tft import (
    asof,
    audit_cuts,
    audit_sample,
    cli,
    counters,
    examples,
    exposures,
    futures,
    history,
    labels,
    leak_audit,
    negatives,
    raw_tables,
    settings,
    splits,
)
from recsys_tft.errors import InputError
from recsys_tft.features import BY_NAME
from recsys_tft.futures import FUTURES, Cut

Plant = Callable[[pytest.MonkeyPatch], None]
HISTORY = {"history_video_ids_tokens", "history_categories_tokens"}
PREVIOUS = {"previously_watched_category_token"}
COUNTED = {name for name, feature in BY_NAME.items() if feature.is_counted}


@pytest.fixture(scope="module")
def as_of_output(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What the audit takes of a run: the artifacts of the synthetic one, with counters as of each exposure."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "artifacts").mkdir()
    (folder / "artifacts/transform_graph").symlink_to(synthetic_run.root / "artifacts/transform_graph")
    (folder / "raw").symlink_to(synthetic_run.raw)
    manifest = json.loads((synthetic_run.root / "artifacts/manifest.json").read_text())
    manifest["settings"]["counters"] |= {"source": "as_of", "delay": "1h"}
    (folder / "artifacts/manifest.json").write_text(json.dumps(manifest))
    return folder


# --- Leaks


def tied(event_keys, event_times, keys, times, tie):
    return LAST_BEFORE(event_keys, event_times, keys, times + 1, tie)


def last_of_all(event_keys, event_times, keys, times, tie):
    return LAST_BEFORE(event_keys, event_times, keys, np.full(len(times), np.iinfo(np.int64).max), tie)


LAST_BEFORE = asof.last_before


def as_of_ties(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(asof, "last_before", tied)


def as_of_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(asof, "last_before", last_of_all)


def history_with_the_exposure_itself(patch: pytest.MonkeyPatch) -> None:
    sound = history.histories
    patch.setattr(history, "histories", lambda *args: sound(*args[:4], args[4] + 1, args[5]))


def positive_before_it_was(patch: pytest.MonkeyPatch) -> None:
    """An exposure counts as positive from its beginning."""
    patch.setattr(history, "positive_since", lambda events, starts, *_: events["interaction_time"].to_numpy()[starts])


def counters_with_ties(patch: pytest.MonkeyPatch) -> None:
    sound = counters.last_before
    patch.setattr(counters, "last_before", lambda table, ids, times, rows=(): sound(table, ids, times + 1, rows))


def counters_without_delay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(join, "_known_at", lambda exposures, _: exposures["interaction_time"].to_numpy())


def counters_of_the_whole_table(patch: pytest.MonkeyPatch) -> None:
    def versions(video_ids: np.ndarray, increments: pa.Table, _: object) -> pa.Table:
        totals = counters.with_totals(pa.table({"video_id": video_ids}), increments, ())
        since = pa.array(np.full(len(totals), counters.ALWAYS))
        return totals.add_column(1, "since", since).select(counters.VERSION_SCHEMA.names)

    patch.setattr(counters, "versions", versions)


def fitted_counters_of_the_whole_table(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(counters, "of_training", lambda increments: increments)


def labels_across_windows(patch: pytest.MonkeyPatch) -> None:
    sound = exposures.exposure_starts
    for module in (exposures, examples):
        patch.setattr(module, "exposure_starts", lambda events, gap, _: sound(events, gap, None))


def contradicted_by_later_windows(patch: pytest.MonkeyPatch) -> None:
    sound = labels.contradicted
    patch.setattr(labels, "contradicted", lambda user, video, window, *rest: sound(user, video, window * 0, *rest))


def negatives_by_later_positives(patch: pytest.MonkeyPatch) -> None:
    sound = negatives.PositivePairs
    patch.setattr(negatives, "PositivePairs", lambda user, video, window, *rest: sound(user, video, window * 0, *rest))


def fitted_on_all_windows(patch: pytest.MonkeyPatch) -> None:
    """The catalogue, and the users that are fitted on, are those of all windows."""
    sound = examples.label_exposures

    def label_exposures(*arguments: object) -> examples.Labelled:
        found = sound(*arguments)
        user, video = (found.exposures[name].to_numpy() for name in ("user_id", "video_id"))
        return dataclasses.replace(found, training_users=np.unique(user), training_videos=splits.histogram(video))

    patch.setattr(examples, "label_exposures", label_exposures)


@dataclasses.dataclass(frozen=True)
class Case:
    """Leaks that show in different columns, and how.

    Attributes:
        plants: the leaks.
        ends_training: whether the training window ends at the cut.
        future: by which they show.
        columns: what each of them shows in: any of these columns.
        untouched: what may differ besides.
    """

    plants: tuple[Plant, ...]
    ends_training: bool
    future: str
    columns: tuple[set[str], ...]
    besides: frozenset[str] = frozenset()


CASES = (
    Case((as_of_ties,), False, "altered", (HISTORY, PREVIOUS)),
    Case((history_with_the_exposure_itself, counters_with_ties), False, "altered", (HISTORY, COUNTED)),
    Case((positive_before_it_was, counters_without_delay), False, "altered", (HISTORY, COUNTED)),
    Case(
        (as_of_the_end, counters_of_the_whole_table, labels_across_windows),
        True, "removed", (HISTORY, PREVIOUS, COUNTED, {"label", "weight"}), frozenset({"row", "source", "previously_watched_category"}),
    ),
    Case((contradicted_by_later_windows,), True, "removed", ({"row"},)),
    Case((negatives_by_later_positives,), True, "removed", ({"row"},)),
    Case(
        (fitted_on_all_windows, fitted_counters_of_the_whole_table),
        True, "removed", ({"row"}, {"log_q"}, {"view_count"}), frozenset({*COUNTED, "like_count", "comment_count"}),
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: "+".join(plant.__name__ for plant in case.plants))
def test_each_leak_is_found_by_its_feature(
    case: Case, as_of_output: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leak_audit, "FUTURES", {case.future: FUTURES[case.future]})
    choose = audit_cuts.choose
    monkeypatch.setattr(
        audit_cuts, "choose", lambda *args: [cut for cut in choose(*args) if cut[1] == case.ends_training][:1]
    )
    for plant in case.plants:
        plant(monkeypatch)
    windows = splits.Cuts
    found = leak_audit.audit(str(as_of_output))
    for x in found.report():
        from rich.console import Console
        Console(width=200).print(x)
    leaking = set(found.leaks)
    assert all(leaking & columns for columns in case.columns)
    assert leaking <= set().union(*case.columns, case.besides)
