"""Which steps have state, once what was found of each is remembered."""

import pickle
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.transforms import userstate
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
