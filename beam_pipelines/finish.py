"""The end of a run: artifacts, schemas and the manifest are written beside the rows, and the output is committed."""

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import tensorflow_transform as tft
from google.protobuf import text_format

from recsys_tft import table_records, transform_graph
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.describing import statistics_files
from recsys_tft.describing.columns import Parcel
from recsys_tft.examples import odd_data
from recsys_tft.features import Entity
from recsys_tft.graph_fitting import METADATA
from recsys_tft.graph_inputs import raw_feature_spec
from recsys_tft.labelling import split_times
from recsys_tft.point_in_time.pair_columns import RAW
from recsys_tft.run_layout import artifacts, schemas, state_files
from recsys_tft.run_layout.data_sets import DATA_SETS
from recsys_tft.run_layout.output import MANIFEST, RUN
from recsys_tft.run_layout.periods import REFRESH
from recsys_tft.storage import json_files
from recsys_tft.storage.files import copy_folder, exists, read_text, write_text
from recsys_tft.titles import embeddings
from recsys_tft.titles.text_embedding import sources, text_features, text_op

_NOT_OF_ROWS = ("columns", "drift", "encoder_cache", "features", "statistics")  # settings that no row depends on
VERSIONS = ("recsys_tft", "tensorflow", "tensorflow-transform", "apache-beam", "tfx-bsl", "pyarrow", "polars", "numpy")


def finish(
    graph: str,
    counts: Mapping[str, int],
    cuts: split_times.Cuts | None,
    odd: Mapping[str, int] | None = None,
    times: split_times.Histogram | None = None,
    latest: int | None = None,
    described: Parcel | None = None,
    *,
    job: Job,
    started: datetime.datetime,
) -> dict:
    """Writes artifacts, schemas and the manifest into the staged output, commits it, and returns the manifest.

    Args:
        graph: the folder of the fitted SavedModel.
        counts: of all steps.
        cuts: where the splits end; None if they end at another time for each user.
        odd: sums of the counts of `odd_data`.
        times: of exposures, the first and the last one among them.
        latest: the time of the last event, microseconds since 1970.
        described: statistics of the rows; None if they are turned off.
        job: the job.
        started: when the job was built.
    """
    if committed := _committed(job, started):
        return committed
    save_graph(graph, job)
    fitted = job.output.staged("artifacts", "transform_graph", tft.TFTransformOutput.TRANSFORM_FN_DIR)
    vocabularies = artifacts.vocabularies(fitted, job.settings)
    texts = artifacts.describe(transform_graph.load(graph), vocabularies, job.settings)
    for name, text in texts.items():
        write_text(job.output.staged("artifacts", name), text)
    sizes = artifacts.categories(vocabularies, job.settings)
    for data_set in DATA_SETS:
        text = text_format.MessageToString(schemas.schema_of(data_set, job.settings, sizes))
        for folder in data_set.folders:
            write_text(job.output.staged("processed_data", folder, schemas.SCHEMA_FILE), text)
    if features := text_features(job.settings, Entity.VIDEO):
        widths = {feature.name: text_op(feature).shape(job.settings)[0] for feature in features}
        parts, folder = (place("artifacts", "embeddings") for place in (job.output.scratch, job.output.staged))
        of_parts = job.video_partitions, counts["written/videos"]
        embeddings.gather(parts, folder, *of_parts, widths, {f"{RAW}{name}": name for name in sources(features)})
    manifest = make_manifest(job, counts, cuts, sizes, texts, started, latest)
    write_text(job.output.staged("processed_data", RUN), json_files.to_json({"run": manifest["run"]}))
    if latest is not None:
        rows = {name: counts[f"written/{name}"] for name in ("users", "videos")}
        ends = {"until": latest + 1, "bounds": job.bounds(latest)}
        state_files.describe(job.output, {**ends, "splits": manifest["splits"], "rows": rows})
    if described is not None:
        figures = statistics_files.run_figures(
            described.opened(), job.settings, vocabularies, list(job.splits), manifest["run"]
        )
        statistics_files.write(figures, job.output)
    manifest |= _warnings(job, counts, cuts, odd, times)
    write_text(job.output.staged("artifacts", MANIFEST), json_files.to_json(manifest))
    if committed := _committed(job, started):  # by another attempt, in the meantime
        job.output.discard()
        return committed
    job.output.commit()
    return manifest


def _committed(job: Job, started: datetime.datetime) -> dict | None:
    """The manifest, if an earlier attempt at this step has begun to commit; the commit is completed then."""
    job.output.resume()
    if not exists(job.output.manifest):
        return None
    try:
        manifest = json.loads(read_text(job.output.manifest))
        return manifest if manifest["times"]["started"] == started.isoformat() else None
    except (ValueError, LookupError, TypeError, OSError):  # the one to be replaced may be damaged
        return None


