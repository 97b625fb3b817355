"""What is checked before a job is submitted to Dataflow, and what is sent along that workers lack."""

import datetime
import pathlib
import re
import shutil

import pyarrow as pa
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, SetupOptions
from cloud_stub import Cloud
from conftest import Ran
from worker_packages import ROOT, RUNNER, import_from, install
from workspace import Workspace

from recsys_tft import PipelineConfig, ProcessingPipeline, cli
from recsys_tft.beam_pipelines import dataflow, wheel
from recsys_tft.beam_pipelines.options import beam_options
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.errors import UsageError
from recsys_tft.titles import encoder_spec, tiny_bert, title_encoder

# --- Before it is submitted


def options_of(*arguments: str) -> PipelineOptions:
    return beam_options([*RUNNER, "--project=p-123456", "--region=r", "--temp_location=gs://b/t", *arguments])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "--data-dir gs://b/raw --output-dir gs://b/out",
            "needs --project=my-project --region=europe-west1 --temp_loc",
        ),
        (
            "--data-dir raw --output-dir gs://b/out CLOUD",
            "--data-dir is 'raw', on this machine, where Dataflow's workers",
        ),
        ("--data-dir gs://b/raw --output-dir out CLOUD", "--output-dir is 'out', on this machine"),
        (
            "--data-dir gs://b/raw --output-dir gs://b/out CLOUD --temp_location=tmp",
            "--temp_location is 'tmp'; Dataflow",
        ),
        (
            "--data-dir gs://b/raw --output-dir gs://b/out CLOUD --job_name=Films",
            "--job_name is 'Films'; it has to be of",
        ),
        (
            "--synthetic --output-dir gs://b/out CLOUD",
            "--synthetic makes its tables on this machine, but the output is",
        ),
        ("--synthetic --output-dir out CLOUD", "--data-dir is './.staging/raw'|--data-dir is 'out/.staging/raw'"),
        ("--synthetic --no-wait --output-dir gs://b/out CLOUD", "--no-wait is for --data-dir"),
    ],
)
def test_what_cannot_run_is_said_in_one_sentence(
    arguments: str,
    expected: str,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(workspace.folder)  # in which there is a folder `raw`
    shutil.rmtree(workspace.out)
    where = "--project=p-123456 --region=r --temp_location=gs://b/t"
    assert cli.main(["run", "--runner=DataflowRunner", *arguments.replace("CLOUD", where).split()]) == 2
    error = capsys.readouterr().err
    assert re.search(expected, error)
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_cache_of_vectors_on_this_machine_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.yaml").write_text(f"encoder_cache: {tmp_path}\n")
    arguments = ("--project=p-123456", "--region=r", "--temp_location=gs://b/t")
    config = PipelineConfig("gs://b/out", config=str(tmp_path / "config.yaml"), beam_args=(*RUNNER, *arguments))
    with pytest.raises(UsageError, match=f"encoder_cache is '{tmp_path}', on this machine"):
        ProcessingPipeline(config).run("gs://b/raw")


def test_not_waiting_is_for_dataflow(synthetic_run: Ran) -> None:
    with pytest.raises(UsageError, match="--no-wait needs --runner=DataflowRunner"):
        ProcessingPipeline(PipelineConfig("out")).submit(str(synthetic_run.raw))


@pytest.mark.parametrize(
    ("data_dir", "expected"),
    [
        ("gs://bucket/movielens/raw/", "movielens-raw"),
        ("gs://My_Bucket", "my-bucket"),
        ("gs://bucket/Ünï cödé 2024.01", "bucket-n-c-d-2024-01"),
        (f"gs://bucket/{'long' * 30}/raw", "longlonglonglonglonglonglonglong-raw"),
    ],
)
def test_names_keep_to_the_rules_of_dataflow(data_dir: str, expected: str) -> None:
    options = options_of()
    dataflow.name_job(options, data_dir, datetime.datetime(2025, 3, 1, 12, 30, 5, tzinfo=datetime.UTC))
    google = options.view_as(GoogleCloudOptions)
    assert google.job_name == f"recsys-tft-{expected}-20250301-123005"
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", google.job_name)
    labels = dict(label.split("=") for label in google.labels)
    assert all(re.fullmatch(r"[a-z0-9]([-_a-z0-9]{0,62})", text) for text in (*labels, *labels.values()))
    assert labels["data-set"].endswith(expected)


def test_a_name_and_labels_of_the_user_win() -> None:
    options = options_of("--job_name=mine", "--labels=data-set=theirs", "--labels={'team': 'video'}")
    dataflow.name_job(options, "gs://b/raw", datetime.datetime.now(datetime.UTC))
    google = options.view_as(GoogleCloudOptions)
    assert google.job_name == "mine"
    assert google.labels[-2:] == ["data-set=theirs", "{'team': 'video'}"]


# --- What workers lack


@pytest.mark.slow
def test_without_container_or_setup_file_the_installed_package_is_sent(tmp_path: pathlib.Path) -> None:
    options = options_of()
    dataflow.add_package(options, str(tmp_path))
    (built,) = options.view_as(SetupOptions).extra_packages
    install(pathlib.Path(built), tmp_path / "installed")
    assert import_from(tmp_path / "installed").count(str(tmp_path / "installed")) == 3
    (tmp_path / "again").mkdir()
    assert pathlib.Path(wheel.build(tmp_path / "again")).read_bytes() == pathlib.Path(built).read_bytes()


@pytest.mark.parametrize(
    "argument",
    ["--setup_file=./setup.py", "--sdk_container_image=eu/recsys:1", "--extra_package=dist/recsys_tft-0.2.0.tar.gz"],
)
def test_a_package_that_is_sent_otherwise_is_not_built(argument: str, tmp_path: pathlib.Path) -> None:
    options = options_of(argument)
    before = options.view_as(SetupOptions).extra_packages
    dataflow.add_package(options, str(tmp_path))
    assert options.view_as(SetupOptions).extra_packages == before
    assert not list(tmp_path.iterdir())


def test_workers_install_the_versions_of_the_constraints() -> None:
    pinned = {line.lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert "tensorflow-transform==1.21.0" in pinned
    assert {requirement.lower().replace("_", "-") for requirement in wheel.requirements()} <= pinned


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A title encoder on this machine."""
    encoder, folder = tiny_bert.tiny(), str(tmp_path_factory.mktemp("encoder"))
    tf.saved_model.save(encoder, folder, signatures=encoder.__call__.get_concrete_function())
    return folder


def test_workers_load_a_copy_of_the_title_encoder(cloud: Cloud, model: str) -> None:
    options, said = options_of("--temp_location=gs://bucket/temp"), []
    settings = parse({"title_encoder": model}, "a test")
    sent = dataflow.reachable(settings, options, said.append)
    assert sent.title_encoder.startswith("gs://bucket/temp/recsys_tft/title_encoders/")
    assert sent.encoder_cache == "gs://bucket/temp/recsys_tft/title_vectors"
    assert said == [f"Copying the title encoder to {sent.title_encoder}"]
    titles = pa.array(["Star Wars", "Toy Story"])
    expected = title_encoder.encode(model, titles)
    assert (title_encoder.encode(sent.title_encoder, titles) == expected).all()
    assert title_encoder.fingerprint(sent.title_encoder) == title_encoder.fingerprint(model)
    assert dataflow.reachable(settings, options, said.append) == sent
    pair = encoder_spec.Pair("gs://models/preprocessor", model, "mean")
    paired = dataflow.reachable(parse({"title_encoder": pair}, "a test"), options, said.append).title_encoder
    assert paired == encoder_spec.Pair("gs://models/preprocessor", sent.title_encoder, "mean")
    assert len(said) == 1  # what is there is not copied again


def test_an_address_that_workers_reach_stays(model: str) -> None:
    addresses = ("none", "gs://models/titles", "https://tfhub.dev/google/universal-sentence-encoder/4")
    for address in addresses:
        assert (
            dataflow.reachable(parse({"title_encoder": address}, "a test"), options_of(), print).title_encoder
            == address
        )


def test_options_of_the_config_come_before_those_of_the_command_line() -> None:
    found = parse(
        {
            "beam": {
                "runner": "DataflowRunner",
                "use_public_ips": False,
                "streaming": True,
                "experiments": ["a", "b"],
                "num_workers": 3,
            }
        },
        "a test",
    )
    assert found.beam_arguments == (
        "--runner=DataflowRunner", "--no_use_public_ips", "--streaming", "--experiments=a", "--experiments=b",
        "--num_workers=3",
    )  # fmt: skip
    assert beam_options(found.beam_arguments).get_all_options()["use_public_ips"] is False
    with pytest.raises(UsageError, match="neither recsys-tft nor Beam has an option '--machine-typo'"):
        beam_options(parse({"beam": {"machine_typo": "x"}}, "a test").beam_arguments)
    assert Settings().beam_arguments == ()
