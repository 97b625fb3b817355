"""One compiled loop over the bytes of TFRecords of tf.Examples: frame, checksum, entries, values.

    record   uint64 size | crc | tf.Example | crc          crc: of what stands before it, masked
    Example  0A size, then an entry for each feature:  0A size  0A size name  12 size Feature
    Feature  0A | 12 | 1A size list                        of bytes, floats or integers; empty: missing
    list     0A size numbers (packed), or an element each: 0D float, 08 integer, 0A size bytes

Writers lay out their records alike. So the entries of a record are first expected to be those of the record before, by
one comparison each; where one is not, all entries of that record are looked up by name, and it is what the next one is
compared with. Every size is checked against the bytes that are left: nothing is read or written outside of its place,
whatever the bytes are. What tf.io.parse_example refuses is refused, and little else.
"""

from numba.core import types

from recsys_tft.reading.machine_code import (
    compiled,
    copy,
    crc32c,
    differing,
    load8,
    load32,
    load64,
    lowest_bit,
    store32,
    store64,
)

# One row of `columns` for each column; those whose places are not known beforehand, text and lists, come first.
# Addresses of what is read:
KIND, NAME, NAME_SIZE, DEFAULT, DEFAULT_SIZE = range(5)  # DEFAULT: a Feature for missing ones; DEFAULT_SIZE -1: none
SIZE = 5  # values in a row; RAGGED: any number
# and of what is written, with its room. Numbers, or bytes of text; ends of texts (int32); ends of lists (int32).
VALUES, ROOM, ENDS, ENDS_ROOM, SPLITS = range(6, 11)
USED, ENDS_USED, KEPT, ENDS_KEPT = range(11, 15)  # written so far: values and ends; KEPT: of whole rows
BEGIN, END = range(15, 17)  # of the Feature in the record that was last looked up by name; 0: missing
FIELDS = 17
RAGGED = -1

# One row of `layout` for each entry of the record before: where it begins, how many of its bytes stand before its
# value, which of these are to be the same (a bit each), and how many bytes it has in all; which column it is, -1 for
# none; where its name begins, and how many bytes are to be compared by name, the tag of the Feature included; what it
# holds; and for ONE_... where that is written.
ENTRY_AT, PREFIX, SAME, TOTAL, ENTRY_COLUMN, NAME_AT, ENTRY_NAME_SIZE, FORM, TO = range(9)
ENTRY_FIELDS = 9
ONE_FLOAT, ONE_INTEGER, SKIPPED, OTHER, UNSEEN = range(5)
ENTRIES = 1024  # of a layout, at most
SLACK = 64  # bytes that may be read behind all records

BYTES, FLOAT, INT64 = 0x0A, 0x12, 0x1A  # as KIND, and the tag of a Feature's list
_ENTRY, _NAME, _VALUE, _PACKED, _TEXT, _FIXED32, _VARINT = 0x0A, 0x0A, 0x12, 0x0A, 0x0A, 0x0D, 0x08

_LASTS = -0x7F7F7F7F7F7F7F80  # the bit of each of 8 bytes that the last byte of a varint lacks

# What comes back: how many values there are, or
OK, MALFORMED, FULL, OTHER_LAYOUT, WRONG_KIND, WRONG_SIZE, MISSING, CHECKSUM, TOO_LONG = 0, *range(-1, -9, -1)

# `state`: the next row, the address of the next record, how many entries the layout has (-1: none), where it failed,
# how many columns are text or lists, and how many the record of the layout lacks.
ROW, AT, LAYOUT, COLUMN, PLACE, GROWING, ABSENT = range(7)
STATES = 7
HEADER, FOOTER = 12, 4  # bytes of a record before and after its data
LONGEST = 1 << 30  # bytes of a record


@compiled()
def varint(at, end):
    """An integer of up to 10 bytes, and where it ends: 0 if it does not."""
    value, shift = 0, 0
    while at < end and shift < 70:
        byte = load8(at)
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    return 0, 0


