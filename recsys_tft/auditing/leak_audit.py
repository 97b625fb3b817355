"""`recsys-tft audit`: reruns of the job on one past with several futures, which no row of the past may know.

docs/leaks.md says what is compared, and why.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsys_tft.auditing import audit_cuts, audit_sample, audited_period, futures
from recsys_tft.auditing.audit_report import Audited, Line
from recsys_tft.auditing.audit_sample import Tables
from recsys_tft.auditing.futures import FUTURES, TIME, VERSION, Cut
from recsys_tft.auditing.past_rows import EXAMPLES, PastRows, Rows, changes
from recsys_tft.auditing.rerun import rerun, settings_of
from recsys_tft.columns import KEYS, Accuracy, Column
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.faults import sentences
from recsys_tft.features import Feature
from recsys_tft.labelling.split_times import Cuts, describe
from recsys_tft.point_in_time import counters, video_counts
from recsys_tft.raw_replay import raw_rows
from recsys_tft.raw_replay.raw_rows import Days, raw_days
from recsys_tft.run_layout import run_folders
from recsys_tft.run_layout.periods import REFRESH
from recsys_tft.run_layout.state_files import EarlierState
from recsys_tft.storage.temporary import temporary_folder
from recsys_tft.tables.raw_tables import RawTable


@sentences()
def audit(
    output_dir: str,
    data_dir: Days | None = None,
    users: int = 1000,
    cuts: Sequence[int] = (),
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Audited:
    """Rerun the job of a run on a sample of users, with another future after some cuts.

    Args:
        output_dir: of the run, whose settings, splits and transform graph are used; or the folder of a period.
        data_dir: its raw tables; by default OUTPUT_DIR/raw. For a period the folders of the run and of all periods up
            to it, in order, or one with the tables of all these days.
        users: how many to sample.
        cuts: times to cut at, microseconds since 1970; by default the end of the training split, and the middles of
            the interactions before and after it; for a period its middle, and those of its halves.
        seed: of the sample and of the futures.
        say: is told each step.

    Raises:
        InputError: if there is no run, the raw tables cannot be read, or a cut leaves nothing on one of its sides.
    """
    with run_folders.held(output_dir) as run:
        return _audit(run, output_dir, data_dir, users, cuts, seed, say)


def _audit(
    run: str,
    output_dir: str,
    data_dir: Days | None,
    users: int,
    cuts: Sequence[int],
    seed: int,
    say: Callable[[str], None],
) -> Audited:
    manifest = run_folders.manifest(run)
    run_settings = settings.from_manifest(manifest, f"{output_dir}/artifacts/manifest.json")
    graph = pathlib.Path(run, "artifacts", "transform_graph", "transform_fn")
    if not graph.is_dir():
        raise InputError(f"{graph}: there is no transform graph; run the main job first.")
    days = raw_days(output_dir, data_dir, manifest)
    if REFRESH in manifest:
        say(f"Sampling {users:,} users, and running the job on everything before the period")
        with audited_period.prepare(manifest, days, str(graph), run_settings, users, seed) as period:
            trial = Trial(str(graph), run_settings, period.raw, period.splits, period.sample, seed, period.earlier)
            return _run_trial(trial, cuts, say)
    tables = raw_rows.find(days[0], run_settings)
    warn(manifest, tables, run_settings, say)
    say(f"Sampling {users:,} users")
    sample = audit_sample.draw({name: [table] for name, table in tables.items()}, users, seed)
    return _run_trial(Trial(str(graph), run_settings, tables, raw_rows.cuts_of(manifest), sample, seed), cuts, say)


def _run_trial(trial: "Trial", cuts: Sequence[int], say: Callable[[str], None]) -> Audited:
    """Rerun a trial with each future, and compare."""
    lines = [line for cut, splits in trial.cuts(cuts) for line in trial.lines(cut, splits, say)]
    sizes = {name: rows[KEYS[name]].n_unique() if name in KEYS else len(rows) for name, rows in trial.sample.items()}
    return Audited(sizes, lines, trial.snapshots, trial.untried(lines))


def warn(
    manifest: Mapping[str, Any], tables: Mapping[str, RawTable], run_settings: Settings, say: Callable[[str], None]
) -> None:
    """Warn if an audit differs from the training."""
    for name, table in tables.items():
        if [list(file) for file in table.fingerprint] != manifest["inputs"][name]:
            say(f"warning: the table {name} is not the one of the run; it is audited nevertheless")
    if run_settings.split.kind != "time":
        say(
            f"warning: with split.kind {run_settings.split.kind} the splits of users overlap in time, so that what is "
            "fitted knows the future of some rows; the audit ends the training split at one time for all"
        )


@dataclasses.dataclass(frozen=True)
class Trial:
    """Reruns on one sample.

    Attributes:
        graph: the folder of the run's `transform_fn`.
        run_settings: settings of the run.
        raw: the run's raw tables.
        splits: of the run; None where each user has splits of their own.
        sample: the rows to rerun on.
        seed: of the futures.
        earlier: the state that reruns of a refresh start from.
    """

    graph: str
    run_settings: Settings
    raw: Mapping[str, RawTable]
    splits: Cuts | None
    sample: Tables
    seed: int
    earlier: EarlierState | None = None

    @property
    def counts(self) -> bool:
        """Whether anything is counted from interactions, and so lags by the delay."""
        return video_counts.are_counted(self.run_settings, self.counters_are_as_of)

    @property
    def counters_are_as_of(self) -> bool:
        """Whether the counters of videos are counted from interactions."""
        return counters.are_as_of(self.run_settings.counters, self.raw["videos"].absent)

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Features of columns that are snapshots of the moment when the tables were written."""
        counted = counters.computed_columns(self.run_settings.counters, self.raw["videos"].absent)

        def is_snapshot(column: Column) -> bool:
            is_read = column.accuracy in (Accuracy.SNAPSHOT, Accuracy.COUNTED) and column.name not in counted
            present = {VERSION, column.name} & set(self.sample[column.table].columns)
            return is_read and present == {column.name}

        return tuple(feature.name for feature in _features(self.run_settings) if any(map(is_snapshot, feature.columns)))

    @property
    def versioned(self) -> tuple[str, ...]:
        """The corpora that hold the latest versions of their rows."""
        made_of = {"users": ("users",), "videos": ("videos", "channels")}
        return tuple(
            corpus
            for corpus, tables in made_of.items()
            if any(VERSION in self.sample[table].columns for table in tables)
        )

    def cuts(self, times_to_cut: Sequence[int]) -> list[tuple[Cut, Cuts]]:
        """The cuts, each with the splits of its reruns.

        Raises:
            InputError: if a given one leaves nothing on one of its sides.
        """
        events = audit_cuts.sorted_events(self.sample["interactions"], self.raw["interactions"], self.run_settings)
        times = events[TIME].to_numpy()
        for time in times_to_cut:
            if not times.min() < time <= times.max():
                first, last = describe(int(times.min())), describe(int(times.max()))
                raise InputError(f"--cut {describe(time)} is not within the interactions, from {first} to {last}.")
        chosen = audit_cuts.choose(events, self.splits, self.run_settings)
        splits = self.splits or (next(time for time, ends in chosen if ends), None)
        if times_to_cut:
            chosen = [(time, ends) for time in times_to_cut for ends in (True, False)]
        delay = self.run_settings.counters.delay_microseconds if self.counts else 0
        cuts = [Cut(time, delay, self.run_settings.labels, self.run_settings.table, ends) for time, ends in chosen]
        return [(cut, (cut.time, None) if cut.ends_training else splits) for cut in cuts]

    def lines(self, cut: Cut, splits: Cuts, say: Callable[[str], None]) -> list[Line]:
        """Compare the rows at one cut under each future with those under the crowded one."""
        say(f"Cutting at {describe(cut.time)}")
        chosen = settings_of(self.run_settings, splits)
        base = futures.crowded(self.sample, cut, self.seed)
        events = audit_cuts.sorted_events(base["interactions"], self.raw["interactions"], chosen)
        past = PastRows(
            cut, audit_cuts.settled_exposures(events, cut, splits), chosen, self.versioned, self.counters_are_as_of
        )
        rows, across = self._rerun(base, chosen), audit_cuts.unsettled(events, cut)
        lines = []
        for name, future in FUTURES.items():
            say(f"Cutting at {describe(cut.time)}: {name}")
            line = Line(cut, name, across)
            for compared, whole in past.compare(rows, self._rerun(future(base, cut, self.seed), chosen)):
                line.add(compared, whole)
            lines.append(line)
        return lines

    def _rerun(self, tables: Tables, chosen: Settings) -> Rows:
        with temporary_folder() as folder:
            raw = pathlib.Path(folder, "raw")
            raw.mkdir()
            audit_sample.write(tables, str(raw), self.run_settings.table)
            try:
                return rerun(chosen, str(raw), self.graph, f"{folder}/out", self.earlier)
            except InputError as error:
                cuts = chosen.split.fixed_cuts
                assert cuts is not None
                end = describe(cuts[0])
                raise InputError(f"On the sample, with a training split that ends at {end}: {error}") from error

    def untried(self, lines: Sequence[Line]) -> tuple[str, ...]:
        """The features without a compared row; for those that change in time, without one at a cut."""
        compared = {name for line in lines for name in line.features}
        at_cut = {name for line in lines for name in line.at_cut}
        features = _features(settings_of(self.run_settings, (1, None)))
        return tuple(f.name for f in features if f.name not in (at_cut if changes(f) else compared))


def _features(chosen: Settings) -> list[Feature]:
    """The features that rows have under some settings."""
    return list(dict.fromkeys(feature for data_set in EXAMPLES for feature in data_set.features(chosen)))
