"""Random tables, read, divided and labelled as the main job does, beside what the oracle makes of them."""

import dataclasses
import datetime
import pathlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import oracle
import own_signals
import pyarrow as pa
import random_tables
from hypothesis import assume
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from oracle import Row
from random_tables import RawTables, RunSettings

from recsys_tft import ids
from recsys_tft.columns import KEYS, TABLES, IdKind
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.examples import examples, negatives, ranker_examples
from recsys_tft.features import FeatureTable, context_columns
from recsys_tft.labelling import split_times
from recsys_tft.point_in_time import outcomes
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.hashing import partition_of
from recsys_tft.tables import raw_tables, rejects
from recsys_tft.tables.entities import VideoLookup, drop_duplicates
from recsys_tft.tables.event_signals import events_of
from recsys_tft.tables.needed_columns import needed_columns

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
Case = tuple[RawTables, RunSettings]
thorough = hypothesis_settings(deadline=None, derandomize=True, max_examples=100)
quick = hypothesis_settings(deadline=None, derandomize=True, max_examples=50)


def settings_of(chosen: RunSettings) -> Settings:
    """Random settings as the library's."""
    cuts = {"val_from": chosen.val_from, "test_from": chosen.test_from}
    given_cuts = {name: _moment(time) for name, time in cuts.items() if time is not None}
    shares: dict[str, object] = {
        name: float(share) for name, share in (("train", chosen.train), ("val", chosen.val)) if share
    }
    if chosen.kind != "time":
        shares["kind"] = chosen.kind
    ranker = {
        "negative_sample_ratio": chosen.negative_ratio,
        "min_watch_ratio": chosen.min_watch_ratio,
        "popularity_alpha": chosen.popularity_alpha,
    }
    labels = {
        "positive": chosen.positive,
        "exposure_gap_minutes": chosen.gap_minutes,
        "conflict": chosen.conflict,
    }
    parts = {"split": shares or given_cuts, "labels": labels, "ranker": ranker, **_named(chosen.table)}
    parts["ids"] = dict.fromkeys(KEYS.values(), chosen.ids)
    return parse({"seed": chosen.seed, "history": {"length": chosen.history_length}, **parts}, "the test")


def _named(table: FeatureTable) -> dict[str, str]:
    """The setting that leads to a table by the name of its module."""
    return {} if table is DEFAULT else {"features": own_signals.NAME}


def kinds_of(table: FeatureTable) -> oracle.Kinds:
    """What the oracle is told of a table."""
    return oracle.Kinds(
        table.bits.names,
        table.flags,
        frozenset(signal.name for signal in table.signals if signal.negative),
        frozenset(signal.name for signal in table.signals if not signal.is_viewing),
        {column.name: column.at_exposure for column in context_columns(parse(_named(table), "the test"))},
    )


def _moment(time: int) -> datetime.datetime:
    return EPOCH + datetime.timedelta(microseconds=time)


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What stands before the cuts: each partition's events and users, the lookup, and per table the rejected rows."""

    partitions: list[examples.UserEvents]
    lookup: VideoLookup
    rejected: dict[str, list[tuple[int, str]]]

    def cuts(self, settings: Settings) -> split_times.Cuts | None:
        """As prepare.py finds them: coarse times of all partitions first, then exact ones near the cuts."""
        if settings.split.kind != "time":
            return None
        times = [part.exposure_times(settings.labels.exposure_gap) for part in self.partitions]
        minutes = split_times.merge(split_times.histogram(split_times.coarse(part)) for part in times)
        near = split_times.minutes_of(minutes, split_times.ranks(int(minutes[1].sum()), settings.split))
        exact = split_times.merge(
            split_times.histogram(part[np.isin(split_times.coarse(part), near)]) for part in times
        )
        return settings.split.fixed_cuts or split_times.cuts(minutes, exact, settings.split)


