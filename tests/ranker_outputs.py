"""What a trained ranker leaves."""

import functools
import json
import pathlib
import shutil

from conftest import Ran

from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking import ranker_rows, tastes

QUICK = "ranker: {iterations: 30, depth: 4, shap_rows: 100, objective: OBJECTIVE}\n"


def output_of(ran: Ran, folder: pathlib.Path, objective: str) -> tuple[str, str]:
    """The output of a run without its models, at a place of its own, and a config."""
    shutil.copytree(ran.root, folder / "out", ignore=shutil.ignore_patterns("raw", "models*"))
    (folder / "config.yaml").write_text(QUICK.replace("OBJECTIVE", objective))
    return str(folder / "out"), str(folder / "config.yaml")


def metrics_of(out: pathlib.Path) -> dict:
    metrics = json.loads((out / "metrics.json").read_text())
    del metrics["training"]
    return metrics


FEATURES = ranker_rows.features_for(Settings())
COLUMNS = ranker_rows.columns_of(FEATURES, Settings())


def rows_on_disk(ran: Ran, split: str) -> ranker_rows.RankerRows:
    """The rows of a split, with the tokens of ids."""
    return ranker_rows.read(str(ran.root), split, FEATURES, COLUMNS)


def rows_of(ran: Ran, split: str) -> ranker_rows.RankerRows:
    """The rows of a split as models read them, which no test alters."""
    return _rows_of(ran.root, split)


@functools.cache
def _rows_of(root: pathlib.Path, split: str) -> ranker_rows.RankerRows:
    parts = {name: ranker_rows.read(str(root), name, FEATURES, COLUMNS) for name in {"train", "val", split}}
    return tastes.of_splits(parts, COLUMNS, Settings().seed)[1][split]
