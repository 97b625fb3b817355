"""The splits of a run and its periods in order of time; each period is one split.

Trainers read them as one data set: the last one is `test`, the one before `val`, and all earlier ones are `train`.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.run_layout import periods, run_folders
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.training.training_rows import Joined, folder_of

NEW, OLD = "new", "old"  # splits of train that an earlier model has not been trained on, and those that it has


@dataclasses.dataclass(frozen=True)
class Part:
    """One split of a run, or a period.

    Attributes:
        name: `run.train`, `run.val`, `run.test`, or the name of the period.
        root: the folder of its output.
        split: its name there.
        rows: how many it has, by data set.
    """

    name: str
    root: str
    split: str
    rows: Mapping[str, int]

    def folder(self, data_set: str) -> DataFolder:
        """Its rows.

        Raises:
            InputError: if the main job has not written them.
        """
        return folder_of(self.root, data_set, self.split)


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The folders that make up train, val and test.

    Attributes:
        splits: the parts of each.
        newest: the folder of the last period or else of the run, with all users and videos and the last transform
            graph.
        period: the name of that period; None without periods.
    """

    splits: Mapping[str, tuple[Part, ...]]
    newest: str
    period: str | None = None

    def folder(self, data_set: str, *splits: str) -> DataFolder:
        """The rows of some splits, concatenated.

        Raises:
            InputError: if the main job has not written them.
        """
        folders = [part.folder(data_set) for split in splits for part in self.splits[split]]
        if len(folders) == 1:
            return folders[0]
        return Joined(folders, folder_of(self.newest, data_set, SPLITS[0]))

    def corpus(self, data_set: str) -> DataFolder:
        """All users or videos."""
        return folder_of(self.newest, data_set)

    def schema_of(self, data_set: str) -> DataFolder:
        """The folder whose schema has the current vocabularies."""
        return folder_of(self.newest, data_set, SPLITS[0])

    def root(self, period: str | None) -> str | None:
        """The folder of a period, or of the run for None; None if there is no such period."""
        name = f"run.{SPLITS[0]}" if period is None else period
        return next((part.root for parts in self.splits.values() for part in parts if part.name == name), None)

    def names(self, split: str) -> list[str]:
        """The names of the parts of a split."""
        return [part.name for part in self.splits[split]]

    def described(self) -> dict[str, Any]:
        """The record of a model's rows: the run of their graph and, if there are periods, the periods."""
        graph = {"transform_graph": run_folders.fingerprint(self.newest)}
        if self.period is None:
            return graph
        return {**graph, "period": self.period, "splits": {split: self.names(split) for split in SPLITS}}

    def has_made(self, described: Mapping[str, Any]) -> bool:
        """Whether a model was trained on these rows, or those through an earlier period, by its record."""
        root = self.root(described.get("period"))
        return root is not None and described["transform_graph"] == run_folders.fingerprint(root)

    def told(self, data_set: str) -> list[str]:
        """A sentence for people, where there are periods."""
        if self.period is None:
            return []
        parts = (f"{split} is {self._describe_split(split, data_set)}" for split in SPLITS)
        return [f"Of the run and its periods {', '.join(parts)}"]

    def _describe_split(self, split: str, data_set: str) -> str:
        names, rows = self.names(split), sum(part.rows[data_set] for part in self.splits[split])
        names_text = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" if names else "nothing"
        return f"{names_text} ({rows:,} rows)"

    def since(self, fitted: Sequence[str]) -> "Timeline":
        """The timeline with the splits NEW and OLD, given the names of the parts that a model was trained on."""
        train = self.splits[SPLITS[0]]
        new = tuple(part for part in train if part.name not in fitted)
        old = tuple(part for part in train if part.name in fitted)
        return dataclasses.replace(self, splits={**self.splits, NEW: new, OLD: old})


def single_run(root: str) -> Timeline:
    """The timeline of a single run."""
    return Timeline({split: (Part(f"run.{split}", root, split, {}),) for split in SPLITS}, root)


@contextlib.contextmanager
def held(output_dir: str, through: str | None = None) -> Iterator[Timeline]:
    """Hold the timeline of an output, so that it stays unchanged within the block.

    Args:
        output_dir: of the run.
        through: the last period to read; by default all.

    Raises:
        InputError: if there is no run on this machine, or a period belongs to another run.
    """
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(run_folders.held(output_dir))
        folders = periods.folders(output_dir)
        chosen = {name: path for name, path in folders.items() if through is None or name <= through}
        yield _joined(run, {name: stack.enter_context(run_folders.held(path)) for name, path in chosen.items()})


def _joined(run: str, folders: Mapping[str, str]) -> Timeline:
    """The timeline of a run and its periods, by their folders."""
    if not folders:
        return single_run(run)
    parts = [_part(f"run.{split}", run, split) for split in SPLITS]
    parts += [_part(name, root, SPLITS[0]) for name, root in folders.items()]
    groups: list[list[Part]] = []
    for part in parts:  # a part without positives, which cannot be evaluated, joins the one before
        if part.rows["two_tower"] or not groups:
            groups.append([])
        groups[-1].append(part)
    last = max(len(groups) - 2, 1)
    train = tuple(part for group in groups[:last] for part in group)
    others = [tuple(group) for group in groups[last:]]
    splits = dict(zip(SPLITS, [train, *others, (), ()], strict=False))
    name, newest = list(folders.items())[-1]
    return Timeline(splits, newest, name)


def _part(name: str, root: str, split: str) -> Part:
    counts = run_folders.manifest(root)["counts"]
    rows = {data_set: counts.get(f"written/{data_set}/{split}", 0) for data_set in ("two_tower", "ranker")}
    return Part(name, root, split, rows)
