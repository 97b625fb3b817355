"""`recsys-tft audit`: a run without a leak passes, and each leak that is planted is found by its feature."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran
from leaking_history import history_with_the_exposure_itself, only

from recsys_tft import cli, ids, time_lookups
from recsys_tft.auditing import audit_cuts, audit_sample, leak_audit
from recsys_tft.auditing.audit_report import Audited, Line
from recsys_tft.auditing.futures import FUTURES, Cut
from recsys_tft.auditing.row_differences import Compared
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.examples import examples, negatives
from recsys_tft.labelling import exposures, labels, split_times
from recsys_tft.point_in_time import counters, history, outcomes
from recsys_tft.point_in_time.outcomes import VIDEO_COLUMNS
from recsys_tft.raw_replay import raw_rows
from recsys_tft.tables import raw_tables
from recsys_tft.time_lookups import Timeline

Plant = Callable[[pytest.MonkeyPatch], None]
HISTORY = {"history_video_ids_tokens", "history_categories_tokens"}
PREVIOUS = {"previously_watched_category_token"}
OUTCOMES = {name for name, feature in DEFAULT.by_name.items() if feature.option == "positive_rates"}
COUNTED = {name for name, feature in DEFAULT.by_name.items() if feature.is_counted}
COUNTED |= {name for name in OUTCOMES if DEFAULT.by_name[name].is_versioned}


@pytest.fixture(scope="module")
def as_of_output(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What the audit takes of a run: the artifacts of the synthetic one, with counters as of each exposure."""
    return as_of(synthetic_run.root, tmp_path_factory.mktemp("audited"))


