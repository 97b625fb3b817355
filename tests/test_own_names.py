"""No module but the default table, and the data sets that write its columns, knows a feature or a column by name."""

import ast
import pathlib

import pytest

from recsys_tft.columns import KEYS
from recsys_tft.default_table import DEFAULT

ROOT = pathlib.Path(__file__).parent.parent
KNOWING = (
    "recsys_tft/default_table.py", "recsys_tft/tables/synthetic", "recsys_tft/tables/movielens",
    "recsys_tft/tables/kion.py", "recsys_tft/tables/public_tables.py",
)  # fmt: skip
MODULES = sorted(
    path
    for place in ("recsys_tft", "beam_pipelines", "preprocessing_fn.py")
    for path in ((ROOT / place).rglob("*.py") if (ROOT / place).is_dir() else [ROOT / place])
    if not path.relative_to(ROOT).as_posix().startswith((*KNOWING, "recsys_tft/project_template/"))
)
COLUMNS = {column.name for column in DEFAULT.columns if not column.built_in and column.name not in KEYS.values()}
NAMES = COLUMNS | {feature.name for feature in DEFAULT.features}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_names_a_feature_or_a_column(module: pathlib.Path) -> None:
    tree = ast.parse(module.read_text())
    found = {
        (node.value, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES
    }
    assert not found


def test_the_names_are_those_of_the_table() -> None:
    assert {"age", "device", "title", "clicked", "age_z", "title_embedding"} <= NAMES
    assert "user_id" not in NAMES
    assert len(MODULES) > 150
