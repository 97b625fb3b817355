"""Start of the audit of a refresh: the state of sampled users left by a run over everything before it."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys_tft.auditing import audit_sample
from recsys_tft.auditing.audit_sample import Tables
from recsys_tft.auditing.futures import TIME, VERSION
from recsys_tft.auditing.rerun import rerun, settings_of
from recsys_tft.columns import KEYS, TABLES
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.raw_replay import raw_rows
from recsys_tft.run_layout import state_files
from recsys_tft.run_layout.output import Output
from recsys_tft.run_layout.periods import REFRESH
from recsys_tft.run_layout.state_files import ENTITIES, STATE, EarlierState
from recsys_tft.storage.temporary import temporary_folder
from recsys_tft.tables.raw_tables import RawTable


@dataclasses.dataclass(frozen=True)
class AuditedPeriod:
    """A refresh of sampled users, ready to be rerun.

    Attributes:
        raw: the tables of the run.
        sample: the rows of the period, with all users, videos and channels that are known at its end.
        splits: its first half, and the rest.
        earlier: the state that it starts from.
    """

    raw: Mapping[str, RawTable]
    sample: Tables
    splits: Cuts
    earlier: EarlierState


@contextlib.contextmanager
def prepare(
    manifest: Mapping[str, Any], days: Sequence[str], graph: str, run_settings: Settings, users: int, seed: int
) -> Iterator[AuditedPeriod]:
    """Sample users of a refresh, and run the job on everything before it; the files exist while the block runs.

    Args:
        manifest: of the period.
        days: the folders of the run and of the periods through this one, or one with all tables.
        graph: the folder of the period's `transform_fn`.
        run_settings: settings of the run.
        users: how many to sample.
        seed: of the sample.

    Raises:
        InputError: if the sample has no interactions before the period, or fewer than two moments in it.
    """
    tables = [raw_rows.find(folder, run_settings, ENTITIES if number else ()) for number, folder in enumerate(days)]
    sample = audit_sample.draw({name: [day[name] for day in reversed(tables)] for name in TABLES}, users, seed)
    cuts = raw_rows.cuts_of(manifest)
    assert cuts is not None
    begin, until = (cut for cut in cuts[-2:] if cut is not None)
    events, times = sample["interactions"], sample["interactions"][TIME]
    recent = events.filter((times >= begin) & (times < until))
    moments = np.unique(recent[TIME].to_numpy())
    if len(moments) < 2 or not (times < begin).any():
        name, rest = manifest[REFRESH]["name"], len(events) - len(recent)
        raise InputError(
            f"The sample has {rest:,} interactions before the period {name} and {len(recent):,} in it, which is too "
            "little to audit; give more --users."
        )
    before = {name: _rows_before(sample[name], key, begin) for name, key in KEYS.items()}
    with temporary_folder() as folder:
        raw = pathlib.Path(folder, "raw")
        raw.mkdir()
        audit_sample.write({**before, "interactions": events.filter(times < begin)}, str(raw), run_settings.table)
        rerun(settings_of(run_settings, (begin, None)), str(raw), graph, f"{folder}/out")
        middle = int(moments[(len(moments) + 1) // 2])
        yield AuditedPeriod(
            tables[0], {**sample, "interactions": recent}, (middle, None), _read_state(f"{folder}/out", graph, begin)
        )


def _rows_before(rows: pl.DataFrame, key: str, begin: int) -> pl.DataFrame:
    """The rows that are known before a moment; for keys that come later, their first row."""
    if VERSION not in rows.columns:
        return rows
    since = pl.col(VERSION).fill_null(np.iinfo(np.int64).min)
    return rows.filter((since < begin) | (since == since.min().over(key)))


def _read_state(output_dir: str, graph: str, until: int) -> EarlierState:
    """The state that a rerun wrote."""
    folders = {name: pathlib.Path(Output.at(output_dir).staged(STATE, name)) for name in state_files.TABLES}
    files = {name: [str(path) for path in sorted(folder.glob("*"))] for name, folder in folders.items()}
    return EarlierState(until, [until], files, graph, splits={}, users=0, videos=0)
