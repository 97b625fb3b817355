"""`check_op`: a contract test for your project's own ops."""

import contextlib
import dataclasses
import functools
import itertools
import json
import pathlib
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_tft.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

    from recsys_tft.columns import Column
    from recsys_tft.configuration.settings import Settings
    from recsys_tft.features import Feature
    from recsys_tft.ops import Fitting, Op
    from recsys_tft.statistics import Statistic

Row = tuple[Any, ...]
_NAME = "the_feature"


def check_op(
    op: "Op",
    columns: "Sequence[Column]",
    rows: Sequence[Row],
    settings: "Settings | None" = None,
    missing: Any = None,
) -> list[Any]:
    """Test the contract of ops, and return the op's values for the rows, on which it is fitted.

    The op is a frozen dataclass that pickles; its output has the declared dtype, shape and range, in a graph and
    eagerly; the value of a row depends on no other row and no batch; rows in which all columns are missing become 0,
    zeros or an empty list; and its statistic depends neither on the order of rows nor on batches.

    Args:
        op: under test.
        columns: that it reads, such as `TABLE.raw["age"]`.
        rows: for each row the raw values of the columns; None if missing, lists for columns of lists. A row in which
            all are missing is added.
        settings: by default the default settings.
        missing: the value of a row in which all columns are missing, if it is not 0, zeros or an empty list.

    Returns:
        For each of the rows its value: a number, or a list.

    Raises:
        AssertionError: with the broken rule.

    Examples:
        >>> from recsys_tft.default_table import DEFAULT
        >>> from recsys_tft.number_ops import DayOfWeek
        >>> from recsys_tft.testing import check_op
        >>> check_op(DayOfWeek(), [DEFAULT.raw["interaction_time"]], [(0,), (86_400_000_000,), (None,)])
        [4, 5, 0]
    """
    from recsys_tft.configuration.settings import Settings

    with _refusals(op), tempfile.TemporaryDirectory() as folder:
        trial = _Trial(op, tuple(columns), Settings() if settings is None else settings)
        trial.check_said()
        every = [*rows, (None,) * len(columns)]
        fitting, numbers = trial.fitted(every, pathlib.Path(folder))
        values = trial.check_rows(every, fitting)
        trial.check_range(values, folder)
        trial.check_missing(values[-1], missing)
        trial.check_described(numbers)
    return [value.tolist() for value in values[:-1]]


@contextlib.contextmanager
def _refusals(op: "Op") -> Iterator[None]:
    """Name the op in assertions, and turn refusals of the graph into assertions."""
    try:
        yield
    except (AssertionError, InputError) as error:
        raise AssertionError(f"{type(op).__name__}: {error}") from error


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"{sentence}.")


