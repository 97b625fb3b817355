"""What each command loads, in a process of its own: no library that it does not use."""

import argparse
import importlib
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import pytest
from movielens_files import GROUPLENS_FILES, _folder
from public_sources import SOURCES

from recsys_tft import libraries
from recsys_tft.commands import recommend_command, recommend_options

LARGE = {"tensorflow", "tensorflow_transform", "tensorflow_text", "apache_beam", "catboost", "keras", "tf_keras"}
SMALL = {"pandas", "scipy", "polars", "matplotlib", "h5py", "PIL", "googleapiclient", "faiss", "numba",
         "apitools"}  # fmt: skip
OURS = {"numpy", "pyarrow", "pydantic", "rich", "yaml"}  # what columns, settings and tables on a terminal take
LIBRARIES = LARGE | SMALL | OURS
COMMANDS = (
    "run", "dataset", "train", "export", "recommend", "verify", "audit", "encoder", "similar", "features", "init",
)  # fmt: skip


def loaded(*commands: Sequence[str]) -> set[str]:
    """The LIBRARIES that a process has loaded after commands, which may end with an exit of their own."""
    return loaded_one_by_one(*commands)[-1]


def loaded_one_by_one(*commands: Sequence[str]) -> list[set[str]]:
    """The same at first, and after each command."""
    program = f"""
import contextlib, io, sys
from recsys_tft.cli import main
print(*{LIBRARIES!r} & sys.modules.keys())
for arguments in {[list(command) for command in commands]!r}:
    sys.argv[1:] = arguments
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        assert main() == 0
    print(*{LIBRARIES!r} & sys.modules.keys())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [set(line.split()) for line in run.stdout.split("\n")[:-1]]


# --- Commands that compute nothing


def test_importing_the_package_help_and_wrong_arguments_load_no_library() -> None:
    helps = [[command, "--help"] for command in COMMANDS if command != "recommend"]
    wrong = [[], ["--help"], ["rum"], ["run"], ["features", "--users", "3"], ["train", "both"], ["dataset", "imdb"]]
    assert loaded(*helps, *wrong) == set()


def test_help_of_recommend_loads_no_library_where_an_export_tells_its_columns(served: pathlib.Path) -> None:
    assert loaded(["recommend", "--output-dir", str(served), "--help"]) == set()


def test_help_of_recommend_without_an_export_shows_our_own_columns() -> None:
    assert loaded(["recommend", "--output-dir", "nowhere", "--help"]) == {"numpy", "pyarrow"}


def test_help_of_recommend_is_the_same_by_the_description_and_by_the_columns(served: pathlib.Path) -> None:
    arguments = ["recommend", "--output-dir", str(served)]
    by_description, by_columns = argparse.ArgumentParser(), argparse.ArgumentParser()
    assert recommend_options.add_for_help(by_description, [*arguments, "--help"])
    recommend_command.add(by_columns, arguments)
    assert by_description.format_help() == by_columns.format_help()


def test_a_new_project_takes_no_library(tmp_path: pathlib.Path) -> None:
    assert loaded(["init", str(tmp_path / "shop")]) == set()


def test_the_feature_table_takes_what_settings_and_tables_take(tmp_path: pathlib.Path) -> None:
    (tmp_path / "c.yaml").write_text("recent: {enabled: true}")
    found = loaded_one_by_one(["features"], ["features", "--config", str(tmp_path / "c.yaml")])
    assert found[1:] == [OURS, OURS]


@pytest.mark.parametrize("name", ["movielens-100k", *SOURCES])
def test_a_public_data_set_is_turned_into_tables_by_polars_and_arrow(name: str, tmp_path: pathlib.Path) -> None:
    source = _folder(tmp_path / "source", {"movielens-100k": GROUPLENS_FILES, **SOURCES}[name])
    command = ["dataset", name, "--source", str(source), "--data-dir", str(tmp_path / "out")]
    assert loaded(command) <= (OURS | {"polars", "pandas"}) - {"rich"}


@pytest.mark.slow
def test_a_run_takes_neither_a_trainer_nor_what_beam_needs_elsewhere_and_compiles_only_what_it_uses(
    tmp_path: pathlib.Path,
) -> None:
    without = "history: {length: 0}, positive_rates: {enabled: false}"
    (tmp_path / "c.yaml").write_text(f"{{{without}, output: {{format: parquet}}, title_encoder: none}}")
    sizes = ["--users", "20", "--videos", "10", "--interactions", "200"]
    parquet, tfrecords = (
        ["run", "--synthetic", "--output-dir", str(tmp_path / name), *sizes, *more]
        for name, more in (("p", ["--config", str(tmp_path / "c.yaml")]), ("t", ["--title-encoder", "none"]))
    )
    _, of_parquet, of_both = loaded_one_by_one(parquet, tfrecords)
    assert "numba" not in of_parquet  # neither histories nor tallies nor records
    assert of_both & LARGE == {"tensorflow", "tensorflow_transform", "apache_beam", "tf_keras"}
    assert of_both.isdisjoint({"pandas", "scipy", "h5py", "PIL", "googleapiclient", "matplotlib", "faiss", "apitools"})


# --- Commands that serve


def test_recommending_loads_none_of_the_large_libraries(served: pathlib.Path) -> None:
    command = ["recommend", "--output-dir", str(served)]
    assert loaded([*command, "--user-id", "3"], [*command, "--country", "DE", "--age", "30", "--json"]) == OURS


def test_explaining_takes_catboost_and_no_tensorflow(served: pathlib.Path) -> None:
    found = loaded(["recommend", "--output-dir", str(served), "--user-id", "3", "--explain"])
    assert found & LARGE == {"catboost"}


def test_verifying_takes_neither_beam_nor_a_trainer(served: pathlib.Path) -> None:
    found = loaded(["verify", "--output-dir", str(served), "--rows", "5"])
    assert found & LARGE <= {"tensorflow", "tensorflow_transform", "tensorflow_text", "tf_keras"}
    assert found.isdisjoint({"matplotlib", "faiss"})


# --- Libraries that are left out


def python(program: str) -> None:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_tensorflow_works_without_what_it_does_not_need_and_finds_it_later() -> None:
    python(f"""
