"""Compiled: parses the entries of a record by the layout of the one before, or by name."""

from recsys_tft.reading.feature_values import (
    BEGIN,
    END,
    ENDS,
    ENDS_ROOM,
    ENDS_USED,
    KIND,
    NAME,
    NAME_SIZE,
    RAGGED,
    ROOM,
    SIZE,
    USED,
    VALUES,
    feature,
)
from recsys_tft.reading.wire_format import (
    ENTRY,
    MALFORMED,
    OK,
    OTHER_LAYOUT,
    PACKED,
    SLACK,
    VALUE,
    number,
    same,
    span,
)
from recsys_tft.reading.wire_format import NAME as NAME_TAG
from recsys_tft.storage.kernel_arguments import BYTES, FLOAT, INT64
from recsys_tft.storage.machine_code import compiled, copy64, differing, load8, load32, store32, store64

# One row of `layout` for each entry of the record before: its address, the bytes before its value, which of these must
# be equal (a bit each), and its size; its column, -1 for none; the address of its name, and how many bytes to compare,
# including the tag of the Feature; its kind; and for ONE_... the address of the output.
ENTRY_AT, PREFIX, SAME, TOTAL, ENTRY_COLUMN, NAME_AT, ENTRY_NAME_SIZE, FORM, TO = range(9)
ENTRY_FIELDS = 9
ONE_FLOAT, ONE_INTEGER, ONE_TEXT, SKIPPED, OTHER, UNSEEN = range(6)
ENTRIES = 1024  # of a layout, at most

# `state`: the next row, the address of the next record, the number of entries of the layout (-1: none), the address of
# an error, the number of columns of text or lists, and how many columns the record of the layout lacks.
ROW, AT, LAYOUT, COLUMN, PLACE, GROWING, ABSENT = range(7)
STATES = 7


@compiled()
def remember(at, name_at, name_size, stop, columns, c, layout, i):
    """Remember the layout of this valid entry, for the same entry of the next record."""
    begin, last = span(name_at + name_size, stop)
    form, prefix = OTHER, begin - at
    if c < 0:
        form = SKIPPED
    elif columns[c, SIZE] == 1 and begin < last:
        kind, listed = columns[c, KIND], span(begin + 1, last)[0]
        if listed < last and load8(listed) == PACKED:  # which is TEXT as well
            form = ONE_FLOAT if kind == FLOAT else ONE_INTEGER if kind == INT64 else ONE_TEXT
            prefix = span(listed + 1, last)[0] - at
            layout[i, TO] = columns[c, VALUES]
    short = prefix <= SLACK
    same_bytes = -1 if prefix == SLACK else (1 << prefix) - 1
    if form in (ONE_INTEGER, ONE_TEXT):
        same_bytes &= ~(2 | 31 << (prefix - 5))  # all but the sizes, each of which is to be one byte
        short = short and name_at == at + 2 and begin == at + prefix - 4 and load8(begin) == columns[c, KIND]
    layout[i, ENTRY_AT], layout[i, PREFIX], layout[i, SAME], layout[i, TOTAL] = at, prefix, same_bytes, stop - at
    layout[i, ENTRY_COLUMN], layout[i, FORM] = c, form if short else OTHER
    layout[i, NAME_AT], layout[i, ENTRY_NAME_SIZE] = name_at, name_size


@compiled()
def is_same(at, layout, i):
    """Whether an entry has the name, the tags and the fixed sizes of the one before."""
    return differing(at, layout[i, ENTRY_AT]) & layout[i, SAME] == 0


@compiled()
def has_sizes(at, prefix, kind, size):
    """Whether the sizes in an entry fit a value of `size` bytes, and take one byte each."""
    sizes = (size + 4) | kind << 8 | (size + 2) << 16 | PACKED << 24
    return load32(at + prefix - 5) == sizes and load8(at + prefix - 1) == size and load8(at + 1) == prefix + size - 2


@compiled()
def one_integer(at, prefix, end, to):
    """Write the value of an entry whose sizes may differ; return its end, 0 if it does not match."""
    value, stop = number(at + prefix, end)
    if not has_sizes(at, prefix, INT64, stop - at - prefix):
        return 0
    store64(to, value)
    return stop


@compiled()
def one_text(at, prefix, end, columns, c):
    """Like `one_integer`, for a text of up to 63 bytes; 0 also without room for 64."""
    size, used, ends = load8(at + prefix - 1), columns[c, USED], columns[c, ENDS_USED]
    stop = at + prefix + size
    if size >= SLACK or stop > end or used + SLACK > columns[c, ROOM] or ends >= columns[c, ENDS_ROOM]:
        return 0
    if not has_sizes(at, prefix, BYTES, size):
        return 0
    copy64(columns[c, VALUES] + used, at + prefix)
    store32(columns[c, ENDS] + 4 * ends, used + size)
    columns[c, USED], columns[c, ENDS_USED] = used + size, ends + 1
    return stop


@compiled()
def other_size(at, end, columns, layout, i, state):
    """Write an entry with the name of the one before; return OK or an error."""
    if load8(at) != ENTRY:
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
def same_layout(at, end, columns, layout, state):
    """Write a record with the same layout; return OTHER_LAYOUT if it has another."""
    row = state[ROW]
    for i in range(state[LAYOUT]):
        if at == end:
            return OTHER_LAYOUT
        form, stop = layout[i, FORM], 0
        if form < OTHER and at + layout[i, PREFIX] <= end and is_same(at, layout, i):
            if form == ONE_INTEGER:
                stop = one_integer(at, layout[i, PREFIX], end, layout[i, TO] + 8 * row)
            elif form == ONE_TEXT:
                stop = one_text(at, layout[i, PREFIX], end, columns, layout[i, ENTRY_COLUMN])
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
    """Write the columns that the record of the layout lacks; return OK or an error."""
    for c in range(len(columns)):
        if columns[c, BEGIN] == 0:
            code = feature(0, 0, state[ROW], columns, c)
            if code != OK:
                state[COLUMN], state[PLACE] = c, at
                return code
    return OK


@compiled()
def column_of(at, size, columns):
    """The index of the column with the name of `size` bytes at an address; -1 for none."""
    for c in range(len(columns)):
        if columns[c, NAME_SIZE] == size and same(at, columns[c, NAME], size):
            return c
    return -1


@compiled()
def look_up(at, end, columns, layout, state):
    """Find each column's Feature (of several the last that is not missing), and remember the layout."""
    columns[:, BEGIN] = 0
    columns[:, END] = 0
    entries, plain = 0, True
    while at < end:
        state[PLACE] = at
        if load8(at) != ENTRY:
            return MALFORMED
        at, stop = span(at + 1, end)
        if stop == at or load8(at) != NAME_TAG:
            return MALFORMED
        name, name_end = span(at + 1, stop)
        if name_end == 0 or name_end == stop or load8(name_end) != VALUE:
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
    """Write a record with any entries in any order."""
    code = look_up(at, end, columns, layout, state)
    if code != OK:
        return code
    for c in range(len(columns)):
        state[COLUMN], state[PLACE] = c, columns[c, BEGIN] or at
        code = feature(columns[c, BEGIN], columns[c, END], state[ROW], columns, c)
        if code != OK:
            return code
    return OK
