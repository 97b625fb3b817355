"""Texts: each distinct one is encoded once per run and encoder, and never again in later runs with the same encoder.

Partitions of videos and of users send their distinct texts to partitions of texts, which send the vectors back.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.beam_pipelines.elements import Asker, Frames, KeyedFrames, KeyedPart, KeyedTexts, TaggedOutput, Vectors
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.features import Entity, Feature
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.titles import embedding_cache, minilm, title_encoder
from recsys_tft.titles.embedding_cache import EmbeddingCache
from recsys_tft.titles.encoder_spec import Spec
from recsys_tft.titles.text_embedding import encoders, text_features, text_op

VIDEOS, USERS = "videos", "users"
CONTEXT = (Entity.USER, Entity.EXPOSURE)  # the entities of partitions of users
TEXTS: Final = "texts"  # the name of the Vectors of a partition of users, among its frames


def part_name(spec: Spec, job: Job) -> str:
    """The name of the parts with vectors of one encoder."""
    return f"text {list(encoders(job.settings)).index(spec)}"


def vectors_in(parts: Iterable[tuple[str, Packed]]) -> Vectors:
    """The vectors among the parts of a partition."""
    found: dict[str, list[Packed]] = {}
    for name, part in parts:
        if name.startswith("text "):
            found.setdefault(name, []).append(part)
    return found


def split_texts(partition: int, table: Packed, job: Job) -> Iterator[KeyedTexts]:
    """Sends the distinct texts of a partition of videos to the partitions of texts."""
    features = text_features(job.settings, Entity.VIDEO)
    yield from _split(VIDEOS, partition, features, [arrow_ipc.loads(table)], job)


def split_texts_of_users(partition: int, frames: Frames, job: Job) -> Iterator[KeyedTexts]:
    """The same for a partition of users and their exposures."""
    features = text_features(job.settings, *CONTEXT)
    tables = [arrow_ipc.loads(frames[name]) for name in ("users", "exposures")]
    yield from _split(USERS, partition, features, tables, job)


def _split(
    what: str, partition: int, features: Sequence[Feature], tables: Sequence[pa.Table], job: Job
) -> Iterator[KeyedTexts]:
    for number, spec in enumerate(encoders(job.settings)):
        own = {source for f in features if text_op(f).spec(job.settings) == spec for source in f.sources}
        columns = [table[name] for table in tables for name in table.column_names if name in own]
        if columns:
            texts = pc.unique(pa.chunked_array([chunk for c in columns for chunk in c.chunks], columns[0].type))
            texts = texts.drop_null()
            texts = texts.filter(pc.greater(pc.binary_length(texts), 0))
            owners = embedding_cache.owner(texts, job.video_partitions)
            for owner, part in arrow_ipc.split(pa.table({"text": texts}), owners):
                yield owner, ((what, partition, number), part)


def encode_texts(_: int, parts: Iterable[tuple[Asker, Packed]], job: Job) -> Iterator[KeyedPart | TaggedOutput]:
    """Sends each partition the vectors of its texts: from the cache, or else encoded and added to it.

    Those of partitions of users are tagged USERS.
    """
    asked: dict[int, list[tuple[Asker, pa.ChunkedArray]]] = {}
    for asker, part in parts:
        asked.setdefault(asker[2], []).append((asker, arrow_ipc.loads(part)["text"]))
    for number, spec in enumerate(encoders(job.settings)):
        if number in asked:
            yield from _encode(spec, asked[number], job)


def _encode(spec: Spec, asked: list[tuple[Asker, pa.ChunkedArray]], job: Job) -> Iterator[KeyedPart | TaggedOutput]:
    texts = pc.unique(pa.chunked_array([chunk for _, asking in asked for chunk in asking.chunks])).sort()
    vectors, found = embed(texts, spec, job)
    yield TaggedOutput("counts", ("texts/cached", int(found.sum())))
    yield TaggedOutput("counts", ("texts/encoded", int((~found).sum())))
    for (what, partition, _), asking in asked:
        rows = pc.index_in(asking.combine_chunks(), texts).to_numpy()
        embedded = pa.FixedSizeListArray.from_arrays(pa.array(vectors[rows].reshape(-1)), vectors.shape[1])
        answer = arrow_ipc.dumps(pa.table({"text": asking, "vector": embedded}))
        item = partition, (part_name(spec, job), answer)
        yield item if what == VIDEOS else TaggedOutput(USERS, item)


def embed(texts: pa.Array, spec: Spec, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of [n] distinct texts, [n, width] float32, and which of them were cached, [n] bool."""
    precision = job.settings.title_precision
    folder = job.settings.encoder_cache or str(minilm.cache_folder() / "titles")
    fingerprint = title_encoder.fingerprint(spec, precision)
    cache = EmbeddingCache(folder, fingerprint, title_encoder.width(spec, precision))
    vectors, found = cache.lookup(texts)
    new = np.flatnonzero(~found)
    if len(new):
        missing = texts.take(pa.array(new))
        vectors[new] = title_encoder.encode(spec, missing, precision=precision)
        cache.add(missing, vectors[new])
    return vectors, found


def with_vectors(
    engineered: pa.Table, raw: pa.Table, features: Sequence[Feature], found: Vectors, job: Job
) -> pa.Table:
    """[n] engineered rows with features that embed texts of the raw rows.

    Args:
        engineered: the other features.
        raw: their raw rows.
        features: those to add.
        found: the vectors of all their texts.
        job: the job.
    """
    for feature in features:
        spec = text_op(feature).spec(job.settings)
        width = title_encoder.width(spec, job.settings.title_precision)
        vectors = _vectors_of(raw[feature.sources[0]], found.get(part_name(spec, job), []), width)
        engineered = engineered.append_column(feature.name, vectors)
    return engineered


def _vectors_of(texts: pa.ChunkedArray, parts: list[Packed], width: int) -> pa.Array:
    """The vector of each text, [n] fixed-size lists of float32; zeros for a missing or empty text."""
    vectors = np.zeros((len(texts), width), np.float32)
    for part in parts:
        table = arrow_ipc.loads(part).combine_chunks()
        rows = pc.index_in(texts.combine_chunks(), table["text"].combine_chunks())
        found = np.flatnonzero(rows.is_valid().to_numpy(zero_copy_only=False))
        known = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, width)
        vectors[found] = known[rows.drop_null().to_numpy()]
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width)


def as_part(partition: int, frames: Frames) -> tuple[int, tuple[str, Frames]]:
    """The frames of a partition of users, to be grouped with the vectors of its texts."""
    return partition, ("frames", frames)


def with_texts(partition: int, parts: Iterable[tuple[str, Any]]) -> KeyedFrames:
    """The frames of a partition of users with the vectors of its texts, by the name TEXTS."""
    parts = list(parts)
    frames: Frames = next(part for name, part in parts if name == "frames")
    return partition, {**frames, TEXTS: vectors_in(parts)}
