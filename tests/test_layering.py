"""Which module may import which: no circles, nothing heavy where nothing needs it, and no name that others may have."""

import ast
import functools
import graphlib
import importlib
import pathlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping

import pytest

ROOT = pathlib.Path(__file__).parent.parent
OURS = ("recsys_tft", "beam_pipelines", "preprocessing_fn")
# Packages that load neither Beam nor tf.Transform.
LIGHT = ("checking", "serving", "training", "retrieval", "ranking", "recommending")
Graph = Mapping[str, set[str]]


def module_name(file: pathlib.Path) -> str:
    """The dotted name under which our code imports a file."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    return f"recsys_tft.{name}" if parts[0] == "beam_pipelines" else name


# The one of recsys_tft.beam_pipelines comes last: it stands for the folder beside the package.
FILES = {
    module_name(file): file for folder in ("beam_pipelines", "recsys_tft") for file in (ROOT / folder).rglob("*.py")
}
SOURCES = {name: file.read_text("utf-8") for name, file in FILES.items()}


def imports(node: ast.AST) -> Iterator[str]:
    """The dotted names that some code imports, in functions and by strings too, but not for types alone."""
    match node:
        case ast.If(ast.Name("TYPE_CHECKING")):
            for other in node.orelse:
                yield from imports(other)
            return
        case ast.Import(names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.Call(ast.Attribute(ast.Name("importlib" | "libraries")), [ast.Constant(str(name)), *_]):
            yield name
    for child in ast.iter_child_nodes(node):
        yield from imports(child)


def module_of(name: str) -> str | None:
    """The module of ours that an import loads: the longest part of its name that is one."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or None


@functools.cache
def names_in(text: str) -> frozenset[str]:
    """What a file imports."""
    return frozenset(imports(ast.parse(text)))


def imports_of(sources: Mapping[str, str]) -> Graph:
    found = {name: {module_of(other) for other in names_in(text)} for name, text in sources.items()}
    return {name: others - {name, None} for name, others in found.items()}


def package_of(name: str) -> str:
    """The package below recsys_tft, or the module that lies in none."""
    return ".".join(name.split(".")[:2])


def of_packages(graph: Graph) -> Graph:
    found: dict[str, set[str]] = {}
    for name, others in graph.items():
        found.setdefault(package_of(name), set()).update(map(package_of, others))
    return {name: others - {name} for name, others in found.items()}


def circle(graph: Graph) -> list[str]:
    """Names that import one another in a circle; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def reached(graph: Graph, start: str) -> set[str]:
    """What is imported from a package, directly or not."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


@pytest.fixture(scope="module")
def graph() -> Graph:
    return imports_of(SOURCES)


@pytest.fixture(scope="module")
def packages(graph: Graph) -> Graph:
    return of_packages(graph)


# --- What imports what


def test_no_files_import_one_another_in_a_circle(graph: Graph) -> None:
    assert circle(graph) == []


def test_no_packages_import_one_another_in_a_circle(packages: Graph) -> None:
    assert circle(packages) == []


def test_an_import_inside_a_function_closes_a_circle() -> None:
    later = "def sentences():\n    from recsys_tft.faults import sentence_for\n"
    sources = {"recsys_tft.errors": later, "recsys_tft.faults": "from recsys_tft.errors import reason\n"}
    assert set(circle(imports_of(sources))) == set(sources)


def test_an_import_for_types_alone_closes_none() -> None:
    types = "if TYPE_CHECKING:\n    from recsys_tft.faults import sentence_for\n"
    sources = {"recsys_tft.errors": types, "recsys_tft.faults": "from recsys_tft.errors import reason\n"}
    assert circle(imports_of(sources)) == []


def test_files_that_are_in_no_circle_may_be_in_one_of_packages() -> None:
    sources = {
        "recsys_tft.tables.entities": "from recsys_tft.labelling import split_times\n",
        "recsys_tft.labelling.labels": "from recsys_tft.tables.entities import early\n",
        "recsys_tft.labelling.split_times": "",
    }
    graph = imports_of(sources)
    assert circle(graph) == []
    assert set(circle(of_packages(graph))) == {"recsys_tft.tables", "recsys_tft.labelling"}


def test_storage_knows_nothing_but_bytes(packages: Graph) -> None:
    assert packages["recsys_tft.storage"] <= {"recsys_tft.errors"}


def test_an_export_does_not_need_the_verifier_nor_the_verifier_an_export(packages: Graph) -> None:
    exporting, verifying = "recsys_tft.exporting", "recsys_tft.verifying"
    assert verifying not in reached(packages, exporting)
    assert exporting not in reached(packages, verifying)


# --- What is loaded


@pytest.mark.slow
def test_what_trains_serves_and_recommends_loads_neither_beam_nor_tf_transform() -> None:
    names = ["recsys_tft", *(name for name in FILES if package_of(name).partition(".")[2] in LIGHT)]
    assert len(names) > 40
    program = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    for library in ("apache_beam", "tensorflow_transform"):
        assert library not in sys.modules, f"{{name}} loads {{library}}"
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# --- Names that another project may have


def test_our_code_imports_itself_by_no_name_but_its_own() -> None:
    for name, text in SOURCES.items():
        tops = {other.partition(".")[0] for other in names_in(text)}
        assert tops.isdisjoint({"beam_pipelines", "preprocessing_fn"}), name


def test_the_beam_job_is_the_folder_beside_the_package() -> None:
    module = importlib.import_module("recsys_tft.beam_pipelines.wheel")
    assert pathlib.Path(module.__file__) == ROOT / "beam_pipelines" / "wheel.py"


@pytest.fixture
def other_project(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with modules of our names that end what imports them, where Python looks before all others."""
    (tmp_path / "beam_pipelines").mkdir()
    for file in ("beam_pipelines/__init__.py", "preprocessing_fn.py"):
        (tmp_path / file).write_text("raise RuntimeError('a module of another project')\n")
    return tmp_path


def python(folder: pathlib.Path, *arguments: str) -> None:
    """Runs Python in a folder, which is the first where it looks for modules."""
    run = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_a_run_takes_its_own_modules_where_another_project_has_some_of_their_names(
    other_project: pathlib.Path,
) -> None:
    sizes = ("--users", "20", "--videos", "10", "--interactions", "200", "--workers", "1")
    python(other_project, "-m", "recsys_tft", "run", "--synthetic", *sizes, "--title-encoder", "none")
    assert list((other_project / "output" / "processed_data" / "ranker" / "train").glob("part-*"))


def test_the_wheel_for_workers_holds_our_modules_where_another_project_has_some_of_their_names(
    other_project: pathlib.Path,
) -> None:
    python(other_project, "-c", "from recsys_tft.beam_pipelines import wheel; wheel.build('.')")
    (wheel,) = other_project.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        files = {name: file.read(name) for name in file.namelist() if name.partition("/")[0].split(".")[0] in OURS}
    files = {name: data for name, data in files.items() if ".dist-info/" not in name}
    ours = [*FILES.values(), ROOT / "beam_pipelines" / "__init__.py", ROOT / "preprocessing_fn.py"]
    assert files == {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in ours}