def gather(raw: RawTables, *, parts: int = 1, partitions: int = 1) -> Gathered:
    """Tables written as Parquet, read back, checked and divided by user."""
    settings = parse({**_named(raw.table), "ids": dict.fromkeys(KEYS.values(), raw.ids)}, "the test")
    with tempfile.TemporaryDirectory() as folder:
        random_tables.write_tables(raw, pathlib.Path(folder), parts=parts)
        tables = raw_tables.find(folder, {}, raw.table)
        rows, rejected = {}, {}
        for name in TABLES:
            rows[name], rejected[name] = _read(tables[name], settings)
    videos, extra_videos = drop_duplicates(rows["videos"], "video_id")
    channels, _ = drop_duplicates(rows["channels"], "channel_id")
    lookup = VideoLookup.of(videos, channels, raw.ids, outcomes.groups(settings))
    events = _divide(events_of(rows["interactions"], raw.long, raw.table.bits), partitions)
    users = _divide(rows["users"], partitions)
    found = [examples.gather_events(e, u, lookup, settings) for e, u in zip(events, users, strict=True)]
    rejected["videos"] += _numbered(_as_duplicates(extra_videos, tables["videos"]), tables["videos"])
    for part in found:
        rejected["users"] += _numbered(_as_duplicates(part.duplicate_users, tables["users"]), tables["users"])
        unknown = rejects.rejected_rows(part.unknown, tables["interactions"])
        rejected["interactions"] += _numbered(unknown, tables["interactions"])
    return Gathered(found, lookup, {name: sorted(found) for name, found in rejected.items()})


def _read(table: raw_tables.RawTable, settings: Settings) -> tuple[pa.Table, list[tuple[int, str]]]:
    read = [raw_tables.read(table, source, needed_columns(table, settings)) for source in table.sources]
    rejected = [row for _, bad in read for row in _numbered(bad, table)]
    return pa.concat_tables([usable for usable, _ in read]), rejected


def _divide(rows: pa.Table, partitions: int) -> list[pa.Table]:
    parts = dict(arrow_ipc.split(rows, partition_of(rows["user_id"].to_numpy(), partitions)))
    return [arrow_ipc.loads(parts[n]) if n in parts else rows.slice(0, 0) for n in range(partitions)]


def _as_duplicates(rows: pa.Table, table: raw_tables.RawTable) -> pa.Table:
    what = f"{KEYS[table.name]} with this updated_at" if table.is_versioned else KEYS[table.name]
    reasons = pa.array([f"{what} occurs in an earlier row"] * len(rows), pa.string())
    return rejects.rejected_rows(rows.append_column("reason", reasons), table)


def _numbered(rejected: pa.Table, table: raw_tables.RawTable) -> list[tuple[int, str]]:
    """(row of the whole table, reason in the oracle's words) of rejected rows."""
    first = {source.path: source.first_row - source.file_row for source in table.sources}
    return [
        (first[row["source_file"]] + row["source_row"], _oracles_word(row["reason"], table.bits.names))
        for row in rejected.to_pylist()
    ]


def _oracles_word(reason: str, types: Sequence[str]) -> str:
    known = {
        "user_id is not in users": "unknown_user",
        "video_id is not in videos": "unknown_video",
        "interaction_time is null": "time",
        "interaction_time is not a time between 1970 and 2200": "time",
        "updated_at is not a time between 1970 and 2200": "time",
    }
    if reason.startswith("interaction_type is none of "):
        assert reason.removeprefix("interaction_type is none of ").split(", ") == list(types)
        return "type"
    endings = {"is null": "null", "is negative": "negative", "occurs in an earlier row": "duplicate"}
    endings |= {"which is no id": "null", "is empty": "null"}
    return known.get(reason) or next(word for ending, word in endings.items() if reason.endswith(ending))


@dataclasses.dataclass(frozen=True)
class Run:
    """Labelled exposures and ranker rows of all partitions, and the catalogue that they share."""

    labelled: list[examples.Labelled]
    ranker: list[tuple[pa.Table, int]]
    catalogue: negatives.Catalogue

    @property
    def exposures(self) -> pa.Table:
        return pa.concat_tables([part.exposures for part in self.labelled]).combine_chunks()

    @property
    def counts(self) -> Counter[str]:
        return sum((part.counts for part in self.labelled), Counter())

    @property
    def short(self) -> int:
        return sum(short for _, short in self.ranker)

    def ranker_table(self, split: str | None = None) -> pa.Table:
        """Whole ranker rows, of one split if it is named."""
        tables = [
            with_context(rows, part.exposures, self.catalogue)
            for (rows, _), part in zip(self.ranker, self.labelled, strict=True)
        ]
        table = pa.concat_tables(tables).combine_chunks()
        return table if split is None else in_split(table, split)


def in_split(table: pa.Table, split: str) -> pa.Table:
    return table.filter(pa.array(table["split"].to_numpy() == split_times.SPLITS.index(split)))


def with_context(rows: pa.Table, exposures: pa.Table, catalogue: negatives.Catalogue) -> pa.Table:
    """Ranker rows with the user, time and context of their exposure, and log_q."""
    context = exposures.take(rows["exposure"]).drop_columns(["video_id", "label", "weight"])
    for name in ("video_id", "label", "weight", "source"):
        context = context.append_column(name, rows[name])
    return context.append_column("log_q", pa.array(catalogue.log_q(rows["video_id"].to_numpy())))


