"""Work that begins prefetch of Beam yields what it would have yielded in its turn."""

import contextlib
import pathlib
import threading
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from recsys_tft.beam_pipelines.pairs import METRICS
from recsys_tft.beam_pipelines.prefetch import BeginPairs, Prefetch, TakeResults
from recsys_tft.errors import InputError, sentence_of

PAIRS = [(number, "x" * (number % 3)) for number in range(20)]


def echo(number: int, text: str, times: int, mark: str) -> Iterator[object]:
    yield TaggedOutput("seen", mark * number)
    yield number, text * times


def fail_at_seven(number: int, _: str, times: int) -> Iterator[object]:
    if number == 7:
        raise InputError(f"Number 7 is wrong, {times} times.")
    yield number


def test_results_and_time_are_those_of_the_step(tmp_path: pathlib.Path) -> None:
    pipeline = beam.Pipeline(FnApiRunner())
    with Prefetch(2, str(tmp_path)).open() as prefetch:
        begun = pipeline | beam.Create(PAIRS) | beam.ParDo(BeginPairs(prefetch, echo, mark="!"), 2) | beam.Reshuffle()
        outputs = begun | beam.ParDo(TakeResults(prefetch, "echo")).with_outputs("seen", main="main")
        assert_that(outputs.main, equal_to([(number, text * 2) for number, text in PAIRS]), "main")
        assert_that(outputs.seen, equal_to(["!" * number for number, _ in PAIRS]), "seen")
        counters = pipeline.run().metrics().query()["counters"]
    assert [counter.key.metric.name for counter in counters if counter.key.metric.namespace == METRICS] == ["echo"]


def test_an_error_ends_the_run_with_its_sentence(tmp_path: pathlib.Path) -> None:
    pipeline = beam.Pipeline(FnApiRunner())
    with Prefetch(2, str(tmp_path)).open() as prefetch:
        begun = pipeline | beam.Create(PAIRS) | beam.ParDo(BeginPairs(prefetch, fail_at_seven, times=3))
        _ = begun | beam.ParDo(TakeResults(prefetch, "fail_at_seven"))
        with pytest.raises(Exception, match="Number 7") as failure:
            pipeline.run()
    assert sentence_of(failure.value) == "Number 7 is wrong, 3 times."


def test_what_has_not_begun_when_a_run_ends_never_does(tmp_path: pathlib.Path) -> None:
    began: list[int] = []
    begun, cancelled, prefetch = threading.Event(), threading.Event(), Prefetch(1, str(tmp_path))

    def waits_for_the_last(number: int) -> Iterator[int]:
        began.append(number)
        begun.wait()
        assert cancelled.wait(timeout=60)
        yield number

    with contextlib.suppress(KeyboardInterrupt), prefetch.open():
        for number in range(3):
            prefetch.begin(waits_for_the_last, number)
        prefetch._begun[2].add_done_callback(lambda _: cancelled.set())
        begun.set()
        raise KeyboardInterrupt
    assert began in ([0], [])
