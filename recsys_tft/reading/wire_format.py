"""Building blocks of protocol buffers, compiled: varints, sized spans, and lists of floats and integers.

Nothing is read at or after `end`, except SLACK bytes, which are ignored.
"""

from recsys_tft.storage.machine_code import compiled, copy, load8, load32, load64, lowest_bit, store32, store64

SLACK = 64  # bytes that may be read after the end

# Tags: of an entry of a tf.Example, of its name and its Feature; of packed numbers, a text, a float and an integer in a
# list. That of the list itself, which tells its kind, is as in `storage.kernel_arguments`.
ENTRY, NAME, VALUE = 0x0A, 0x0A, 0x12
PACKED, TEXT, FIXED32, VARINT = 0x0A, 0x0A, 0x0D, 0x08

# What comes back: how many values there are, or
OK, MALFORMED, FULL, OTHER_LAYOUT, WRONG_KIND, WRONG_SIZE, MISSING, CHECKSUM, TOO_LONG = 0, *range(-1, -9, -1)

_LASTS = -0x7F7F7F7F7F7F7F80  # the bit of each of 8 bytes that the last byte of a varint lacks


@compiled()
def varint(at, end):
    """An integer of up to 10 bytes, and its end; 0 if it has none."""
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
    """Like `varint`, without branches for up to 8 bytes; may read SLACK bytes after the end."""
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
    """Start and end of the bytes whose size is at `at`; 0 and 0 if they do not fit."""
    size, at = varint(at, end)
    if at == 0 or size < 0 or size > end - at:
        return 0, 0
    return at, at + size


@compiled()
def same(a, b, size):
    """Whether the bytes at two addresses are equal."""
    at = 0
    while size - at >= 8:
        if load64(a + at) != load64(b + at):
            return False
        at += 8
    while at < size:
        if load8(a + at) != load8(b + at):
            return False
        at += 1
    return True


@compiled()
def floats(at, end, to, most):
    """Write the values of a FloatList; return how many, MALFORMED, or FULL."""
    if at == end:
        return 0
    if load8(at) == PACKED:
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
        if load8(at + 5 * i) != FIXED32:
            return MALFORMED
        store32(to + 4 * i, load32(at + 5 * i + 1))
    return count


@compiled()
def integers(at, end, to, most):
    """Write the values of an Int64List; return how many, MALFORMED, or FULL."""
    count = 0
    if at == end:
        return count
    packed = load8(at) == PACKED
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
            if load8(at) != VARINT:
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
