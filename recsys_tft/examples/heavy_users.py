"""Splits heavy users across parts of a partition, so that no worker needs memory for all of their exposures.

Part k has each user's exposures number k * size to (k + 1) * size - 1, by time. Nearly all users are in part 0 alone,
and most partitions have no other part. The part of an exposure depends on earlier exposures of its user only: later
ones move no row into another file.

Each part of a user gets what depends on all of them: how many negatives to draw, and which videos may not be drawn.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples.examples import Labelled
from recsys_tft.examples.ranker_examples import DRAWS, draws


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the exposures of a partition.

    Attributes:
        number: 0 for the part that every partition has.
        exposures: as `examples.label_exposures` has them, in the same order; with DRAWS if there are several parts.
        pairs: user_id, video_id and split of positives in all parts of divided users; None with one part.
    """

    number: int
    exposures: pa.Table
    pairs: pa.Table | None

    def users(self, users: pa.Table) -> pa.Table:
        """The user rows that the part needs: all for part 0, which writes the users."""
        user_ids = self.exposures["user_id"].to_numpy()
        return users.filter(pa.array(np.isin(users["user_id"].to_numpy(), user_ids))) if self.number else users


def divide(labelled: Labelled, size: int, settings: Settings) -> Iterator[Part]:
    """Part 0, and those beyond it that hold any exposure.

    Args:
        labelled: the exposures of a partition.
        size: how many exposures of a user a part holds at most.
        settings: of the run.
    """
    if labelled.number.max(initial=0) < size:
        yield Part(0, labelled.exposures, None)
        return
    part = labelled.number // size
    order = np.argsort(part, kind="stable")
    numbers, starts = np.unique(part[order], return_index=True)
    rows = {0: order[:0]} | dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))
    draws_wanted = draws(labelled.keys, settings)
    pairs = _positive_pairs(labelled.keys, part)
    for number, exposures in zip(rows, labelled.context(rows.values()), strict=True):
        is_own = pa.array(np.isin(pairs["user_id"].to_numpy(), exposures["user_id"].to_numpy()))
        yield Part(number, exposures.append_column(DRAWS, pa.array(draws_wanted[rows[number]])), pairs.filter(is_own))


def _positive_pairs(keys: pa.Table, part: np.ndarray) -> pa.Table:
    """The positives of users in several parts: user_id, video_id and the first split."""
    user = keys["user_id"].to_numpy()
    chosen = np.isin(user, np.unique(user[part > 0])) & (keys["label"].to_numpy() == 1)
    frame = pl.DataFrame(keys.select(["user_id", "video_id", "split"]).filter(pa.array(chosen)))
    return frame.group_by("user_id", "video_id").agg(pl.min("split")).sort("user_id", "video_id").to_arrow()