@compiled()
def number(at, end):
    """The same as `varint`, without branches for up to 8 bytes; SLACK bytes behind the end may be read."""
    word = load64(at)
    lasts = ~word & _LASTS
    size = (lowest_bit(lasts) + 1) >> 3
    if lasts == 0 or size > end - at:
        return varint(at, end)
    word &= (lasts ^ (lasts - 1)) & ~_LASTS
    word = (word & 0x007F007F007F007F) | (word & 0x7F007F007F007F00) >> 1
    word = (word & 0x00003FFF00003FFF) | (word & 0x3FFF00003FFF0000) >> 2
    return (word & 0x0FFFFFFF) | (word & 0x0FFFFFFF00000000) >> 4, at + size


@compiled()
def span(at, end):
    """Where the bytes begin and end whose size stands at `at`: 0 and 0 if they do not fit."""
    size, at = varint(at, end)
    if at == 0 or size < 0 or size > end - at:
        return 0, 0
    return at, at + size


@compiled()
def same(a, b, size):
    """Whether two places hold the same bytes."""
    if size < 8:
        for i in range(size):
            if load8(a + i) != load8(b + i):
                return False
        return True
    for i in range(0, size - 8, 8):
        if load64(a + i) != load64(b + i):
            return False
    return load64(a + size - 8) == load64(b + size - 8)


@compiled()
def floats(at, end, to, most):
    """Writes the values of a FloatList; returns how many, MALFORMED, or FULL."""
    if at == end:
        return 0
    if load8(at) == _PACKED:
        at, stop = span(at + 1, end)
        if stop != end or (stop - at) & 3:
            return MALFORMED
        count = (stop - at) >> 2
        if count > most:
            return FULL
        if count == 1:
            store32(to, load32(at))
        else:
            copy(to, at, stop - at)
        return count
    count = (end - at) // 5
    if count * 5 != end - at:
        return MALFORMED
    if count > most:
        return FULL
    for i in range(count):
        if load8(at + 5 * i) != _FIXED32:
            return MALFORMED
        store32(to + 4 * i, load32(at + 5 * i + 1))
    return count


@compiled()
def integers(at, end, to, most):
    """Writes the values of an Int64List; returns how many, MALFORMED, or FULL."""
    count = 0
    if at == end:
        return count
    packed = load8(at) == _PACKED
    if packed:
        at, stop = span(at + 1, end)
        if stop != end:
            return MALFORMED
    while at < end:
        if packed and end - at >= 8 and most - count >= 8 and load64(at) & _LASTS == 0:
            for i in range(8):
                store64(to + 8 * (count + i), load8(at + i))
            count += 8
            at += 8
            continue
        if not packed:
            if load8(at) != _VARINT:
                return MALFORMED
            at += 1
        value, at = number(at, end)
        if at == 0:
            return MALFORMED
        if count == most:
            return FULL
        store64(to + 8 * count, value)
        count += 1
    return count


@compiled()
def texts(at, end, most, columns, c):
    """Writes the values of a BytesList behind those that are there; returns how many, MALFORMED, or FULL."""
    count = 0
    while at < end:
        if load8(at) != _TEXT:
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
    """Writes what a list of floats or integers holds; returns how many, or an error."""
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
    """Writes one Feature into the column's row; returns OK or an error. An empty one is missing."""
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


@compiled()
def remember(at, name_at, name_size, stop, columns, c, layout, i):
    """What the same entry of the next record is expected to be: that of this one, which could be read."""
    begin, last = span(name_at + name_size, stop)
    form, prefix = OTHER, begin - at
    if c < 0:
        form = SKIPPED
    elif columns[c, KIND] != BYTES and columns[c, SIZE] == 1 and begin < last:
        listed = span(begin + 1, last)[0]
        if listed < last and load8(listed) == _PACKED:
            form, prefix = ONE_FLOAT if columns[c, KIND] == FLOAT else ONE_INTEGER, span(listed + 1, last)[0] - at
            layout[i, TO] = columns[c, VALUES]
    short = prefix <= SLACK
    same_bytes = -1 if prefix == SLACK else (1 << prefix) - 1
    if form == ONE_INTEGER:
        same_bytes &= ~(2 | 31 << (prefix - 5))  # all but the sizes, each of which is to be one byte
        short = short and name_at == at + 2 and begin == at + prefix - 4 and load8(at + prefix - 4) == INT64
    layout[i, ENTRY_AT], layout[i, PREFIX], layout[i, SAME], layout[i, TOTAL] = at, prefix, same_bytes, stop - at
    layout[i, ENTRY_COLUMN], layout[i, FORM] = c, form if short else OTHER
    layout[i, NAME_AT], layout[i, ENTRY_NAME_SIZE] = name_at, name_size


