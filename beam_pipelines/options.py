"""Beam's options, each view of which is made once."""

from typing import Any, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

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
