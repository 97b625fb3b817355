"""Two-tower models of the rows of a run."""

import numpy as np
import tensorflow as tf

from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.retrieval.two_tower import TwoTower, features_for

# A coordinate of a vector sums 161 products at most, whose absolute values add up to less than 3 here. Processors add
# them in different orders, and so round differently: by some of float32's eps of that sum, small as the coordinate is.
ROUNDING = 4 * 3 * float(np.finfo(np.float32).eps)


def sizes_of(settings: Settings) -> dict[str, int]:
    return {f.name: 7 if f.vocabulary else f.op.categories(settings) for f in DEFAULT.select() if f.is_categorical}


def model_of(changes: dict) -> TwoTower:
    settings = parse({"title_encoder": "none"} | changes, "the test")
    widths = {feature.name: 5 for feature in DEFAULT.select() if feature.op.is_large}
    return TwoTower(*features_for(settings), sizes_of(settings), widths, settings)


def rows_of(model: TwoTower, side: str, rows: int) -> dict[str, tf.Tensor]:
    rng, found = np.random.default_rng(0), {}
    for feature in getattr(model, f"{side}_features"):
        shape = (5,) if feature.op.is_large else feature.op.shape(model.settings)
        shape = (3,) if shape is None else shape
        numbers = rng.integers(0, sizes_of(model.settings).get(feature.name, 2), (rows, *shape))
        found[feature.name] = tf.constant(numbers, tf.int64 if feature.is_categorical else tf.float32)
    return found