import sys
from recsys_tft import libraries
libraries.load("tensorflow_text", without=libraries.UNSERVED)
assert {set(libraries.UNSERVED)!r}.isdisjoint(sys.modules), {set(libraries.UNSERVED)!r} & sys.modules.keys()
import tensorflow as tf
assert tf.keras.layers.Dense(2)(tf.ones([1, 3])).shape == (1, 2)
import pandas, scipy.sparse, h5py, PIL.Image
import pyarrow as pa
assert pa.table({{"a": [1]}}).to_pandas()["a"].tolist() == [1]
""")


def test_what_a_command_loads_stays_outside_garbage_collection() -> None:
    python("""
import gc
from recsys_tft import libraries
libraries.load("recsys_tft.columns")
assert gc.isenabled() and gc.get_freeze_count() > 10_000
assert gc.get_threshold()[0] == 10_000
""")


def test_arrow_makes_arrays_without_pandas_which_can_be_imported_later() -> None:
    python("""
import sys
from recsys_tft import libraries
libraries.arrow_without_pandas()
import pyarrow as pa
assert pa.array([1, None]).null_count == 1
assert "pandas" not in sys.modules
import pandas
""")


def test_a_library_seems_absent_only_while_the_block_runs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "large_library"
    (tmp_path / f"{name}.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with libraries.absent({name}), pytest.raises(ModuleNotFoundError, match="large_library is left out"):
        importlib.import_module(name)
    assert importlib.import_module(name).answer == 42


def test_what_is_loaded_already_is_not_absent() -> None:
    with libraries.absent({"json"}):
        import json
    assert json.dumps(1) == "1"
