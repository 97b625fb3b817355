"""One compiled loop over the bytes of TFRecords of tf.Examples: frame, checksum, entries, values.

    record   uint64 size | crc | tf.Example | crc          crc: of what stands before it, masked
    Example  0A size, then an entry for each feature:  0A size  0A size name  12 size Feature
    Feature  0A | 12 | 1A size list                        of bytes, floats or integers; empty: missing
    list     0A size numbers (packed), or an element each: 0D float, 08 integer, 0A size bytes

Writers lay out all records alike. So each entry of a record is first compared with that of the record before; if one
differs, all entries of the record are looked up by name, and it becomes the layout for the next one. Every size is
checked against the remaining bytes, so that nothing is read or written out of bounds, whatever the bytes are. What
tf.io.parse_example refuses is refused, and little else.
"""

from numba.core import types

from recsys_tft.reading.feature_values import ENDS_KEPT, ENDS_USED, KEPT, USED
from recsys_tft.reading.record_layouts import AT, COLUMN, GROWING, LAYOUT, PLACE, ROW, by_name, same_layout
from recsys_tft.reading.wire_format import CHECKSUM, ENTRY, FULL, MALFORMED, OK, OTHER_LAYOUT, TOO_LONG, span
from recsys_tft.storage.machine_code import compiled, load8, load32, load64, masked_crc32c

HEADER, FOOTER = 12, 4  # bytes of a record before and after its data
LONGEST = 1 << 30  # bytes of a record


@compiled()
def keep(columns, growing):
    """Commit the written rows, which are complete."""
    for c in range(growing):
        columns[c, KEPT], columns[c, ENDS_KEPT] = columns[c, USED], columns[c, ENDS_USED]


@compiled()
def drop(columns, growing):
    """Roll back the written part of a row."""
    for c in range(growing):
        columns[c, USED], columns[c, ENDS_USED] = columns[c, KEPT], columns[c, ENDS_KEPT]


@compiled()
def example(at, end, columns, layout, state):
    """Write one tf.Example; return OK or an error."""
    state[COLUMN], state[PLACE] = -1, at
    if at < end:
        if load8(at) != ENTRY:
            return MALFORMED
        at, stop = span(at + 1, end)
        if stop != end:
            return MALFORMED
    code = same_layout(at, end, columns, layout, state) if state[LAYOUT] >= 0 else OTHER_LAYOUT
    if code not in (OK, FULL):  # a wrong entry is ignored if a later one has its name
        drop(columns, state[GROWING])
        code = by_name(at, end, columns, layout, state)
    if code == OK:
        keep(columns, state[GROWING])
    else:
        drop(columns, state[GROWING])
    return code


@compiled(types.int64(types.int64, types.int64[:, ::1], types.int64[:, ::1], types.int64[::1]))
def rows(end, columns, layout, state):
    """Write the whole records from state[AT] to `end`, each a row; return OK, or the error of the one at AT."""
    while state[AT] < end:
        begin = state[AT] + HEADER
        stop = begin + load64(state[AT])
        state[COLUMN], state[PLACE] = -1, begin
        if load32(stop) != masked_crc32c(begin, stop - begin):
            return CHECKSUM
        code = example(begin, stop, columns, layout, state)
        if code != OK:
            return code
        state[ROW] += 1
        state[AT] = stop + FOOTER
    return OK


@compiled(types.UniTuple(types.int64, 4)(types.int64, types.int64, types.int64))
def frames(at, end, most):
    """Find at most so many whole records: OK or an error, their number, their end, and the size of the next one.

    The last is at least HEADER, as more cannot be known.
    """
    count = 0
    while end - at >= HEADER and count < most:
        size = load64(at)
        if load32(at + 8) != masked_crc32c(at, 8):
            return CHECKSUM, count, at, HEADER
        if size < 0 or size > LONGEST:
            return TOO_LONG, count, at, HEADER
        if size + FOOTER > end - at - HEADER:
            return OK, count, at, HEADER + size + FOOTER
        at += HEADER + size + FOOTER
        count += 1
    return OK, count, at, HEADER
