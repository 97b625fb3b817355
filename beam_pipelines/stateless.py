"""What Beam does again and again around each step, done once; and what it waits for at the end of each.

It looks for state in each step some nine times, which was a tenth of the time of a small job, and as often for names
of arguments. At the end of each stage it waits for a thread that looks at intervals which step is at work: a tenth of
the time of the stage, up to 0.2 seconds.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.runners.worker import statesampler
from apache_beam.transforms import core, userstate

_NONE = "_has_neither_state_nor_timers"
_INTERVAL = 5  # milliseconds
_find = userstate.get_dofn_specs
_inspect = core.get_function_args_defaults


def remember() -> None:
    """From now on a DoFn that was found to have neither state nor timers is not searched again, nor are its copies; nor
    is a function that was inspected. Stages end within milliseconds of their last step."""
    userstate.get_dofn_specs = _specs_of
    core.get_function_args_defaults = _arguments_of
    statesampler.StateSampler.__init__.__defaults__ = (_INTERVAL,)


def _specs_of(dofn: beam.DoFn) -> tuple[set[Any], set[Any]]:
    if getattr(dofn, _NONE, False):
        return set(), set()
    found = _find(dofn)
    if not any(found):
        setattr(dofn, _NONE, True)
    return found


def _arguments_of(f: Any) -> tuple[list[str], list[Any]]:
    """The names of the arguments of a function, and their default values; of a method without the first."""
    own = getattr(f, "__func__", None)
    if not isinstance(own, types.FunctionType) or hasattr(own, "__wrapped__"):
        return _inspect(f)
    names, defaults = _arguments_of_method(own)
    return list(names), list(defaults)


@functools.cache
def _arguments_of_method(function: Callable) -> tuple[list[str], list[Any]]:
    return _inspect(function.__get__(object()))
