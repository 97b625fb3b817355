"""Writing files on any Beam filesystem, so that each appears whole."""

import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from beam_pipelines.job import Job
from recsys_tft import arrow_ipc
from recsys_tft.arrow_ipc import Packed
from recsys_tft.output import open_to_write


def write_file(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Lets `write` fill a file beside `path`, and then names it so; a repeated attempt replaces it."""
    beside = f"{path}.{uuid.uuid4().hex}"
    with open_to_write(beside) as file:
        write(file)
    FileSystems.rename([beside], [path])


def write_rejected(name: str, rows: Packed, job: Job) -> Iterator[tuple[str, int]]:
    """Writes some rejected rows as Parquet below `rejected/`, and says how many."""
    table = arrow_ipc.loads(rows)
    write_file(job.output.staged("rejected", f"{name}.parquet"), lambda file: pq.write_table(table, file))
    yield f"written/rejected/{name.split('/')[0]}", len(table)