@compiled()
def is_same(at, layout, i):
    """Whether an entry has the name, the tags and where they are to be the same the sizes of the one before."""
    return differing(at, layout[i, ENTRY_AT]) & layout[i, SAME] == 0


@compiled()
def one_integer(at, prefix, end):
    """The one value of an entry, of which all but the sizes is known; and where the entry ends: 0 if not there."""
    value, stop = number(at + prefix, end)
    size = stop - at - prefix
    sizes = (size + 4) | INT64 << 8 | (size + 2) << 16 | _PACKED << 24
    if load32(at + prefix - 5) != sizes or load8(at + prefix - 1) != size or load8(at + 1) != prefix + size - 2:
        return value, 0
    return value, stop


@compiled()
def other_size(at, end, columns, layout, i, state):
    """Writes an entry that has the name of the one before; returns OK or an error."""
    if load8(at) != _ENTRY:
        return OTHER_LAYOUT, at
    name, stop = span(at + 1, end)
    size, c = layout[i, ENTRY_NAME_SIZE], layout[i, ENTRY_COLUMN]
    if stop == 0 or size > stop - name or not same(name, layout[i, NAME_AT], size):
        return OTHER_LAYOUT, at
    begin, last = span(name + size, stop)
    if last == 0 or last != stop:
        return OTHER_LAYOUT, at
    if c >= 0:
        code = feature(begin, last, state[ROW], columns, c)
        if code != OK:
            state[COLUMN], state[PLACE] = c, at
            return code, at
    if layout[i, FORM] == UNSEEN and (c < 0 or begin < last):
        remember(at, name, size, stop, columns, c, layout, i)
    return OK, stop


@compiled()
def as_before(at, end, columns, layout, state):
    """Writes a record whose entries are those of the layout; OTHER_LAYOUT if they are not."""
    row = state[ROW]
    for i in range(state[LAYOUT]):
        if at == end:
            return OTHER_LAYOUT
        form, stop = layout[i, FORM], 0
        if form < OTHER and at + layout[i, PREFIX] <= end and is_same(at, layout, i):
            if form == ONE_INTEGER:
                value, stop = one_integer(at, layout[i, PREFIX], end)
                store64(layout[i, TO] + 8 * row, value)
            elif at + layout[i, TOTAL] <= end:
                stop = at + layout[i, TOTAL]
                if form == ONE_FLOAT:
                    store32(layout[i, TO] + 4 * row, load32(stop - 4))
        if stop:
            at = stop
        else:
            code, at = other_size(at, end, columns, layout, i, state)
            if code != OK:
                return code
    if at != end:
        return OTHER_LAYOUT
    return defaults(end, columns, state) if state[ABSENT] else OK


@compiled()
def defaults(at, columns, state):
    """Writes the columns that the record of the layout lacks; returns OK or an error."""
    for c in range(len(columns)):
        if columns[c, BEGIN] == 0:
            code = feature(0, 0, state[ROW], columns, c)
            if code != OK:
                state[COLUMN], state[PLACE] = c, at
                return code
    return OK


@compiled()
def column_of(at, size, columns):
    """Which column has the name that stands there, with `size` bytes; -1 if none has."""
    for c in range(len(columns)):
        if columns[c, NAME_SIZE] == size and same(at, columns[c, NAME], size):
            return c
    return -1


