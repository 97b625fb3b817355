"""Beam's options and their spelling, with cached views; and pipelines with them."""

import argparse
import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser
from apache_beam.runners.runner import PipelineRunner

from recsys_tft.argument_errors import sentence
from recsys_tft.beam_pipelines import stateless
from recsys_tft.errors import UsageError, did_you_mean, reason

View = TypeVar("View", bound=PipelineOptions)
_ELSEWHERE = ("dry_run", "job_name", "sdk_container_image", "template_location")
_OWN = ("output-dir", "data-dir", "negative-ratio", "overwrite", "workers", "config", "format", "seed")


class Options(PipelineOptions):
    """Options that cache their views.

    Building and running a small job asks for a view some 1,500 times, and each time Beam parses all arguments anew:
    that was a twelfth of the time of such a job.
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
    """A pipeline with its temporary folder in one of ours, which is removed even if the process is killed."""
    stateless.remember()
    pipeline = beam.Pipeline(runner=runner, options=options)
    pathlib.Path(pipeline.local_tempdir).rmdir()
    pipeline.local_tempdir = tempfile.mkdtemp(prefix="beam-", dir=folder)
    return pipeline


@contextlib.contextmanager
def labels_as_they_are() -> Iterator[None]:
    """Keeps Beam from naming stages after cells of a notebook, for which it imports dataframes that pandas 3 breaks."""
    kept = beam.pipeline.alter_label_if_ipython
    beam.pipeline.alter_label_if_ipython = lambda *_: None
    try:
        yield
    finally:
        beam.pipeline.alter_label_if_ipython = kept


def beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options; words in a name may stand between dashes or underscores, and of one given twice the last holds.

    Raises:
        UsageError: for one that Beam does not know, and would ignore; or whose value is missing or wrong.
    """
    parser = _Parser(allow_abbrev=False, add_help=False, usage=argparse.SUPPRESS)
    for cls in {str(cls): cls for cls in PipelineOptions.__subclasses__()}.values():
        if "_add_argparse_args" in cls.__dict__:
            cls._add_argparse_args(parser)
    spelled = parser.spelled(arguments)
    for argument in spelled:
        _check(parser, argument)
    return Options(spelled)


def check_here(options: PipelineOptions) -> None:
    """Checks that no option is given that a job in this process would ignore.

    Raises:
        UsageError: naming the first of them.
    """
    given = options.get_all_options(drop_default=True)
    for name in _ELSEWHERE:
        if name in given:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is for a job that runs elsewhere; give --runner=DataflowRunner with it.")


def _check(parser: argparse.ArgumentParser, argument: str) -> None:
    try:
        parser.parse_args([argument])
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # out of an action of Beam's own
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{argument}: Beam cannot read that value ({reason(error)}).") from None


class _Parser(_BeamArgumentParser):
    """A parser of all options that Beam has."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(sentence(message))

    def spelled(self, arguments: Sequence[str]) -> list[str]:
        """The arguments as Beam spells them, a value behind the name's `=`."""
        found: list[str] = []
        rest = iter(arguments)
        for argument in rest:
            name, has_value, value = argument.partition("=")
            known = self._known(name)
            if known is None and (flag := self._undone(name)):
                found = [earlier for earlier in found if earlier.partition("=")[0] != flag]
                continue
            if known is None:
                raise UsageError(self._unknown(name))
            action = self._option_string_actions[known]
            if action.nargs == 0:
                if has_value:
                    raise UsageError(f"{name} takes no value; give it alone, or leave it out.")
                found.append(known)
            elif isinstance(action.default, bool):  # which Beam declares as text, so that `false` would turn it on
                found = [earlier for earlier in found if not earlier.startswith(f"{known}=")]
                found += [f"{known}=True"] if self._is_on(name, value if has_value else "true") else []
            else:
                found.append(f"{known}={self._value(name, value if has_value else next(rest, '--'))}")
        return found

    def _known(self, name: str) -> str | None:
        """Beam's spelling of an option's name."""
        spellings = {option.replace("-", "_"): option for option in self._option_string_actions}
        return spellings.get(name.replace("-", "_")) if name.startswith("--") else None

    def _undone(self, name: str) -> str | None:
        """The flag that `--no_NAME`, or `--NAME`, takes back where Beam knows just the other one of the two."""
        is_negated = name.startswith(("--no_", "--no-"))
        known = self._known(f"--{name[5:]}" if is_negated else f"--no_{name[2:]}")
        action = self._option_string_actions[known] if known else None
        is_flag = action and (action.const is is_negated or (is_negated and action.default is False))
        return known if is_flag else None

    @staticmethod
    def _is_on(name: str, value: str) -> bool:
        if value.lower() not in ("true", "false"):
            raise UsageError(f"{name} is {value!r}; it takes true or false, or no value, which is true.")
        return value.lower() == "true"

    @staticmethod
    def _value(name: str, value: str) -> str:
        if value.startswith("--") or not value.strip():
            raise UsageError(f"{name} needs a value: {name}=VALUE.")
        return value

    def _unknown(self, name: str) -> str:
        if not name.startswith("-"):
            return f"'{name}' belongs to no option; Beam's take their values as --NAME=VALUE."
        shown = name.replace("_", "-")
        known = (option.replace("_", "-") for option in self._option_string_actions)
        hint = did_you_mean(shown, [*(f"--{own}" for own in _OWN), *known])
        return f"neither recsys-tft nor Beam has an option '{shown}'.{hint if 'mean' in hint else ''}"
