"""Beam's options, whose views are kept."""

import pickle

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from beam_pipelines.run import beam_options

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
