"""Where a measurement has its data."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def chosen(folder: pathlib.Path | None) -> Iterator[pathlib.Path]:
    """A folder that is kept, and made if it is not there; without one a temporary one, which is removed in the end."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield pathlib.Path(temporary)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
