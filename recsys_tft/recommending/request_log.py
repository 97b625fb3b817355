"""A log of requests: the raw columns of some of them in Parquet files, for `recsys-tft compare`.

A request is noted in memory, and a thread of its own writes files: each of at most so many rows, or of so many seconds.
What cannot be written is counted and left out; no request waits for it, or fails.
"""

import atexit
import contextlib
import datetime
import os
import pathlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.errors import InputError, reason
from recsys_tft.recommending.request import Request
from recsys_tft.recommending.tallies import OF_GROUP
from recsys_tft.storage.hashing import keyed_hash, unit_interval

PREFIX, IS_KNOWN = "requests-", "is_known"
_AT_ONCE = 256  # requests that are put into one table
_WAITING = 10_000  # requests that may wait for the thread
_Known = Mapping[str, pa.Array]


def files(folder: str) -> list[pathlib.Path]:
    """The files of a log of requests, in the order of their names; none where a folder is no such log."""
    return sorted(pathlib.Path(folder).glob(f"{PREFIX}*.parquet"))


class RequestLog:
    """Writes the raw columns of requests.

    Args:
        folder: of the files, which is made if it is not there.
        rate: the share of requests that are noted, above 0 and at most 1: those of which a hash of the user and the
            time says so.
        rows: of a file at most.
        seconds: after which a file is written that is not full.
        say: is told once why files cannot be written, and again if that happens after some could be.

    Attributes:
        written: requests that are in files.
        lost: requests that could not be written.

    Raises:
        InputError: if the folder cannot be made, or the rate is none.
    """

    def __init__(
        self,
        folder: str,
        rate: float = 1.0,
        rows: int = 10_000,
        seconds: float = 60.0,
        say: Callable[[str], None] = lambda _: None,
    ):
        if not 0 < rate <= 1:
            raise InputError(f"The rate of the log of requests is {rate}; expected above 0 and at most 1.")
        self._folder, self._rate, self._rows, self._seconds, self._say = pathlib.Path(folder), rate, rows, seconds, say
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: no log of requests can be written there ({reason(error)}).") from None
        self.written = self.lost = self._files = 0
        self._is_told, self._is_closed, self._counting = False, False, threading.Lock()
        self._queue: queue.Queue[_Known | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def note(self, requests: Sequence[Request], known: Sequence[_Known], are_known: Sequence[bool]) -> None:
        """Notes requests, those that are drawn.

        Args:
            requests: [n] of them.
            known: [1] raw columns of the user and the moment of each.
            are_known: whether the user of each has a row.
        """
        codes, times = ([each.code for each in requests], [each.time for each in requests])
        drawn = unit_interval(keyed_hash(np.array(codes), np.array(times))) < self._rate
        for place in np.flatnonzero(drawn).tolist():
            request, own = requests[place], {n: v for n, v in known[place].items() if not n.startswith(OF_GROUP)}
            if request.user is None:
                own["user_id"] = pa.nulls(1, own["user_id"].type)
            try:
                self._queue.put_nowait({**own, IS_KNOWN: pa.array([are_known[place]])})
            except queue.Full:
                self._lose(1)

    def close(self) -> None:
        """Writes what is noted, and ends the thread; what comes later is not written."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
            self._thread.join()
            atexit.unregister(self.close)

    def _work(self) -> None:
        tables: list[pa.Table] = []
        begun, is_open = time.monotonic(), True
        while is_open:
            size = sum(map(len, tables))
            noted, is_open = self._noted(min(_AT_ONCE, self._rows - size), begun + self._seconds - time.monotonic())
            with self._losing(len(noted)):
                tables += [pa.concat_tables(map(pa.table, noted), promote_options="default")] if noted else []
            is_due = time.monotonic() - begun >= self._seconds
            if size + len(noted) >= self._rows or is_due or not is_open:
                with self._losing(sum(map(len, tables))):
                    self._write(tables)
                tables, begun = [], time.monotonic()

    @contextlib.contextmanager
    def _losing(self, size: int) -> Iterator[None]:
        """Counts so many requests as lost, and says why, if what is done fails in any way: requests go on."""
        try:
            yield
        except Exception as error:
            self._lose(size)
            if not self._is_told:
                self._say(f"{self._folder}: {size:,} requests cannot be logged ({reason(error)})")
            self._is_told = True

    def _lose(self, size: int) -> None:
        with self._counting:
            self.lost += size

    def _noted(self, most: int, seconds: float) -> tuple[list[_Known], bool]:
        """Some requests, as they are there after so many seconds at last; and whether there may be more."""
        end = time.monotonic() + seconds
        found: list[_Known] = []
        while len(found) < most:
            try:
                one = self._queue.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                return found, True
            if one is None:
                return found, False
            found.append(one)
        return found, True

    def _write(self, tables: Sequence[pa.Table]) -> None:
        size = sum(map(len, tables))
        if not size:
            return
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
        self._files += 1
        name = f"{PREFIX}{moment}-{os.getpid()}-{self._files:06d}.parquet"
        staged = self._folder / f".{name}"
        try:
            pq.write_table(pa.concat_tables(tables, promote_options="default"), staged, compression="zstd")
            staged.replace(self._folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                staged.unlink()
            raise
        self.written, self._is_told = self.written + size, False
