"""Steps over pairs give the same on any number of threads."""

from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.pairs import METRICS, ForEachPair
from recsys_tft.errors import InputError, sentence_of

PAIRS = [(number, "x" * (number % 3)) for number in range(20)]


def echo(number: int, text: str, times: int, mark: str) -> Iterator[object]:
    yield TaggedOutput("seen", (number, mark))
    for _ in range(times):
        yield number, text


def fail_at_seven(number: int, _: str) -> Iterator[object]:
    if number == 7:
        raise InputError("Number 7 is wrong.")
    yield number


class Collected(beam.DoFn):
    """Collects in this process what a bundle holds, in order."""

    lists: dict[str, list[object]] = {}  # noqa: RUF012

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def process(self, element: object) -> None:
        self.lists.setdefault(self._name, []).append(element)


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_pairs(threads: int) -> None:
    Collected.lists.clear()
    pipeline = beam.Pipeline(FnApiRunner())
    twice = AsSingleton(pipeline | "Times" >> beam.Create([2]))
    pairs = pipeline | beam.Create(PAIRS, reshuffle=False)
    outputs = pairs | beam.ParDo(ForEachPair(echo, threads, mark="!"), twice).with_outputs("seen", main="main")
    for name in ("main", "seen"):
        _ = outputs[name] | name >> beam.ParDo(Collected(name))
    result = pipeline.run()
    assert Collected.lists["main"] == [pair for pair in PAIRS for _ in range(2)]
    assert Collected.lists["seen"] == [(number, "!") for number, _ in PAIRS]
    assert [counter.key.metric.namespace for counter in result.metrics().query()["counters"]].count(METRICS) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_one_pair_ends_the_run_with_its_sentence(threads: int) -> None:
    pipeline = beam.Pipeline(FnApiRunner())
    _ = pipeline | beam.Create(PAIRS) | beam.ParDo(ForEachPair(fail_at_seven, threads))
    with pytest.raises(Exception, match="Number 7 is wrong") as caught:
        pipeline.run()
    assert sentence_of(caught.value) == "Number 7 is wrong."
