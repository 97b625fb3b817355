"""What framed bytes hold, by Python's own reading of them."""

import struct
from collections.abc import Iterator

import pyarrow as pa

from recsys_tft.storage.tf_example import encode_fragments
from recsys_tft.storage.tfrecord import frame


def records(framed: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each message, and the checksums of its size and of itself."""
    at = 0
    while at < len(framed):
        size, of_size = struct.unpack_from("<QI", framed, at)
        (of_message,) = struct.unpack_from("<I", framed, at + 12 + size)
        yield framed[at + 12 : at + 12 + size], of_size, of_message
        at += size + 16


def encode_examples(table: pa.Table) -> list[bytes]:
    """The serialized tf.Example of each row."""
    return [message for message, *_ in records(frame([(encode_fragments(table), None)]))]
