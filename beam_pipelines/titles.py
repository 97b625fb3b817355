"""Titles: each distinct one is encoded once per run, and never again in later runs with the same encoder."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.beam_pipelines.job import Job
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.titles import embedding_cache, minilm, title_encoder
from recsys_tft.titles.embedding_cache import EmbeddingCache

TaggedOutput = beam.pvalue.TaggedOutput


def split_titles(partition: int, table: Packed, job: Job) -> Iterator[tuple[int, tuple[str, bytes]]]:
    """Sends the distinct titles of a partition of videos to the partitions of titles."""
    titles = pc.unique(arrow_ipc.loads(table)["title"].drop_null())
    titles = titles.filter(pc.greater(pc.binary_length(titles), 0))
    owners = embedding_cache.owner(titles, job.video_partitions)
    for owner, part in arrow_ipc.split(pa.table({"title": titles}), owners):
        yield owner, (str(partition), part)


def encode_titles(_: int, parts: Iterable[tuple[str, Packed]], job: Job) -> Iterator[object]:
    """Sends each partition of videos the vectors of its titles: from the cache, or else encoded and added to it."""
    asked = [(partition, arrow_ipc.loads(part)["title"]) for partition, part in parts]
    titles = pc.unique(pa.chunked_array([chunk for _, asking in asked for chunk in asking.chunks])).sort()
    vectors, found = embed(titles, job)
    yield TaggedOutput("counts", ("titles/cached", int(found.sum())))
    yield TaggedOutput("counts", ("titles/encoded", int((~found).sum())))
    for partition, asking in asked:
        rows = pc.index_in(asking.combine_chunks(), titles).to_numpy()
        flat = pa.array(vectors[rows].reshape(-1))
        embedded = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        yield int(partition), ("titles", arrow_ipc.dumps(pa.table({"title": asking, "title_embedding": embedded})))


def embed(titles: pa.Array, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of [n] distinct titles, [n, width] float32, and which of them were cached, [n] bool."""
    spec, precision = job.settings.title_encoder, job.settings.title_precision
    folder = job.settings.encoder_cache or str(minilm.cache_folder() / "titles")
    fingerprint = title_encoder.fingerprint(spec, precision)
    cache = EmbeddingCache(folder, fingerprint, title_encoder.width(spec, precision))
    vectors, found = cache.lookup(titles)
    new = np.flatnonzero(~found)
    if len(new):
        missing = titles.take(pa.array(new))
        vectors[new] = title_encoder.encode(spec, missing, precision=precision)
        cache.add(missing, vectors[new])
    return vectors, found


def vectors_of(titles: pa.ChunkedArray, parts: list[Packed], job: Job) -> pa.Array:
    """The vector of each title, [n] fixed-size lists of float32; zeros for a missing or empty title."""
    width = title_encoder.width(job.settings.title_encoder, job.settings.title_precision)
    vectors = np.zeros((len(titles), width), np.float32)
    for part in parts:
        table = arrow_ipc.loads(part).combine_chunks()
        rows = pc.index_in(titles.combine_chunks(), table["title"].combine_chunks())
        found = np.flatnonzero(rows.is_valid().to_numpy(zero_copy_only=False))
        known = table["title_embedding"].combine_chunks().flatten().to_numpy().reshape(-1, width)
        vectors[found] = known[rows.drop_null().to_numpy()]
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width)
