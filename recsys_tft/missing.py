"""Missing values in Arrow: null, NaN, '', the least int64, and lists of only these.

docs/missing.md has the table of all places; `ops.drop_missing` and `serving_inputs` do the same for tensors.
"""

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.statistics import EMPTY_IDS

Arrow: TypeAlias = pa.Array | pa.ChunkedArray


def nulled(values: Arrow, zero_is_missing: bool = False) -> Arrow:
    """[n] values with null for each missing one; lists without missing elements.

    Args:
        values: of int64, float, string, binary or timestamp, or lists of them; others are unchanged.
        zero_is_missing: whether 0 is missing too, in numbers, times and booleans.
    """
    if pa.types.is_list(values.type):
        return _shortened(values, zero_is_missing)
    missing = _missing(values)
    if zero_is_missing:
        zero = pc.equal(values, pa.scalar(0).cast(values.type))
        missing = zero if missing is None else pc.or_(missing, zero)
    if missing is None or not pc.any(missing).as_py():
        return values
    return pc.if_else(missing, pa.scalar(None, values.type), values)


def _missing(values: Arrow) -> Arrow | None:
    """[n] bool, null for a null; None if only nulls are missing."""
    kind = values.type
    if pa.types.is_floating(kind):
        return pc.is_nan(values)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pc.equal(pc.binary_length(values), 0)
    if pa.types.is_timestamp(kind):  # the least one is NumPy's NaT
        return pc.equal(values.cast(pa.int64()), EMPTY_IDS)
    return pc.equal(values, EMPTY_IDS) if pa.types.is_int64(kind) else None


def _shortened(values: Arrow, zero_is_missing: bool) -> Arrow:
    """Lists without elements that are missing."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    flat = nulled(array.flatten(), zero_is_missing)
    if not flat.null_count:
        return values
    kept = flat.is_valid()
    before = np.append(0, np.cumsum(kept.to_numpy(zero_copy_only=False)))
    ends = np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False))
    offsets = pa.array(before[np.append(0, ends)], pa.int32())
    return pa.ListArray.from_arrays(offsets, flat.filter(kept), array.type, mask=array.is_null())
