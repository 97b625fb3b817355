"""Engineering: the analysis of the training split, and the graph applied to users, videos and exposures once each."""

import functools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa

from recsys_tft import graph_fitting, ids, time_lookups, transform_graph
from recsys_tft.analyzers import MergeAll, StatisticRequest, outputs
from recsys_tft.beam_pipelines import growing, texts
from recsys_tft.beam_pipelines.elements import (
    STATISTICS,
    Analysed,
    Frames,
    KeyedPart,
    KeyedTable,
    Parts,
    TaggedOutput,
)
from recsys_tft.beam_pipelines.job import Job, beside
from recsys_tft.beam_pipelines.texts import Vectors
from recsys_tft.configuration.settings import Settings
from recsys_tft.describing import run_rows
from recsys_tft.describing.columns import Parcel
from recsys_tft.examples import fitting_rows, negatives
from recsys_tft.feature_coverage import coverage
from recsys_tft.features import Entity, Feature, raw_columns
from recsys_tft.output_checks import check_categories
from recsys_tft.point_in_time import pair_columns
from recsys_tft.run_layout import data_sets
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.tables import versions
from recsys_tft.time_lookups import find_sorted
from recsys_tft.titles import text_embedding
from recsys_tft.titles.text_embedding import text_features


def fit_graph(
    tables: beam.PCollection,
    each: Callable[..., beam.ParDo],
    graphs: str,
    job: Job,
    rare: beam.PCollection | None = None,
) -> beam.PCollection:
    """From tables of training rows (of users, videos or exposures, each with its own columns) to where the graph is.

    Args:
        tables: pairs of an entity and a table.
        each: makes a step over such pairs of a function and its options.
        graphs: the folder for it.
        job: what is done.
        rare: of a refresh, the files of the state that hold what has been too seldom for vocabularies.
    """
    asked = graph_fitting.statistic_requests(job.settings)
    if rare is not None:
        asked = growing.counted(asked)
        new = tables | "States" >> each(states_of_table, asked=asked, settings=job.settings)
        waiting = rare | "Read rare values" >> each(growing.read_rare, asked=asked)
        states = [new, waiting] | "States so far" >> beam.Flatten()
        whole = states | "All states" >> MergeAll(asked, functools.partial(growing.without_known, asked=asked, job=job))
        return whole | "Grow graph" >> beam.Map(growing.grow, asked=asked, graphs=graphs, job=job)
    if job.record:  # of a table that is not ours
        graph_fitting.check(asked, graphs, job.settings)
    states = tables | "States" >> each(states_of_table, asked=asked, settings=job.settings)
    whole = states | "All states" >> MergeAll(asked, functools.partial(growing.write_rare, asked=asked, job=job))
    return whole | "Fit graph" >> beam.Map(save_fitted, asked=asked, graphs=graphs, settings=job.settings)


def states_of_table(
    entity: Entity, table: Packed, asked: tuple[StatisticRequest, ...], settings: Settings
) -> Iterator[list[object]]:
    """What is learned of a table of training rows."""
    yield graph_fitting.states_of_rows(entity, arrow_ipc.loads(table), asked, settings)


def save_fitted(states: list[object], asked: tuple[StatisticRequest, ...], graphs: str, settings: Settings) -> str:
    """Saves the graph of the states of all training rows."""
    # The path of a vocabulary is the name of its table, and tables of one name are one table in a process.
    folder = f"{graphs}/tftransform_tmp/{uuid.uuid4().hex}"
    return graph_fitting.save(outputs(states, asked, folder), asked, folder, settings)


def training_videos(
    entity: Entity, table: Packed, catalogue: negatives.Catalogue, until: int = 0, *, job: Job
) -> Iterator[Analysed]:
    """The videos that occur in the training split, of which the last exposure is at `until`."""
    for rows in fitting_rows.of_videos(arrow_ipc.loads(table), catalogue, until, job.settings.table):
        yield entity, arrow_ipc.dumps(rows)


