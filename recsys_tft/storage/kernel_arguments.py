"""Arguments of `recsys_tft.storage.record_kernels`: addresses in memory, built without compiled code.

There is a row of addresses for each column, and for each part of a record. An address of 0 is the default: one element
in each row, or row i of a part in record i.
"""

# KIND is the tag of the Feature's list; NAME the bytes before the size of the Feature; COUNTS the elements of
# each row (int64, -1: null); VALUES numbers, or the bytes of texts with their offsets (int64) at ENDS; NEXT an element.
KIND, NAME, NAME_SIZE, COUNTS, VALUES, ENDS, NEXT = range(7)
COLUMN_FIELDS = 7
BYTES, FLOAT, INT64 = 0x0A, 0x12, 0x1A

DATA, OFFSETS, CODES = range(3)  # of fragments: bytes, offsets (int64), and which one each record takes (int64)
PART_FIELDS = 3
FRAMING = 16  # bytes of a record that are not data
