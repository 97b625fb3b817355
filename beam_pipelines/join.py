"""Joining: negatives are drawn, the videos that a partition's rows need are fetched, and the rows are written.

Rows never travel. A partition of users asks each partition of videos for the distinct videos that it needs, so that a
video in half of all rows is sent once to each partition, and no partition is larger for it.
"""

from collections.abc import Generator, Iterator, Mapping
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids, time_lookups
from recsys_tft.beam_pipelines import state
from recsys_tft.beam_pipelines.elements import STATISTICS, Count, Frames, KeyedFrames, KeyedPart, Parts, TaggedOutput
from recsys_tft.beam_pipelines.engineer import in_graph
from recsys_tft.beam_pipelines.job import BEGUN, OUTCOMES, Job, beside
from recsys_tft.describing import run_rows
from recsys_tft.describing.columns import Parcel
from recsys_tft.examples import negatives, ranker_examples
from recsys_tft.examples.examples import WATCH_SHARE
from recsys_tft.features import Entity
from recsys_tft.point_in_time import outcomes, pair_columns
from recsys_tft.point_in_time.outcomes import Tallies
from recsys_tft.point_in_time.pair_columns import RAW, PairColumns
from recsys_tft.run_layout import data_sets
from recsys_tft.run_layout.data_sets import OUTCOME, DataSet
from recsys_tft.run_layout.state_files import WORTH
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.storage.files import write_file
from recsys_tft.storage.hashing import partition_of
from recsys_tft.tables import versions
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.time_lookups import Timeline, find_sorted, rows_at
from recsys_tft.titles import embeddings
from recsys_tft.titles.text_embedding import sources, text_features

ANSWERS = ("videos", "versions")  # the tables that partitions of videos send
Tables = dict[object, pa.Table]  # of a partition, by entity or name
Codes = dict[object, np.ndarray]  # for each table [rows] int64: the row of it that each joined row has
VERSION = "version"  # of a video; the tables of a partition hold its versions under this name


def sample_negatives(
    partition: int, frames: Frames, catalogue: negatives.Catalogue, job: Job
) -> Iterator[KeyedFrames | TaggedOutput]:
    """Adds the ranker's rows to a partition, or a part of one, and asks for the videos that they need."""
    exposures = arrow_ipc.loads(frames["exposures"])
    pairs = arrow_ipc.loads(frames["pairs"]) if "pairs" in frames else None
    rows, short = ranker_examples.ranker_rows(exposures, catalogue, job.settings, pairs)
    yield TaggedOutput("counts", ("negatives_short", short))
    begun = (
        arrow_ipc.loads(frames[BEGUN])
        if job.expects
        else outcomes.started_exposures(outcomes.STEP_SCHEMA.empty_table())
    )
    wanted = _wanted(rows, exposures, begun, job)
    videos = wanted["video_id"].to_numpy()
    # A partition that needs no video sends an empty request, so that it gets an answer.
    asked = dict(arrow_ipc.split(wanted, partition_of(videos, job.video_partitions))) or {0: arrow_ipc.dumps(wanted)}
    for owner, part in asked.items():
        yield TaggedOutput("wanted", (owner, (str(partition), part)))
    sent = {"users": frames["users"], "exposures": frames["exposures"], "rows": arrow_ipc.dumps(pack(rows))}
    yield partition, cast(Frames, sent | beside(frames))


def _wanted(rows: pa.Table, exposures: pa.Table, begun: pa.Table, job: Job) -> pa.Table:
    """The distinct videos of rows, and of exposures that have `begun`; where videos have versions, with the `earliest`
    and `latest` time asked for."""
    video = np.concatenate([each["video_id"].to_numpy() for each in (rows, begun)])
    if not (job.counts_videos or job.videos_have_versions):
        return pa.table({"video_id": time_lookups.distinct(video)})
    of_rows = exposures["interaction_time"].to_numpy()[rows["exposure"].to_numpy()]
    time = np.concatenate([of_rows, begun["shown"].to_numpy()])
    asked = pa.table({"video_id": video, "time": time}).group_by("video_id", use_threads=False)
    spans = asked.aggregate([("time", "min"), ("time", "max")]).sort_by("video_id")
    names = {"video_id": "video_id", "time_min": "earliest", "time_max": "latest"}
    return spans.select(list(names)).rename_columns(list(names.values()))


