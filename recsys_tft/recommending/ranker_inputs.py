"""Raw columns of users, of the moment and of candidates, as the ranker is asked."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import FIRST_SEEN
from recsys_tft.recommending import tallies
from recsys_tft.serving.serving_rows import Arrow, Asked, Values, arrays, repeated, stacked


def of_candidates(
    known: Sequence[Mapping[str, pa.Array]], videos: Sequence[pa.Table], asked: Mapping[str, Asked]
) -> dict[str, Values]:
    """Inputs of one row for each candidate of each of [n] users, in their order.

    The columns of a single user are one row, which holds for all candidates.

    Args:
        known: [1] raw columns of each user and the moment.
        videos: rows of the store, the candidates of each user.
        asked: the inputs of the signature.
    """
    sizes = [len(rows) for rows in videos]
    of_rows = _rows(videos) | _joined([tallies.of_candidates(*each) for each in zip(known, videos, strict=True)], sizes)
    of_users = {name: each for name, each in asked.items() if name not in of_rows}
    users = stacked([arrays(columns, of_users) for columns in known])
    if len(known) > 1:
        users = {name: repeated(values, sizes) for name, values in users.items()}
    return arrays(of_rows, {name: each for name, each in asked.items() if name in of_rows}) | users


def _rows(videos: Sequence[pa.Table]) -> dict[str, Arrow]:
    rows = pa.concat_tables(videos)
    found: dict[str, Arrow] = dict(zip(rows.column_names, rows.columns, strict=True))
    if FIRST_SEEN in found:
        found["published_at"] = pc.coalesce(found["published_at"], found[FIRST_SEEN])
    return found


def _joined(parts: Sequence[Mapping[str, pa.Array]], sizes: Sequence[int]) -> dict[str, Arrow]:
    """Columns one after the other; of a user of whom nothing is known they are null."""
    kinds = {name: column.type for part in parts for name, column in part.items()}
    return {
        name: pa.chunked_array(
            [part[name] if name in part else pa.nulls(size, kind) for part, size in zip(parts, sizes, strict=True)],
            kind,
        )
        for name, kind in kinds.items()
    }
