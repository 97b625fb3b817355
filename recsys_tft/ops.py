"""The operations that turn raw columns into engineered features: their base class, and the ops on tokens.

An op is a frozen dataclass: its fields are arguments in the feature table, `apply` builds the graph. Every op reads
its columns as SparseTensors of at most one value per row (lists: any number), without missing values, and documents
what missing becomes. NaN, infinity, the empty string and the least int64 are missing: docs/missing.md. `number_ops` has
the ops on numbers.
"""

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from recsys_tft.columns import INT64, STRING, Column
from recsys_tft.statistics import EMPTY_IDS, Statistic
from recsys_tft.vocabularies import MISSING_TOKEN, Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import tensorflow as tf

    from recsys_tft.configuration.settings import Settings


SETTING = {"setting": True}  # metadata of fields that the settings may override; not shown in the table


@dataclasses.dataclass(frozen=True)
class Fitting:
    """The fitted values and settings that an op may read while it is applied.

    Attributes:
        settings: of the run.
        fitted: results of the requested statistics: by the name of the vocabulary, or else of the feature.
    """

    settings: "Settings"
    fitted: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedGraph:
    """The fitted values of a run, read from its saved graph; a served op may use them.

    Attributes:
        settings: of the run.
        saved_model: the folder of the transform graph.
        numbers: results of the statistics that are not files, by feature.
        shared: resources of several features, such as an encoder, by any key.
    """

    settings: "Settings"
    saved_model: str
    numbers: Mapping[str, "np.ndarray"]
    shared: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def file(self, name: str) -> str:
        """The path of a statistic's file, by its `file_name`."""
        return posixpath.join(self.saved_model, "assets", name)


