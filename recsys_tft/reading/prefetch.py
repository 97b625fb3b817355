"""Prefetching on background threads: bounded, and in order."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def prefetch(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Apply the function to each item on background threads, and yield the results in order.

    One thread takes the items, and `threads` call the function; at most two more results than threads are waiting.
    Errors of either are raised in their place. When the iterator is closed or deleted, all threads end.

    Args:
        function: should release the GIL.
        items: need not be thread-safe.
        threads: 0: everything runs on the caller's thread, on demand.
    """
    if not threads:
        yield from map(function, items)
        return
    waiting: queue.Queue = queue.Queue(threads + 2)
    stopped = threading.Event()
    pool = ThreadPoolExecutor(threads, "recsys_tft-reading")
    feeder = threading.Thread(target=_feed, args=(function, items, pool, waiting, stopped), daemon=True)
    feeder.start()
    try:
        while (future := waiting.get()) is not _END:
            yield future.result()
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()  # makes room, so that the feeder sees that it should stop
        feeder.join()
        pool.shutdown(cancel_futures=True)


def _feed(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    pool: ThreadPoolExecutor,
    waiting: queue.Queue,
    stopped: threading.Event,
) -> None:
    try:
        for item in items:
            waiting.put(pool.submit(function, item))
            if stopped.is_set():
                return
    except BaseException as error:  # of any kind; raised where results are awaited
        failed: Future = Future()
        failed.set_exception(error)
        waiting.put(failed)
    waiting.put(_END)