def engineer_videos(
    partition: int, parts: Parts, sizes: dict[int, int], graph: str, shown: Packed | None = None, *, job: Job
) -> Iterator[KeyedTable | TaggedOutput]:
    """The videos of a partition with every feature and their `candidate_row`, and how often values are missing.

    The main output has all features of the latest videos, that tagged `slim` those which joined rows hold, of all
    versions. Where something is counted, its own versions have the features that depend on it.
    """
    parts = list(parts)
    found = {name: arrow_ipc.loads(part) for name, part in parts if name == "videos"}
    if counts := [arrow_ipc.loads(part) for name, part in parts if name == "versions"]:
        found["versions"] = versions.in_order(counts, "video_id")
    vectors = texts.vectors_in(parts)
    raw = versions.latest(found["videos"], "video_id")
    features = data_sets.VIDEOS.features(job.settings)
    engineered = _engineer(raw, features, vectors, graph, job)
    for item in coverage(raw, engineered, features, job.settings).items():
        yield TaggedOutput("counts", item)
    if shown is not None:
        described = run_rows.of_raw(run_rows.VIDEOS, ids.shown(raw), job.settings)
        numbers = list(job.splits.values())
        described |= run_rows.of_shown_videos(raw, arrow_ipc.loads(shown), numbers, job.settings)
        yield TaggedOutput(STATISTICS, Parcel.of(described))
    first = sum(size for other, size in sizes.items() if other < partition)
    keys = {name: raw[name] for name in ids.beside(["video_id"], raw)}
    keys |= {"candidate_row": pa.array(range(first, first + len(raw)), pa.int64())}
    rows = _with_keys(keys, engineered)
    joined = dict.fromkeys([*data_sets.TWO_TOWER.features(job.settings), *data_sets.RANKER_ROWS.features(job.settings)])
    known = found["versions"].column_names[2:] if "versions" in found else ()
    of_videos = [feature for feature in joined if feature.entity is Entity.VIDEO]
    counted = tuple(feature for feature in of_videos if not {*feature.sources}.isdisjoint(known))
    own = [feature for feature in features if feature in joined and feature not in counted]
    slim = rows.select([*keys, *(feature.name for feature in own)])
    carried = pair_columns.carried(Entity.VIDEO, job.settings)
    if time_lookups.is_versioned(found["videos"]):
        owner = find_sorted(raw["video_id"].to_numpy(), found["videos"]["video_id"].to_numpy())
        dated = {name: found["videos"][name] for name in (*ids.beside(["video_id"], raw), time_lookups.SINCE)}
        dated |= {"candidate_row": pa.array(first + owner), **pair_columns.carried_columns(found["videos"], carried)}
        slim = _with_keys(dated, _engineer(found["videos"], own, vectors, graph, job))
    else:
        slim = _with_keys(pair_columns.carried_columns(raw, carried), slim)
    yield TaggedOutput("slim", (partition, ("videos", arrow_ipc.dumps(slim))))
    if "versions" in found:
        dated = _engineer_counted(found["versions"], found["videos"], counted, carried, graph, job)
        yield TaggedOutput("slim", (partition, ("versions", arrow_ipc.dumps(dated))))
    of_texts = text_embedding.sources(text_features(job.settings, Entity.VIDEO))
    yield partition, arrow_ipc.dumps(_with_keys(pair_columns.carried_columns(raw, of_texts), rows))


def _engineer(rows: pa.Table, features: Sequence[Feature], vectors: Vectors, graph: str, job: Job) -> pa.Table:
    """Features of raw rows; those that embed texts are looked up in the `vectors` of partitions of texts."""
    encoded = [feature for feature in features if feature.op.embeds_text]
    others = [feature for feature in features if feature not in encoded]
    return texts.with_vectors(in_graph(rows, others, graph, job), rows, encoded, vectors, job)


def in_graph(rows: pa.Table, features: Sequence[Feature], graph: str, job: Job) -> pa.Table:
    """Features of raw rows as the graph in a folder makes them; an error, if one is not what its op says."""
    engineered = transform_graph.load(graph).engineer(ids.shown(rows), features)
    check_categories(engineered, features, job.settings)
    return engineered


