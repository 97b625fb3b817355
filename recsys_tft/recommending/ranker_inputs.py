"""Inputs of the ranker: raw columns of users, of the moment and of candidates."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from recsys_tft.recommending import tallies
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.serving.serving_rows import Arrow, InputSpec, Values, arrays, repeated, stacked


def build_inputs(
    known: Sequence[Mapping[str, pa.Array]], videos: Sequence[Candidates], slots: Mapping[str, InputSpec]
) -> dict[str, Values]:
    """Inputs of one row for each candidate of each of [n] users, in their order.

    The columns of a single user are one row, which holds for all candidates.

    Args:
        known: [1] raw columns of each user and the moment.
        videos: the candidates of each user.
        slots: the inputs of the signature.
    """
    sizes = [len(rows) for rows in videos]
    pair_columns = _joined([tallies.pair_tallies(*pair) for pair in zip(known, videos, strict=True)], sizes)
    pairs = arrays(pair_columns, {name: slot for name, slot in slots.items() if name in pair_columns})
    candidates = Candidates.joined(videos)
    rows = {
        name: candidates.values(name, slot) for name, slot in slots.items() if name in candidates and name not in pairs
    }
    user_slots = {name: slot for name, slot in slots.items() if name not in rows and name not in pairs}
    users = stacked([arrays(columns, user_slots) for columns in known])
    if len(known) > 1:
        users = {name: repeated(values, sizes) for name, values in users.items()}
    return rows | pairs | users


def _joined(parts: Sequence[Mapping[str, pa.Array]], sizes: Sequence[int]) -> dict[str, Arrow]:
    """Concatenate columns; they are null for users without them."""
    kinds = {name: column.type for part in parts for name, column in part.items()}
    return {
        name: pa.chunked_array(
            [part[name] if name in part else pa.nulls(size, kind) for part, size in zip(parts, sizes, strict=True)],
            kind,
        )
        for name, kind in kinds.items()
    }
