"""Raw tables with ids of another kind in the place of integers."""

import pathlib
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.columns import IdKind

KEYS = {"user_id": "user_id", "video_id": "video_id", "channel_id": "channel_id", "history_video_ids": "video_id"}
# Each is another id: that of a number and, with leading zeros, that of the number before, in lower and upper case ...
_ODD = ("{0}", "00{1}", "a{0}", "A{1}", "-x {0}", "{0}\n/🎬", "{0}\x00", "{1}", "é[b]{0}\x1b[31m", "x" * 200 + "{0}")


def text(number: int, kind: IdKind = IdKind.STRING, key: str = "video_id") -> str:
    """The id as it is shown: a string of odd characters, a UUID, or a number of more than 63 bits in decimal."""
    if kind is IdKind.UUID:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key}{number}"))
    if kind is IdKind.UINT64:
        return str(number + 2**63)
    return _ODD[number % len(_ODD)].format(number, number - 1)


def _of_kind(values: pa.Array, kind: IdKind, key: str) -> pa.Array:
    if pa.types.is_list(values.type):
        return pa.ListArray.from_arrays(values.offsets, _of_kind(values.values, kind, key))
    encoded = values.dictionary_encode()
    texts = [text(number, kind, key) for number in encoded.dictionary.to_pylist()]
    found = {
        IdKind.UUID: lambda: pa.array([uuid.UUID(given).bytes for given in texts], pa.binary(16)),
        IdKind.UINT64: lambda: pa.array([int(given) for given in texts], pa.uint64()),
        IdKind.STRING: lambda: pa.array(texts, pa.string()),
    }[kind]()
    return found.take(encoded.indices)


def rewrite(source: pathlib.Path, target: pathlib.Path, kind: IdKind) -> pathlib.Path:
    """Writes the four tables of a folder to another one, with ids of a kind."""
    target.mkdir(parents=True)
    for file in source.glob("*.parquet"):
        table = pq.read_table(file)
        for place, name in enumerate(table.column_names):
            if name in KEYS:
                table = table.set_column(place, name, _of_kind(table[name].combine_chunks(), kind, KEYS[name]))
        pq.write_table(table, target / file.name)
    return target
