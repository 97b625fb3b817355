"""MovieLens-100K in a few lines, as GroupLens publishes it."""

import pathlib

from recsys_tft.tables import movielens


def _flags(*genres: str) -> str:
    return "|".join(str(int(genre in genres)) for genre in movielens.GENRES)


GROUPLENS_FILES = {
    "u.data": b"1\t10\t4\t881250949\n2\t10\t3\t891717742\n1\t11\t5\t878887116\n",
    "u.item": (
        f'10|Caf\xe9 "Noir" (1995)|01-Feb-1995||http://x|{_flags("Comedy", "Drama", "Sci-Fi")}\n'
        f"11|Only a Year (1994)|||http://x|{_flags('War')}\n"
        f"12|unknown||||{_flags()}\n"
    ).encode("latin-1"),
    "u.user": b"1|24|M|technician|85711\n2|53|F|other|94043\n",
}


def _folder(path: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path
