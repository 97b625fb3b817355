"""The trained ranker in models/ranker: the rows that it reads, and its scores of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_tft.errors import readable
from recsys_tft.ranking import calibration, ranker_kinds, ranker_rows, tastes
from recsys_tft.ranking.calibration import Calibration
from recsys_tft.ranking.ranker_interface import Fitted, Kind
from recsys_tft.ranking.ranker_rows import Column, RankerRows
from recsys_tft.ranking.tastes import Tastes
from recsys_tft.run_layout import run_folders
from recsys_tft.storage import json_files
from recsys_tft.training import model_folders, timeline
from recsys_tft.training.model_folders import ModelFolder

FOLDER, COLUMNS = "ranker", "columns.json"


@dataclasses.dataclass(frozen=True)
class TrainedRanker:
    """A ranker and the run that it belongs to.

    Attributes:
        output_dir: of the run.
        fitted: the model that scores rows.
        objective: classifier or yetirank.
        columns: the columns that it reads.
        calibration: of a classifier.
        tastes: the factorisation of ids.
        period: the last period that it is trained on; None if it is trained on the run alone.
    """

    output_dir: str
    fitted: Fitted
    objective: str
    columns: tuple[Column, ...]
    calibration: Calibration
    tastes: Tastes
    period: str | None = None

    @property
    def model(self) -> Any:
        """The object of its library: a catboost.CatBoost, an xgboost.Booster or a keras.Model."""
        return self.fitted.model

    def rows(self, split: str) -> RankerRows:
        """The rows of a split with the columns that the model reads, and with its current `tastes`."""
        table = model_folders.settings_for(self.output_dir, None, None).table
        features = [table.by_name[name] for name in dict.fromkeys(column.feature for column in self.columns)]
        with timeline.held(self.output_dir, self.period or "") as splits:
            return self.tastes.applied(ranker_rows.read(splits, split, features, self.columns))

    def scores(self, rows: RankerRows) -> np.ndarray:
        """[n] float64 scores of rows, as the serving model gives them: probabilities, or scores of a ranking."""
        raw = self.fitted.raw_scores(rows)
        return self.calibration(raw) if self.objective == "classifier" else raw


def load(output_dir: str) -> TrainedRanker:
    """The trained ranker of a run: OUTPUT_DIR/models/ranker.

    Examples:
        ranker = trained_ranker.load("out")
        probabilities = ranker.scores(ranker.rows("test"))

    Raises:
        InputError: if there is no run, none has been trained, a library is missing, or one of its files is damaged.
    """
    run_folders.manifest(output_dir)
    with ModelFolder(output_dir, FOLDER).held() as held:
        return _load(output_dir, held)


def _load(output_dir: str, folder: ModelFolder) -> TrainedRanker:
    described = folder.read(COLUMNS)
    fitted = kind_of(described).load(folder.target, folder.remedy)
    columns = tuple(Column(**column | {"sources": tuple(column["sources"])}) for column in described["columns"])
    known, period = tastes.load(folder.target, folder.remedy), described.get("period")
    return TrainedRanker(output_dir, fitted, described["objective"], columns, calibration_of(folder), known, period)


def kind_of(described: Mapping[str, Any]) -> Kind:
    """The kind of the ranker that columns.json describes."""
    return ranker_kinds.of(described.get("model", ranker_kinds.OF_EARLIER_VERSIONS))


def calibration_of(folder: ModelFolder) -> Calibration:
    """The calibration of a trained ranker; none for yetirank, and for a model of an earlier version.

    Raises:
        InputError: if its file is damaged.
    """
    path = folder.target / calibration.FILE
    if not path.exists():
        return calibration.NONE
    found = json_files.read(path, folder.remedy, ("method", "scores", "logits", "slopes"))
    with readable(path, folder.remedy):
        return calibration.from_json(found)
