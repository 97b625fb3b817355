"""Tables with texts in the place of integers, in the same order, so that a run makes the same of them but for ids."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
from odd_ids import KEYS

# What the ids of one to ten have behind them, and so on; the digits in front keep the order of the numbers.
_ENDS = ("", "\n", "\0", "/", "\U0001f3ac", "x" * 200, " ", "A", "a", '\x1b[31m|,"é')
KEYS_OF = {"users": "user_id", "videos": "video_id", "channels": "channel_id", "interactions": "user_id"}
STORED = {  # by table, how its ids are stored
    "users": pa.string_view(),
    "videos": pa.large_string(),
    "channels": pa.binary(),
    "interactions": pa.large_binary(),
}
REJECTED = {  # rows that these tables have besides: one of their ids, and the reason
    "users": [(" 000001\n", "user_id occurs in an earlier row"), ("", "user_id is empty")],
    "videos": [(" 000002\0", "video_id occurs in an earlier row"), (None, "video_id is null")],
    "channels": [],
    "interactions": [("7", "user_id is not in users"), (" 000001", "user_id is not in users")],
}


def text(number: int) -> str:
    """The id that stands for a number below a million."""
    return f" {number:06}{_ENDS[number % len(_ENDS)]}"


def number_of(given: bytes) -> int:
    """The number that an id stands for; the id is the one that was given."""
    number = int(given[1:7])
    assert given == text(number).encode()
    return number


def rewrite(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Writes the tables of a folder to another one, with ids of text, stored otherwise in each table, and REJECTED."""
    target.mkdir(parents=True)
    for file in source.glob("*.parquet"):
        table = pq.read_table(file)
        for place, name in enumerate(table.column_names):
            if name in KEYS:
                encoded = table[name].combine_chunks().dictionary_encode()
                texts = pa.array(map(text, encoded.dictionary.to_pylist()), pa.string())
                stored = texts.take(encoded.indices).cast(STORED[file.stem])
                table = table.set_column(place, pa.field(name, stored.type), stored)
        key = KEYS_OF[file.stem]
        bad = table.slice(0, 1).to_pylist() * len(REJECTED[file.stem])
        rows = [row | {key: told} for row, (told, _) in zip(bad, REJECTED[file.stem], strict=True)]
        pq.write_table(pa.concat_tables([table, pa.Table.from_pylist(rows, table.schema)]), target / file.name)
    return target
