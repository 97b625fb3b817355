"""Answers waiting requests in batches, in their order, on own threads."""

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
    """The queue of requests is full."""


class Batches(Generic[Asked, Answer]):
    """Batches of the requests that arrived while others were answered; no request waits for a batch to fill.

    Args:
        answer: from [n] requests to [n] answers or exceptions; called on several threads at once.
        most: the size of a batch at most.
        waiting: the size of the queue.
        threads: that answer. Each takes its share of the queue: while a graph runs for one, Python runs for another.
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
        """The number of waiting requests."""
        return self._queue.qsize()

    async def ask(self, asked: Asked) -> Answer:
        """The answer to a request.

        Raises:
            Full: if the queue is full.
            Exception: if that is the answer.
        """
        if self._queue.qsize() >= self._limit:
            raise Full
        loop = asyncio.get_running_loop()
        future: asyncio.Future = loop.create_future()
        self._queue.put((asked, future, loop))
        return await future

    def close(self) -> None:
        """End the threads after the waiting requests."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            try:
                answers = self._answer([asked for asked, _, _ in batch])
            except Exception as error:  # a defect; it is the answer to all
                answers = [error for _ in batch]
            batch[0][2].call_soon_threadsafe(_settle, [future for _, future, _ in batch], answers)

    def _next(self) -> list:
        """The next batch of a thread; empty if it should end."""
        batch = [self._queue.get()]
        share = min(self._most, math.ceil((1 + self._queue.qsize()) / len(self._threads)))
        with contextlib.suppress(queue.Empty):
            while len(batch) < share and batch[-1] is not None:
                batch.append(self._queue.get_nowait())
        if batch[-1] is None:
            batch.pop()
            if batch:
                self._queue.put(None)  # the end comes after what is found
        return batch


def _settle(futures: Sequence[asyncio.Future], answers: Sequence[Any]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # the client is gone
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