def pack(rows: pa.Table) -> pa.Table:
    """Packs rows of `ranker_examples.ranker_rows` in 17 bytes each: there are many of them."""
    source = rows["source"].combine_chunks().indices
    columns = {"exposure": rows["exposure"].cast(pa.int32()), "video_id": rows["video_id"]}
    return pa.table({**columns, "weight": rows["weight"], "source": source, **_watched(rows)})


def _watched(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: rows[name] for name in (WATCH_SHARE,) if name in rows.column_names}


def unpack(rows: pa.Table) -> pa.Table:
    """The inverse of `pack`."""
    source = rows["source"].combine_chunks()
    label = pc.equal(source, ranker_examples.SOURCES.index("positive")).cast(pa.int64())
    columns = [rows["exposure"].cast(pa.int64()), rows["video_id"], label, rows["weight"]]
    named = pa.DictionaryArray.from_arrays(source, pa.array(ranker_examples.SOURCES))
    found = pa.table([*columns, named], ranker_examples.ROW_SCHEMA)
    for name, values in _watched(rows).items():
        found = found.append_column(name, values)
    return found


def answer(_: int, parts: Parts) -> Iterator[KeyedPart]:
    """From the engineered videos of a partition, and the requests of others, to the rows for each of them.

    The parts are read twice instead of being kept in memory: there are as many as partitions of users.
    """
    own = {name: arrow_ipc.loads(part) for name, part in parts if name in ANSWERS}
    ids = own["videos"]["video_id"].to_numpy()
    timelines = {name: Timeline(rows, "video_id") for name, rows in own.items() if time_lookups.is_versioned(rows)}
    for name, part in parts:
        if name not in ANSWERS:
            wanted = arrow_ipc.loads(part)
            videos = wanted["video_id"].to_numpy()
            for table, rows in own.items():
                if table in timelines:
                    earliest, latest = (wanted[end].to_numpy() for end in ("earliest", "latest"))
                    needed = timelines[table].between(videos, earliest, latest)[1]
                else:
                    needed = find_sorted(ids, videos)
                yield int(name), (table, arrow_ipc.dumps(rows.take(pa.array(needed))))


def write_rows(
    partition: int,
    parts: Parts,
    catalogue: negatives.Catalogue,
    graph: str | None = None,
    lookup: Packed | None = None,
    *,
    job: Job,
) -> Iterator[Count | TaggedOutput]:
    """Writes the two_tower, ranker and users files of a partition; yields how many rows each has, and their statistics.

    Args:
        partition: of users, or a further part of one, which writes no users file and no file without rows.
        parts: its tables.
        catalogue: of the training split, with the probability that a video is drawn.
        graph: the folder of the fitted SavedModel, for features of pairs.
        lookup: of all videos, for those of users and groups of videos.
        job: the job.
    """
    tables = _tables(parts, catalogue, job)
    timelines = _timelines(tables)
    if job.expects:
        tables[Entity.EXPOSURE] = _with_expected(partition, tables, timelines[VERSION], job)
    if job.is_first(partition):
        users = versions.latest(tables[Entity.USER], "user_id")
        yield from _write_entities(data_sets.USERS, Entity.USER, users, partition, job)
    codes = _codes(tables, timelines)
    if job.has_pairs:
        assert graph is not None
        columns = _pair_columns(tables, codes, lookup, job)
        pairs, places = yield from _engineer_pairs(columns, graph, job)
        tables, codes = tables | pairs, codes | places
    rows = tables["rows"]
    for data_set in (data_sets.TWO_TOWER, data_sets.RANKER_ROWS):
        chosen = np.flatnonzero(rows["label"].to_numpy()) if data_set is data_sets.TWO_TOWER else np.arange(len(rows))
        yield from _write_splits(tables, codes, data_set, chosen, partition, job)


def _tables(parts: Parts, catalogue: negatives.Catalogue, job: Job) -> Tables:
    """The tables of a partition by entity, and its rows."""
    parts = list(parts)
    found = {name: arrow_ipc.loads(part) for name, part in parts if name not in ANSWERS}
    videos = _answered("videos", parts)
    log_q = pa.array(catalogue.log_q(videos["video_id"].to_numpy()))
    tables: Tables = {
        Entity.USER: found["users"],
        Entity.EXPOSURE: found["exposures"],
        Entity.VIDEO: videos.append_column("log_q", log_q),
        "rows": unpack(found["rows"]),
    }
    tables.update(beside(found).items())
    if job.counts_videos:
        tables[VERSION] = _answered("versions", parts).combine_chunks()
    return tables


