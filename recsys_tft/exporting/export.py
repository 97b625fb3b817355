"""`recsys-tft export`: trained models, the index and the raw rows as one new version under OUTPUT_DIR/serving."""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import RenderableType

from recsys_tft import ids
from recsys_tft.configuration import settings
from recsys_tft.errors import InputError
from recsys_tft.exporting import stored_entities
from recsys_tft.faults import sentences
from recsys_tft.ranking import calibration, logistic, tastes, trained_ranker
from recsys_tft.raw_replay import raw_counters, raw_rows
from recsys_tft.raw_replay.raw_rows import Days
from recsys_tft.recommending import exact_search, request_columns
from recsys_tft.retrieval import growth, two_tower
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.run_layout import artifacts, run_folders
from recsys_tft.serving import approximate_index, saved_graphs, serving_folders, serving_models
from recsys_tft.serving.approximate_index import Kind
from recsys_tft.serving.fitted_features import fitted_graph
from recsys_tft.serving.serving_folders import DESCRIPTION, EXTRA, STORE, serving_folder
from recsys_tft.storage.json_files import to_json
from recsys_tft.terminal import Listing
from recsys_tft.time_lookups import find_sorted
from recsys_tft.training import timeline, training_rows
from recsys_tft.training.model_folders import ModelFolder
from recsys_tft.training.timeline import Timeline

# Which stand beside the graph, where the ranker has them.
RANKER_FILES = (trained_ranker.COLUMNS, calibration.FILE, tastes.FILE, logistic.FILE)
_BATCH = 4096
RECALL_AT, _QUERIES = 100, 500  # an approximate index is evaluated by the best 100 videos of 500 users


@dataclasses.dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        version: its number.
        folders: of each model and the store, by name.
        videos: how many the index holds.
        recall: share of the exact best videos that the approximate index finds; None without one.
    """

    version: int
    folders: dict[str, pathlib.Path]
    videos: int
    recall: float | None = None

    def sizes(self) -> dict[str, int]:
        """Bytes of each folder."""
        return {
            name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            for name, folder in self.folders.items()
        }


@sentences()
def export(
    output_dir: str,
    data_dir: Days | None = None,
    index: Kind | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the serving models of a run, or of its last period, from its trained models.

    A version of all models appears at once or not at all; earlier versions stay. Models trained through an earlier
    period treat newer values as unseen.

    Args:
        output_dir: of the run.
        data_dir: its raw tables; by default OUTPUT_DIR/raw, where a synthetic run keeps them. Where there are periods,
            the folders of the run and of all of them in their order, or one with the tables of all days.
        index: kind of an approximate index to write beside the exact one, as `retrieval/N/assets.extra/KIND.faiss`.
        say: is told each step.

    Raises:
        InputError: if there is no run, no trained model, models of another run, no raw tables, or a ranker that a graph
            cannot hold.
    """
    with (
        timeline.held(output_dir) as splits,
        ModelFolder(output_dir, "ranker").held() as ranker,
        ModelFolder(output_dir, two_tower.FOLDER).held() as two_towers,
    ):
        return _export(splits, output_dir, ranker, two_towers, data_dir, index, say)


def _export(
    splits: Timeline,
    output_dir: str,
    ranker: ModelFolder,
    two_towers: ModelFolder,
    data_dir: Days | None,
    index: Kind | None,
    say: Callable[[str], None],
) -> Exported:
    run = splits.newest
    manifest = run_folders.manifest(run)
    run_settings = settings.from_manifest(manifest, f"{output_dir}/artifacts/manifest.json")
    days = raw_rows.raw_days(output_dir, data_dir, manifest)
    columns = ranker.read("columns.json")
    for folder, description in ((ranker, columns), (two_towers, two_towers.read("model.json"))):
        _check_whose(splits, output_dir, folder, description, say)
    say("Loading the models")
    kind, graph = trained_ranker.kind_of(columns), fitted_graph(run, run_settings)
    sizes = artifacts.categories(artifacts.vocabularies(graph.saved_model, graph.settings), graph.settings)
    served = kind.served(ranker, [sizes.get(column["feature"]) for column in columns["columns"]])
    if kind.explained_by:
        kind.load(ranker.target, ranker.remedy)
    calibrated, taste_table = trained_ranker.calibration_of(ranker), tastes.load(ranker.target, ranker.remedy)
    model = growth.grown(two_tower.load_held(two_towers), sizes)
    say("Reading the raw tables")
    rows, cuts = raw_rows.read_days(days, manifest, run_settings), raw_rows.cuts_of(manifest)
    dated = raw_counters.dated_videos(rows, cuts, run_settings)
    videos = stored_entities.current_videos(rows, dated)
    say("Computing the vectors of all videos")
    video_ids, vectors = candidate_vectors(run, model, videos if rows.counted else None)
    places = _places(video_ids, videos, output_dir)  # of which each may be recommended
    models = {
        "query_tower": lambda: serving_models.query_tower(model, graph),
        "candidate_tower": lambda: serving_models.candidate_tower(model, graph),
        "retrieval": lambda: serving_models.retrieval(model, graph, video_ids, vectors),
        "ranker": lambda: serving_models.ranker(served, columns["columns"], graph, calibrated, taste_table),
    }
    with serving_folders.next_version(output_dir) as (version, staged):
        for name, make in models.items():
            say(f"Writing {name}")
            make().save(str(staged[name]))
            (staged[name] / EXTRA).mkdir()
        for file in (file for file in (*kind.explained_by, *RANKER_FILES) if (ranker.target / file).exists()):
            shutil.copyfile(ranker.target / file, staged["ranker"] / EXTRA / file)
        recall = None
        if index is not None:
            say(f"Building the index {index}")
            numbers = _numbers(video_ids, videos)
            approximate = approximate_index.build(numbers, vectors, index)
            approximate.write(staged["retrieval"] / EXTRA / f"{index}.faiss")
            queries = user_vectors(run, model)
            recall = approximate_index.recall(approximate, numbers, vectors, queries, RECALL_AT)
        say("Writing the raw rows of users and videos")
        stored_entities.write(staged[STORE], rows, videos, dated.counts, cuts, run_settings)
        exact_search.write(staged[STORE], vectors, places, len(videos))
        description = {
            "settings": manifest["settings"],
            "transform_graph": run_folders.fingerprint(run),
            **({"period": splits.period} if splits.period else {}),
            "as_of": stored_entities.end(rows),
            "stored": stored_entities.described(run_settings.table),
            "metric": "cosine" if model.settings.two_tower.normalize else "dot product",
            request_columns.COLUMNS: request_columns.as_json(request_columns.columns_of_table(run_settings.table)),
        }
        (staged[STORE] / DESCRIPTION).write_text(to_json(description))
    folders = {name: serving_folder(output_dir) / name / str(version) for name in staged}
    return Exported(version, folders, len(video_ids), recall)


