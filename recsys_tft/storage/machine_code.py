"""Building blocks of compiled code: reads and writes at an address, and the processor's CRC-32C.

Addresses and loaded values are int64; nothing is checked here. The checksum is from the library inside google-crc32c,
which Beam needs too: it uses the instruction of the processor, if there is one.
"""

import ctypes
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import numba
from google_crc32c import _crc32c
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_CRC = "recsys_tft_crc32c_extend"  # symbol for compiled code, also of earlier processes
_LIBRARY = ctypes.CDLL(_crc32c.__file__)
binding.add_symbol(_CRC, ctypes.cast(_LIBRARY.crc32c_extend, ctypes.c_void_p).value)
# Part of the names of cached compiled code, which depends on all these files.
_FILES = (
    "storage/machine_code", "storage/kernel_arguments", "storage/record_kernels", "point_in_time/history_kernel",
    "point_in_time/tally_kernel", "storage/lookup_kernel", "storage/sort_kernel",
    "reading/wire_format", "reading/feature_values", "reading/record_layouts", "reading/kernel",
)  # fmt: skip
_SOURCES = [(pathlib.Path(__file__).parents[1] / f"{name}.py").read_bytes() for name in _FILES]
_DIGEST = hashlib.sha256(b"".join(_SOURCES)).hexdigest()[:12]
# (checksum so far, address, bytes) -> checksum
crc32c = types.ExternalFunction(_CRC, types.uint32(types.uint32, types.int64, types.int64))


def compiled(*signature: Any) -> Callable[[Callable], Callable]:
    """Compile a function so that it runs without the GIL.

    With a signature it is compiled now, and cached for later processes if a folder can be written; without one it is
    compiled as a part of its callers.
    """

    def compile_now(function: Callable) -> Callable:
        options = {"nogil": True, "error_model": "numpy"}
        if not signature:
            return numba.njit(forceinline=True, **options)(function)
        function.__qualname__ += f"_{_DIGEST}"
        try:
            return numba.njit(*signature, cache=True, **options)(function)
        except RuntimeError:  # neither this folder nor the user's cache can be written
            return numba.njit(*signature, **options)(function)

    return compile_now


@compiled()
def masked_crc32c(at: int, size: int) -> int:
    """The checksum of bytes, masked as in TFRecords."""
    crc = types.int64(crc32c(types.uint32(0), at, size))
    return (((crc >> 15 | crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def _load(bits: int) -> Callable[[int], int]:
    @intrinsic
    def load(context, at):
        def generate(context, builder, signature, arguments):
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            value = builder.load(pointer, align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(types.int64), generate

    return load


def _store(bits: int) -> Callable[[int, int], None]:
    @intrinsic
    def store(context, at, value):
        def generate(context, builder, signature, arguments):
            pointer = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            value = arguments[1] if bits == 64 else builder.trunc(arguments[1], ir.IntType(bits))
            builder.store(value, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return store


@intrinsic
def copy(context, to, at, size):
    """Copy `size` bytes."""

    def generate(context, builder, signature, arguments):
        pointers = [builder.inttoptr(address, cgutils.voidptr_t) for address in arguments[:2]]
        cgutils.raw_memcpy(builder, *pointers, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def copy64(context, to, at):
    """Copy 64 bytes."""

    def generate(context, builder, signature, arguments):
        pointer = ir.VectorType(ir.IntType(8), 64).as_pointer()
        target, source = (builder.inttoptr(each, pointer) for each in arguments)
        builder.store(builder.load(source, align=1), target, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def differing(context, a, b):
    """Compare 64 bytes at two addresses: one bit each, set if they differ."""

    def generate(context, builder, signature, arguments):
        pointer = ir.VectorType(ir.IntType(8), 64).as_pointer()
        one, other = (builder.load(builder.inttoptr(each, pointer), align=1) for each in arguments)
        return builder.bitcast(builder.icmp_unsigned("!=", one, other), ir.IntType(64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def lowest_bit(context, value):
    """The number of the lowest set bit; 64 without one."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


load8, load32, load64 = _load(8), _load(32), _load(64)
store8, store32, store64 = _store(8), _store(32), _store(64)