@dataclasses.dataclass(frozen=True)
class _Trial:
    """An op, the columns that it reads, and the settings of a run."""

    op: "Op"
    columns: "tuple[Column, ...]"
    settings: "Settings"

    @functools.cached_property
    def feature(self) -> "Feature":
        from recsys_tft.features import Feature

        return Feature(_NAME, tuple(column.name for column in self.columns), self.op, (), columns=self.columns)

    @functools.cached_property
    def shape(self) -> tuple[int, ...] | None:
        return self.op.shape(self.settings)

    def check_said(self) -> None:
        """Check the op's own declarations."""
        op = self.op
        frozen = dataclasses.is_dataclass(op) and type(op).__dataclass_params__.frozen
        _require(frozen, "must be a frozen dataclass: @dataclasses.dataclass(frozen=True)")
        _check_copy(op, "the op")
        text = getattr(op, "missing", None)
        _require(isinstance(text, str) and bool(text), "`missing` must say in words what a missing row becomes")
        if op.once_per_value:
            _require(len(self.columns) == 1, f"computes each value once, so reads one column, not {len(self.columns)}")
            lists = self.columns[0].is_list and self.shape is not None
            _require(not lists, "computes each value of a list once, so it has to make lists: `shape` is None")

    def read(self, rows: Sequence[Row], wider: int = 0) -> "list[tf.SparseTensor]":
        """The columns of rows as tensors of the graph."""
        import pyarrow as pa
        import tensorflow as tf

        from recsys_tft import graph_inputs, transform_graph

        tensors = []
        for place, column in enumerate(self.columns):
            for row in rows:
                _require(len(row) == len(self.columns), f"{row!r} has {len(row)} values, not {len(self.columns)}")
            array = pa.array([row[place] for row in rows], column.type)
            typed = array if column.is_list else array.cast(column.graph_type)
            tensor = graph_inputs.sparse(transform_graph.sparse_of(typed, column), column)
            shape = tensor.dense_shape + tf.constant([0, wider], tf.int64)
            tensors.append(tf.SparseTensor(tensor.indices, tensor.values, shape))
        return tensors

    # --- Fitting

    def fitted(self, rows: Sequence[Row], folder: pathlib.Path) -> "tuple[Fitting, Mapping[str, np.ndarray]]":
        """Fit the op on rows: the input of `apply`, and the results that are not files."""
        import tensorflow as tf

        from recsys_tft.ops import FittedGraph, Fitting
        from recsys_tft.output_checks import check_result, naming

        op, name = self.op, self.feature.fitted_name
        (folder / "assets").mkdir()
        numbers = {}
        with naming(_NAME, op, "statistic"):
            request = op.statistic(self.read(rows), self.settings)
        if request is None and op.vocabulary:  # which another op fits
            request = self.read(rows)[0].values, op.vocabulary.statistic(op.vocabulary.options(self.settings))
        elif request is not None:
            self._check_statistic(request[1], rows)
        if request is not None:
            statistic = request[1]
            state = statistic.merge([statistic.of(request[0].numpy())])
            output = statistic.output(name, state, str(folder / "assets"))
            check_result(_NAME, statistic, output)
            numbers = {} if statistic.in_file else {name: output}
        with naming(_NAME, op, "served"):
            served = op.served(name, FittedGraph(self.settings, str(folder), numbers))
        served = tf.constant(served) if isinstance(served, np.ndarray) else served
        return Fitting(self.settings, {} if served is None else {name: served}), numbers

    def _check_statistic(self, statistic: "Statistic", rows: Sequence[Row]) -> None:
        """Check that it depends neither on the order of rows nor on batches."""
        _check_copy(statistic, f"its statistic {type(statistic).__name__}")
        expected = None
        for how, batches in _divisions(rows):
            states = [self._state(batch) for batch in batches]
            merged = statistic.merge(states)
            nested = functools.reduce(lambda one, other: statistic.merge([other, one]), states)
            parts = itertools.zip_longest(*(statistic.divided(state) for state in states))
            kept = [statistic.trimmed(statistic.merge([s for s in part if s is not None])) for part in parts]
            for way, state in (("", merged), (", merged two at a time", nested), (", divided", statistic.merge(kept))):
                bits = _bits(statistic.result(state))
                expected = bits if expected is None else expected
                _require(
                    bits == expected,
                    f"its statistic {type(statistic).__name__} gives another result for rows {how}{way}: it must "
                    "depend neither on their order nor on batches, to the last bit",
                )

    def _state(self, rows: Sequence[Row]) -> Any:
        """The state of a batch, as it travels between workers."""
        from recsys_tft.output_checks import naming

        with naming(_NAME, self.op, "statistic"):
            request = self.op.statistic(self.read(rows), self.settings)
        assert request is not None
        values, statistic = request
        with naming(_NAME, statistic, "of"):
            return pickle.loads(pickle.dumps(statistic.of(values.numpy())))

    # --- Output

    def traced(self, fitting: "Fitting") -> "Callable[..., Any]":
        """The op as a graph of batches of any size."""
        import tensorflow as tf

        from recsys_tft.graph_inputs import graph_dtype

        specs = [tf.SparseTensorSpec([None, None], graph_dtype(column)) for column in self.columns]
        return tf.function(lambda tensors: self._made(tensors, fitting), input_signature=[specs], autograph=False)

    def _made(self, tensors: "Sequence[tf.SparseTensor]", fitting: "Fitting") -> Any:
        from recsys_tft.output_checks import check_output, naming

        with naming(_NAME, self.op, "apply"):
            made = self.op.apply(_NAME, tensors, fitting)
        check_output(self.feature, made, self.settings)
        return made

    def check_rows(self, rows: Sequence[Row], fitting: "Fitting") -> list[np.ndarray]:
        """The values of rows, after a check that they depend on no other row and no batch."""
        from recsys_tft.output_checks import naming

        graph = self.traced(fitting)

        def values(batch: Sequence[Row], call: "Callable[..., Any]" = graph, wider: int = 0) -> list[np.ndarray]:
            with naming(_NAME, self.op, "apply"):
                results = _rows_of(call(self.read(batch, wider)))
            count, size = len(results), len(batch)
            _require(count == size, f"makes {count} values of {size} rows; see recsys_tft.ops.scatter")
            return results

        expected = values(rows)
        for how, batches in _divisions(rows):
            again = [value for batch in batches for value in values(batch)]
            self._compare(rows, expected, again[::-1] if how == _BACKWARDS else again, how)
        self._compare(rows, expected, values(rows, wider=3), "in a batch with longer lists")
        self._compare(rows, expected, values(rows, lambda tensors: self._made(tensors, fitting)), "outside of a graph")
        self._compare(rows, expected, values(rows, self.traced(fitting)), "in a second graph")
        if self.op.once_per_value and self.columns[0].is_list:
            single = [values([([value],) for value in row[0] or []]) for row in rows]
            joined = [np.concatenate([expected[-1], *parts]) for parts in single]
            self._compare(rows, expected, joined, "whose values are computed one by one")
        return expected

    def _compare(self, rows: Sequence[Row], whole: Sequence[np.ndarray], again: Sequence[np.ndarray], how: str) -> None:
        for row, one, other in zip(rows, whole, again, strict=True):
            if _bits(one) != _bits(other):
                raise AssertionError(f"makes {one.tolist()} of {row!r}, but {other.tolist()} {how}.")

    def check_range(self, values: Sequence[np.ndarray], folder: str) -> None:
        """Check that categories are from 0 to their number, and that numbers are finite."""
        from recsys_tft.vocabularies import values_of

        op, flat = self.op, np.concatenate([value.ravel() for value in values])
        if not op.is_categorical:
            _require(bool(np.isfinite(flat).all()), f"makes numbers that are not finite: {flat.tolist()}")
            return
        size = op.categories(self.settings)
        if op.vocabulary:
            size = 1 + op.vocabulary.options(self.settings).n_oov + len(values_of(op.vocabulary.name, folder))
        assert size is not None
        wrong = sorted({number for number in flat.tolist() if not 0 <= number < size})
        _require(not wrong, f"says that it numbers {size} categories, 0 to {size - 1}, but makes {wrong}")

    def check_missing(self, value: np.ndarray, expected: Any) -> None:
        """Check the value of a row without any input."""
        if expected is None:
            expected = [] if self.shape is None else np.zeros(self.shape).tolist()
        _require(
            value.tolist() == expected,
            f"makes {value.tolist()} of a row in which all columns are missing, expected {expected}; if that is meant, "
            "say so by `missing` of check_op",
        )

    def check_described(self, numbers: "Mapping[str, np.ndarray]") -> None:
        """Check that descriptions are JSON."""
        from recsys_tft.output_checks import naming
        from recsys_tft.run_layout.artifacts import check_path

        with naming(_NAME, self.op, "describe"):
            files = self.op.describe(_NAME, self.feature.sources, numbers.get(_NAME), self.settings)
        for path, text in files.items():
            check_path(_NAME, path)
            try:
                json.loads(text)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"describes itself in {path} by what is no text of JSON ({error}).") from None


