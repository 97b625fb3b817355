"""Rows of categories and numbers for models of trees."""

import numpy as np
import pandas as pd

ROWS = 100_000
CATEGORIES = (30, 8, 2, 200)
CATEGORICAL, NUMERIC = ("a", "b", "c", "d"), ("x", "y", "z")
COLUMNS = ("a", "x", "b", "c", "y", "d", "z")  # kinds alternate
EXTREMES = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0.0, -0.0], np.float32)


def table(rows: int, seed: int, wild: bool = False) -> pd.DataFrame:
    """Random rows; wild ones have categories never seen, and numbers of every kind."""
    random = np.random.default_rng(seed)
    tokens = np.stack([random.integers(0, size, rows) for size in CATEGORIES], 1)
    numbers = random.normal(size=(rows, 3)).astype(np.float32)
    numbers[:, :2][random.random((rows, 2)) < 0.1] = np.nan
    if wild:
        unseen = random.random(tokens.shape) < 0.1
        tokens[unseen] += random.choice([1000, 10**12, -(10**6)], int(unseen.sum()))
        strange = random.random(numbers.shape) < 0.3
        numbers[strange] = random.choice(EXTREMES, int(strange.sum()))
    found = {name: tokens[:, i] for i, name in enumerate(CATEGORICAL)}
    found |= {name: numbers[:, i] for i, name in enumerate(NUMERIC)}
    return pd.DataFrame(found)[list(COLUMNS)]


def labels(rows: pd.DataFrame) -> np.ndarray:
    """An exclusive or of columns, which no tree of few splits can tell."""
    noise = np.random.default_rng(7).random(len(rows)) < 0.05
    parts = (rows.a % 2 == 0, np.nan_to_num(rows.x) > 0, rows.b > 5, rows.d % 3 == 0, noise)
    return np.logical_xor.reduce([np.asarray(part) for part in parts]).astype(int)
