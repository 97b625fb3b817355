"""Where a user's feature table is found, what is said of one that cannot be, and what makes it another one."""

import pathlib
import pickle
import re
import subprocess
import sys

import pytest
from user_project import HEAD, Project, forget

from recsys_tft import feature_tables, project_modules, table_records
from recsys_tft.cli import main
from recsys_tft.configuration import settings
from recsys_tft.errors import InputError

SURFACE = """columns=[Column("surface", "interactions", STRING)],
features=[Feature("surface_token", "surface", Lookup(Vocabulary("surface")), RANKER)]"""


# --- Where it is found


@pytest.mark.parametrize(
    ("written", "named", "module"),
    [
        ("features.py", "features.py", "features"),
        ("features.py", "features", "features"),
        ("shop/features.py", "shop/features.py", "features"),  # no package
        ("shop/features.py", "shop.features", "shop.features"),
        ("shop/__init__.py shop/features.py", "shop/features.py", "shop.features"),
        ("shop/__init__.py shop/features.py", "shop.features", "shop.features"),
        ("shop/features/__init__.py", "shop.features", "shop.features"),
    ],
)
def test_a_module_is_found_from_the_folder_of_the_config(
    written: str, named: str, module: str, project: Project
) -> None:
    *packages, file = written.split()
    for package in packages:
        project.write(package, "")
    project.table(SURFACE, file)
    loaded = settings.load(project.config(f"features: {named}"))
    assert "surface_token" in loaded.table.by_name
    assert loaded.features.endswith(f":{module}")


def test_a_module_is_found_in_the_working_folder_and_on_sys_path(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.table(SURFACE, "here/one.py")
    project.table(SURFACE, "there/two.py")
    monkeypatch.chdir(project.folder / "here")
    monkeypatch.syspath_prepend(project.folder / "there")
    for name in ("one", "one.py", "two"):
        assert "surface_token" in settings.parse({"features": name}, "a test").table.by_name


def test_what_is_loaded_is_found_again_from_anywhere(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.table(SURFACE)
    monkeypatch.chdir(project.folder)
    loaded = settings.load("my.yaml") if project.config() else None
    modules = set(sys.modules) - {"features"}
    monkeypatch.chdir("/")
    forget(modules)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(project.folder)])
    again = settings.parse(loaded.model_dump(exclude_unset=True), "a test")
    assert "surface_token" in again.table.by_name
    assert again.features == loaded.features


def test_modules_beside_it_and_relative_to_it_are_imported(project: Project) -> None:
    project.write("shop/__init__.py", "")
    project.write("shop/names.py", "SURFACE = 'surface'\n")
    project.write("beside.py", "WIDTH = 3\n")
    text = "from shop.names import SURFACE\nfrom . import names\nimport beside\n"
    project.write("shop/features.py", f"{HEAD}{text}TABLE = DEFAULT.extend(columns=[Column(SURFACE, 'users', STRING)])")
    loaded = settings.load(project.config("features: shop/features.py"))
    assert "surface" in loaded.table.raw
    place = feature_tables.place_of(loaded.features)
    assert set(project_modules.hashes(place)) == {"shop/__init__.py", "shop/names.py", "shop/features.py", "beside.py"}
    assert str(project.folder) in sys.path


def test_a_module_is_imported_once_and_its_folder_hides_no_library(project: Project) -> None:
    project.write("features.py", f"{HEAD}\nimport builtins\nbuiltins.times = getattr(builtins, 'times', 0) + 1\n")
    project.write("features.py", (project.folder / "features.py").read_text() + "TABLE = DEFAULT.extend()\n")
    import builtins

    for _ in range(3):
        assert settings.load(project.config()).table is settings.load(project.config()).table
    assert builtins.times == 1
    del builtins.times
    assert sys.path[-1] == str(project.folder)