def _check_copy(value: object, what: str) -> None:
    try:
        copy = pickle.loads(pickle.dumps(value))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(f"{what} does not pickle ({error}); its class must be at the top of a module.") from None
    try:
        same = copy == value and hash(copy) == hash(value)
    except TypeError as error:
        raise AssertionError(f"{what} cannot be hashed ({error}); let its fields be tuples and the like.") from None
    _require(same, f"{what} must equal its copy; let it be a frozen dataclass")


_BACKWARDS = "in the opposite order"


def _divisions(rows: Sequence[Row]) -> Iterator[tuple[str, list[Sequence[Row]]]]:
    """Ways to divide rows into batches, in words."""
    middle = len(rows) // 2
    yield "in one batch", [rows]
    yield "in two batches", [rows[:middle], rows[middle:]]
    yield "one by one", [[row] for row in rows]
    yield "beside an empty batch", [[], rows]
    yield _BACKWARDS, [rows[::-1]]


def _rows_of(made: Any) -> list[np.ndarray]:
    """[batch] values, each an array."""
    import tensorflow as tf

    if isinstance(made, tf.RaggedTensor):
        return np.split(made.flat_values.numpy(), made.row_splits.numpy()[1:-1]) if made.nrows() else []
    return [np.asarray(row) for row in made.numpy()]


def _bits(value: Any) -> Any:
    array = np.asarray(value)
    return array.tolist() if array.dtype == object else (str(array.dtype), array.shape, array.tobytes())
