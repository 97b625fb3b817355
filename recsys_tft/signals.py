"""Signals: the kinds of interactions, and the boolean columns that may stand for them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Signal:
    """One kind of interaction.

    Attributes:
        name: what `interaction_type` calls it, and `labels.positive`.
        column: the boolean column of interactions that says it in a wide row; the name by default.
        negative: whether it says that the user does not want the video.
        viewing: whether it says that the user opened the video; by default unless it is negative.
        has_column: whether there is such a column at all; a wide row is an impression, and watched by its watch time.
    """

    name: str
    column: str = ""
    negative: bool = False
    viewing: bool | None = None
    has_column: bool = True

    @property
    def flag(self) -> str | None:
        """The boolean column that says it."""
        return (self.column or self.name) if self.has_column else None

    @property
    def is_viewing(self) -> bool:
        """Whether it says that the user opened the video."""
        return not self.negative if self.viewing is None else self.viewing
