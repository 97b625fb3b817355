"""Config files: reading one, local or on any Beam filesystem, as YAML."""

from collections.abc import Mapping
from typing import Any

from recsys_tft.configuration import presets, yaml_text
from recsys_tft.configuration.yaml_text import LARGEST, Document, WrongYamlError
from recsys_tft.errors import InputError, did_you_mean, reason
from recsys_tft.storage import places
from recsys_tft.storage.files import open_to_read


def document(path: str) -> Document:
    """The contents of a file or a preset.

    Raises:
        InputError: if it cannot be read, or is no YAML.
    """
    try:
        data = _bytes(path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        meant = did_you_mean(path, presets.files()) if path.isidentifier() else ""
        raise InputError(f"{path}: cannot read the config ({reason(error)}).{meant}") from None
    if len(data) > LARGEST:
        raise InputError(f"{path}: more than {LARGEST >> 20} MiB, too large for a config.")
    try:
        return yaml_text.read(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte {data[error.start]:#04x}"
        raise InputError(f"{path}: not a YAML file (line {line}: {byte} is not UTF-8; save it as UTF-8).") from None
    except WrongYamlError as error:
        raise InputError(f"{path}: not a YAML file ({error}).") from None


def as_written(beam: dict[str, Any], written: Mapping[tuple[str | int, ...], str]) -> None:
    """Give options of Beam the text that a command line would hold, but for true and false."""
    for path, text in written.items():
        match path:
            case ("beam", str(option)) if not isinstance(beam[option], bool) and str(beam[option]) != text:
                beam[option] = text
            case ("beam", str(option), place) if isinstance(beam[option], list):
                beam[option][place] = text


def _bytes(path: str) -> bytes:
    if places.scheme(path):
        places.check("--config", path)
        return places.answered(path, lambda: _remote_bytes(path))
    with open(presets.resolved(path), "rb") as file:  # without importing Beam, which takes seconds
        return file.read(LARGEST + 1)


def _remote_bytes(path: str) -> bytes:
    with open_to_read(path) as file:
        return file.read(LARGEST + 1)
