"""One feature: its sources, its op, and the models that read it."""

import dataclasses
import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from recsys_tft.columns import Accuracy, Column
from recsys_tft.ops import Op
from recsys_tft.vocabularies import Vocabulary

if TYPE_CHECKING:
    from recsys_tft.configuration.settings import Settings


class Use(enum.Enum):
    """The model that reads a feature."""

    QUERY = "query tower"
    CANDIDATE = "candidate tower"
    RANKER = "ranker"


class Entity(enum.Enum):
    """The thing that a feature describes: each entity is transformed once, and rows are joined from the results."""

    USER = "user"
    VIDEO = "video"
    EXPOSURE = "exposure"
    PAIR = "pair"  # a user in context and a video, from an op that `joins` both


QUERY, CANDIDATE, RANKER = Use.QUERY, Use.CANDIDATE, Use.RANKER


def entity_of(column: Column) -> Entity:
    """The entity whose rows carry a column; point-in-time values belong to the exposure."""
    if column.of_group or column.late:
        return Entity.PAIR
    if column.accuracy is Accuracy.AS_OF or column.table == "interactions":
        return Entity.EXPOSURE
    return Entity.USER if column.table == "users" else Entity.VIDEO


@dataclasses.dataclass(frozen=True)
class Feature:
    """One row of a feature table.

    Attributes:
        name: `<column>_<what it is now>`.
        sources: the raw columns that it reads, in the op's order; a single one need not be in a tuple.
        op: the computation.
        used_by: the models that read it; a single one need not be in a tuple.
        option: the section of the settings that enables it; None: always on.
        columns: the sources as columns of the table.
    """

    name: str
    sources: tuple[str, ...]
    op: Op
    used_by: tuple[Use, ...]
    option: str | None = None
    columns: tuple[Column, ...] = dataclasses.field(default=(), repr=False, compare=False)

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            sources: str | Iterable[str],
            op: Op,
            used_by: Use | Iterable[Use],
            option: str | None = None,
            columns: tuple[Column, ...] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        for field in ("sources", "used_by"):
            value = getattr(self, field)
            object.__setattr__(self, field, (value,) if isinstance(value, str | Use) else tuple(value))

    @property
    def entity(self) -> Entity:
        return Entity.PAIR if self.is_of_pairs else entity_of(self.columns[0])

    @property
    def is_of_pairs(self) -> bool:
        """Whether it describes a user and a video together, by its op or its columns."""
        return self.op.joins or any(column.of_group or column.late for column in self.columns)

    def is_on(self, settings: "Settings") -> bool:
        """Whether its option and those of its sources are enabled; otherwise the graph has no such inputs."""
        options = {self.option, *(column.option for column in self.columns)}
        return all(getattr(settings, option).enabled for option in options if option is not None)

    def is_active(self, settings: "Settings") -> bool:
        """Whether the settings enable it."""
        return self.is_on(settings) and self.op.is_active(settings)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary of its tokens."""
        return self.op.vocabulary

    @property
    def fitted_name(self) -> str:
        """The name of its statistic's result: of its vocabulary, which others may share, or its own."""
        return self.vocabulary.name if self.vocabulary else self.name

    @property
    def embedding_table(self) -> str | None:
        """The embedding table of a categorical feature: of its vocabulary, which others may share, or its own."""
        return self.fitted_name if self.is_categorical else None

    @property
    def is_categorical(self) -> bool:
        """Whether it numbers categories, as CatBoost's native categorical features do."""
        return self.op.is_categorical

    @property
    def is_stored_once(self) -> bool:
        """Whether joined rows may refer to it in the row of their video, instead of a copy."""
        return self.op.is_large and self.entity is Entity.VIDEO

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy in time of the least certain of its sources."""
        accuracies = {column.accuracy for column in self.columns}
        order = (Accuracy.SNAPSHOT, Accuracy.COUNTED, Accuracy.VERSIONED, Accuracy.AS_OF, Accuracy.STATIC)
        return next(accuracy for accuracy in order if accuracy in accuracies)

    @property
    def is_counted(self) -> bool:
        """Whether it changes with the counters of a video, so that it is part of the video's versions."""
        return any(column.accuracy is Accuracy.COUNTED for column in self.columns)

    @property
    def is_versioned(self) -> bool:
        """Whether it depends on the moment, so that only the versions of a video have it."""
        return any(column.accuracy is Accuracy.VERSIONED for column in self.columns)


def raw_columns(features: Iterable[Feature]) -> tuple[Column, ...]:
    """The distinct raw columns that features of a table read, in order."""
    columns: dict[str, Column] = {}
    for feature in features:
        for column in feature.columns:
            columns.setdefault(column.name, column)
    return tuple(columns.values())
