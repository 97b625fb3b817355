"""Four small tables, and files of them."""

import pathlib

import pyarrow.parquet as pq
from workspace import Tables, good_rows, table_of

from recsys_tft.tables import raw_tables
from recsys_tft.tables.raw_tables import RawTable


def write(tables: Tables, folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, rows in tables.items():
        pq.write_table(rows, folder / f"{name}.parquet")


def good_tables() -> Tables:
    return {name: table_of(rows) for name, rows in good_rows().items()}


def rows_of(table: RawTable) -> list[dict]:
    read = [raw_tables.read(table, source, list(table.columns)) for source in table.sources]
    assert not any(len(rejected) for _, rejected in read)
    return [row for usable, _ in read for row in usable.to_pylist()]
