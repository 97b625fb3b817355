"""A cache of title vectors across runs: Parquet files on any filesystem of Beam.

A file is written once, sorted by the hash of the title, and named after the range of its hashes and the sha256 of its
bytes: writers never conflict, damage is detected, and a lookup reads only files whose range has its titles. Callers
that split titles by `owner` write files of narrow ranges, and each reads only its own.
"""

import hashlib
import pathlib
import posixpath
import re
import stat
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_tft.errors import InputError, reason
from recsys_tft.storage import ownership

KEY_BYTES = 16  # of the title's sha256
_ROWS_PER_FILE = 1 << 12  # 6 MB at width 384, read by a lookup of one title
_NAME = re.compile(r"([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{32})\.parquet")
_DAMAGE = (OSError, ValueError, KeyError, pa.ArrowException)  # what reading a broken file raises


# Files that lookups of this process could not use, with reasons; reported at the end of the job.
NOTICED: dict[str, str] = {}


class EmbeddingCache:
    """The vectors of one encoder.

    Attributes:
        folder: of the files of this encoder.
        ignored: {path: reason} of files that lookups could not use; their titles count as not found.
    """

    def __init__(self, folder: str, fingerprint: str, width: int) -> None:
        self.folder = posixpath.join(folder, fingerprint)
        self._parent = folder
        for path in (folder, self.folder):
            ownership.check("encoder_cache", path)
        self.ignored: dict[str, str] = {}
        self._width = width
        fields = [("title_hash", pa.binary(KEY_BYTES)), ("vector", pa.binary(4 * width))]  # float32, little-endian
        described = {"encoder": fingerprint, "width": str(width)}
        self._schema = pa.schema([pa.field(*field, nullable=False) for field in fields], described)

    def lookup(self, titles: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of [n] strings or bytes without nulls.

        Returns:
            [n, width] float32, equal in every bit to what was added, 0 if not found; and [n] bool, whether found.

        Raises:
            InputError: the folder cannot be listed.
        """
        keys = hashes(titles)
        vectors, found = np.zeros((len(keys), self._width), np.float32), np.zeros(len(keys), bool)
        for path, low, high in self._files() if len(keys) else ():
            missing = np.flatnonzero(~found & _between(keys, low, high))
            if len(missing):
                hits, rows = self._read(path, keys.take(pa.array(missing)))
                vectors[missing[hits]], found[missing[hits]] = rows, True
        return vectors, found

    def add(self, titles: pa.Array, vectors: np.ndarray) -> None:
        """Keep the vectors [n, width] float32 of [n] distinct strings or bytes without nulls.

        Raises:
            InputError: a vector isn't finite or not of this width, or the folder cannot be written.
        """
        if vectors.shape != (len(titles), self._width) or vectors.dtype != np.float32:
            raise InputError(f"The cache keeps [{len(titles)}, {self._width}] float32, not {_described(vectors)}.")
        if not np.isfinite(vectors).all():
            row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise InputError(f"The title encoder's vector of {titles[row].as_py()!r} is not finite.")
        keys = hashes(titles)
        order = pc.sort_indices(keys).to_numpy()
        for start in range(0, len(order), _ROWS_PER_FILE):
            rows = order[start : start + _ROWS_PER_FILE]
            self._write(keys.take(pa.array(rows)), vectors[rows])

    def _files(self) -> Iterator[tuple[str, int, int]]:
        """Path, and first and last range of hashes, of each file, in the order of their names."""
        pattern = posixpath.join(re.sub(r"([*?[])", r"[\1]", self.folder), "*.parquet")
        try:
            paths = sorted(file.path for file in _filesystems().match([pattern])[0].metadata_list)
        except OSError as error:
            raise InputError(f"encoder_cache: {self.folder} cannot be listed ({reason(error)}).") from error
        for path in paths:
            if named := _NAME.fullmatch(posixpath.basename(path)):
                yield path, int(named[1], 16), int(named[2], 16)
            else:
                self.ignored[path] = "its name is not one of this cache"

    def _read(self, path: str, keys: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """The keys in the file, as indices, and their vectors; none if it cannot be used."""
        try:
            with _filesystems().open(path, compression_type="uncompressed") as stream:
                table = self._verified(path, stream.read())
            rows = pc.index_in(keys, table["title_hash"].combine_chunks())
            return np.flatnonzero(rows.is_valid()), self._floats(table["vector"].combine_chunks(), rows.drop_null())
        except _DAMAGE as error:
            self.ignored[path] = NOTICED[path] = " ".join(str(error).split())[:200]
            return np.zeros(0, np.int64), np.zeros((0, self._width), np.float32)

    def _verified(self, path: str, data: bytes) -> pa.Table:
        """The file's table; ValueError if it is damaged, or of another encoder."""
        named = _NAME.fullmatch(posixpath.basename(path))
        if named is None or _digest(data) != named[3]:
            raise ValueError(f"damaged: the sha256 of its {len(data)} bytes is not the one in its name")
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        if not table.schema.equals(self._schema, check_metadata=True):
            raise ValueError(f"made for {table.schema.metadata}, not {self._schema.metadata}")
        return table

    def _floats(self, column: pa.Array, rows: pa.Array) -> np.ndarray:
        """[rows, width] float32 out of a column of their bytes."""
        vectors = np.frombuffer(column.take(rows).buffers()[1], "<f4", len(rows) * self._width)
        if not np.isfinite(vectors).all():
            raise ValueError("holds a vector that is not finite")
        return vectors.reshape(-1, self._width)

    def _make_folders(self) -> None:
        """Make local folders, private to this user unless the outer one exists already."""
        if "://" in self.folder or pathlib.Path(self.folder).is_dir():
            return
        mode = stat.S_IMODE(ownership.private_folder("encoder_cache", self._parent).stat().st_mode)
        ownership.private_folder("encoder_cache", self.folder).chmod(mode)

    def _write(self, keys: pa.Array, vectors: np.ndarray) -> None:
        """Write a file of sorted keys atomically."""
        column = _bytes_array(np.ascontiguousarray(vectors, "<f4"), 4 * self._width)
        memory = pa.BufferOutputStream()
        pq.write_table(
            pa.table([keys, column], schema=self._schema), memory,
            compression="none", use_dictionary=False, write_statistics=False,
        )  # fmt: skip
        data = memory.getvalue().to_pybytes()
        first, last = (f"{prefix:04x}" for prefix in _prefixes(keys)[[0, -1]])
        path = posixpath.join(self.folder, f"{first}-{last}-{_digest(data)}.parquet")
        beside = f"{path}.{uuid.uuid4().hex}"
        self._make_folders()
        try:
            with _filesystems().create(beside, compression_type="uncompressed") as stream:
                stream.write(data)
            _filesystems().rename([beside], [path])
        except OSError as error:
            raise InputError(f"encoder_cache: {path} cannot be written ({reason(error)}).") from error


def hashes(titles: pa.Array) -> pa.Array:
    """[n] strings or bytes without nulls to [n] fixed-size binary: the first 16 bytes of each one's sha256."""
    digests = (hashlib.sha256(title).digest()[:KEY_BYTES] for title in titles.cast(pa.large_binary()).to_pylist())
    return _bytes_array(b"".join(digests), KEY_BYTES)


def owner(titles: pa.Array, owners: int) -> np.ndarray:
    """[n] int64 in 0 .. owners - 1: the range of hashes of each title, out of that many equal ones."""
    return _prefixes(hashes(titles)).astype(np.int64) * owners >> 16


def _prefixes(keys: pa.Array) -> np.ndarray:
    """[n] uint16, the first two bytes of each key, which order like the keys."""
    if not len(keys):
        return np.zeros(0, np.uint16)
    return np.frombuffer(keys.buffers()[1], ">u2").reshape(-1, KEY_BYTES // 2)[keys.offset : keys.offset + len(keys), 0]


def _between(keys: pa.Array, low: int, high: int) -> np.ndarray:
    prefixes = _prefixes(keys)
    return (low <= prefixes) & (prefixes <= high)


def _bytes_array(data: bytes | np.ndarray, size: int) -> pa.Array:
    """[n] fixed-size binary from concatenated values."""
    buffer = pa.py_buffer(data)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), buffer.size // size, [None, buffer])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _described(vectors: np.ndarray) -> str:
    return f"{list(vectors.shape)} {vectors.dtype}"


def _filesystems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