def test_settings_pickle_without_the_table(project: Project) -> None:
    project.table(SURFACE)
    loaded = settings.load(project.config())
    data = pickle.dumps(loaded)
    assert b"surface" not in data
    program = "import pickle, sys; print('surface_token' in pickle.load(sys.stdin.buffer).table.by_name)"
    run = subprocess.run([sys.executable, "-c", program], input=data, cwd="/", capture_output=True, check=True)
    assert run.stdout.strip() == b"True"


def test_two_projects_whose_modules_share_a_name_are_not_mixed_up(project: Project) -> None:
    for name in ("one", "two"):
        project.write(f"{name}/ops.py", f"NAME = '{name}'\n")
        table = "TABLE = DEFAULT.extend(columns=[Column(NAME, 'users', STRING)])"
        project.write(f"{name}/features_of_{name}.py", f"{HEAD}from ops import NAME\n{table}\n")
    first = settings.parse({"features": str(project.folder / "one/features_of_one.py")}, "a test")
    assert "one" in first.table.raw
    with pytest.raises(
        InputError, match=r"features needs the module 'ops' of .*two/ops.py, but this process has loaded"
    ):
        settings.parse({"features": str(project.folder / "two/features_of_two.py")}, "a test")


# --- What is said of one that cannot be used


OP = """
import dataclasses
from recsys_tft.ops import Op
@dataclasses.dataclass(frozen=True)
class Same(Op):
    missing = "0"
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TABEL = DEFAULT", r"leads to .*/features.py, which has no TABLE\. Did you mean 'TABEL'\?"),
        ("x = 1", r"leads to .*/features.py, which has no TABLE\. It has to say TABLE = DEFAULT.extend"),
        ("TABLE = {}", r"leads to .*/features.py, whose TABLE is of type dict, no FeatureTable"),
        ("\nTABLE = DEFAULT.extend(\n", r"cannot be read: .*/features.py, line 10: '\(' was never closed"),
        ("import nothing_there", r"/features.py, line 9: ModuleNotFoundError: No module named 'nothing_there'"),
        ("1 / 0", r"cannot be imported: .*/features.py, line 9: ZeroDivisionError: division by zero"),
        ("exit(3)", r"cannot be imported: .*/features.py, line 9: SystemExit: 3"),
        (
            "from ops import *\nTABLE = DEFAULT",
            r"cannot be imported: .*/ops.py, line 2: NameError: name 'y' is not def",
        ),
        (
            "TABLE = DEFAULT.extend(features=[Feature('age_z', 'age', Lookup(Vocabulary('a', True)), RANKER)])",
            r"is wrong: .*/features.py, line 9: .*the feature 'age_z' occurs 2 times; names have to differ\.",
        ),
        (
            "TABLE = DEFAULT.extend(features=[Feature('x', 'sruface', Lookup(Vocabulary('a')), RANKER)])",
            r"line 9: .*the feature 'x' reads the unknown column 'sruface'",
        ),
        (
            f"{OP}TABLE = DEFAULT.extend(features=[Feature('x', ('user_language', 'video_language'), Same(), RANKER)])",
            r"line 15: .*'x' reads columns of users and videos, which its op Same does not join",
        ),
        ("TABLE = DEFAULT.extend(signals=['like'])", r"line 9: .*the signal 'like' occurs 2 times"),
        (
            "TABLE = DEFAULT.extend(without=['popularity'])",
            r"line 9: .*`without` names the unknown feature 'popularity'\. Did you mean 'popularity_onehot'\?",
        ),
        (
            "TABLE = DEFAULT.extend(columns=[Column('time', 'users', STRING)])",
            r"the column 'time' has a reserved name of rows or options",
        ),
        (
            "TABLE = DEFAULT.extend(columns=[Column('a-b', 'users', STRING)])",
            r"the column 'a-b' needs a name of letters, digits and _",
        ),
        (
            "TABLE = DEFAULT.extend(features=[Feature('label', 'age', Lookup(Vocabulary('a', True)), RANKER)])",
            r"the feature 'label' has a reserved name of rows or options",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_the_users_line(
    text: str, expected: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("ops.py", "x = 1\nx = y\n")
    project.write("features.py", f"{HEAD}\n{text}\n")
    assert main(["features", "--config", project.config()]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {project.folder}/my.yaml: features ")
    assert re.search(expected, error), error
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("named", ["shop.features", "features.py", "shop/features.py"])
def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(
    named: str, project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "elsewhere").mkdir()
    monkeypatch.chdir(project.folder / "elsewhere")
    assert main(["features", "--config", project.config(f"features: {named}")]) == 1
    kind = "file" if named.endswith(".py") else "module"
    expected = f"features is '{named}', but there is no such {kind}; looked in {project.folder} and "
    assert expected in capsys.readouterr().err


def test_several_problems_are_told_at_once(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.table("signals=['like', 'click']")
    assert main(["features", "--config", project.config()]) == 1
    error = capsys.readouterr().err
    assert "the signal 'like'" in error
    assert "the signal 'click'" in error


def test_what_was_mended_is_read_anew(project: Project) -> None:
    project.write("features.py", "1 / 0")
    with pytest.raises(InputError, match="division by zero"):
        settings.load(project.config())
    project.table(SURFACE)
    assert "surface_token" in settings.load(project.config()).table.by_name


# --- What makes it another one


def found_by(name: str) -> dict:
    return {"settings": {"features": name}, table_records.RECORD: table_records.record(name)}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("features.py", 'y("surface")', 'y("surf")', "'surface_token' was Lookup(surface), is Lookup(surf)"),
        ("features.py", "interactions", "videos", "'interactions.surface' is gone; the column 'videos.surface' is new"),
        ("features.py", "STRING)", "STRING, required=True)", "'interactions.surface' was required False, is "),
        ("features.py", "RANKER)", "(QUERY, RANKER))", "was used_by ranker, is used_by query tower, ranker"),
        ("features.py", "])\n", "], signals=['follow'])\n", "the signal 'follow' is new"),
        ("features.py", "])\n", "], without=['age_z'])\n", "the feature 'age_z' is gone"),
        ("features.py", "TABLE", "ONE = 1\nTABLE", "the code of features.py has changed since the run"),
        ("ops.py", "1", "2", "the code of ops.py has changed since the run"),
    ],
)  # fmt: skip
def test_a_table_that_has_changed_is_refused_by_name(
    file: str, old: str, new: str, expected: str, project: Project
) -> None:
    project.write("ops.py", "VALUE = 1\n")
    path = project.write("features.py", f"{HEAD}import ops\nTABLE = DEFAULT.extend({SURFACE})\n")
    modules = set(sys.modules)
    found = found_by(settings.load(project.config()).features)
    table_records.check(found, "the manifest")
    forget(modules)
    path = project.folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=re.escape(expected)):
        table_records.check(found, "the manifest")


def test_code_that_has_changed_is_named_beside_what_else_differs(project: Project) -> None:
    path = project.table(f"{SURFACE}, without=['age_z']")
    modules = set(sys.modules)
    found = found_by(settings.load(project.config()).features)
    forget(modules)
    path.write_text(f"import math\n{path.read_text()}".replace(", without=['age_z']", ""))
    told = "the feature 'age_z' is new; the code of features.py has changed since the run; undo that"
    with pytest.raises(InputError, match=re.escape(told)):
        table_records.check(found, "the manifest")


def test_comments_and_another_folder_make_no_other_table(
    project: Project, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.table(SURFACE)
    modules = set(sys.modules)
    found = found_by(settings.load(project.config()).features)
    forget(modules)
    path.write_text(f"# a comment\n\n{path.read_text()}")
    table_records.check(found, "the manifest")
    forget(modules)
    project.folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=f"the module 'features', which was in {project.folder} and is there no more"):
        table_records.check(found, "the manifest")
    monkeypatch.chdir(tmp_path / "moved")
    table_records.check(found, "the manifest")
