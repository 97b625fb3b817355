"""What Beam finds out about steps, once it is remembered; and how often it looks at which step is at work."""

import pickle
import types
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.runners.worker import statesampler
from apache_beam.transforms import core, userstate
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from recsys_tft.beam_pipelines import stateless


class Plain(beam.DoFn):
    def process(self, pair: tuple[int, int]) -> list[int]:
        return [pair[1]]


class Summing(beam.DoFn):
    total = ReadModifyWriteStateSpec("total", VarIntCoder())

    def process(self, pair: tuple[int, int], total: object = beam.DoFn.StateParam(total)) -> Iterator[int]:
        total.write((total.read() or 0) + pair[1])
        yield total.read()


@pytest.fixture(autouse=True)
def _remembered() -> None:
    stateless.remember()


def test_state_is_found_as_beam_finds_it_each_time() -> None:
    for _ in range(2):
        assert userstate.get_dofn_specs(Summing()) == ({Summing.total}, set())
        assert userstate.is_stateful_dofn(Summing())
        assert not userstate.is_stateful_dofn(Plain())


def test_a_copy_of_a_step_without_state_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Plain()
    assert userstate.get_dofn_specs(step) == (set(), set())
    monkeypatch.setattr(stateless, "_find", None)
    assert userstate.get_dofn_specs(pickle.loads(pickle.dumps(step))) == (set(), set())
    with pytest.raises(TypeError):
        userstate.get_dofn_specs(Plain())


class Several(beam.DoFn):
    def process(self, pair: int, side: int = 3, *more: int, window: object = beam.DoFn.WindowParam) -> list[int]:
        return [pair, side, *more]

    @staticmethod
    def start_bundle(a: int, b: int = 2) -> None: ...

    @classmethod
    def setup(cls, c: int = 4) -> None: ...


@pytest.mark.parametrize("name", ["process", "start_bundle", "setup", "finish_bundle"])
def test_arguments_are_found_as_beam_finds_them_each_time(name: str) -> None:
    for step in (Several(), Plain(), Several()):
        wanted = stateless._inspect(getattr(step, name))
        for _ in range(2):
            names, defaults = core.get_function_arguments(step, name)
            assert (names, defaults) == wanted
            names.clear()


def test_a_method_of_an_object_that_can_be_called_is_inspected_by_beam() -> None:
    class Call:
        def __call__(self, owner: object, q: int = 4) -> None: ...

    method = types.MethodType(Call(), object())
    assert stateless._arguments_of(method) == stateless._inspect(method)


def test_a_stage_waits_a_few_milliseconds_at_most_for_who_looks_at_its_steps() -> None:
    assert statesampler.for_test().sampling_period_ms == 5
