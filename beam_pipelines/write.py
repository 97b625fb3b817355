"""Writing rejected rows."""

from collections.abc import Iterator

import pyarrow.parquet as pq

from recsys_tft.beam_pipelines.job import Job
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.storage.files import write_file


def write_rejected(name: str, rows: Packed, job: Job) -> Iterator[tuple[str, int]]:
    """Writes some rejected rows as Parquet below `rejected/`, and yields their number."""
    table = arrow_ipc.loads(rows)
    write_file(job.output.staged("rejected", f"{name}.parquet"), lambda file: pq.write_table(table, file))
    yield f"written/rejected/{name.split('/')[0]}", len(table)
