"""Compiled: writes the values of one feature of a record into its column."""

from recsys_tft.reading.wire_format import (
    FULL,
    MALFORMED,
    MISSING,
    OK,
    TEXT,
    WRONG_KIND,
    WRONG_SIZE,
    floats,
    integers,
    span,
)
from recsys_tft.storage.kernel_arguments import BYTES, FLOAT, INT64
from recsys_tft.storage.machine_code import compiled, copy, load8, store32

# One row of `columns` for each column; text and lists, whose output sizes are unknown, come first.
# Addresses of inputs:
KIND, NAME, NAME_SIZE, DEFAULT, DEFAULT_SIZE = range(5)  # DEFAULT: a Feature for missing ones; DEFAULT_SIZE -1: none
SIZE = 5  # values in a row; RAGGED: any number
# and of what is written, with its room. Numbers, or bytes of text; ends of texts (int32); ends of lists (int32).
VALUES, ROOM, ENDS, ENDS_ROOM, SPLITS = range(6, 11)
USED, ENDS_USED, KEPT, ENDS_KEPT = range(11, 15)  # written so far: values and ends; KEPT: of whole rows
BEGIN, END = range(15, 17)  # of the Feature in the record that was last looked up by name; 0: missing
FIELDS = 17
RAGGED = -1


@compiled()
def texts(at, end, most, columns, c):
    """Append the values of a BytesList; return how many, MALFORMED, or FULL."""
    count = 0
    while at < end:
        if load8(at) != TEXT:
            return MALFORMED
        at, stop = span(at + 1, end)
        if stop == 0:
            return MALFORMED
        if count == most or columns[c, USED] + stop - at > columns[c, ROOM]:
            return FULL
        copy(columns[c, VALUES] + columns[c, USED], at, stop - at)
        columns[c, USED] += stop - at
        store32(columns[c, ENDS] + 4 * columns[c, ENDS_USED], columns[c, USED])
        columns[c, ENDS_USED] += 1
        count += 1
        at = stop
    return count


@compiled()
def numbers(at, end, row, columns, c):
    """Write the values of a list of floats or integers; return how many, or an error."""
    size, used = columns[c, SIZE], columns[c, USED]
    first, room = (used, columns[c, ROOM] - used) if size == RAGGED else (row * size, size)
    if columns[c, KIND] == FLOAT:
        count = floats(at, end, columns[c, VALUES] + 4 * first, room)
    else:
        count = integers(at, end, columns[c, VALUES] + 8 * first, room)
    if size == RAGGED and count > 0:
        columns[c, USED] = used + count
    return count


@compiled()
def feature(at, end, row, columns, c):
    """Write one Feature into the column's row; return OK or an error. An empty one is missing."""
    size, is_text = columns[c, SIZE], columns[c, KIND] == BYTES
    if at == end and size != RAGGED:
        if columns[c, DEFAULT_SIZE] <= 0:
            return MISSING
        at, end = columns[c, DEFAULT], columns[c, DEFAULT] + columns[c, DEFAULT_SIZE]
    count = 0
    if at < end:
        kind = load8(at)
        at, stop = span(at + 1, end)
        if stop != end:
            return MALFORMED
        if kind != columns[c, KIND]:
            return WRONG_KIND if kind in (BYTES, FLOAT, INT64) else MALFORMED
        if is_text:
            count = texts(at, end, columns[c, ENDS_ROOM] - columns[c, ENDS_USED], columns, c)
        else:
            count = numbers(at, end, row, columns, c)
    if size == RAGGED:
        store32(columns[c, SPLITS] + 4 * row, columns[c, ENDS_USED] if is_text else columns[c, USED])
    elif (count >= 0 and count != size) or (count == FULL and not is_text):
        return WRONG_SIZE
    return min(count, OK)
