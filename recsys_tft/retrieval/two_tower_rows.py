"""What the two-tower trainer reads of a run: the corpus of videos, who liked what in each split, and queries."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import scipy.sparse
import tensorflow as tf

from recsys_tft import ids
from recsys_tft.errors import InputError
from recsys_tft.features import Feature
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.retrieval import negatives, retrieval_evaluation
from recsys_tft.time_lookups import find_sorted
from recsys_tft.training import timeline, training_rows
from recsys_tft.training.replayed_rows import ReplayedRows
from recsys_tft.training.row_blocks import Block
from recsys_tft.training.shuffled_rows import ShuffledRows
from recsys_tft.training.stopwatch import Stopwatch
from recsys_tft.training.timeline import Timeline

ROW = "candidate_row"
KEYS = ("user_id", ROW, "interaction_time")
ENCODED = 4096  # rows per call of a tower


@dataclasses.dataclass(frozen=True)
class TwoTowerRows:
    """The rows of a run, or of a run and its periods, for features of both towers.

    `candidate_row` counts the rows of `videos/` of the newest period, whatever it counts on disk.

    Args:
        source: the folder of a run, or which splits there are.
        query: features that queries are read with.
        candidate: features that videos are read with.
        fitted: the splits whose rows are trained on.
        after: those that the model has been trained on before, where it goes on.
        replay: the share of rows of these in each batch, at least 0 and below 1.
        reading: counts the time that reading takes.
    """

    source: str | Timeline
    query: tuple[Feature, ...]
    candidate: tuple[Feature, ...]
    fitted: tuple[str, ...] = ("train",)
    after: tuple[str, ...] = ()
    replay: float = 0.0
    reading: Stopwatch = dataclasses.field(default_factory=Stopwatch, compare=False)

    @functools.cached_property
    def timeline(self) -> Timeline:
        """Which splits there are."""
        return timeline.single_run(self.source) if isinstance(self.source, str) else self.source

    @functools.cached_property
    def videos(self) -> dict[str, np.ndarray]:
        """[videos, ...] candidate features of all videos, in the order that `candidate_row` counts."""
        with self.reading:
            return training_rows.columns(self.timeline.corpus("videos"), [f.name for f in self.candidate])

    @functools.cached_property
    def video_ids(self) -> np.ndarray:
        """[videos] ids, in the same order: int64, or bytes where they are text."""
        return training_rows.columns(self.timeline.corpus("videos"), ["video_id"])["video_id"]

    @functools.cached_property
    def candidates(self) -> int:
        """How many videos there are."""
        return len(next(iter(self.videos.values())))

    @functools.cached_property
    def keys(self) -> dict[str, dict[str, np.ndarray]]:
        """The KEYS of all rows, by split; users by the codes of their ids."""
        names, splits = list(map(self._on_disk, KEYS)), self.timeline.splits
        folders = {part.name: part.folder("two_tower") for parts in splits.values() for part in parts}
        with self.reading:
            found = {name: self._placed(training_rows.coded_columns(of, names)) for name, of in folders.items()}
        return {split: _together([found[part.name] for part in parts]) for split, parts in splits.items()}

    def _on_disk(self, name: str) -> str:
        """The column that one is read from: periods count the rows of their own videos, so that these go by id."""
        return "video_id" if name == ROW and self.timeline.period is not None else name

    def _placed(self, block: Block) -> Block:
        """Columns as they are on disk, with ROW in the place of the video's id."""
        if self.timeline.period is None:
            return block
        places = find_sorted(self._order[0], _codes(block["video_id"]))
        if (places < 0).any():
            path = self.timeline.corpus("videos").path
            raise InputError(f"{path}: damaged: it lacks a video of the rows; make the last period again.")
        return {name: values for name, values in block.items() if name != "video_id"} | {ROW: self._order[1][places]}

    @functools.cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """[videos] int64 codes of all videos, increasing, and the row of each."""
        codes = _codes(self.video_ids)
        order = np.argsort(codes)
        return codes[order], order

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """[videos] rows of an epoch, of each video: int64, or with `replay` float64, how many are to be expected."""
        own, before = (np.bincount(self.pairs(*w)[1], minlength=self.candidates) for w in (self.fitted, self.after))
        return self._with_replayed(own, before)

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """[videos] int64 microseconds: from when on each is among the negatives of a row, by the rows to train on."""
        return negatives.begins(self.pairs(*self.fitted)[1], self.times(*self.fitted), self.candidates)

    @property
    def examples(self) -> int:
        """How many rows an epoch has."""
        return round(self._count(self.fitted) / (1 - self.replay))

    def _count(self, splits: Sequence[str]) -> int:
        return sum(len(self.keys[split]["user_id"]) for split in splits)

    def _with_replayed(self, own: np.ndarray, before: np.ndarray) -> np.ndarray:
        """[n] how often something is in an epoch, by how often it is in the rows of `fitted` and of `after`."""
        replayed = (self.examples - self._count(self.fitted)) / max(self._count(self.after), 1)
        return own + replayed * before if self.replay else own

    @property
    def trained(self) -> "TwoTowerRows":
        """All rows that a model has been trained on when it is trained on these."""
        return self.fitting(*self.after, *self.fitted) if self.after else self

    def fitting(self, *fitted: str, after: tuple[str, ...] = (), replay: float = 0.0) -> "TwoTowerRows":
        """The same of which others are trained on."""
        made = dataclasses.replace(self, fitted=fitted, after=after, replay=replay)
        made.__dict__.update({name: self.__dict__[name] for name in _OF_ALL if name in self.__dict__})
        return made

    @functools.cached_property
    def categories(self) -> dict[str, int]:
        """How many values each categorical feature may have."""
        found = training_rows.categories(self.timeline.schema_of("two_tower"))
        return found | training_rows.categories(self.timeline.corpus("videos"))

    @functools.cached_property
    def query_counts(self) -> dict[str, np.ndarray]:
        """For each categorical query feature in how many rows to train on each token is; 0 also counts padding."""
        own, before = self._token_counts(self.fitted), self._token_counts(self.after if self.replay else ())
        return {name: self._with_replayed(counts, before[name]) for name, counts in own.items()}

    def _token_counts(self, splits: Sequence[str]) -> dict[str, np.ndarray]:
        sizes = {feature.name: self.categories[feature.name] for feature in self.query if feature.is_categorical}
        parts = [part for split in splits for part in self.timeline.splits[split]]
        with self.reading:
            for part in (part for part in parts if part.name not in self._counted):
                self._counted[part.name] = training_rows.token_counts(part.folder("two_tower"), sizes)
        found = [self._counted[part.name] for part in parts]
        return {name: sum((part[name] for part in found), np.zeros(size, np.int64)) for name, size in sizes.items()}

    @functools.cached_property
    def _counted(self) -> dict[str, dict[str, np.ndarray]]:
        """Counts of tokens by part, as far as somebody has asked."""
        return {}

    @functools.cached_property
    def candidate_counts(self) -> dict[str, np.ndarray]:
        """The same of candidate features."""
        found = {}
        for feature in (feature for feature in self.candidate if feature.is_categorical):
            tokens = self.videos[feature.name]
            times = np.repeat(self.counts, tokens.size // max(len(tokens), 1))
            found[feature.name] = np.bincount(tokens.ravel(), times, self.categories[feature.name]).astype(np.int64)
        return found

    def check(self, batch_size: int) -> None:
        """InputError where there is nothing to learn from, or to stop by."""
        for split in ("train", "val"):
            if not len(self.keys[split]["user_id"]):
                path = self.timeline.folder("two_tower", split).path
                raise InputError(f"{path}: the {split} split is empty; two-tower training needs positives there.")
        if not len(next(iter(self.videos.values()))):
            path = self.timeline.corpus("videos").path
            raise InputError(f"{path}: damaged: it holds no rows; run the main job again, with --overwrite.")
        for what, key in (("video", ROW), ("user", "user_id")):
            found = np.unique(self.keys["train"][key])
            if len(found) < 2:
                raise InputError(
                    f"{self.timeline.folder('two_tower', 'train').path}: the vocabulary of {what}s is too small: "
                    f"all {len(self.keys['train'][key]):,} training rows are of one {what}; at least 2 are needed."
                )
        if len(self.keys["train"]["user_id"]) < 2:
            raise InputError(f"The training split has {len(self.keys['train']['user_id'])} row; a batch needs 2.")

    def pairs(self, *splits: str) -> tuple[np.ndarray, np.ndarray]:
        """User ids and candidate rows of all positives of some splits."""
        found = _together([self.keys[split] for split in splits])
        return found["user_id"], found[ROW]

    def times(self, *splits: str) -> np.ndarray:
        """[p] int64 microseconds of the same positives."""
        return np.concatenate([self.keys[split]["interaction_time"] for split in splits])

    def history(self) -> scipy.sparse.csr_matrix:
        """[users, videos] 1 for a positive of the fitted splits, of all users with one."""
        users, videos = self.pairs(*self.fitted)
        return retrieval_evaluation.pairs_matrix(np.unique(users), (users, videos), self.candidates)

    def judgements(self, split: str, most: int, seed: int) -> retrieval_evaluation.Judgements:
        """What is right in a split; what its users were positive on before is not asked for again."""
        earlier = self.pairs(*SPLITS[: SPLITS.index(split)])
        return retrieval_evaluation.judge(self.pairs(split), earlier, self.pairs("train"), self.candidates, most, seed)

    def queries(self, split: str, users: np.ndarray) -> dict[str, np.ndarray]:
        """[n, ...] query features of users (increasing ids), as they are at the first positive of each in a split."""
        with self.reading:
            found = training_rows.columns(self.timeline.folder("two_tower", split), [f.name for f in self.query])
        first = self._first(split, users)
        return {name: values[first] for name, values in found.items()}

    def moments(self, split: str, users: np.ndarray) -> np.ndarray:
        """[n] int64 microseconds: when users (increasing ids) have the first positive of a split."""
        return self.keys[split]["interaction_time"][self._first(split, users)]

    def _first(self, split: str, users: np.ndarray) -> np.ndarray:
        """[n] int64: the row of each user's first positive of a split."""
        keys = self.keys[split]
        order = np.lexsort((keys["interaction_time"], keys["user_id"]))
        return order[np.searchsorted(keys["user_id"][order], users)]

    def shuffled(self, held: int) -> ShuffledRows | ReplayedRows:
        """What is trained on, for batches: query features, `candidate_row`, `weight`; `held` rows in memory."""
        own = self._shuffled(self.fitted, held)
        if not self.replay or not self._count(self.after):
            return own
        return ReplayedRows(own, self._shuffled(self.after, held), self.replay, self._count(self.after))

    def _shuffled(self, splits: Sequence[str], held: int) -> ShuffledRows:
        names = [*(feature.name for feature in self.query), ROW, "interaction_time", "weight"]
        folder = self.timeline.folder("two_tower", *splits)
        return ShuffledRows(folder, list(map(self._on_disk, names)), held, self.reading, self._placed)


_OF_ALL = ("timeline", "videos", "video_ids", "keys", "categories", "_order", "_counted")  # whatever is trained on


def _together(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The KEYS of some parts, one after the other."""
    return {name: np.concatenate([np.zeros(0, np.int64), *(part[name] for part in parts)]) for name in KEYS}


def _codes(video_ids: np.ndarray) -> np.ndarray:
    """[n] int64 of ids as integers or bytes."""
    return ids.codes_of(pa.array(video_ids, pa.binary())).to_numpy() if video_ids.dtype == object else video_ids


def encode(
    function: Callable[[dict[str, tf.Tensor]], tf.Tensor], rows: dict[str, np.ndarray], features: Sequence[Feature]
) -> np.ndarray:
    """[n, dim] vectors of [n] rows, by a function of dense features."""
    total = len(next(iter(rows.values())))
    parts = [
        function({f.name: tf.constant(rows[f.name][start : start + ENCODED]) for f in features}).numpy()
        for start in range(0, max(total, 1), ENCODED)
    ]
    return np.concatenate(parts)
