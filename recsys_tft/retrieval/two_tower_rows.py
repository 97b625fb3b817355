"""What the two-tower trainer reads of a run: the corpus of videos, who liked what in each window, and queries."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import scipy.sparse
import tensorflow as tf

from recsys_tft import ids
from recsys_tft.errors import InputError
from recsys_tft.features import Feature
from recsys_tft.labelling.splits import WINDOWS
from recsys_tft.point_in_time import find_sorted
from recsys_tft.retrieval import retrieval_evaluation
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.training import timeline, training_rows
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
        source: the folder of a run, or which windows there are.
        query: features that queries are read with.
        candidate: features that videos are read with.
        fitted: the windows whose rows are trained on.
        reading: counts the time that reading takes.
    """

    source: str | Timeline
    query: tuple[Feature, ...]
    candidate: tuple[Feature, ...]
    fitted: tuple[str, ...] = ("train",)
    reading: Stopwatch = dataclasses.field(default_factory=Stopwatch, compare=False)

    @functools.cached_property
    def timeline(self) -> Timeline:
        """Which windows there are."""
        return timeline.of_run(self.source) if isinstance(self.source, str) else self.source

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
        """The KEYS of all rows, by window; users by the codes of their ids."""
        with self.reading:
            return {window: self._keys(window) for window in self.timeline.windows if window != timeline.OLD}

    def _keys(self, window: str) -> dict[str, np.ndarray]:
        found = training_rows.coded_columns(self.timeline.folder("two_tower", window), list(map(self._on_disk, KEYS)))
        return self._placed(found)

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
            raise InputError(
                f"{path}: damaged: it lacks a video of the rows; make the last period again (--overwrite)."
            )
        return {name: values for name, values in block.items() if name != "video_id"} | {ROW: self._order[1][places]}

    @functools.cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """[videos] int64 codes of all videos, increasing, and the row of each."""
        codes = _codes(self.video_ids)
        order = np.argsort(codes)
        return codes[order], order

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """[videos] int64: rows to train on, of each video."""
        return np.bincount(self.pairs(*self.fitted)[1], minlength=self.candidates)

    @property
    def examples(self) -> int:
        """How many rows there are to train on."""
        return sum(len(self.keys[window]["user_id"]) for window in self.fitted)

    @functools.cached_property
    def _folder(self) -> DataFolder:
        return self.timeline.folder("two_tower", *self.fitted)

    @functools.cached_property
    def categories(self) -> dict[str, int]:
        """How many values each categorical feature may have."""
        found = training_rows.categories(self.timeline.schema_of("two_tower"))
        return found | training_rows.categories(self.timeline.corpus("videos"))

    @functools.cached_property
    def query_counts(self) -> dict[str, np.ndarray]:
        """For each categorical query feature in how many rows to train on each token is; 0 also counts padding."""
        sizes = {feature.name: self.categories[feature.name] for feature in self.query if feature.is_categorical}
        with self.reading:
            return training_rows.token_counts(self._folder, sizes)

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
        for window in ("train", "val"):
            if not len(self.keys[window]["user_id"]):
                path = self.timeline.folder("two_tower", window).path
                raise InputError(f"{path}: the {window} split is empty; two-tower training needs positives there.")
        if not len(next(iter(self.videos.values()))):
            path = self.timeline.corpus("videos").path
            raise InputError(f"{path}: damaged: it holds no rows; run the main job again, with --overwrite.")
        for what, ids in (("video", "candidate_row"), ("user", "user_id")):
            found = np.unique(self.keys["train"][ids])
            if len(found) < 2:
                raise InputError(
                    f"{self.timeline.folder('two_tower', 'train').path}: the vocabulary of {what}s is too small: "
                    f"all {len(self.keys['train'][ids])} training rows are of one {what}; at least 2 are needed."
                )
        if len(self.keys["train"]["user_id"]) < 2:
            raise InputError(f"The training split has {len(self.keys['train']['user_id'])} row; a batch needs 2.")

    def pairs(self, *windows: str) -> tuple[np.ndarray, np.ndarray]:
        """User ids and candidate rows of all positives of some windows."""
        parts = [self.keys[window] for window in windows]
        return tuple(np.concatenate([part[name] for part in parts]) for name in ("user_id", "candidate_row"))

    def times(self, *windows: str) -> np.ndarray:
        """[p] int64 microseconds of the same positives."""
        return np.concatenate([self.keys[window]["interaction_time"] for window in windows])

    def history(self) -> scipy.sparse.csr_matrix:
        """[users, videos] 1 for a training positive, of all users with one."""
        users, videos = self.pairs("train")
        return retrieval_evaluation.pairs_matrix(np.unique(users), (users, videos), self.candidates)

    def judgements(self, window: str, most: int, seed: int) -> retrieval_evaluation.Judgements:
        """What is right in a window; what its users were positive on before is not asked for again."""
        earlier = self.pairs(*WINDOWS[: WINDOWS.index(window)])
        return retrieval_evaluation.judge(self.pairs(window), earlier, self.pairs("train"), self.candidates, most, seed)

    def queries(self, window: str, users: np.ndarray) -> dict[str, np.ndarray]:
        """[n, ...] query features of users (increasing ids), as they are at the first positive of each in a window."""
        with self.reading:
            found = training_rows.columns(self.timeline.folder("two_tower", window), [f.name for f in self.query])
        first = self._first(window, users)
        return {name: values[first] for name, values in found.items()}

    def moments(self, window: str, users: np.ndarray) -> np.ndarray:
        """[n] int64 microseconds: when users (increasing ids) have the first positive of a window."""
        return self.keys[window]["interaction_time"][self._first(window, users)]

    def _first(self, window: str, users: np.ndarray) -> np.ndarray:
        """[n] int64: the row of each user's first positive of a window."""
        keys = self.keys[window]
        order = np.lexsort((keys["interaction_time"], keys["user_id"]))
        return order[np.searchsorted(keys["user_id"][order], users)]

    def shuffled(self, held: int) -> ShuffledRows:
        """What is trained on, for batches: query features, `candidate_row`, `weight`; `held` rows in memory."""
        names = [*(feature.name for feature in self.query), ROW, "weight"]
        return ShuffledRows(self._folder, list(map(self._on_disk, names)), held, self.reading, self._placed)


def _codes(video_ids: np.ndarray) -> np.ndarray:
    """[n] int64 of ids as integers or bytes."""
    return ids.codes_of(pa.array(video_ids, pa.binary())).to_numpy() if video_ids.dtype == object else video_ids


def encode(function, rows: dict[str, np.ndarray], features: Sequence[Feature]) -> np.ndarray:
    """[n, dim] vectors of [n] rows, by a function of dense features."""
    total = len(next(iter(rows.values())))
    parts = [
        function({f.name: tf.constant(rows[f.name][start : start + ENCODED]) for f in features}).numpy()
        for start in range(0, total, ENCODED)
    ]
    return np.concatenate(parts)
