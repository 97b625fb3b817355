"""`recsys-tft verify`: rows on disk against values that the saved graphs compute from their raw rows.

Integers have to be equal, floats bit-equal or within 1e-6; title embeddings in bfloat16 within 1e-3.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import RenderableType
from rich.text import Text

from recsys_tft import ids
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.faults import sentences
from recsys_tft.features import Entity, Feature
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.raw_replay import raw_counters, raw_rows
from recsys_tft.raw_replay.raw_counters import DatedVideos
from recsys_tft.raw_replay.raw_rows import Days, RawRows, raw_days
from recsys_tft.run_layout import run_folders
from recsys_tft.run_layout.data_sets import DATA_SETS, USERS, DataSet
from recsys_tft.serving import saved_graphs
from recsys_tft.serving.saved_graphs import SavedGraph
from recsys_tft.terminal import Listing
from recsys_tft.training import training_rows
from recsys_tft.training.training_rows import folder_of
from recsys_tft.verifying import disk_sample, raw_matches
from recsys_tft.verifying import online as online_rows
from recsys_tft.verifying.online import Online
from recsys_tft.verifying.raw_matches import Matches

TOLERANCE, BFLOAT16_TOLERANCE = 1e-6, 1e-3
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Difference:
    """One value on disk that differs from the computed one.

    Attributes:
        feature: its name, or `row` for a row without raw rows.
        folder: below `processed_data/`.
        key: of the row.
        on_disk: the value there.
        computed: the graph's value, or why there is none.
        graph: its name.
    """

    feature: str
    folder: str
    key: Mapping[str, int | str]
    on_disk: Any
    computed: Any
    graph: str

    def __str__(self) -> str:
        key = ", ".join(f"{name} {ids.printed(value)}" for name, value in self.key.items())
        return f"{self.feature} of {key} in {self.folder}: {self.on_disk} on disk, {self.computed} by {self.graph}"


@dataclasses.dataclass
class Line:
    """The comparison of one feature.

    Attributes:
        rows: how many values, over all folders and graphs.
        unequal: how many of them differ.
        largest: the largest difference of floats.
        graphs: that computed it.
    """

    rows: int = 0
    unequal: int = 0
    largest: float = 0.0
    graphs: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass
class Verified:
    """The result of `verify`.

    Attributes:
        lines: by feature.
        differences: the first ones of each feature and folder.
        rows: how many were compared, by folder.
    """

    lines: dict[str, Line] = dataclasses.field(default_factory=dict)
    differences: list[Difference] = dataclasses.field(default_factory=list)
    rows: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def report(self) -> list[RenderableType]:
        """One line per feature, then the differences, for a terminal."""
        table = Listing()
        table.add_names("feature")
        table.add_numbers("values", "differ", "largest difference")
        table.add_texts("computed by")
        for name, line in self.lines.items():
            style = "red" if line.unequal else None
            numbers = (f"{line.rows:,}", f"{line.unequal:,}", f"{line.largest:.2g}")
            table.add_row(name, *numbers, ", ".join(sorted(line.graphs)), style=style)
        compared = ", ".join(f"{folder} {count:,}" for folder, count in self.rows.items())
        texts = [Text(f"DIFFERENT: {difference}") for difference in self.differences[:_SHOWN]]
        last = "All values are equal." if self.is_equal else "Training and serving disagree."
        return [table, Text(f"\nRows: {compared}"), *texts, Text(last)]


@sentences()
def verify(
    output_dir: str,
    data_dir: Days | None = None,
    rows: int | None = 10_000,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    online: bool = False,
) -> Verified:
    """Compare rows of every data folder with values that the run's saved graphs compute from their raw rows.

    Call it in a process that has not run the job, as the command does, so that only files are shared with it.

    Args:
        output_dir: of the run, or the folder of a period; its export is verified too, if it is the newest.
        data_dir: its raw tables; by default OUTPUT_DIR/raw. For a period the folders of the run and of all periods up
            to it, in order, or one with the tables of all these days.
        rows: how many to sample of each folder; None for all.
        seed: of the sample.
        say: is told each step.
        online: whether to replay the interactions through the online state, and compare the features that events
            change with its values at the moment of each row.

    Raises:
        InputError: if there is no run or no raw tables, rows cannot be read, or a run split by `time_per_user` is to be
            replayed.
    """
    with run_folders.held(output_dir) as run:
        return _verify(run, output_dir, data_dir, rows, seed, say, online)


def _verify(
    run: str,
    output_dir: str,
    data_dir: Days | None,
    rows: int | None,
    seed: int,
    say: Callable[[str], None],
    replays: bool,
) -> Verified:
    manifest = run_folders.manifest(run)
    chosen = settings.from_manifest(manifest, f"{output_dir}/artifacts/manifest.json")
    say("Reading the raw tables")
    days = raw_days(output_dir, data_dir, manifest)
    raw, cuts = raw_rows.read_days(days, manifest, chosen), raw_rows.cuts_of(manifest)
    _check_whose(run, days[0], raw)
    videos = raw_counters.dated_videos(raw, cuts, chosen)
    say("Loading the saved graphs")
    transform = saved_graphs.load_transform(run)
    graphs: list[saved_graphs.SavedGraph] = [transform, *saved_graphs.load_serving(output_dir, run)]
    result, sampled = Verified(), []
    for data_set in DATA_SETS:
        if replays and not data_set.splits:
            continue
        for folder in data_set.folders:
            say(f"Verifying {folder}")
            names = [*_keys(data_set), *(f.name for f in data_set.features(chosen))]
            total = manifest["counts"].get(f"written/{folder}", 0)
            disk, count = disk_sample.sample(folder_of(run, folder), names, total, rows, seed)
            if count != total:
                raise InputError(
                    f"{output_dir}/processed_data/{folder} has {count:,} rows, but the manifest says {total:,}."
                )
            result.rows[folder] = len(disk[names[0]])
            if result.rows[folder]:
                sample = _Folder(data_set, folder, disk, cuts, chosen)
                if replays:
                    sampled.append(sample)
                else:
                    sample.compare(raw, videos, graphs, result)
    if replays:
        say(f"Replaying {len(raw.events):,} events")
        online_by_folder = online_rows.replayed([sample.disk for sample in sampled], raw, cuts, chosen)
        for sample, online_values in zip(sampled, online_by_folder, strict=True):
            dataclasses.replace(sample, online=online_values).compare(raw, videos, graphs, result)
    return result


def _check_whose(run: str, folder: str, raw: RawRows) -> None:
    """Check that the raw tables have any user of the run.

    Raises:
        InputError: if not, naming a user of each.
    """
    users = training_rows.columns(folder_of(run, USERS.name), ["user_id"])["user_id"]
    user_ids = raw.users["user_id"].to_numpy()
    if len(users) and not np.isin(ids.codes_of(pa.array(users)).to_numpy(), user_ids).any():
        example = ids.shown(raw.users.select(ids.beside(["user_id"], raw.users)))["user_id"].slice(0, 1).to_pylist()
        has = "".join(f", but {_printed_id(user)!r}" for user in example)
        raise InputError(
            f"{folder}: these tables have no user of the run, such as {_printed_id(users[0])!r}{has}; "
            "name the tables of the run with --data-dir."
        )


def _keys(data_set: DataSet) -> list[str]:
    names_of_keys = ("user_id", "video_id", "interaction_time")
    return [name for name in names_of_keys if any(name in names for names in data_set.keys.values())]


@dataclasses.dataclass(frozen=True)
class _Folder:
    """The sampled rows of one folder."""

    data_set: DataSet
    name: str
    disk: dict[str, np.ndarray]
    cuts: Cuts | None
    settings: Settings
    online: Online | None = None  # online values, to compare instead of those of graphs on raw tables

    def compare(self, raw: RawRows, videos: DatedVideos, graphs: Sequence[SavedGraph], result: Verified) -> None:
        """Add the results of all graphs for the rows' features to `result`."""
        for matches, features in self._matched(raw, videos):
            for row in matches.missing[:_SHOWN]:
                result.differences.append(self._difference("row", row, "a row", "no such row", "the raw tables"))
            for graph in graphs:
                computable = [feature for feature in features if graph.has(feature)]
                if computable and len(matches.owner):
                    self._compare(matches, computable, graph, result)

    def _matched(self, raw: RawRows, videos: DatedVideos) -> Iterator[tuple[Matches, list[Feature]]]:
        """Raw rows, and the features of them."""
        by_entity = self._by_entity()
        keys = {name: ids.codes_of(pa.array(self.disk[name])).to_numpy() for name in _keys(self.data_set)}
        if not self.data_set.splits:  # one row per key, the latest
            tables = {Entity.USER: ("user_id", raw.latest_users), Entity.VIDEO: ("video_id", videos.latest)}
            for entity, features in by_entity.items():
                key, table = tables[entity]
                yield raw_matches.by_key(table, key, keys[key]), features
            return
        users, times = keys["user_id"], keys["interaction_time"]
        labelled = functools.cache(lambda: raw_matches.labelled(raw, users, self.cuts, self.settings))
        exposures = functools.cache(lambda: raw_matches.by_exposure(raw, labelled(), users, times, self.settings))
        if self.online:
            yield from self.online.matches(by_entity, exposures(), videos.videos)
            return
        for entity, features in by_entity.items():
            if entity is Entity.EXPOSURE:
                yield exposures(), features
            elif entity is Entity.USER:
                yield raw_matches.by_user(raw.users, keys["user_id"], keys["interaction_time"]), features
            elif entity is Entity.PAIR:
                delay = self.settings.counters.delay_microseconds
                yield from raw_matches.by_pairs(features, exposures(), raw, videos, labelled(), keys, delay)
            else:
                dated = [f for f in features if f.is_counted or f.is_versioned] if videos.counts is not None else []
                others = [feature for feature in features if feature not in dated]
                for table, chosen in ((videos.uncounted, others), (videos, dated)):
                    if chosen:
                        yield raw_matches.by_video(table, keys["video_id"], keys["interaction_time"]), chosen

    def _by_entity(self) -> dict[Entity, list[Feature]]:
        """The features by the entity of their raw row; those of the users folder have only the users table."""
        by_entity: dict[Entity, list[Feature]] = {}
        for feature in self.data_set.features(self.settings):
            entity = Entity.USER if self.data_set is USERS else feature.entity
            by_entity.setdefault(entity, []).append(feature)
        return by_entity

    def _compare(self, matches: Matches, features: list[Feature], graph: SavedGraph, result: Verified) -> None:
        computed = saved_graphs.compute(graph, ids.shown(matches.raw), features)
        by = f"{graph.name}{' on online values' if self.online else ''}"
        gaps = {f.name: self._gaps(f, computed[f.name], matches) for f in features}
        unequal = {f.name: gaps[f.name] > self._tolerance(f) for f in features}
        best = _best(matches.owner, np.sum(list(unequal.values()), axis=0))
        for feature in features:
            line = result.lines.setdefault(feature.name, Line())
            wrong = best[unequal[feature.name][best]]
            line.rows += len(best)
            line.unequal += len(wrong)
            line.largest = max(line.largest, float(gaps[feature.name][best].max(initial=0)))
            line.graphs.add(graph.name.split("/")[0])
            for pair in wrong[:_SHOWN]:
                row, value = matches.owner[pair], computed[feature.name][matches.row[pair]]
                on_disk = self.disk[feature.name][row]
                result.differences.append(self._difference(feature.name, row, *_shown(on_disk, value), by))

    def _gaps(self, feature: Feature, computed: np.ndarray, matches: Matches) -> np.ndarray:
        """[m] float64: the largest difference of each pair of a row on disk and a raw row; infinite for NaN."""
        disk = self.disk[feature.name]
        if computed.ndim == 2:
            width = max(disk.shape[1], computed.shape[1])
            disk, computed = (np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in (disk, computed))
        if computed.dtype != disk.dtype or computed.shape[1:] != disk.shape[1:]:
            raise InputError(
                f"{self.name}: {feature.name} is {disk.dtype}{list(disk.shape[1:])} on disk, "
                f"but the graph computes {computed.dtype}{list(computed.shape[1:])}."
            )
        with np.errstate(invalid="ignore"):
            apart = np.abs(disk[matches.owner].astype(np.float64) - computed[matches.row].astype(np.float64))
        apart = apart.reshape(len(apart), -1).max(axis=1, initial=0)
        return np.where(np.isnan(apart), np.inf, apart)

    def _tolerance(self, feature: Feature) -> float:
        if feature.is_categorical:
            return 0.0
        if feature.op.is_large and self.settings.title_precision == "bfloat16":
            return BFLOAT16_TOLERANCE
        return TOLERANCE

    def _difference(self, feature: str, row: int, on_disk: Any, computed: Any, graph: str) -> Difference:
        key = {name: _printed_id(self.disk[name][row]) for name in _keys(self.data_set)}
        return Difference(feature, self.name, key, on_disk, computed, graph)


def _printed_id(key: bytes | int | np.integer) -> str | int:
    return key.decode() if isinstance(key, bytes) else int(key)


def _best(owner: np.ndarray, unequal: np.ndarray) -> np.ndarray:
    """[rows] the pair with the fewest differences, for each row on disk."""
    order = np.lexsort((unequal, owner))
    first = np.concatenate([[True], np.diff(owner[order]) != 0])
    return order[first]


def _shown(on_disk: np.ndarray, computed: np.ndarray) -> tuple[Any, Any]:
    """Both values; for vectors the component that differs most."""
    if np.ndim(on_disk) == 0:
        return on_disk.item(), computed.item()
    width = max(len(on_disk), len(computed))
    both = [np.pad(values, (0, width - len(values))) for values in (on_disk, computed)]
    place = int(np.nanargmax(np.abs(both[0].astype(np.float64) - both[1])))
    one, other = (f"{values[place].item()} at [{place}]" for values in both)
    return one, other