def _engineer_counted(
    counts: pa.Table, videos: pa.Table, counted: tuple[Feature, ...], carried: Sequence[str], graph: str, job: Job
) -> pa.Table:
    """The features that depend on what is counted, as of each change of it or of the video; with their keys.

    What is counted of the `carried` raw columns stands beside them.
    """
    if time_lookups.is_versioned(videos):
        keys = videos["video_id"].to_numpy()
        own, rows, since = versions.together(videos, "video_id", counts, "video_id", keys, np.ones(len(keys), bool))
        counts = versions.dated(counts.take(pa.array(rows)), since)
    else:
        own = find_sorted(videos["video_id"].to_numpy(), counts["video_id"].to_numpy())
    owner = pa.array(own)
    names = [column.name for column in raw_columns(counted)]
    names = ids.beside(names, videos)
    read = {name: counts[name] if name in counts.column_names else videos[name].take(owner) for name in names}
    keys = {name: counts[name] for name in ("video_id", time_lookups.SINCE)} | pair_columns.carried_columns(
        counts, carried
    )
    if not counted:
        return pa.table(keys)
    return _with_keys(keys, in_graph(pa.table(read), counted, graph, job))


def engineer_examples(partition: int, frames: Frames, graph: str, job: Job) -> Iterator[KeyedPart | TaggedOutput]:
    """The users (all versions that its rows take) and exposures of a partition, or a part, with every feature."""
    users, exposures = arrow_ipc.loads(frames["users"]), arrow_ipc.loads(frames["exposures"])
    context = [
        feature for feature in job.settings.table.select(entity=Entity.EXPOSURE) if feature.is_active(job.settings)
    ]
    vectors: texts.Vectors = frames.get("texts", {})
    of_users = _engineer(users, data_sets.USERS.features(job.settings), vectors, graph, job)
    of_exposures = _engineer(exposures, context, vectors, graph, job)
    keys = (*ids.beside(["user_id"], users), time_lookups.SINCE)
    of_user = {name: users[name] for name in keys if name in users.column_names}
    of_user |= pair_columns.carried_columns(users, pair_columns.carried(Entity.USER, job.settings))
    of_users = _with_keys(of_user, of_users)
    counted = [(exposures, of_exposures, context)]
    if job.is_first(partition):  # other parts have some of the same users
        latest = (versions.latest(table, "user_id") for table in (users, of_users))
        counted.append((*latest, job.settings.table.select(entity=Entity.USER)))
    for raw, engineered, features in counted:
        for item in coverage(raw, engineered, features, job.settings).items():
            yield TaggedOutput("counts", item)
    if job.settings.statistics.enabled:
        if job.is_first(partition):
            latest = ids.shown(versions.latest(users, "user_id"))
            yield TaggedOutput(STATISTICS, Parcel.of(run_rows.of_raw(run_rows.USERS, latest, job.settings)))
        numbers = list(job.splits.values())
        found = run_rows.of_exposures(exposures, numbers, job.settings)
        found |= run_rows.of_shown_users(users, exposures, numbers, job.settings)
        yield TaggedOutput(STATISTICS, Parcel.of(found))
    of_exposure = {name: exposures[name] for name in ("user_id", "interaction_time", "split")}
    of_exposure |= pair_columns.carried_columns(exposures, pair_columns.carried(Entity.EXPOSURE, job.settings))
    yield partition, ("users", arrow_ipc.dumps(of_users))
    yield partition, ("exposures", arrow_ipc.dumps(_with_keys(of_exposure, of_exposures)))
    yield partition, ("rows", frames["rows"])
    yield from ((partition, part) for part in beside(frames).items())


def _with_keys(keys: Mapping[str, pa.ChunkedArray | pa.Array], engineered: pa.Table) -> pa.Table:
    columns = dict(zip(engineered.column_names, engineered.columns, strict=True))
    return pa.table({**keys, **columns})
