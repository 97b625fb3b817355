"""Trees on top of a logistic regression, as one kind of rankers: the sum of both logits."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking import logistic
from recsys_tft.ranking.logistic import Logistic
from recsys_tft.ranking.ranker_interface import Fitted, Kind, Served, Task
from recsys_tft.ranking.ranker_rows import START, RankerRows
from recsys_tft.training.model_folders import ModelFolder


@dataclasses.dataclass(frozen=True)
class BoostedLogistic:
    """As `Fitted`.

    Attributes:
        trees: fitted to what the regression misses.
        start: the regression.
    """

    trees: Fitted
    start: Logistic

    @property
    def model(self) -> Any:
        return self.trees.model

    @property
    def rounds(self) -> int:
        return self.trees.rounds

    def raw_scores(self, rows: RankerRows) -> np.ndarray:
        return self.trees.raw_scores(rows) + self.start(rows.data)

    def contributions(self, data: pd.DataFrame) -> np.ndarray:
        return self.trees.contributions(data) + self.start.contributions(data)

    def save(self, folder: pathlib.Path) -> None:
        self.trees.save(folder)
        self.start.save(folder)


class BoostedLogisticKind:
    """As `Kind`; a ranking, whose scores are no logits, has trees alone.

    Args:
        trees: the kind of the trees, which start from `START` of their rows.
    """

    def __init__(self, trees: Kind):
        self._trees = trees
        self.unit, self.summary, self.explained_by = trees.unit, trees.summary, trees.explained_by
        self.files = (*trees.files, logistic.FILE)

    def require(self) -> None:
        self._trees.require()

    def limit(self, settings: Settings) -> int:
        return self._trees.limit(settings)

    def fit(self, task: Task) -> BoostedLogistic:
        chosen = task.settings.ranker
        if chosen.objective != "classifier":
            return BoostedLogistic(self._trees.fit(task), logistic.nothing())
        start = logistic.fit(task.train, task.train.weights(chosen.sampled_weight), task.settings.seed)
        val = task.val and started(task.val, start)
        return BoostedLogistic(
            self._trees.fit(dataclasses.replace(task, train=started(task.train, start), val=val)), start
        )

    def load(self, folder: pathlib.Path, remedy: str) -> BoostedLogistic:
        return BoostedLogistic(self._trees.load(folder, remedy), logistic.load(folder, remedy))

    def served(self, folder: ModelFolder, sizes: Sequence[int | None]) -> Served:
        from recsys_tft.ranking.logistic_graph import Sum

        trees, start = self._trees.served(folder, sizes), logistic.load(folder.target, folder.remedy)
        return trees._replace(scores=Sum(trees.scores, start, trees.numeric))


def started(rows: RankerRows, start: Logistic) -> RankerRows:
    """Rows whose trees start from a regression."""
    return RankerRows(rows.keys | {START: start(rows.data)}, rows.data)