class Op:
    """Computation of one feature from its columns: a frozen dataclass, which `recsys_tft.testing.check_op` tests.

    Its output is declared by `shape`, and by `categories` or `vocabulary` for categories:

        number       float32 [batch]         shape () and neither of the two
        vector       float32 [batch, n]      shape (n,)
        numbers      float32 [batch, (n)]    shape None, as a RaggedTensor
        category     int64, as above         `categories`: their number, including 0 for missing
        token        int64, as above         `vocabulary`: of the tokens

    Tracing the graph checks the output against the declaration.

    Attributes:
        missing: the value of a row with missing input, in words.
        is_large: whether it is a wide vector, which joined rows refer to instead of a copy.
        joins: whether it reads columns of a user or an exposure, and of a video.
        is_coarse: whether `coarse` reduces its columns to the part that it depends on.
        embeds_text: whether it is a TextEmbedding, whose distinct texts a job encodes once.
        once_per_value: whether it maps each value of one column independently, so that each distinct one is computed
            only once; a column of lists becomes lists of as many or fewer values.
        is_ordered: whether the order of a list of tokens matters; the first is the most recent one.
        vocabulary: of its tokens.
        dim: width of its embedding table, unless a vocabulary has it; None for `embeddings.default_dim` of the
            settings.
    """

    missing: ClassVar[str]
    is_large: ClassVar[bool] = False
    joins: ClassVar[bool] = False
    is_coarse: ClassVar[bool] = False
    embeds_text: ClassVar[bool] = False
    once_per_value: ClassVar[bool] = False
    is_ordered: ClassVar[bool] = False
    vocabulary: Vocabulary | None = None
    dim: int | None = None

    @property
    def is_categorical(self) -> bool:
        """Whether it numbers categories, int64 from 0 for missing, rather than measures in float32."""
        return self.vocabulary is not None or type(self).categories is not Op.categories

    def is_active(self, settings: "Settings") -> bool:
        """Whether the settings enable the feature."""
        return True

    def statistic(
        self, columns: Sequence["tf.SparseTensor"], settings: "Settings"
    ) -> "tuple[tf.Tensor, Statistic] | None":
        """[n, ...] values, and the statistic to learn from them in a full pass; None if it needs none."""
        return None

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor | tf.RaggedTensor":
        """The feature called `name` of [batch] rows."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes.")  # a new op must

    def refuses(self, columns: Sequence[Column]) -> str | None:
        """The reason why it cannot read these columns, as words that follow its name; None if it can."""
        return None

    def coarse(self, columns: "Sequence[pa.Array]") -> "Sequence[pa.Array]":
        """[n] raw values of each column, made coarser where that changes no result.

        An op that joins is computed once per combination of such values: the coarser, the fewer there are.
        """
        return columns

    def served(self, name: str, graph: FittedGraph) -> Any:
        """The value of `Fitting.fitted` in a served model: the result of a statistic, or None.

        An op whose statistic is a file reads it from `graph.file(...)`.
        """
        if self.vocabulary:
            return self.vocabulary.table(graph.saved_model)
        return graph.numbers.get(name)

    def shape(self, settings: "Settings") -> tuple[int, ...] | None:
        """The shape of one row: () for a scalar, (n,) for a vector, None for a list of any length."""
        return ()

    def categories(self, settings: "Settings") -> int | None:
        """The number of categories, 0 for missing included; None for numbers, or with a vocabulary."""
        return None

    def boundaries_by_name(self) -> Mapping[str, tuple[float, ...]]:
        """Boundaries that `buckets` of the settings may override, by their names there."""
        return {}

    def describe(
        self, name: str, columns: Sequence[str], fitted: "np.ndarray | None", settings: "Settings"
    ) -> Mapping[str, str]:
        """The fitted values as readable files: JSON by the paths of files below `artifacts/`.

        Args:
            name: of the feature.
            columns: the names of the raw columns that it reads.
            fitted: the result of its statistic, if that is not a file.
            settings: of the run.
        """
        return {}


def other_than(count: int, columns: Sequence[Column]) -> str | None:
    """The reason why an op on a number of columns refuses another number; None if it is right."""
    return None if len(columns) == count else f"reads {count} column{'s' * (count > 1)}, not {len(columns)}"


def scatter(column: "tf.SparseTensor", values: "tf.Tensor", default: float | int | bytes) -> "tf.Tensor":
    """[batch] of `values`, which belong to the present rows of `column`; `default` where the column is missing."""
    import tensorflow as tf

    # Few operations: a graph has about 50 of these, and each operation is traced, pruned, saved and loaded.
    rows, _ = tf.unstack(column.indices, 2, axis=1)
    batch, _ = tf.unstack(column.dense_shape, 2)
    return tf.raw_ops.SparseToDense(
        sparse_indices=rows,
        output_shape=[batch],
        sparse_values=values,
        default_value=tf.constant(default, values.dtype),
        validate_indices=False,
    )


@dataclasses.dataclass(frozen=True)
class Lookup(Op):
    """Token of a value in a vocabulary.

    Columns:
        value: [batch] int64 or string.

    Returns:
        [batch] int64 in the layout of `vocabularies`: 0 missing, then out-of-vocabulary, then the vocabulary.
    """

    vocabulary: Vocabulary
    missing: ClassVar[str] = "token 0"

    def refuses(self, columns: Sequence[Column]) -> str | None:
        if reason := other_than(1, columns):
            return reason
        expected = INT64 if self.vocabulary.integers else STRING
        (column,) = columns
        if column.graph_type == expected:
            return None
        hint = f"; Vocabulary({self.vocabulary.name!r}, integers=True) has integers" if expected == STRING else ""
        return f"looks up values of type {expected}, not {column.name}, which is {column.type}{hint}"

    def statistic(
        self, columns: Sequence["tf.SparseTensor"], settings: "Settings"
    ) -> "tuple[tf.Tensor, Statistic] | None":
        return columns[0].values, self.vocabulary.statistic(self.vocabulary.options(settings))

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        return scatter(columns[0], self._tokens(columns[0].values, fitting), MISSING_TOKEN)

    def _tokens(self, values: "tf.Tensor", fitting: Fitting) -> "tf.Tensor":
        n_oov = self.vocabulary.options(fitting.settings).n_oov
        return self.vocabulary.tokens(values, fitting.fitted[self.vocabulary.name], n_oov)


@dataclasses.dataclass(frozen=True)
class SetLookup(Lookup):
    """Token of a whole list, taken as one category: its values in their order, joined by `|`.

    Columns:
        values: [batch] lists of strings.

    Returns:
        [batch] int64 as Lookup; an empty list is missing.
    """

    def statistic(
        self, columns: Sequence["tf.SparseTensor"], settings: "Settings"
    ) -> "tuple[tf.Tensor, Statistic] | None":
        return super().statistic([self._joined(columns[0])], settings)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        joined = self._joined(columns[0])
        return scatter(joined, self._tokens(joined.values, fitting), MISSING_TOKEN)

    @staticmethod
    def _joined(column: "tf.SparseTensor") -> "tf.SparseTensor":
        import tensorflow as tf

        rows, owners = tf.unique(column.indices[:, 0])
        joined = tf.strings.unsorted_segment_join(column.values, owners, tf.size(rows), separator="|")
        return tf.SparseTensor(tf.stack([rows, tf.zeros_like(rows)], 1), joined, column.dense_shape)


@dataclasses.dataclass(frozen=True)
class Bag(Lookup):
    """Tokens of every value of a list, for a model that averages their embeddings (CBOW).

    Columns:
        values: [batch] lists of strings.

    Returns:
        [batch, (n)] int64 tokens in the list's order.
    """

    missing: ClassVar[str] = "empty list"

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.RaggedTensor":
        import tensorflow as tf

        tokens = self._tokens(columns[0].values, fitting)
        rows, shape = columns[0].indices[:, 0], columns[0].dense_shape
        return tf.RaggedTensor.from_value_rowids(tokens, rows, shape[0], validate=False)

    def shape(self, settings: "Settings") -> None:
        return None


@dataclasses.dataclass(frozen=True)
class History(Bag):
    """Tokens of the user's last videos, or of their values, in a vocabulary that is fitted on the videos alone.

    Columns:
        values: [batch] lists of int64 or strings, most recent first, already limited by `history.length`.

    Returns:
        [batch, (n)] int64 tokens in the list's order.
    """

    once_per_value: ClassVar[bool] = True
    is_ordered: ClassVar[bool] = True

    def is_active(self, settings: "Settings") -> bool:
        return settings.history.length > 0

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> None:
        return None


def replaced(op: Op, **changes: object) -> Op:
    """The op with other arguments."""
    return dataclasses.replace(cast(Any, op), **changes)


def present_only(values: "tf.Tensor", zero_is_missing: bool = False) -> "tf.SparseTensor":
    """[batch] or [batch, n] dense as a SparseTensor, without the values that count as missing."""
    import tensorflow as tf

    matrix = values if values.shape.rank == 2 else tf.reshape(values, [-1, 1])
    return drop_missing(
        tf.SparseTensor(
            tf.where(tf.ones_like(matrix, tf.bool)), tf.reshape(matrix, [-1]), tf.shape(matrix, out_type=tf.int64)
        ),
        zero_is_missing,
    )


def drop_missing(column: "tf.SparseTensor", zero_is_missing: bool = False) -> "tf.SparseTensor":
    """The column without empty strings, NaN, infinities and the least int64; optionally without 0."""
    import tensorflow as tf

    values = column.values
    if column.dtype == tf.string:
        present = tf.not_equal(values, "")
    elif column.dtype.is_floating:
        present = tf.math.is_finite(values)
    elif column.dtype == tf.int64:
        present = tf.not_equal(values, EMPTY_IDS)
    else:
        return column
    if zero_is_missing:
        present = tf.logical_and(present, tf.not_equal(values, 0))
    kept = tf.where(present)
    return tf.SparseTensor(tf.gather_nd(column.indices, kept), tf.gather_nd(values, kept), column.dense_shape)
