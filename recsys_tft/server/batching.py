"""Requests that wait are answered together, in the order in which they came, on a thread of their own."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Asked, Answer = TypeVar("Asked"), TypeVar("Answer")


class Full(Exception):
    """As many requests wait as may."""


class Batches(Generic[Asked, Answer]):
    """Batches of what is asked while the batch before is answered; nothing waits for others to come.

    Args:
        answer: from [n] requests to [n] answers, of which an exception is one.
        most: of a batch.
        waiting: how many may wait.
    """

    def __init__(self, answer: Callable[[Sequence[Asked]], Sequence[Answer | Exception]], most: int, waiting: int):
        self._answer, self._most, self._limit = answer, most, waiting
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._queue.qsize()

    async def ask(self, asked: Asked) -> Answer:
        """The answer to a request.

        Raises:
            Full: if as many wait as may.
            Exception: the one that is the answer.
        """
        if self._queue.qsize() >= self._limit:
            raise Full
        loop = asyncio.get_running_loop()
        future: asyncio.Future = loop.create_future()
        self._queue.put((asked, future, loop))
        return await future

    def close(self) -> None:
        """Ends the thread when all that waits is answered."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, ends = [first], False
            while len(batch) < self._most and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    ends = True
                    break
                batch.append(following)
            try:
                answers = self._answer([asked for asked, _, _ in batch])
            except Exception as error:  # a defect, which is the answer to all
                answers = [error] * len(batch)
            batch[0][2].call_soon_threadsafe(_settle, [future for _, future, _ in batch], answers)
            if ends:
                return


def _settle(futures: Sequence[asyncio.Future], answers: Sequence[Any]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # whoever asked has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
