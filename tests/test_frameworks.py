"""The page on other frameworks as it stands, and the names under which metrics are logged."""

import contextlib
import importlib.util
import io
import json
import pathlib
import re
from typing import Any

import pytest
from conftest import Ran

from recsys_tft.training.metric_names import flattened

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "frameworks.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COLUMNS, CATBOOST, KERAS, TORCH, TRACKED = BLOCKS
# https://mlflow.org/docs/latest/ml/tracking: of names of metrics.
TAKEN_BY_MLFLOW = re.compile(r"[/\w.\- :]+", re.ASCII)


def printed(folder: pathlib.Path, *blocks: str) -> list[str]:
    """The lines that blocks print, which are run one after the other."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as text:
        patch.chdir(folder)
        for block in blocks:
            exec(block, names)
    return text.getvalue().splitlines()


@pytest.fixture
def beside(synthetic_run: Ran, tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder in which `output` is a run."""
    (tmp_path / "output").symlink_to(synthetic_run.root)
    return tmp_path


def test_the_columns_are_those_of_the_run(beside: pathlib.Path) -> None:
    (sizes,) = printed(beside, COLUMNS)
    assert min(map(int, sizes.split())) > 5


def test_catboost_learns_from_the_rows(beside: pathlib.Path) -> None:
    *_, scores = printed(beside, COLUMNS, CATBOOST)
    assert float(re.search(r"'AUC': ([\d.]+)", scores)[1]) > 0.5


@pytest.mark.slow
def test_keras_learns_from_the_rows(beside: pathlib.Path) -> None:
    *_, scores = printed(beside, COLUMNS, KERAS)
    assert 0 < json.loads(scores)[0] < 1


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed, being too large")
def test_pytorch_learns_from_the_rows(beside: pathlib.Path) -> None:
    *_, loss = printed(beside, COLUMNS, TORCH)
    assert 0 < float(loss) < 10


@pytest.mark.parametrize("model", ["two_tower", "ranker"])
def test_trackers_take_the_names_of_all_metrics(served: pathlib.Path, model: str) -> None:
    metrics = json.loads((served / "models" / model / "metrics.json").read_text())
    found = list(flattened(metrics))
    names = [name for name, _ in found]
    assert len(found) > 50
    assert len(set(names)) == len(names)
    assert all(TAKEN_BY_MLFLOW.fullmatch(name) for name in names)
    assert not {name.rpartition("/")[0] for name in names} & set(names)  # MLflow keeps each in a file of its name
    assert len(found) == count(metrics)
    table = (served / "models" / model / "logs" / "scalars.csv").read_text() if model == "two_tower" else ""
    assert all(TAKEN_BY_MLFLOW.fullmatch(line.split(",")[1]) for line in table.splitlines())


def count(value: Any) -> int:
    """How many numbers a nested mapping has."""
    if isinstance(value, dict):
        return sum(map(count, value.values()))
    return int(isinstance(value, int | float) and not isinstance(value, bool))


def test_an_interval_has_the_name_of_its_metric() -> None:
    interval = {"value": 0.5, "low": 0.4, "high": 0.6, "users": 7}
    metrics = {
        "test": {"item-kNN": {"cold users": {"recall@10": interval}, "coverage": 0.1}},
        "of": ["text"],
        "on": True,
    }
    assert dict(flattened(metrics)) == {
        "test/item-kNN/cold_users/recall_at_10": 0.5,
        "test/item-kNN/cold_users/recall_at_10_low": 0.4,
        "test/item-kNN/cold_users/recall_at_10_high": 0.6,
        "test/item-kNN/cold_users/recall_at_10_users": 7,
        "test/item-kNN/coverage": 0.1,
    }


def test_the_page_shows_them(served: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "output").symlink_to(served)
    (shown,) = printed(tmp_path, TRACKED)
    assert "'test/two_tower/all/recall_at_10': 0." in shown