def _check_whose(
    splits: Timeline, output_dir: str, folder: ModelFolder, described: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Report a model that was not trained on the last periods.

    Raises:
        InputError: if it is of another run or period.
    """
    path = ModelFolder(output_dir, folder.name).target
    through = described.get("period")
    if not splits.has_made(described):
        raise InputError(
            f"{path}: trained on another run than the one in {output_dir}, or the transform_graph there "
            "was damaged since; train it again."
        )
    if through != splits.period:
        say(f"{path} is trained through {through or 'the run'}: it treats newer values as out-of-vocabulary")


def _numbers(video_ids: pa.Array, stored: pa.Table) -> np.ndarray:
    """[videos] int64 keys of videos in an approximate index, as `EntityStore.numbers`."""
    if pa.types.is_integer(video_ids.type):
        return video_ids.to_numpy()
    return find_sorted(stored["video_id"].to_numpy(), ids.codes_of(video_ids).to_numpy())


def candidate_vectors(output_dir: str, model: TwoTower, current: pa.Table | None = None) -> tuple[pa.Array, np.ndarray]:
    """[videos] ids, int64 or binary, and [videos, dim] float32 vectors of all videos that the run engineered.

    Args:
        output_dir: of the run.
        model: of the run.
        current: raw rows of these videos by increasing id, with current counters; by default those of the run.

    Raises:
        InputError: if one of the videos is not among the current ones.
    """
    names = [feature.name for feature in model.candidate_features]
    rows = training_rows.columns(training_rows.folder_of(output_dir, "videos"), ["video_id", *names])
    video_ids = pa.array(rows.pop("video_id"))
    changing = [feature for feature in model.candidate_features if feature.is_counted]
    if current is not None and changing:
        rows_now = ids.shown(current.take(pa.array(_places(video_ids, current, output_dir))))
        rows |= saved_graphs.compute(saved_graphs.load_transform(output_dir), rows_now, changing)
    batches = ({n: v[start : start + _BATCH] for n, v in rows.items()} for start in range(0, len(video_ids), _BATCH))
    return video_ids, np.concatenate([model.candidate(batch).numpy() for batch in batches])


def _places(video_ids: pa.Array, current: pa.Table, output_dir: str) -> np.ndarray:
    """[videos] int64 rows of `current`."""
    places = find_sorted(current["video_id"].to_numpy(), ids.codes_of(video_ids).to_numpy())
    if (places < 0).any():
        unknown = video_ids[int(np.flatnonzero(places < 0)[0])].as_py()
        unknown = repr(unknown.decode()) if isinstance(unknown, bytes) else unknown
        raise InputError(f"The raw tables have no video {unknown}, but the run in {output_dir} has.")
    return places


def user_vectors(output_dir: str, model: TwoTower) -> np.ndarray:
    """[n, dim] float32 vectors of some users."""
    names = [feature.name for feature in model.query_features]
    rows = training_rows.columns(training_rows.folder_of(output_dir, "users"), names)
    return model.query({name: values[:_QUERIES] for name, values in rows.items()}).numpy()


def report(done: Exported) -> list[RenderableType]:
    """The folders and their sizes, for a terminal."""
    table = Listing(f"Version {done.version}")
    table.add_names("model")
    table.add_numbers("MB")
    table.add_texts("folder")
    for name, size in done.sizes().items():
        table.add_row(name, f"{size / 1e6:,.2f}", str(done.folders[name]))
    if done.recall is None:
        return [table]
    return [table, f"The approximate index finds {done.recall:.1%} of the {RECALL_AT} best videos."]