def run(gathered: Gathered, settings: Settings) -> Run:
    """Labels and ranker rows as the job makes them; without a positive in training, the job stops before these."""
    cuts = gathered.cuts(settings)
    labelled = [
        examples.label_exposures(part.events, part.users, gathered.lookup, cuts, settings)
        for part in gathered.partitions
    ]
    histogram = split_times.merge(part.training_videos for part in labelled)
    catalogue = negatives.Catalogue(*histogram, settings.ranker.popularity_alpha)
    ranker = (
        [ranker_examples.ranker_rows(part.exposures, catalogue, settings) for part in labelled]
        if len(catalogue)
        else []
    )
    return Run(labelled, ranker, catalogue)


# Ids by their codes inside a run.
_GIVEN = {
    ids.codes_of(pa.array([str(one)]))[0].as_py(): one
    for of_kind in random_tables.ODD_IDS.values()
    for one in of_kind.values()
}


def given_ids(codes: Iterable[int | None]) -> list[Any]:
    """The ids that codes stand for; integers are their own."""
    return [_GIVEN.get(code, code) for code in codes]


def plain(table: pa.Table) -> list[Row]:
    """Rows by user, and otherwise as they are, with text instead of bytes and ids instead of their codes."""
    rows = [{name: _plain(name, value) for name, value in row.items()} for row in table.to_pylist()]
    return sorted(rows, key=lambda row: row["user_id"]) if "user_id" in table.column_names else rows


def _plain(name: str, value: Any) -> Any:
    if name in ("user_id", "video_id"):
        return given_ids([value])[0]
    return given_ids(value) if name == "history_video_ids" and value is not None else _text(value)


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


def by_user(table: pa.Table) -> list[Row]:
    """Rows in order of the user, and otherwise as they are."""
    return sorted(table.to_pylist(), key=lambda row: row["user_id"])


UNCUT = (None, None)  # cuts that no time reaches


def oracles_exposures(
    raw: RawTables, chosen: RunSettings, cuts: split_times.Cuts | tuple[None, None] | None
) -> list[oracle.Exposure]:
    kinds = kinds_of(raw.table)
    users, videos, events, _ = oracle.usable(raw.users, raw.videos, raw.interactions, kinds)
    of_splits = (
        {"of_users": oracle.user_cuts(events, chosen.train, chosen.val, chosen.gap_minutes)}
        if cuts is None
        else {"val_from": cuts[0], "test_from": cuts[1]}
    )
    return oracle.exposures(
        users,
        videos,
        events,
        **of_splits,
        positive=chosen.positive,
        min_watch_ratio=chosen.min_watch_ratio,
        gap_minutes=chosen.gap_minutes,
        conflict=chosen.conflict,
        kinds=kinds,
    )


def oracles_cuts(raw: RawTables, chosen: RunSettings) -> split_times.Cuts | None:
    """The cuts, None if each user has own ones; the case is set aside where the library has to refuse it."""
    if chosen.kind != "time":
        return None
    if chosen.val_from is not None:
        return chosen.val_from, chosen.test_from
    users, videos, events, _ = oracle.usable(raw.users, raw.videos, raw.interactions, kinds_of(raw.table))
    assume(events)
    cuts = oracle.cuts(users, videos, events, chosen.train, chosen.val, chosen.gap_minutes)
    assume(cuts[0] > min(event["interaction_time"] for event in events))
    return cuts


def some_interactions(case: Case) -> bool:
    return bool(case[0].interactions)


CASES = random_tables.cases(least=1)
CASES_OF_INTEGERS = random_tables.cases(least=1, kinds=(IdKind.INTEGER,))
CASES_WITH_BAD_ROWS = random_tables.cases(bad_rows=True).filter(some_interactions)


@st.composite
def explicit_cases(draw: st.DrawFn) -> Case:
    """Cases whose cuts are times."""
    raw, chosen = draw(CASES)
    times = sorted(event["interaction_time"] for event in raw.interactions)
    val_from = draw(st.sampled_from(times)) + draw(st.sampled_from((0, 1)))
    test_from = draw(st.none() | st.sampled_from([time for time in times if time >= val_from] or [val_from]))
    return raw, dataclasses.replace(chosen, kind="time", train=None, val=None, val_from=val_from, test_from=test_from)
