"""Beam's options, each view of which is made once, and pipelines with them."""

import pathlib
import tempfile
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner

View = TypeVar("View", bound=PipelineOptions)


class Options(PipelineOptions):
    """Options that keep the views of themselves.

    To build and to run a small job asks for one some 1,500 times, and each time Beam parses all arguments anew: that
    was a twelfth of the time of such a job.
    """

    def view_as(self, cls: type[View]) -> View:
        """As Beam's, the same one each time; views of one object share its values."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}


def pipeline_in(folder: str, runner: str | PipelineRunner, options: PipelineOptions) -> beam.Pipeline:
    """A pipeline whose own temporary folder is in one of ours, which does not outlive a process that is killed."""
    pipeline = beam.Pipeline(runner=runner, options=options)
    pathlib.Path(pipeline.local_tempdir).rmdir()
    pipeline.local_tempdir = tempfile.mkdtemp(prefix="beam-", dir=folder)
    return pipeline
