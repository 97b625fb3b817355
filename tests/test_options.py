"""Beam's options, whose views are kept."""

import pickle

import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from recsys_tft.beam_pipelines.options import Options, beam_options, check_here
from recsys_tft.configuration.settings import parse
from recsys_tft.errors import UsageError

ARGUMENTS = ["--direct_num_workers=3", "--runner=DirectRunner", "--label=a=b"]


def test_a_view_is_made_once_and_shares_its_values() -> None:
    options = beam_options(ARGUMENTS)
    view = options.view_as(DirectOptions)
    assert options.view_as(DirectOptions) is view
    options.view_as(StandardOptions).runner = "FnApiRunner"
    assert options.view_as(StandardOptions).view_as(StandardOptions).runner == "FnApiRunner"
    assert options.get_all_options() == {**PipelineOptions(ARGUMENTS).get_all_options(), "runner": "FnApiRunner"}


def test_options_that_have_been_viewed_can_be_sent() -> None:
    options = beam_options(ARGUMENTS)
    options.view_as(DirectOptions).direct_num_workers = 4
    sent = pickle.loads(pickle.dumps(options))
    assert sent.view_as(DirectOptions).direct_num_workers == 4


def test_values_of_one_object_are_not_anothers() -> None:
    one, other = (beam_options(arguments).view_as(DirectOptions) for arguments in (ARGUMENTS, []))
    assert (one.direct_num_workers, other.direct_num_workers) == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ("--setup-file=./setup.py", "setup_file", "./setup.py"),
        ("--setup-file ./setup.py", "setup_file", "./setup.py"),
        ("--setup_file ./setup.py", "setup_file", "./setup.py"),
        ("--job-name=films", "job_name", "films"),
        ("--sdk-container-image eu.example/recsys:1", "sdk_container_image", "eu.example/recsys:1"),
        ("--dry-run", "dry_run", "True"),
        ("--dry_run=true", "dry_run", "True"),
        ("--dry-run=false", "dry_run", False),
        ("--dry-run --no-dry-run", "dry_run", False),
        ("--no-use-public-ips", "use_public_ips", False),
        ("--use-public-ips", "use_public_ips", True),
        ("--no-save-main-session", "save_main_session", False),
        ("--streaming --no-streaming", "streaming", False),
        ("--no_pipeline_type_check --pipeline-type-check", "pipeline_type_check", True),
        ("--experiments=a --experiments b", "experiments", ["a", "b"]),
        ("--extra-package=a --extra_package=b", "extra_packages", ["a", "b"]),
        ("--worker-machine-type n1 --machine-type=n2", "machine_type", "n2"),
        ("--num-workers 3", "num_workers", 3),
        ("--job_server_timeout=4", "job_server_timeout", 4),  # whose name has dashes in Beam
        ("--temp-location gs://b/t --temp_location=gs://b/u", "temp_location", "gs://b/u"),
    ],
)
def test_dashes_and_underscores_name_the_same_option(arguments: str, name: str, value: object) -> None:
    assert beam_options(arguments.split()).get_all_options()[name] == value


@pytest.mark.slow
def test_every_option_of_beam_may_be_written_with_dashes() -> None:
    for name in Options([]).get_all_options():
        for spelled in (f"--{name}", f"--no_{name}"):
            for words in (spelled, f"{spelled}=7"):
                assert beam_or_error(words) == beam_or_error(f"--{words[2:].replace('_', '-')}")


def beam_or_error(argument: str) -> object:
    try:
        return beam_options([argument])._flags  # as Beam is to parse them
    except UsageError as error:
        return str(error).replace("_", "-")


def test_keys_of_the_config_may_have_dashes() -> None:
    beam = {"setup-file": "setup.py", "dry-run": True, "use-public-ips": False, "streaming": False, "num-workers": 2}
    found = beam_options(parse({"beam": beam}, "a test").beam_arguments).get_all_options()
    assert {name.replace("_", "-"): found[name.replace("-", "_")] for name in beam} == beam | {"dry-run": "True"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--runn=x"], "neither recsys-tft nor Beam has an option '--runn'. Did you mean '--runner'?"),
        (["--setup_fil=x"], "neither recsys-tft nor Beam has an option '--setup-fil'. Did you mean '--setup-file'?"),
        (["--runner"], "--runner needs a value: --runner=VALUE."),
        (["--setup-file="], "--setup-file needs a value: --setup-file=VALUE."),
        (["--job-name", "--streaming"], "--job-name needs a value: --job-name=VALUE."),
        (["--streaming=true"], "--streaming takes no value; give it alone, or leave it out."),
        (["--streaming", "true"], "'true' belongs to no option; Beam's take their values as --NAME=VALUE."),
        (["--dry-run=perhaps"], "--dry-run is 'perhaps'; it takes true or false, or no value, which is true."),
        (["--num-workers=two"], "--num_workers is 'two'; expected a whole number."),
        (["-x"], "neither recsys-tft nor Beam has an option '-x'."),
        (["--"], "neither recsys-tft nor Beam has an option '--'."),
    ],
)
def test_an_option_that_beam_would_drop_is_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        beam_options(arguments)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "option", ["--dry-run", "--job-name=films", "--sdk-container-image=x/y", "--template_location=gs://b/t"]
)
def test_what_is_for_a_job_elsewhere_is_refused_here(option: str) -> None:
    with pytest.raises(UsageError, match=r"is for a job that runs elsewhere; give --runner=DataflowRunner with it\.$"):
        check_here(beam_options([option]))


def test_options_of_a_job_here_are_taken() -> None:
    check_here(beam_options(["--temp_location=t", "--direct_num_workers=2"]))
