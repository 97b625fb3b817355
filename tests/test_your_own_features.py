"""The page on features of one's own runs as it stands, from an empty folder to recommendations and their audit."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from recsys_tft import feature_tables
from recsys_tft.cli import main

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your-own-features.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

# All in one process, since what takes long is to load TensorFlow and Beam.
PROGRAM = """
import contextlib, io, json, pathlib, re, shlex, subprocess, sys, traceback
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
from hashed_titles import HashedTitles
from recsys_tft.cli import main

tf.saved_model.save(HashedTitles(), "encoder")
printed = []
for language, text in json.load(sys.stdin):
    named = re.match(r"# (\\S+\\.(?:py|yaml))\\n", text)
    if named:
        pathlib.Path(named[1]).write_text(text)
        continue
    for part in [text] if language else text.splitlines():
        name, *arguments = [None] if language else shlex.split(part)
        with contextlib.redirect_stdout(io.StringIO()) as found:
            if language:
                exec(part, {})
            elif name == "recsys-tft":
                sizes = ["--title-encoder", "encoder", "--interactions", "3000", "--users", "150", "--videos", "150"]
                more = {"run": sizes, "audit": ["--users", "60"]}
                code = main([*arguments, *more.get(arguments[0], [])])
                assert code == 0, (part, found.getvalue())
            else:
                subprocess.run(part, shell=True, check=True, stdout=sys.stderr)
        printed.append((part, found.getvalue()))
json.dump(printed, sys.stdout)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("your_own")


@pytest.fixture(scope="module")
def printed(folder: pathlib.Path) -> dict[str, str]:
    """What each command and each block of Python printed."""
    blocks = json.dumps([(language, text) for language, text in BLOCKS])
    program = [sys.executable, "-c", PROGRAM, str(ROOT / "tests")]
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(
        program, input=blocks, cwd=folder, env={**os.environ, **paths}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return dict(json.loads(run.stdout))


def of(printed: dict[str, str], words: str) -> str:
    (found,) = (text for part, text in printed.items() if words in part)
    return found


def test_the_table_shows_which_rows_are_ones_own(printed: dict[str, str]) -> None:
    shown = of(printed, "recsys-tft features")
    for name in ("plan_token", "surface_token", "same_language", "description_words", "description_embedding"):
        assert re.search(rf"^{name} .*yours", shown, re.MULTILINE)
    assert not re.search(r"^age_z .*yours", shown, re.MULTILINE)
    assert re.search(r"^verified +channels +bool .*yours", shown, re.MULTILINE)
    assert re.search(r"^not_interested .*not wanted +yours", shown, re.MULTILINE)
    assert "Left out: popularity_onehot" in shown


def test_the_run_says_which_table_made_it(printed: dict[str, str], folder: pathlib.Path) -> None:
    manifest = json.loads((folder / "out/artifacts/manifest.json").read_text())
    made = manifest["feature_table"]
    assert (made["module"], made["file"]) == ("shop.features", "shop/features.py")
    assert set(made["code"]) == {"shop/__init__.py", "shop/features.py", "shop/ops.py"}
    assert made["features"]["same_language"]["op"] == "SameLanguage()"
    assert {"signals", "columns"} <= set(made)


def test_every_part_of_the_project_reaches_the_rows(printed: dict[str, str], folder: pathlib.Path) -> None:
    manifest = json.loads((folder / "out/artifacts/manifest.json").read_text())
    counts = manifest["counts"]
    for name in ("plan_token", "surface_token", "verified_token", "resolution_share"):
        rows, missing = counts[f"features/{name}/rows"], counts.get(f"features/{name}/missing", 0)
        assert 0 < missing < rows, name
    text = json.dumps(counts)
    assert "follow" in text or "disliked" in text


def test_what_was_served_equals_what_was_trained_on(printed: dict[str, str]) -> None:
    shown = of(printed, "recsys-tft verify")
    assert "All values are equal." in shown
    for name in ("surface_token", "verified_token", "same_language", "resolution_share", "description_embedding"):
        assert re.search(rf"^{name} +[\d,]+ +0 ", shown, re.MULTILINE), name


def test_no_row_knows_what_happens_later(printed: dict[str, str]) -> None:
    assert of(printed, "recsys-tft audit")


def test_recommendations_are_made_and_served(printed: dict[str, str]) -> None:
    assert "1 " in of(printed, "recsys-tft recommend")
    assert len(of(printed, "from recsys_tft import Recommender").splitlines()) == 3
    assert "score" in of(printed, "tf.saved_model.load")


@pytest.mark.usefixtures("printed")
def test_a_serving_model_needs_neither_the_project_nor_the_library(folder: pathlib.Path) -> None:
    program = """
import sys
import tensorflow as tf
import tensorflow_text
for name in ("recsys_tft", "beam_pipelines", "shop"):
    sys.modules[name] = None
ranker = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
missing = {name: tf.zeros([0], spec.dtype) for name, spec in ranker.structured_input_signature[1].items()}
def score(**given):
    return float(ranker(**{**missing, **{name: tf.constant([value]) for name, value in given.items()}})["score"][0])
one = score(user_language="de", video_language="de", surface="surface_1")
assert 0 < one < 1
print(one)
"""
    command = [sys.executable, "-I", "-c", program, str(folder / "out/serving/ranker/1")]
    run = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


LATER = (["train", "two-tower", "--overwrite"], ["train", "ranker", "--overwrite"], ["export"], ["verify"], ["audit"])


@pytest.mark.usefixtures("printed", "forgetful")
def test_every_later_command_refuses_another_table_and_one_that_is_gone(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "shop/shop/features.py"
    text = path.read_text()
    path.write_text(text.replace("dim=4", "dim=5"))
    try:
        for command in LATER:
            assert main([*command, "--output-dir", str(folder / "out")]) == 1
            error = capsys.readouterr().err
            assert "'plan_token' was Lookup(Vocabulary(plan, dim=4)), is Lookup(Vocabulary(plan, dim=5))" in error
            assert error.count("\n") == 1
    finally:
        path.write_text(text)
    (folder / "shop").rename(folder / "gone")
    try:
        feature_tables._load.cache_clear()
        for command in LATER:
            assert main([*command, "--output-dir", str(folder / "out")]) == 1
            gone = f"the module 'shop.features', which was in {folder}/shop and is there no more"
            assert gone in capsys.readouterr().err
        assert main(["recommend", "--output-dir", str(folder / "out"), "--user-id", "5", "--surface", "tv"]) == 0
    finally:
        (folder / "gone").rename(folder / "shop")


def test_what_the_page_refers_to_is_there() -> None:
    assert [language for language, _ in BLOCKS].count("yaml") == 1
    for name in re.findall(r"\]\(([\w./-]+)\)", PAGE):
        assert (ROOT / "docs" / name).exists(), name
