"""Steps over pairs give the same on any number of threads."""

import pathlib
from collections.abc import Iterator
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from recsys_tft.beam_pipelines.pairs import METRICS, ForEachPair
from recsys_tft.errors import InputError, sentence_of
from recsys_tft.storage import arrow_ipc

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

    lists: ClassVar[dict[str, list[object]]] = {}

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


def tables(number: int, rows: int) -> Iterator[object]:
    table = arrow_ipc.dumps(pa.table({"row": np.arange(rows) + number}))
    yield TaggedOutput("frames", {"all": table, "none": arrow_ipc.dumps(pa.table({"row": []}))})
    yield number, ("named", table)


@pytest.mark.parametrize("threads", [1, 3])
def test_larger_tables_wait_in_files_and_are_read_as_they_were(threads: int, tmp_path: pathlib.Path) -> None:
    Collected.lists.clear()
    pipeline = beam.Pipeline(FnApiRunner())
    step = beam.ParDo(ForEachPair(tables, threads, str(tmp_path / "new")))
    outputs = pipeline | beam.Create([(0, 10), (1, 5000), (2, 7000)]) | step.with_outputs("frames", main="main")
    for name in ("main", "frames"):
        _ = outputs[name] | name >> beam.ParDo(Collected(name))
    pipeline.run()
    assert len(list((tmp_path / "new").iterdir())) == 2
    named, frames = Collected.lists["main"], Collected.lists["frames"]
    assert [type(table) for _, (_, table) in named] == [bytes, arrow_ipc.Spilled, arrow_ipc.Spilled]
    for (number, (_, table)), frame, rows in zip(named, frames, (10, 5000, 7000), strict=True):
        assert arrow_ipc.loads(table)["row"].to_pylist() == list(range(number, number + rows))
        assert arrow_ipc.concat([frame["all"], table])["row"].to_pylist() == 2 * list(range(number, number + rows))
        assert arrow_ipc.loads(frame["none"]).num_rows == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_one_pair_ends_the_run_with_its_sentence(threads: int) -> None:
    pipeline = beam.Pipeline(FnApiRunner())
    _ = pipeline | beam.Create(PAIRS) | beam.ParDo(ForEachPair(fail_at_seven, threads))
    with pytest.raises(Exception, match="Number 7 is wrong") as caught:
        pipeline.run()
    assert sentence_of(caught.value) == "Number 7 is wrong."
