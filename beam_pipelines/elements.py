"""The types of elements in the main job's PCollections.

Most of them hold (key, value) pairs: a partition of videos or of users, or a part of one, and one or several tables.
Tables travel packed: as bytes of Arrow IPC, or as where those lie.
"""

from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict

from apache_beam.pvalue import TaggedOutput

from recsys_tft.features import Entity
from recsys_tft.storage.arrow_ipc import Packed

Vectors = Mapping[str, list[Packed]]  # tables of texts and their vectors, by the name of their encoder


class Frames(TypedDict):
    """The tables of a partition of users, or of a part of one."""

    users: Packed
    events: NotRequired[tuple[Packed, ...]]  # in chunks, until there are exposures
    earlier: NotRequired[Mapping[str, tuple[Packed, ...]]]  # of a refresh: what the state knows of the users
    exposures: NotRequired[Packed]
    pairs: NotRequired[Packed]  # positives of the part's users, besides those among its exposures
    rows: NotRequired[Packed]  # of the ranker, once negatives are drawn
    texts: NotRequired[Vectors]
    outcomes: NotRequired[Packed]  # outcomes of the exposures, step by step
    begun: NotRequired[Packed]  # the exposures whose expected value is computed
    worth: NotRequired[Packed]  # expected values of the users' exposures


Part = tuple[str, Packed]  # name and table
Parts = Iterable[Part]  # everything that a partition was sent
KeyedPart = tuple[int, Part]  # a part on its way to a partition
KeyedSums = tuple[int, tuple[str, tuple[int, Packed]]]  # as a part, with the time slice whose changes they sum up
KeyedTable = tuple[int, Packed]  # a partition and its one table
KeyedFrames = tuple[int, Frames]
Analysed = tuple[Entity, Packed]  # training rows of one entity, that the graph is fitted on
Asker = tuple[str, int, int]  # VIDEOS or USERS, which partition of them, and which encoder
KeyedTexts = tuple[int, tuple[Asker, Packed]]  # texts on their way to the partition that encodes them
STATISTICS = "statistics"  # the tag of statistics of some rows, as a `describing.columns.Parcel`
Count = tuple[str, int]  # a count for the manifest; those with the same name are added up

__all__ = [
    "STATISTICS",
    "Analysed",
    "Asker",
    "Count",
    "Frames",
    "KeyedFrames",
    "KeyedPart",
    "KeyedSums",
    "KeyedTable",
    "KeyedTexts",
    "Part",
    "Parts",
    "TaggedOutput",
    "Vectors",
]
