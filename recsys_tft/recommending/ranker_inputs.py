"""Raw columns of users, of the moment and of candidates, as the ranker is asked."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from recsys_tft.recommending import tallies
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.serving.serving_rows import Arrow, Asked, Values, arrays, repeated, stacked


def of_candidates(
    known: Sequence[Mapping[str, pa.Array]], videos: Sequence[Candidates], asked: Mapping[str, Asked]
) -> dict[str, Values]:
    """Inputs of one row for each candidate of each of [n] users, in their order.

    The columns of a single user are one row, which holds for all candidates.

    Args:
        known: [1] raw columns of each user and the moment.
        videos: the candidates of each user.
        asked: the inputs of the signature.
    """
    sizes = [len(rows) for rows in videos]
    of_pairs = _joined([tallies.of_candidates(*each) for each in zip(known, videos, strict=True)], sizes)
    pairs = arrays(of_pairs, {name: each for name, each in asked.items() if name in of_pairs})
    every = Candidates.joined(videos)
    rows = {name: every.values(name, each) for name, each in asked.items() if name in every and name not in pairs}
    of_users = {name: each for name, each in asked.items() if name not in rows and name not in pairs}
    users = stacked([arrays(columns, of_users) for columns in known])
    if len(known) > 1:
        users = {name: repeated(values, sizes) for name, values in users.items()}
    return rows | pairs | users


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
