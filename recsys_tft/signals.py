"""Signals: the kinds of interactions, their boolean columns, and their bits in an event."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import numpy as np

MOST = 64  # signals of a table, which are bits of one integer


@dataclasses.dataclass(frozen=True)
class Signal:
    """One kind of interaction.

    Attributes:
        name: in `interaction_type` and `labels.positive`.
        column: its boolean column in wide interactions; the name by default.
        negative: whether it means that the user does not want the video.
        viewing: whether it implies that the user opened the video; by default unless it is negative.
        has_column: whether there is such a column; not for impressions and watches in wide rows, which always are an
            impression, and a watch by their watch time.
    """

    name: str
    column: str = ""
    negative: bool = False
    viewing: bool | None = None
    has_column: bool = True

    @property
    def flag(self) -> str | None:
        """Its boolean column."""
        return (self.column or self.name) if self.has_column else None

    @property
    def is_viewing(self) -> bool:
        """Whether it implies that the user opened the video."""
        return not self.negative if self.viewing is None else self.viewing


@dataclasses.dataclass(frozen=True)
class SignalBits:
    """The signals of a feature table as bits of an event: bit i is the i-th signal.

    Attributes:
        known: at most MOST.
    """

    known: tuple[Signal, ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the signals, in the order of their bits."""
        return tuple(signal.name for signal in self.known)

    @functools.cached_property
    def flags(self) -> Mapping[str, str]:
        """The signals by their boolean columns."""
        return {signal.flag: signal.name for signal in self.known if signal.flag}

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """The smallest unsigned integer type with enough bits."""
        return next(np.dtype(f"uint{size}") for size in (8, 16, 32, 64) if len(self.known) <= size)

    @functools.cached_property
    def each(self) -> np.ndarray:
        """[signals] of `dtype`: the bit of each."""
        return self.dtype.type(1) << np.arange(len(self.known), dtype=self.dtype)

    def mask(self, *names: str) -> np.integer:
        """The bits of some signals together, of `dtype`; unknown signals have none."""
        return self._of(signal.name in names for signal in self.known)

    @functools.cached_property
    def viewing(self) -> np.integer:
        """The bits of signals that imply that the user opened the video."""
        return self._of(signal.is_viewing for signal in self.known)

    @functools.cached_property
    def negative(self) -> np.integer:
        """The bits of signals that mean that the user does not want the video; 0 for none."""
        return self._of(signal.negative for signal in self.known)

    def _of(self, chosen: Iterable[bool]) -> np.integer:
        return np.bitwise_or.reduce(self.each[np.fromiter(chosen, bool)], initial=self.dtype.type(0))