def _timelines(tables: Tables) -> dict[object, Timeline]:
    """The timeline of each table of videos with versions."""
    parts = (part for part in (Entity.VIDEO, VERSION) if part in tables and time_lookups.is_versioned(tables[part]))
    return {part: Timeline(tables[part], "video_id") for part in parts}


def _with_expected(partition: int, tables: Tables, timeline: Timeline, job: Job) -> pa.Table:
    """The exposures of a partition with expected values of their users; writes those that go into the next state."""
    names = [f"{RAW}{name}" for name in outcomes.VIDEO_COLUMNS]
    own = outcomes.worth(tables[BEGUN], tables[VERSION], names, timeline)
    worth = pa.concat_tables([tables[WORTH].replace_schema_metadata(), own])
    if job.is_first(partition):
        state.write_worth(partition, worth, tables[WORTH], job)
    delay = job.settings.counters.delay_microseconds
    return outcomes.with_expected(tables[Entity.EXPOSURE], worth, delay, f"{RAW}{outcomes.EXPECTED}")


def _codes(tables: Tables, timelines: Mapping[object, Timeline]) -> Codes:
    """For each row of a partition, the row numbers of its exposure and of its rows in the other tables.

    Versions that no row has are removed from the tables.
    """
    exposure, times = tables["rows"]["exposure"].to_numpy(), tables[Entity.EXPOSURE]["interaction_time"].to_numpy()
    user = rows_at(tables[Entity.USER], "user_id", tables[Entity.EXPOSURE]["user_id"].to_numpy(), times)
    known = tables[Entity.VIDEO]["video_id"].to_numpy()
    video = find_sorted(known, tables["rows"]["video_id"].to_numpy())
    codes: Codes = {Entity.USER: user[exposure], Entity.VIDEO: video, Entity.EXPOSURE: exposure}
    for part, timeline in timelines.items():
        found = timeline.last_before(known, times, (video, exposure))
        used = np.zeros(len(tables[part]), bool)
        used[found] = True
        tables[part], codes[part] = tables[part].filter(pa.array(used)), (np.cumsum(used) - 1)[found]
    return codes


def _engineer_pairs(
    columns: PairColumns, graph: str, job: Job
) -> Generator[tuple[str, int], None, tuple[Tables, Codes]]:
    """Each feature of pairs by its name, and which of its values each row has; yields counts of missing values."""
    found: Tables = {}
    places: Codes = {}
    for feature in pair_columns.pair_features(job.settings):
        yield f"features/{feature.name}/rows", len(columns)
        values = columns.of(feature)
        yield f"features/{feature.name}/missing", pair_columns.missing(feature, values)
        raw, places[feature.name] = pair_columns.to_compute(feature, values)
        found[feature.name] = in_graph(raw, [feature], graph, job)
    return found, places


def _pair_columns(tables: Tables, codes: Codes, lookup: Packed | None, job: Job) -> PairColumns:
    parts: dict[Entity, list[object]] = {Entity.USER: [Entity.USER], Entity.EXPOSURE: [Entity.EXPOSURE]}
    parts[Entity.VIDEO] = [part for part in (VERSION, Entity.VIDEO) if part in tables]
    raw = {entity: [pair_columns.raw_part(tables[part]) for part in own] for entity, own in parts.items()}
    if VERSION in tables:  # whose ids are codes
        raw[Entity.VIDEO][0] = raw[Entity.VIDEO][0].drop_columns(["video_id"])
    rows = {entity: [codes[part] for part in own] for entity, own in parts.items()}
    delay, tallies = job.settings.counters.delay_microseconds, None
    if job.tallies:
        assert lookup is not None
        videos = VideoLookup(arrow_ipc.loads(lookup), job.settings.ids.video_id)
        exposures, own = tables[Entity.EXPOSURE], codes[Entity.EXPOSURE]
        users, times = (exposures[name].to_numpy()[own] for name in ("user_id", "interaction_time"))
        tallies = Tallies(tables[OUTCOMES], videos, users, tables["rows"]["video_id"].to_numpy(), times, delay)
    return PairColumns(raw, rows, delay, tallies)


def _answered(name: str, parts: list[tuple[str, Packed]]) -> pa.Table:
    return versions.in_order([arrow_ipc.loads(part) for own, part in parts if own == name], "video_id")


