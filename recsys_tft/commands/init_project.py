"""`recsys-tft init`: a project with a feature table of the user's own, to start from."""

import pathlib

from recsys_tft.errors import InputError, reason

TEMPLATE = pathlib.Path(__file__).parents[1] / "project_template"
FILES = ("config.yaml", "features.py", "test_features.py", "README.md")


def write(folder: str) -> list[pathlib.Path]:
    """Write the files, and return their paths.

    Raises:
        InputError: if one of them is there already, or the folder cannot be written; nothing is written then.
    """
    targets = [pathlib.Path(folder, name) for name in FILES]
    there = [str(path) for path in targets if path.exists() or path.is_symlink()]
    if there:
        raise InputError(f"{', '.join(there)}: exists already and is not replaced; name another folder.")
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        for path in targets:
            with path.open("xb") as file:
                file.write((TEMPLATE / path.name).read_bytes())
    except OSError as error:
        raise InputError(f"{folder}: cannot write a project there ({reason(error)}).") from None
    return targets
