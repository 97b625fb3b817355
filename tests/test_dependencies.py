"""Whether what is imported is declared, and what is declared is pinned."""

import ast
import importlib.metadata
import pathlib
import sys
import tomllib
from collections.abc import Iterable, Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = ("3.11", "3.12", "3.13")
OURS = {"recsys_tft", "beam_pipelines", "preprocessing_fn"}
# Where the name of the import is not that of what pip installs.
DISTRIBUTIONS = {
    "faiss": "faiss-cpu",
    "google.cloud.dataflow_v1beta3": "google-cloud-dataflow-client",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "tensorflow_serving": "tensorflow-serving-api",
    "xgboost": "xgboost-cpu",
    "yaml": "pyyaml",
}


def sources(*names: str) -> list[pathlib.Path]:
    found = [file for name in names for file in ((ROOT / name).rglob("*.py") if "." not in name else [ROOT / name])]
    return [file for file in found if file.parent.name != "project_template"]  # which is copied, not imported


def imports(file: pathlib.Path) -> Iterator[str]:
    """The dotted names of all imports of a file, those inside functions and `import_module("name")` included."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(ast.Attribute(ast.Name("importlib" | "libraries")), [ast.Constant(str(name)), *_]):
                yield name


def imported(files: Iterable[pathlib.Path]) -> set[str]:
    """The distributions that files import, without Python's own and ours."""
    found = {name for file in files for name in imports(file)}
    return {distribution(name) for name in found if name.split(".")[0] not in OURS | sys.stdlib_module_names}


def distribution(name: str) -> str:
    """What brings an import, by the longest part of its name that is known to differ."""
    known = [prefix for prefix in DISTRIBUTIONS if f"{name}.".startswith(f"{prefix}.")]
    return canonicalize_name(DISTRIBUTIONS[max(known, key=len)] if known else name.split(".")[0])


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def pins(python: str) -> dict[str, str]:
    """What constraints.txt pins for a Python: {name: version}."""
    found = {}
    for requirement in map(Requirement, (ROOT / "constraints.txt").read_text().split("\n")[:-1]):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            (pinned,) = requirement.specifier
            assert pinned.operator == "=="
            assert canonicalize_name(requirement.name) not in found
            found[canonicalize_name(requirement.name)] = pinned.version
    return found


def test_the_package_declares_exactly_what_it_imports() -> None:
    found = imported(sources("recsys_tft", "beam_pipelines", "preprocessing_fn.py"))
    # Uvicorn loads httptools and uvloop by itself.
    extras = [requirement for name in ("faiss", "redis", "serve", "torch", "xgboost") for requirement in EXTRAS[name]]
    assert found - names(extras) == names(PROJECT["dependencies"])


def test_the_tests_import_nothing_that_is_not_declared() -> None:
    beside = {canonicalize_name(file.stem) for file in sources("tests")} | {"bench", "docs-hooks"}
    declared = names([*PROJECT["dependencies"], *EXTRAS["dev"]])
    assert imported(sources("tests")) - beside <= declared


def test_bench_imports_nothing_else_but_for_references() -> None:
    by_hand = {"torch", "transformers"}  # of bench/reference_titles.py, which has an environment of its own
    declared = names([*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["bench"]])
    assert imported(sources("bench")) - {"bench"} - by_hand <= declared


def test_the_site_imports_nothing_but_what_builds_it() -> None:
    declared = names([*PROJECT["dependencies"], *EXTRAS["docs"]])
    assert imported(sources("docs_hooks")) - {"docs-hooks"} <= declared


@pytest.mark.parametrize("python", PYTHONS)
def test_the_constraints_pin_every_dependency_within_its_range(python: str) -> None:
    pinned = pins(python)
    for requirement in map(
        Requirement,
        [*PROJECT["dependencies"]]
        + [
            requirement
            for name in ("dev", "docs", "faiss", "redis", "serve", "vectors", "xgboost")
            for requirement in EXTRAS[name]
        ],
    ):
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate():  # of another system
            continue
        if name != "setuptools":  # the package needs none, so that whatever an environment has stays
            assert pinned[name] in requirement.specifier


@pytest.mark.parametrize("python", PYTHONS)
def test_the_constraints_are_what_packages_ask_for_by_the_version_of_python(python: str) -> None:
    pinned, context = pins(python), {"python_version": python, "python_full_version": f"{python}.0", "extra": "gcp"}
    packages = [
        package
        for package in importlib.metadata.distributions()
        if pinned.get(canonicalize_name(package.name)) == package.version
    ]
    assert packages
    for package in packages:
        for requirement in map(Requirement, package.requires or ()):
            asked = canonicalize_name(requirement.name)
            if asked in pinned and (requirement.marker is None or requirement.marker.evaluate(context)):
                assert pinned[asked] in requirement.specifier, f"{package.name} asks for {requirement}"


def test_every_python_that_is_allowed_is_named() -> None:
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    assert tuple(named) == PYTHONS
    allowed = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [minor for minor in range(20) if f"3.{minor}" in allowed] == [11, 12, 13]
