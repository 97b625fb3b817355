"""Checks of ops and statistics against their declarations, with errors that name the feature."""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError, reason
from recsys_tft.features import Feature
from recsys_tft.ops import Op
from recsys_tft.statistics import Statistic


@contextlib.contextmanager
def naming(name: str, called: Op | Statistic, method: str) -> Iterator[None]:
    """Name the feature, the class and the line in errors of ops and statistics.

    Args:
        name: of the feature, or of the fitted vocabulary.
        called: the op or statistic.
        method: the called method.

    Raises:
        InputError: in place of any other error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a user's own code may raise anything
        where = _line(error, called)
        raise InputError(
            f"The feature '{name}': {type(called).__name__}.{method} raised {type(error).__name__} "
            f"({reason(error)}){where}."
        ) from error


def _line(error: BaseException, called: Op | Statistic) -> str:
    """The last line of the op's module in the traceback, as ` at FILE, line N`."""
    file = getattr(sys.modules.get(type(called).__module__), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" at {file}, line {lines[-1]}" if lines else ""


def check_output(feature: Feature, made: Any, settings: Settings) -> None:
    """Refuse a tensor of another dtype, rank or width than its op declares.

    Args:
        feature: of the op.
        made: the output of the op, while the graph is traced.
        settings: of the run.

    Raises:
        InputError: naming the feature, the op, the declared and the actual output.
    """
    op, shape = feature.op, feature.op.shape(settings)
    if op.is_categorical and not op.vocabulary:
        count = op.categories(settings)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(
                f"The feature '{feature.name}': its op {type(op).__name__} numbers categories, but says that there are "
                f"{count}; `categories` must say how many, 0 for missing included, or `vocabulary` whose tokens."
            )
    dtype = tf.int64 if op.is_categorical else tf.float32
    if not _fits(made, dtype, shape):
        hint = ""
        if isinstance(made, tf.Tensor) and made.shape.rank is None:
            hint = " Let `apply` end with tf.ensure_shape."
        raise InputError(
            f"The feature '{feature.name}': its op {type(op).__name__} says that it makes {declared(op, settings)}, "
            f"but it makes {_made(made)}.{hint}"
        )


def _fits(made: Any, dtype: tf.DType, shape: tuple[int, ...] | None) -> bool:
    if shape is None:
        return (
            isinstance(made, tf.RaggedTensor)
            and made.ragged_rank == 1
            and made.flat_values.shape.rank == 1
            and made.dtype == dtype
        )
    if not isinstance(made, tf.Tensor) or made.dtype != dtype or made.shape.rank != 1 + len(shape):
        return False
    return tuple(made.shape[1:]) == tuple(shape)


def declared(op: Op, settings: Settings) -> str:
    """The declared output of an op, such as `numbers (float32 [batch])`."""
    shape, dtype = op.shape(settings), "int64" if op.is_categorical else "float32"
    what = "tokens" if op.vocabulary else "categories" if op.is_categorical else "numbers"
    if shape is None:
        return f"lists of {what} ({dtype}, a RaggedTensor)"
    return f"{what} ({dtype} [{', '.join(['batch', *map(str, shape)])}])"


def _made(value: Any) -> str:
    if isinstance(value, tf.Tensor) and value.shape.rank is not None:
        sizes = ["batch" if place == 0 else str(size or "?") for place, size in enumerate(value.shape)]
        return f"{value.dtype.name} [{', '.join(sizes)}]"
    if isinstance(value, tf.Tensor | tf.SparseTensor | tf.RaggedTensor):
        rank = "" if value.shape.rank is None else f" of rank {value.shape.rank}"
        kind = f"a {type(value).__name__}" if not isinstance(value, tf.Tensor) else "a tensor of unknown rank"
        return f"{kind} of {value.dtype.name}{rank}"
    return f"a {type(value).__name__}"


def check_result(name: str, statistic: Statistic, result: Any) -> None:
    """Refuse the result of a statistic of another dtype or shape than it declares.

    Raises:
        InputError: naming the feature or vocabulary, the statistic, the declared and the actual result.
    """
    made = np.asarray(result)
    kinds = {"int64": made.dtype == np.int64, "float32": made.dtype == np.float32, "string": made.dtype.kind in "SO"}
    sizes = statistic.shape
    same = len(sizes) == made.ndim and all(one in (None, size) for one, size in zip(sizes, made.shape, strict=True))
    if not kinds.get(statistic.dtype, False) or not same:
        raise InputError(
            f"The feature '{name}': its statistic {type(statistic).__name__} says that the result is "
            f"{statistic.dtype} {list(sizes)}, but it is {made.dtype} {list(made.shape)}."
        )


def check_categories(engineered: pa.Table, features: Sequence[Feature], settings: Settings) -> None:
    """Refuse categories beyond those that ops declare; tokens of vocabularies are within by construction.

    Raises:
        InputError: naming the feature, the op, and the value.
    """
    for feature in features:
        if feature.vocabulary or not feature.is_categorical:
            continue
        values, count = engineered[feature.name], feature.op.categories(settings)
        assert count is not None
        if pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
            values = pc.list_flatten(values)
        ends = pc.min_max(values).as_py()
        wrong = [end for end in ends.values() if end is not None and not 0 <= end < count]
        if wrong:
            raise InputError(
                f"The feature '{feature.name}': its op {type(feature.op).__name__} says that it numbers {count} "
                f"categories, 0 to {count - 1}, but it makes {wrong[0]}."
            )