def _write_splits(
    tables: Tables, codes: Codes, data_set: DataSet, chosen: np.ndarray, partition: int, job: Job
) -> Iterator[Count | TaggedOutput]:
    """Writes the `chosen` rows of a partition into one file per split, and describes them."""
    rows = tables["rows"].take(pa.array(chosen))
    outcomes, outcome = distinct_rows(rows.select(data_set.columns(OUTCOME, job.settings)))
    codes = {**{part: places[chosen] for part, places in codes.items()}, OUTCOME: outcome}
    split = tables[Entity.EXPOSURE]["split"].to_numpy()[codes[Entity.EXPOSURE]]
    joined = {**_columns(tables, data_set, job), OUTCOME: outcomes}
    writer = job.writer(list(joined.values()))
    inside_of = {name: np.flatnonzero(split == number) for name, number in job.splits.items()}

    def write_split(name: str) -> int:
        inside = inside_of[name]
        path = job.shard(f"{data_set.name}/{name}", partition)
        if len(inside) or job.is_first(partition):
            write_file(path, lambda file: writer.write(file, [codes[part][inside] for part in joined]))
        return len(inside)

    yield from ((f"written/{data_set.name}/{name}", write_split(name)) for name in job.splits)
    if job.settings.statistics.enabled:
        sizes: dict[object, int] = {entity: len(tables[entity]) for entity in (Entity.USER, Entity.VIDEO)}
        found = run_rows.of_joined(data_set, joined, codes, list(inside_of.values()), sizes, job.settings)
        yield TaggedOutput(STATISTICS, Parcel.of(found))
    if data_set.labelled:
        yield from _count_sources(rows["source"], split, job)


def _columns(tables: Tables, data_set: DataSet, job: Job) -> dict[object, pa.Table]:
    """The columns that joined rows have from each entity, and from versions of videos if there are any.

    Each feature of pairs is a table of its own, with its own distinct values.
    """
    names: dict[object, list[str]] = {entity: data_set.columns(entity, job.settings) for entity in Entity}
    names |= {name: [name] for name in names.pop(Entity.PAIR)}
    if VERSION in tables:
        counted = [name for name in names[Entity.VIDEO] if name in tables[VERSION].column_names[2:]]
        names[Entity.VIDEO] = [name for name in names[Entity.VIDEO] if name not in counted]
        names[VERSION] = counted
    return {
        part: ids.shown(tables[part].select(ids.beside(columns, tables[part])))
        for part, columns in names.items()
        if columns
    }


def _count_sources(sources: pa.ChunkedArray, split: np.ndarray, job: Job) -> Iterator[Count]:
    """The number of rows of each split, by source."""
    for name, number in job.splits.items():
        for counted in sources.filter(pa.array(split == number)).value_counts().to_pylist():
            yield f"sources/{name}/{counted['values']}", counted["counts"]


def distinct_rows(table: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """The distinct rows of a table, without dictionaries, and for each of its [n] rows which of them it is."""
    codes = np.zeros(len(table), np.int64)
    for column in table.columns:
        encoded = column.combine_chunks().dictionary_encode()
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy()
    inverse = pa.array(codes).dictionary_encode().indices.to_numpy().astype(np.int64)  # faster than np.unique
    first = np.zeros(inverse.max(initial=-1) + 1, np.int64)
    first[inverse[::-1]] = np.arange(len(table))[::-1]
    return ids.plain(table.take(pa.array(first))), inverse


def write_videos(partition: int, videos: Packed, job: Job) -> Iterator[Count | TaggedOutput]:
    """Writes the videos file of a partition, and its part of the embeddings; yields the number of rows and their
    statistics."""
    rows = arrow_ipc.loads(videos)
    if features := text_features(job.settings, Entity.VIDEO):
        columns = ["video_id", *(RAW + source for source in sources(features)), *(f.name for f in features)]
        part = ids.shown(rows).select(columns)
        embeddings.write_part(job.output.scratch("artifacts", "embeddings"), partition, part)
    yield from _write_entities(data_sets.VIDEOS, Entity.VIDEO, rows, partition, job)


def _write_entities(
    data_set: DataSet, entity: Entity, rows: pa.Table, partition: int, job: Job
) -> Iterator[Count | TaggedOutput]:
    columns = [*data_set.keys[entity], *(feature.name for feature in data_set.features(job.settings))]
    shown = ids.shown(rows.select(ids.beside(columns, rows)))
    writer = job.writer([shown])
    write_file(job.shard(data_set.name, partition), lambda file: writer.write(file, [np.arange(len(rows))]))
    yield f"written/{data_set.name}", len(rows)
    if job.settings.statistics.enabled:
        yield TaggedOutput(STATISTICS, Parcel.of(run_rows.of_entities(data_set, shown, job.settings)))
