"""A log of requests: raw columns of a sample of them in Parquet files, for `recsys-tft compare`.

Requests are queued in memory, and a thread writes files of limited rows and seconds. Requests that cannot be written
are counted and dropped; none waits or fails because of the log.
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
_AT_ONCE = 256  # requests of one table
_WAITING = 10_000  # requests in the queue
_Known = Mapping[str, pa.Array]


def files(folder: str) -> list[pathlib.Path]:
    """The files of a log of requests, by name; empty if the folder is not a log."""
    return sorted(pathlib.Path(folder).glob(f"{PREFIX}*.parquet"))


class RequestLog:
    """Writes the raw columns of requests.

    Args:
        folder: of the files; created if it does not exist.
        rate: the share of requests to log, above 0 and at most 1, drawn by a hash of user and time.
        rows: the most of a file.
        seconds: after which a file is written even if it is not full.
        say: is told once why files cannot be written, and again after some could be.

    Attributes:
        written: requests that are in files.
        lost: requests that could not be written.

    Raises:
        InputError: if the folder cannot be made, or the rate is out of range.
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
        """Queue a sample of requests.

        Args:
            requests: [n] requests.
            known: [1] raw columns of the user and the moment of each.
            are_known: whether the user of each has a row.
        """
        codes, times = ([item.code for item in requests], [item.time for item in requests])
        drawn = unit_interval(keyed_hash(np.array(codes), np.array(times))) < self._rate
        for place in np.flatnonzero(drawn).tolist():
            request, columns = requests[place], {n: v for n, v in known[place].items() if not n.startswith(OF_GROUP)}
            if request.user is None:
                columns["user_id"] = pa.nulls(1, columns["user_id"].type)
            try:
                self._queue.put_nowait({**columns, IS_KNOWN: pa.array([are_known[place]])})
            except queue.Full:
                self._count_lost(1)

    def close(self) -> None:
        """Write the queued requests, and end the thread; later requests are dropped."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
            self._thread.join()
            atexit.unregister(self.close)

    def _work(self) -> None:
        tables: list[pa.Table] = []
        started, is_open = time.monotonic(), True
        while is_open:
            size = sum(map(len, tables))
            requests, is_open = self._take_waiting(
                min(_AT_ONCE, self._rows - size), started + self._seconds - time.monotonic()
            )
            with self._counting_losses(len(requests)):
                tables += [pa.concat_tables(map(pa.table, requests), promote_options="default")] if requests else []
            is_due = time.monotonic() - started >= self._seconds
            if size + len(requests) >= self._rows or is_due or not is_open:
                with self._counting_losses(sum(map(len, tables))):
                    self._write(tables)
                tables, started = [], time.monotonic()

    @contextlib.contextmanager
    def _counting_losses(self, size: int) -> Iterator[None]:
        """Count requests as lost, and report why, if the block fails in any way."""
        try:
            yield
        except Exception as error:
            self._count_lost(size)
            if not self._is_told:
                self._say(f"{self._folder}: {size:,} requests cannot be logged ({reason(error)})")
            self._is_told = True

    def _count_lost(self, size: int) -> None:
        with self._counting:
            self.lost += size

    def _take_waiting(self, most: int, seconds: float) -> tuple[list[_Known], bool]:
        """Take requests from the queue, for at most some seconds; and whether there may be more."""
        end = time.monotonic() + seconds
        requests: list[_Known] = []
        while len(requests) < most:
            try:
                request = self._queue.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                return requests, True
            if request is None:
                return requests, False
            requests.append(request)
        return requests, True

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