@pytest.fixture(scope="module")
def whole_output(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The same in one partition, which takes half of the time."""
    return as_of(synthetic_run.root, tmp_path_factory.mktemp("audited-whole"), output={})


@pytest.fixture(scope="module")
def texts_output(served_texts: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The same of tables with strings of odd characters as ids, which counts what is recent and co-occurs too."""
    return as_of(served_texts, tmp_path_factory.mktemp("audited-texts"))


@pytest.fixture
def output(request: pytest.FixtureRequest) -> pathlib.Path:
    """One of the above, by its name."""
    return request.getfixturevalue(request.param)


OUTPUTS = ["as_of_output", "texts_output"]


def as_of(root: pathlib.Path, folder: pathlib.Path, **others: object) -> pathlib.Path:
    (folder / "artifacts").mkdir()
    (folder / "artifacts/transform_graph").symlink_to(root / "artifacts/transform_graph")
    (folder / "raw").symlink_to(root / "raw")
    manifest = json.loads((root / "artifacts/manifest.json").read_text())
    manifest["settings"]["counters"] |= {"source": "as_of", "delay": "1h"}
    manifest["settings"] |= others
    (folder / "artifacts/manifest.json").write_text(json.dumps(manifest))
    return folder


# --- Leaks


def tied(event_keys, event_times, keys, times, tie):
    return LAST_BEFORE(event_keys, event_times, keys, times + 1, tie)


def last_of_all(event_keys, event_times, keys, times, tie):
    return LAST_BEFORE(event_keys, event_times, keys, np.full(len(times), np.iinfo(np.int64).max), tie)


LAST_BEFORE = time_lookups.last_before


def as_of_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(time_lookups, "last_before", last_of_all)


def positive_before_it_was(patch: pytest.MonkeyPatch) -> None:
    """An exposure counts as positive from its beginning."""
    patch.setattr(history, "positive_since", lambda events, starts, *_: events["interaction_time"].to_numpy()[starts])


def counters_with_ties(patch: pytest.MonkeyPatch) -> None:
    sound = Timeline.last_before
    patch.setattr(Timeline, "last_before", lambda own, keys, times, rows=(): sound(own, keys, times + 1, rows))


def counters_without_delay(patch: pytest.MonkeyPatch) -> None:
    sound = leak_audit.rerun
    at_once = {"counters": {"delay": "0s"}}
    patch.setattr(leak_audit, "rerun", lambda chosen, *rest: sound(chosen.replace(at_once), *rest))


def counters_of_the_whole_table(patch: pytest.MonkeyPatch) -> None:
    def later_versions(_: pa.Table, changes: pa.Table, __: object, values: counters.Values) -> pa.Table:
        totals = counters.sums(changes, values)
        since = pa.array(np.full(len(totals), counters.ALWAYS + 1))
        return totals.add_column(1, "since", since).cast(values.schema)

    patch.setattr(counters, "later_versions", later_versions)


def fitted_counters_of_the_whole_table(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(counters, "in_training", lambda increments: increments)


def labels_across_splits(patch: pytest.MonkeyPatch) -> None:
    sound = exposures.exposure_starts
    for module in (exposures, examples, outcomes):
        patch.setattr(module, "exposure_starts", lambda events, gap, _: sound(events, gap, None))


def contradicted_by_later_splits(patch: pytest.MonkeyPatch) -> None:
    sound = labels.contradicted
    patch.setattr(labels, "contradicted", lambda user, video, split, *rest: sound(user, video, split * 0, *rest))


def negatives_by_later_positives(patch: pytest.MonkeyPatch) -> None:
    sound = negatives.PositivePairs
    patch.setattr(negatives, "PositivePairs", lambda user, video, split, *rest: sound(user, video, split * 0, *rest))


def fitted_on_all_splits(patch: pytest.MonkeyPatch) -> None:
    """The catalogue, and the users that are fitted on, are those of all splits."""
    sound = examples.label_exposures

    def label_exposures(*arguments: object) -> examples.Labelled:
        found = sound(*arguments)
        user, video = (found.exposures[name].to_numpy() for name in ("user_id", "video_id"))
        return dataclasses.replace(found, training_users=np.unique(user), training_videos=split_times.histogram(video))

    patch.setattr(examples, "label_exposures", label_exposures)


@dataclasses.dataclass(frozen=True)
class Case:
    """Leaks that show in different columns, and how.

    Attributes:
        plants: the leaks.
        ends_training: whether the training split ends at the cut.
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
    Case((history_with_the_exposure_itself, counters_with_ties), False, "altered", (HISTORY, COUNTED)),
    Case((positive_before_it_was, counters_without_delay), False, "altered", (HISTORY, COUNTED, OUTCOMES)),
    Case(
        (as_of_the_end, counters_of_the_whole_table, labels_across_splits),
        True, "removed", (HISTORY, PREVIOUS, COUNTED, {"label", "weight"}),
        frozenset({"row", "source", "previously_watched_category", "user_excess"}),
    ),
    Case((contradicted_by_later_splits,), True, "removed", ({"row"},)),
    Case((negatives_by_later_positives,), True, "removed", ({"row"},)),
    Case(
        (fitted_on_all_splits, fitted_counters_of_the_whole_table),
        True, "removed", ({"row"}, {"log_q"}, {"view_count"}),
        frozenset({*COUNTED, "like_count", "comment_count", *VIDEO_COLUMNS}),
    ),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: "+".join(plant.__name__ for plant in case.plants))
def test_each_leak_is_found_by_what_it_shows_in(
    case: Case, whole_output: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, case.ends_training, case.future)
    for plant in case.plants:
        plant(monkeypatch)
    found = leak_audit.audit(str(whole_output))
    leaking = set(found.leaks)
    assert all(leaking & columns for columns in case.columns), leaking
    assert leaking <= set().union(*case.columns, case.besides)


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS, indirect=True)
def test_the_command_names_feature_row_and_both_values_of_a_leak_and_exits_with_1(
    output: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(monkeypatch, False, "altered")
    monkeypatch.setattr(time_lookups, "last_before", tied)
    assert cli.main(["audit", "--output-dir", str(output)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    users = pq.read_table(output / "raw/users.parquet")["user_id"].to_pylist()
    shown = {user: " ".join(ids.printed(user).split())[:60] for user in users}
    for name in (*HISTORY, *PREVIOUS):
        found = re.search(
            rf"LEAK: {name} of user_id (.+?)(\.\.\.)?, video_id .+?, interaction_time \d+ in two_tower: .+?, but .+? "
            rf"with everything from 2025-01-\d\d [\d:.]+ UTC on altered",
            printed,
        )
        assert found
        assert found[1] in shown.values()
        assert re.search(rf"Values that differ: .*{name} \d+", printed)
    assert "Some rows know their future." in printed


# --- Periods


def of_period(first_days: pathlib.Path, *options: str) -> list[str]:
    folders = [str(first_days / "data" / day) for day in ("2025-03-01", "2025-03-02", "2025-03-03")]
    return ["audit", "--output-dir", str(first_days / "out/periods/2025-03-03"), "--data-dir", *folders, *options]


@pytest.mark.slow
def test_a_refresh_is_audited_from_a_state_of_what_was_before(
    first_days: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(monkeypatch, True, "removed")
    monkeypatch.setattr(leak_audit.Trial, "untried", lambda *_: ())  # as the period has few moments
    cli.main(of_period(first_days))
    printed = capsys.readouterr().out
    (line,) = (line.split() for line in printed.splitlines() if " at the cut " in line)
    assert line[-1] == "0"
    assert int(line[-4]) > 20
    assert "no row knows its future." in printed.lower()
    as_of_the_end(monkeypatch)
    assert cli.main(of_period(first_days)) == 1
    assert "LEAK: previously_watched_category" in " ".join(capsys.readouterr().out.split())


def test_a_period_of_which_a_sample_has_nothing_is_not_audited(
    first_days: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    draw = audit_sample.draw
    monkeypatch.setattr(
        audit_sample,
        "draw",
        lambda *given: {name: rows.head(1) for name, rows in draw(*given).items()},
    )
    assert cli.main(of_period(first_days)) == 1
    assert "interactions before the period 2025-03-03 and" in capfd.readouterr().err


# --- No leak


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS, indirect=True)
def test_a_run_without_a_leak_passes(
    output: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose = audit_cuts.choose
    monkeypatch.setattr(audit_cuts, "choose", lambda *args: choose(*args)[:2])  # each kind of cut
    assert cli.main(["audit", "--output-dir", str(output), "--users", "120"]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines() if line.startswith("2025-")]
    assert [line[-6] for line in lines] == [*FUTURES] * 2
    assert all(line[-1] == "0" and int(line[-4].replace(",", "")) > 100 for line in lines)
    assert sum(line.startswith("2025-") and " at the cut " in line for line in printed.splitlines()) == len(FUTURES)
    assert "snapshots of when the tables were written: channel_subscriber_count_log_z\n" in printed
    assert "Apart from these, no row knows its future." in printed


def test_what_was_not_compared_is_no_proof(as_of_output: pathlib.Path) -> None:
    trial = trial_of(as_of_output)
    untried = trial.untried([])
    names = {feature.name for feature in DEFAULT.switched_on(Settings())} - {"title_embedding"}
    assert set(untried) == names
    cut = Cut(5, 0, Settings().labels, DEFAULT, False)
    line = Line(cut, "altered", 0)
    keys = pl.DataFrame({"user_id": [1], "interaction_time": [4]})
    line.add(Compared(keys, tuple(names), [], {}), whole=False)
    assert set(trial.untried([line])) == {
        *HISTORY,
        *PREVIOUS,
        *COUNTED,
        *OUTCOMES,
    }  # of these nothing at the cut itself
    line.add(Compared(keys.with_columns(interaction_time=5), tuple(names), [], {}), whole=False)
    assert trial.untried([line]) == ()
    assert Audited({}, [line]).is_clean
    unproven = Audited({}, [line], untried=("age_z",))
    assert not unproven.is_clean
    assert "NOT AUDITED: no row at a cut has age_z;" in str(unproven.report()[-2])


def trial_of(output: pathlib.Path, users: int = 1000) -> leak_audit.Trial:
    manifest = json.loads((output / "artifacts/manifest.json").read_text())
    chosen = settings.parse(manifest["settings"], "the manifest")
    tables = raw_tables.find(str(output / "raw"), {})
    sample = audit_sample.draw({name: [table] for name, table in tables.items()}, users, 0)
    return leak_audit.Trial("", chosen, tables, raw_rows.cuts_of(manifest), sample, 0)


def test_tables_without_counters_of_their_own_are_named_as_snapshots(synthetic_run: Ran) -> None:
    told = {*COUNTED, "channel_subscriber_count_log_z"} - OUTCOMES
    assert set(trial_of(synthetic_run.root).snapshots) == told


# --- What is wrong


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--users", "0"], 2, "--users is 0; it needs at least 1."),
        (["--cut", "soon"], 2, "--cut is 'soon'; expected a time such as 2025-03-01T12:00."),
        (["--cut", "2031-01-01"], 1, "--cut 2031-01-01 00:00:00 UTC is not within the interactions, from 2025-01-"),
        (["--data-dir", "nowhere"], 1, "nowhere: there is no such folder."),
        (["--output-dir", "nowhere"], 1, "nowhere/artifacts/manifest.json: no run there; run the main job first"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], code: int, sentence: str, as_of_output: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["audit", "--output-dir", str(as_of_output), *arguments]) == code
    assert sentence in capsys.readouterr().err


def test_other_tables_and_overlapping_splits_are_warned_of(
    as_of_output: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, said = trial_of(as_of_output), []
    manifest = json.loads((as_of_output / "artifacts/manifest.json").read_text())
    leak_audit.warn(manifest, trial.raw, trial.run_settings, said.append)
    assert said == []
    manifest["inputs"]["users"][0][1] += 1
    per_user = trial.run_settings.replace({"split": {"kind": "random_per_user"}})
    leak_audit.warn(manifest, trial.raw, per_user, said.append)
    assert [text.split(" ")[:4] for text in said] == [
        ["warning:", "the", "table", "users"],
        ["warning:", "with", "split.kind", "random_per_user"],
    ]
