"""Requests that wait are answered together, in the order in which they came, on threads of their own."""

import asyncio
import contextlib
import math
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Full(Exception):
    """As many requests wait as may."""


class Batches(Generic[Asked, Answer]):
    """Batches of what is asked while others are answered; nothing waits for others to come.

    Args:
        answer: from [n] requests to [n] answers, of which an exception is one; on several threads at once.
        most: of a batch.
        waiting: how many may wait.
        threads: that answer. Each takes its share of what waits: while a graph runs for one, Python does for another.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        most: int,
        waiting: int,
        threads: int = 1,
    ):
        self._answer, self._most, self._limit = answer, most, waiting
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

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
        """Ends the threads when all that waits is answered."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            try:
                answers = self._answer([asked for asked, _, _ in batch])
            except Exception as error:  # a defect, which is the answer to all
                answers = [error for _ in batch]
            batch[0][2].call_soon_threadsafe(_settle, [future for _, future, _ in batch], answers)

    def _next(self) -> list:
        """What a thread answers next; nothing when it is to end."""
        found = [self._queue.get()]
        share = min(self._most, math.ceil((1 + self._queue.qsize()) / len(self._threads)))
        with contextlib.suppress(queue.Empty):
            while len(found) < share and found[-1] is not None:
                found.append(self._queue.get_nowait())
        if found[-1] is None:
            found.pop()
            if found:
                self._queue.put(None)  # the end comes after what is found
        return found


def _settle(futures: Sequence[asyncio.Future], answers: Sequence[Any]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # whoever asked has gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
