"""A sample of each raw table, checked and labelled by the functions that the main job calls."""

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from recsys_tft.columns import KEYS
from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import event_chunks, examples, fitting_rows, odd_data, ranker_examples
from recsys_tft.labelling import split_times
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.point_in_time import counters, outcomes
from recsys_tft.storage import arrow_ipc
from recsys_tft.tables import raw_tables, versions
from recsys_tft.tables.entities import VideoLookup, drop_duplicates, known_durations, repeated_reason
from recsys_tft.tables.event_signals import events_of
from recsys_tft.tables.needed_columns import needed_columns
from recsys_tft.tables.raw_tables import RawTable
from recsys_tft.tables.sources import Source

EVENTS, ENTITIES = 500_000, 2_000_000  # rows that are read of interactions, and of each other table


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some rows of each table, or all of them.

    Attributes:
        rows: the usable ones by table, as `raw_tables.read` returns them, duplicates included.
        counts: of the rows that were read, with the names that a manifest has for those of a run.
        whole: the tables that were read to the end.
    """

    rows: dict[str, pa.Table]
    counts: Counter[str]
    whole: frozenset[str]


def take(tables: Mapping[str, RawTable], settings: Settings, events: int = EVENTS, entities: int = ENTITIES) -> Sample:
    """Read parts of the tables, spread evenly over their files.

    Args:
        tables: as `raw_tables.find` returns them.
        settings: with the kinds of ids that the tables have.
        events: about how many interactions to read; a part is read whole.
        entities: the same of each other table.

    Raises:
        InputError: if a file turns out to be damaged.
    """
    counts: Counter[str] = Counter()
    rows, whole = {}, set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, table in tables.items():
            keep = needed_columns(table, settings)
            sources = _spread(table.sources, events if name == "interactions" else entities)
            whole |= {name} if len(sources) == len(table.sources) else set()
            parts = list(pool.map(lambda source, t=table, k=keep: raw_tables.read(t, source, k), sources))
            rows[name] = pa.concat_tables([raw_tables.empty(table.known, keep), *(usable for usable, _ in parts)])
            counts[f"rows/{name}/in"] = sum(map(len, (part for both in parts for part in both)))
            for _, rejected in parts:
                _count(name, rejected["reason"], counts)
    return Sample(rows, counts, frozenset(whole))


def _spread(sources: Sequence[Source], most: int) -> Sequence[Source]:
    """All sources if they have at most `most` rows; otherwise enough of them, evenly from the first to the last."""
    rows = sum(source.rows for source in sources)
    if rows <= most:
        return sources
    number = max(1, most * len(sources) // rows)
    places = np.linspace(0, len(sources) - 1, number) if number > 1 else [len(sources) // 2]
    return [sources[int(place)] for place in places]


def _count(table: str, reasons: pa.Array | pa.ChunkedArray, counts: Counter[str]) -> None:
    for entry in reasons.value_counts().to_pylist():
        counts[f"rejected/{table}/{entry['values']}"] += entry["counts"]


@dataclasses.dataclass(frozen=True)
class Joined:
    """The sample's interactions of known users and videos.

    Attributes:
        events: sorted as by `exposures.sort_events`.
        users: without duplicates.
        videos: without duplicates.
        lookup: of these videos.
        counts: those of the sample, and of rows rejected since.
        odd: oddities, as `odd_data` counts them.
    """

    events: pa.Table
    users: pa.Table
    videos: pa.Table
    lookup: VideoLookup
    counts: Counter[str]
    odd: Counter[str]


def join(sample: Sample, tables: Mapping[str, RawTable], settings: Settings) -> Joined:
    """Join the tables of a sample.

    Where users or videos were not read to the end, events of others are left out: whether they exist is unknown.
    """
    odd: Counter[str] = Counter()
    counts, rows = sample.counts.copy(), dict(sample.rows)
    for name, key in KEYS.items():
        rows[name], dropped = drop_duplicates(rows[name], key)
        if len(dropped):
            counts[f"rejected/{name}/{repeated_reason(dropped, key)}"] += len(dropped)
    videos, odd["zero_durations"] = known_durations(rows["videos"])
    computed = counters.computed_columns(settings.counters, tables["videos"].absent)
    odd.update(odd_data.of_videos(versions.latest(videos, "video_id"), computed, settings))
    lookup = VideoLookup.of(videos, rows["channels"], settings.ids.video_id, outcomes.groups(settings))
    interactions = tables["interactions"]
    packed = arrow_ipc.dumps(events_of(rows["interactions"], interactions.is_long, interactions.bits))
    gathered = event_chunks.Gathered([packed], rows["users"], lookup, settings)
    _count("interactions", gathered.unknown["reason"], counts)
    for name in {"users", "videos"} - sample.whole:
        counts["rows/interactions/in"] -= counts.pop(f"rejected/interactions/{KEYS[name]} is not in {name}", 0)
    chunks = list(gathered.chunks())
    odd["repeated"] = sum(map(odd_data.repeated, chunks))
    return Joined(pa.concat_tables(chunks), rows["users"], videos, lookup, counts, odd)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The labelled exposures of a sample.

    Attributes:
        counts: of exposures by split, and of positives by rule, with the names that a manifest has.
        drawn: how many negatives are to be drawn for them.
        odd: oddities of their watch times.
        cuts: where the splits end; None where they end for each user elsewhere.
        span: the first and the last time of an exposure.
    """

    counts: Counter[str]
    drawn: int
    odd: Counter[str]
    cuts: Cuts | None
    span: tuple[int, int]


def label(joined: Joined, settings: Settings) -> Labelled:
    """Divide the exposures into splits, and label them.

    Raises:
        InputError: as a run, where no exposure is there, the splits cannot be made, or vocabularies would be empty.
    """
    times = split_times.histogram(examples.exposure_times(joined.events, settings.labels.exposure_gap))
    cuts = _cuts(times, settings)
    if (since := fitting_rows.seen_from(cuts, settings)) is not None:
        training = split_times.split_of(times[0], cuts or ()) == 0
        fitting_rows.check_seen(bool((times[0][training] >= since).any()), since, settings)
    labelled = examples.label_exposures(joined.events, joined.users, joined.lookup, cuts, settings)
    drawn = int(ranker_examples.draws(labelled.keys, settings).sum())
    return Labelled(labelled.counts, drawn, labelled.odd, cuts, odd_data.span_of(times))


def _cuts(times: split_times.Histogram, settings: Settings) -> Cuts | None:
    minutes = split_times.merge([(split_times.coarse(times[0]), times[1])])
    return split_times.find(minutes, times, settings.split) if len(times[0]) else split_times.checked((0, None), times)
