"""Packages as a worker installs them."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
RUNNER = ("--runner=DataflowRunner",)


def import_from(folder: pathlib.Path) -> str:
    """Imports all of the package in an interpreter that finds it in the folder only, and returns where it was found."""
    code = f"""
import pathlib, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path.insert(0, {str(folder)!r})
import recsys_tft.cli, recsys_tft.configuration.settings, preprocessing_fn, beam_pipelines
print(*(pathlib.Path(module.__file__) for module in (recsys_tft, preprocessing_fn, beam_pipelines)))
missing = set()
for package in (recsys_tft, beam_pipelines):
    here, source = pathlib.Path(package.__file__).parent, pathlib.Path({str(ROOT)!r}, package.__name__)
    missing |= {{f for f in source.rglob("*.py") if not (here / f.relative_to(source)).exists()}}
assert not missing, missing
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(file: pathlib.Path, folder: pathlib.Path) -> None:
    """Installs a package alone into an empty folder, without a network."""
    alone = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *alone, "--target", str(folder), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
