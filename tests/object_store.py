"""An object store for tests: TensorFlow's files in memory, `ram://`, which Beam is shown without any folders."""

import io

import tensorflow as tf
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem


class _Object(io.BytesIO):
    """An object that appears when it is closed."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            tf.io.gfile.makedirs(self._path.rpartition("/")[0])
            with tf.io.gfile.GFile(self._path, "wb") as file:
                file.write(self.getvalue())
        super().close()


class ObjectStore(FileSystem):
    """As Beam's GCSFileSystem answers: nothing is a folder, none can be moved, and a listing is of a prefix."""

    @classmethod
    def scheme(cls) -> str:
        return "ram"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join((basepath.rstrip("/"), *(path.strip("/") for path in paths)))

    def split(self, path: str) -> tuple[str, str]:
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str):
        root = dir_or_prefix.rsplit("/", 1)[0]
        for folder, _, names in tf.io.gfile.walk(root) if tf.io.gfile.isdir(root) else ():
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                if path.startswith(dir_or_prefix) and self.exists(path):
                    yield self.metadata(path)

    def create(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> io.BytesIO:
        return _Object(path)

    def open(self, path: str, mime_type: str = "", compression_type: str = CompressionTypes.AUTO) -> io.BytesIO:
        with tf.io.gfile.GFile(path, "rb") as file:
            return io.BytesIO(file.read())

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        raise NotImplementedError  # Beam's interface has it, and nothing here copies

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        failed = {}
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            if self.exists(source):
                tf.io.gfile.makedirs(destination.rpartition("/")[0])
                tf.io.gfile.rename(source, destination, overwrite=True)
            else:
                failed[source, destination] = FileNotFoundError(source)
        if failed:
            raise BeamIOError("Rename operation failed", failed)

    def exists(self, path: str) -> bool:
        return tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)

    def size(self, path: str) -> int:
        return tf.io.gfile.stat(path).length

    def last_updated(self, path: str) -> float:
        return 0.0

    def checksum(self, path: str) -> str:
        return ""

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, self.size(path), 0.0)

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            if self.exists(path):
                tf.io.gfile.remove(path)
