"""What the server makes of bodies, and of requests that wait, without a socket."""

import asyncio
import pathlib
import threading
from collections.abc import Sequence

import pytest
from loaded_graphs import recommender_of
from odd_ids import text

from recsys_tft.server import bodies
from recsys_tft.server.batching import Batches, Full
from recsys_tft.server.bodies import Refused

# --- Bodies


def test_ids_that_are_text_are_taken_as_such(served_texts: pathlib.Path) -> None:
    recommender = recommender_of(served_texts)
    found = bodies.read_request({"user_id": text(3), "given": {"history_video_ids": [text(8)]}}, recommender)
    assert (found.request.user_id, found.k) == (text(3), 10)
    for wrong in (5, True, ""):
        with pytest.raises(Refused, match=r"^user_id is .*\.$") as error:
            bodies.read_request({"user_id": wrong}, recommender)
        assert error.value.status == 422


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (1_740_000_000_000_000, 1_740_000_000_000_000),
        ("2025-02-19T21:20", 1_740_000_000_000_000),
        ("2025-02-19T21:20:00Z", 1_740_000_000_000_000),
        ("2025-02-19T22:20:00.000001+01:00", 1_740_000_000_000_001),
    ],
)
def test_a_moment_is_text_or_microseconds(given: object, expected: int | None) -> None:
    assert bodies.moment(given) == expected


def test_events_without_a_time_have_happened_now() -> None:
    first, second, third = bodies.events({"events": [{"video_id": 3}, {"interaction_time": 5}, 7]})
    assert first["interaction_time"] > 1_740_000_000_000_000
    assert (second, third) == ({"interaction_time": 5}, 7)


def test_a_sentence_is_short_and_shows_no_token() -> None:
    assert len(str(Refused(422, "x" * 10_000))) < 600
    assert "hunter2" not in str(Refused(422, "https://me:hunter2@host is no id."))


# --- Batches


class Answers:
    """Answers each number by its double, when the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go, self.has_begun = threading.Event(), threading.Event()

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(asked))
        self.has_begun.set()
        assert self.may_go.wait(60)
        if 13 in asked:
            raise RuntimeError("a defect")
        return [ValueError(number) if number < 0 else 2 * number for number in asked]


def test_what_waits_is_answered_together_in_order_and_each_gets_its_own() -> None:
    answers = Answers()
    batches: Batches[int, int] = Batches(answers, most=3, waiting=6)

    async def ask() -> list:
        first = asyncio.create_task(batches.ask(1))
        await asyncio.to_thread(answers.has_begun.wait, 60)
        later = [asyncio.create_task(batches.ask(number)) for number in (2, -3, 4, 5, 13, 6)]
        await asyncio.sleep(0)
        assert batches.waiting == 6
        with pytest.raises(Full):
            await batches.ask(7)
        later[0].cancel()  # who has gone does not keep others from their answers
        answers.may_go.set()
        return await asyncio.gather(first, *later, return_exceptions=True)

    found = asyncio.run(ask())
    assert answers.batches == [[1], [2, -3, 4], [5, 13, 6]]
    assert found[0] == 2
    assert [type(each) for each in found[1:3]] == [asyncio.CancelledError, ValueError]
    assert found[3] == 8
    assert {str(each) for each in found[4:]} == {"a defect"}
    batches.close()
    assert not batches._threads[0].is_alive()


@pytest.mark.parametrize("threads", [1, 2])
def test_what_waits_is_answered_before_the_end(threads: int) -> None:
    answers = Answers()
    batches: Batches[int, int] = Batches(answers, most=2, waiting=9, threads=threads)

    async def ask() -> list[int]:
        tasks = [asyncio.create_task(batches.ask(number)) for number in range(5)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(batches.close))
        answers.may_go.set()
        await closing
        return await asyncio.gather(*tasks)

    assert asyncio.run(ask()) == [0, 2, 4, 6, 8]
    assert sorted(number for batch in answers.batches for number in batch) == [0, 1, 2, 3, 4]
