"""A trained ranker as its trainer left it in models/ranker: the rows that it reads, and its scores of them."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from recsys_tft.errors import readable
from recsys_tft.ranking import calibration, ranker_rows
from recsys_tft.ranking.calibration import Calibration
from recsys_tft.ranking.ranker_rows import Column, RankerRows
from recsys_tft.run_layout import run_folders
from recsys_tft.storage import json_files
from recsys_tft.training import model_folders
from recsys_tft.training.model_folders import ModelFolder

FOLDER = "ranker"
MODEL, COLUMNS = "model.cbm", "columns.json"


def raw_scores(model: Any, rows: RankerRows) -> np.ndarray:
    """[n] float64 sums of leaves: logits of a classifier, scores of a ranking."""
    return np.asarray(model.predict(rows.pool(), prediction_type="RawFormulaVal"))


@dataclasses.dataclass(frozen=True)
class TrainedRanker:
    """A ranker and the run that it belongs to.

    Attributes:
        output_dir: of the run.
        model: a catboost.CatBoost.
        objective: classifier or yetirank.
        columns: what it reads.
        calibration: of a classifier.
    """

    output_dir: str
    model: Any
    objective: str
    columns: tuple[Column, ...]
    calibration: Calibration

    def rows(self, window: str) -> RankerRows:
        """The rows of a window, with the columns that the model reads."""
        table = model_folders.settings_for(self.output_dir, None, None).table
        features = [table.by_name[name] for name in dict.fromkeys(column.feature for column in self.columns)]
        return ranker_rows.read(self.output_dir, window, features, self.columns)

    def scores(self, rows: RankerRows) -> np.ndarray:
        """[n] float64 scores of rows, as the serving model gives them: probabilities, or scores of a ranking."""
        raw = raw_scores(self.model, rows)
        return self.calibration(raw) if self.objective == "classifier" else raw


def load(output_dir: str) -> TrainedRanker:
    """The trained ranker of a run: OUTPUT_DIR/models/ranker.

    Example:
        ranker = trained_ranker.load("out")
        probabilities = ranker.scores(ranker.rows("test"))

    Raises:
        InputError: if there is no run, none has been trained, or one of its files is damaged.
    """
    run_folders.manifest(output_dir)
    with ModelFolder(output_dir, FOLDER).held() as held:
        return _load(output_dir, held)


def _load(output_dir: str, folder: ModelFolder) -> TrainedRanker:
    import catboost

    described, path = folder.read(COLUMNS), pathlib.Path(folder.target, MODEL)
    with readable(path, folder.remedy, catboost.CatBoostError):
        model = catboost.CatBoost().load_model(str(path))
    columns = tuple(Column(**column | {"sources": tuple(column["sources"])}) for column in described["columns"])
    return TrainedRanker(output_dir, model, described["objective"], columns, calibration_of(folder))


def calibration_of(folder: ModelFolder) -> Calibration:
    """The calibration of a trained ranker; none of a ranking, and of a model of an earlier version.

    Raises:
        InputError: if its file is damaged.
    """
    path = folder.target / calibration.FILE
    if not path.exists():
        return calibration.NONE
    found = json_files.read(path, folder.remedy, ("method", "scores", "logits", "slopes"))
    with readable(path, folder.remedy):
        return calibration.from_json(found)