@compiled()
def look_up(at, end, columns, layout, state):
    """Finds each column's Feature, of several of one name the last that is not missing, and describes the layout."""
    columns[:, BEGIN] = 0
    columns[:, END] = 0
    entries, plain = 0, True
    while at < end:
        state[PLACE] = at
        if load8(at) != _ENTRY:
            return MALFORMED
        at, stop = span(at + 1, end)
        if stop == at or load8(at) != _NAME:
            return MALFORMED
        name, name_end = span(at + 1, stop)
        if name_end == 0 or name_end == stop or load8(name_end) != _VALUE:
            return MALFORMED
        begin, last = span(name_end + 1, stop)
        if last == 0 or last != stop:
            return MALFORMED
        c = column_of(name, name_end - name, columns)
        if c >= 0:
            plain = plain and columns[c, BEGIN] == 0
            if columns[c, BEGIN] == 0 or columns[c, SIZE] == RAGGED or begin < last:
                columns[c, BEGIN], columns[c, END] = begin, last
        if entries < ENTRIES:
            layout[entries, FORM] = UNSEEN
            layout[entries, NAME_AT], layout[entries, ENTRY_NAME_SIZE] = at, name_end + 1 - at
            layout[entries, ENTRY_COLUMN] = c
        entries += 1
        at = stop
    state[ABSENT] = 0
    for c in range(len(columns)):
        state[ABSENT] += columns[c, BEGIN] == 0
    state[LAYOUT] = entries if plain and entries <= ENTRIES else -1
    return OK


@compiled()
def by_name(at, end, columns, layout, state):
    """Writes a record whose entries may be any, in any order."""
    code = look_up(at, end, columns, layout, state)
    if code != OK:
        return code
    for c in range(len(columns)):
        state[COLUMN], state[PLACE] = c, columns[c, BEGIN] or at
        code = feature(columns[c, BEGIN], columns[c, END], state[ROW], columns, c)
        if code != OK:
            return code
    return OK


@compiled()
def keep(columns, growing):
    """What has been written is of whole rows."""
    for c in range(growing):
        columns[c, KEPT], columns[c, ENDS_KEPT] = columns[c, USED], columns[c, ENDS_USED]


@compiled()
def drop(columns, growing):
    """Takes back what has been written of a row."""
    for c in range(growing):
        columns[c, USED], columns[c, ENDS_USED] = columns[c, KEPT], columns[c, ENDS_KEPT]


@compiled()
def example(at, end, columns, layout, state):
    """Writes one tf.Example; returns OK or an error."""
    state[COLUMN], state[PLACE] = -1, at
    if at < end:
        if load8(at) != _ENTRY:
            return MALFORMED
        at, stop = span(at + 1, end)
        if stop != end:
            return MALFORMED
    code = as_before(at, end, columns, layout, state) if state[LAYOUT] >= 0 else OTHER_LAYOUT
    if code not in (OK, FULL):  # what is wrong with an entry does not matter if there is another of its name
        drop(columns, state[GROWING])
        code = by_name(at, end, columns, layout, state)
    if code == OK:
        keep(columns, state[GROWING])
    else:
        drop(columns, state[GROWING])
    return code


@compiled()
def is_checksum(crc, at):
    """Whether the masked form of a checksum stands there."""
    rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
    return load32(at) == (rotated + 0xA282EAD8) & 0xFFFFFFFF


@compiled(types.int64(types.int64, types.int64[:, ::1], types.int64[:, ::1], types.int64[::1]))
def rows(end, columns, layout, state):
    """Writes the whole records from state[AT] to `end`, each a row; returns OK, or the error of the one at AT."""
    while state[AT] < end:
        begin = state[AT] + HEADER
        stop = begin + load64(state[AT])
        state[COLUMN], state[PLACE] = -1, begin
        if not is_checksum(types.int64(crc32c(types.uint32(0), begin, stop - begin)), stop):
            return CHECKSUM
        code = example(begin, stop, columns, layout, state)
        if code != OK:
            return code
        state[ROW] += 1
        state[AT] = stop + FOOTER
    return OK


@compiled(types.UniTuple(types.int64, 4)(types.int64, types.int64))
def frames(at, end):
    """The whole records there: OK or an error, how many, where they end, and how many bytes the next one has.

    The last is at least HEADER, as more cannot be known.
    """
    count = 0
    while end - at >= HEADER:
        size = load64(at)
        if not is_checksum(types.int64(crc32c(types.uint32(0), at, 8)), at + 8):
            return CHECKSUM, count, at, HEADER
        if size < 0 or size > LONGEST:
            return TOO_LONG, count, at, HEADER
        if size + FOOTER > end - at - HEADER:
            return OK, count, at, HEADER + size + FOOTER
        at += HEADER + size + FOOTER
        count += 1
    return OK, count, at, HEADER