def save_graph(graph: str, job: Job) -> None:
    """Writes the fitted graph, and the specs of its inputs and outputs, as tft.TFTransformOutput reads them.

    tft_beam.WriteTransformFn moves them from temporary folders, after it has removed what is there: the second attempt
    of a worker that died just then finds nothing to move.

    Args:
        graph: the folder of the fitted SavedModel.
        job: the job.
    """
    folder = job.output.staged("artifacts", "transform_graph")
    copy_folder(graph, f"{folder}/{tft.TFTransformOutput.TRANSFORM_FN_DIR}")
    if job.earlier:  # the specs stay the same
        for name in (tft.TFTransformOutput.RAW_METADATA_DIR, tft.TFTransformOutput.TRANSFORMED_METADATA_DIR):
            copy_folder(f"{job.earlier.graph}/{name}", f"{folder}/{name}")
        return
    raw = tft.DatasetMetadata.from_feature_spec(raw_feature_spec(job.settings)).schema
    described = {
        tft.TFTransformOutput.TRANSFORMED_METADATA_DIR: read_text(f"{graph}/{METADATA}/{schemas.SCHEMA_FILE}"),
        tft.TFTransformOutput.RAW_METADATA_DIR: text_format.MessageToString(raw),
    }
    for name, schema in described.items():
        write_text(f"{folder}/{name}/{schemas.SCHEMA_FILE}", schema)
    assets = f"{folder}/{tft.TFTransformOutput.TRANSFORMED_METADATA_DIR}/{tft.TFTransformOutput.ASSET_MAP}"
    write_text(assets, "{}")  # which names the vocabularies of tf.Transform's own analyzers


def _lineage(job: Job, latest: int | None) -> dict[str, Any]:
    """Of a refresh: the run or period that it continues, and when it ends."""
    if job.earlier is None or latest is None:
        return {}
    return {REFRESH: {**job.earlier.lineage, "until": split_times.describe(latest + 1)}}


def make_manifest(
    job: Job,
    counts: Mapping[str, int],
    cuts: split_times.Cuts | None,
    sizes: Mapping[str, int],
    texts: Mapping[str, str],
    started: datetime.datetime,
    latest: int | None = None,
) -> dict:
    """The manifest, as JSON values; apart from `times` and `host`, equal inputs and settings give equal manifests."""
    used = {f"rows/{name}/used": used_rows(name, counts) for name in job.tables}
    now = datetime.datetime.now(datetime.UTC)
    manifest = {
        "settings": job.given.model_dump(mode="json"),
        table_records.RECORD: None if job.record is None else dict(job.record),
        "versions": {name: metadata.version(name) for name in VERSIONS},
        "inputs": {name: [list(file) for file in table.fingerprint] for name, table in job.tables.items()},
        "absent_columns": {name: list(table.absent) for name, table in job.tables.items()},
        "splits": _splits(job, cuts),
        **_lineage(job, latest),
        "categories": dict(sizes),
        "counts": dict(sorted({**counts, **used}.items())),
        "times": {"started": started.isoformat(), "finished": now.isoformat()},
        "host": platform.node(),
    }
    return {"run": run_id(manifest, texts), **manifest}


def _splits(job: Job, cuts: split_times.Cuts | None) -> dict[str, Any]:
    """Where the splits of the run end; and of a refresh where each of its periods begins, this one last."""
    if job.earlier is None:
        return split_times.describe_cuts(cuts)
    earlier = job.earlier.splits
    return {
        **earlier,
        split_times.PERIODS: [*earlier.get(split_times.PERIODS, []), split_times.describe(job.earlier.until)],
    }


def run_id(manifest: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """A hash of settings and fitted artifacts, written beside rows and artifacts so that runs cannot be mixed.

    Args:
        manifest: of the run; names of columns in the tables, and the cache of title vectors, are left out.
        texts: the fitted artifacts.
    """
    given = manifest["settings"]
    settings = {name: value for name, value in given.items() if name not in _NOT_OF_ROWS}
    parts = (settings, _made_by(manifest), manifest["versions"], manifest["splits"], dict(texts))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _made_by(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the feature table, without the path of its module."""
    record = manifest.get(table_records.RECORD)
    return record and {name: value for name, value in record.items() if name not in ("root", "file")}


def _warnings(
    job: Job,
    counts: Mapping[str, int],
    cuts: split_times.Cuts | None,
    odd: Mapping[str, int] | None,
    times: split_times.Histogram | None,
) -> dict[str, list[str]]:
    """Warnings about the data, for the manifest; empty if there are none."""
    if times is None:
        return {}
    splits, span = odd_data.exposures_by_split(counts), odd_data.span_of(times)
    split = None if job.earlier else job.settings.split
    found = odd_data.warnings(odd or {}, splits, span, cuts, split)
    if job.earlier:
        found += odd_data.gap(job.earlier.until, span[0])
    return {"warnings": found} if found else {}


def used_rows(table: str, counts: Mapping[str, int]) -> int:
    """Rows of a table that were not rejected."""
    rejected = sum(n for name, n in counts.items() if name.startswith(f"rejected/{table}/"))
    return counts.get(f"rows/{table}/in", 0) - rejected
