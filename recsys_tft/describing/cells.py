"""Fixed cells for counting numbers, so that counts of parts add up exactly.

A cell has the float32 with the same sign, exponent and first 7 bits of the mantissa: its values differ by less than 1
part in 128, and integers up to 256 have a cell each. The rest of a value, its last 16 bits, is summed too, so that
means are exact. Tokens below 1,024 have a cell each, larger ones share one if they differ by less than 1 part in 128.
"""

import numpy as np

REST_BITS = 16
REST = np.uint32((1 << REST_BITS) - 1)
CELLS = 1 << (32 - REST_BITS)  # of numbers
HEAD = 1024  # tokens with a cell each
_SIGN = np.uint32(1 << 31)
_NORMAL = 1 << (23 - REST_BITS)  # the first cell of normal numbers


def without_smallest(found: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells and their sums, with 0, -0 and subnormal float32 merged in the cell of 0."""
    small = (found & (CELLS // 2 - 1)) < _NORMAL
    if not small.any():
        return found, sums
    zero = np.zeros((len(sums), 1), np.int64)
    zero[0] = sums[0, small].sum()
    return np.append(0, found[~small]), np.concatenate([zero, sums[:, ~small]], axis=1)


def of_tokens(tokens: np.ndarray) -> np.ndarray:
    """[n] int64 cells of [n] int64 tokens, in their order."""
    if tokens.max(initial=0) < HEAD:
        return tokens
    above = (tokens.astype(np.float32).view(np.uint32) >> np.uint32(REST_BITS)).astype(np.int64)
    return np.where(tokens < HEAD, tokens, above)


def edges(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([n], [n]) float64: the least value of each of [n] cells of numbers, and the first one above its largest.

    The bits of negative numbers are in the opposite order; the cell of 0 has 0 alone.
    """
    bits = cells.astype(np.uint32) << np.uint32(REST_BITS)
    near = bits.view(np.float32).astype(np.float64)
    # The cell after the last finite one begins at infinity.
    with np.errstate(over="ignore"):
        far = (bits + np.uint32(1 << REST_BITS)).view(np.float32).astype(np.float64)
    far = np.where(bits == 0, 0.0, far)
    negative = (bits & _SIGN) > 0
    return np.where(negative, far, near), np.where(negative, near, far)


def means(cells: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """[k] float64: the mean of the values in each of [k] cells; `sums` as for `moments`."""
    start, step = _scale(cells)
    return start + step * (sums[1] / sums[0])


def moments(cells: np.ndarray, sums: np.ndarray) -> tuple[float, float]:
    """The mean and the deviation of the values in [k] cells.

    Args:
        cells: their numbers.
        sums: [3, k] int64: of values, of their rest, and of the squares of its upper 14 bits.

    The mean is rounded once; the deviation is that of values with 22 bits of mantissa.
    """
    count, rest, squares = sums.astype(np.float64)
    start, step = _scale(cells)
    total = count.sum()
    mean = float((count * start + rest * step).sum() / total)
    # Around the mean, so that nothing cancels: the sum of (start + step * rest - mean)^2.
    centred = start - mean
    variance = (count * centred**2 + 2 * centred * step * rest + step**2 * 16 * squares).sum() / total
    return mean, float(np.sqrt(max(variance, 0.0)))


def _scale(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([k], [k]) float64: the value at which each cell starts, away from 0, and the size of one unit of the rest."""
    bits = cells.astype(np.uint32) << np.uint32(REST_BITS)
    exponent = ((bits >> np.uint32(23)) & np.uint32(255)).astype(np.int64)
    step = np.where(bits & _SIGN, -1.0, 1.0) * np.exp2(exponent - 150.0)
    return bits.view(np.float32).astype(np.float64), np.where(bits == 0, 0.0, step)
