"""A sample of the rows that a run wrote, from every file of a data folder."""

import math
from collections.abc import Sequence

import numpy as np

from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.serving.saved_graphs import stack
from recsys_tft.training import training_rows


def sample(
    folder: DataFolder, names: Sequence[str], total: int, rows: int | None, seed: int
) -> tuple[dict[str, np.ndarray], int]:
    """Columns of sampled rows, lists padded with 0 to the longest; and the number of rows of the folder.

    Each file contributes its share, at least one row.

    Args:
        folder: of one data set and split.
        names: of the columns.
        total: how many rows the folder should have.
        rows: how many to sample; None for all.
        seed: of the choice.

    Raises:
        InputError: if a file is damaged, or lacks one of the columns.
    """
    share = 1.0 if rows is None or total <= rows else rows / total
    random = np.random.default_rng(seed)
    parts, size = [], 0
    for file in folder.files:
        read = _read(folder, file, names)
        count = len(next(iter(read.values())))
        chosen = np.sort(random.choice(count, min(count, math.ceil(share * count)), replace=False))
        parts.append({name: values[chosen] for name, values in read.items()})
        size += count
    parts = parts or [training_rows.columns(folder, names)]
    return {name: stack([part[name] for part in parts]) for name in names}, size


def _read(folder: DataFolder, file: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    one = DataFolder(folder.path)
    one.files = [file]
    return training_rows.columns(one, names)
