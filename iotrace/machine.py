"""Instructions that Numba has no name for, as functions for kernels: loads and stores by address, plain and atomic,
system calls, the clock.

All addresses are int64. Nearly everything is untyped, since Numba calls these without their first argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic

from iotrace.compiling import compiled, inner

cgutils: Any = _cgutils
# the inline assembly of system_call aborts the process without an assembler
llvm.initialize_native_asmparser()

X86_64: Final = llvm.get_default_triple().startswith("x86_64")
_I64: Final = ir.IntType(64)


def _typed(function: Callable[..., Any]) -> Any:
    """An instruction of the kernel's own; untyped, since it is called without its first argument."""
    return intrinsic(function)


@_typed
def system_call(context: Any, number: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """Raw system call: result or -errno."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if X86_64:
            kind = ir.FunctionType(_I64, [_I64] * 7)
            registers = "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9}"
            clobbered = "~{rcx},~{r11},~{memory},~{dirflag},~{fpsr},~{flags}"
            return builder.call(ir.InlineAsm(kind, "syscall", f"{registers},{clobbered}", side_effect=True), args)
        kind = ir.FunctionType(_I64, [_I64], var_arg=True)
        syscall = cgutils.get_or_insert_function(builder.module, kind, "syscall")
        result = builder.call(syscall, args)
        place = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(32).as_pointer(), []), "__errno_location"
        )
        code = builder.sext(builder.load(builder.call(place, [])), _I64)
        failed = builder.icmp_signed("==", result, _I64(-1))
        return builder.select(failed, builder.neg(code), result)

    return types.int64(*[types.int64] * 7), generate


def _pointer(builder: Any, address: Any, bits: int) -> Any:
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


@_typed
def load(context: Any, address: Any) -> Any:
    """Acquire load of an int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0], 64), "seq_cst", 8)

    return types.int64(types.int64), generate


@_typed
def peek(context: Any, address: Any) -> Any:
    """Relaxed load of an int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0], 64), "monotonic", 8)

    return types.int64(types.int64), generate


@_typed
def touch(context: Any, address: Any) -> Any:
    """Load of one byte that the compiler may not leave out."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load_atomic(_pointer(builder, args[0], 8), "acquire", 1)
        return builder.zext(value, _I64)

    return types.int64(types.int64), generate


@_typed
def load32(context: Any, address: Any) -> Any:
    """Acquire load of an unsigned 32-bit word, such as the head or tail of an io_uring."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load_atomic(_pointer(builder, args[0], 32), "acquire", 4), _I64)

    return types.int64(types.int64), generate


@_typed
def leading_zeros(context: Any, value: Any) -> Any:
    """Zero bits above the highest set bit of an int64; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


def _store_of(bits: int, ordering: str) -> Any:
    def function(context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.trunc(args[1], ir.IntType(bits)) if bits < 64 else args[1]
            if ordering:
                builder.store_atomic(value, _pointer(builder, args[0], bits), ordering, bits // 8)
            else:
                builder.store(value, _pointer(builder, args[0], bits), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return intrinsic(function)


store = _store_of(64, "seq_cst")
set_relaxed = _store_of(64, "monotonic")
poke64 = _store_of(64, "")
poke32 = _store_of(32, "")
poke16 = _store_of(16, "")

store32 = _store_of(32, "release")
store_release = _store_of(64, "release")


def _loader(bits: int) -> Callable[[int, int], int]:
    """(address, index) → the integer at address[index], zero-extended: a plain load."""

    def function(context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(builder.gep(_pointer(builder, args[0], bits), [args[1]]))
            return value if bits == 64 else builder.zext(value, _I64)

        return types.int64(types.int64, types.int64), generate

    return cast(Callable[[int, int], int], intrinsic(function))


def _storer(bits: int) -> Callable[[int, int, int], None]:
    """(address, index, value): a plain store at address[index]."""

    def function(context: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[2] if bits == 64 else builder.trunc(args[2], ir.IntType(bits))
            builder.store(value, builder.gep(_pointer(builder, args[0], bits), [args[1]]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return cast(Callable[[int, int, int], None], intrinsic(function))


get, get_half, get_byte = _loader(64), _loader(32), _loader(8)
put, put_half, put_byte = _storer(64), _storer(32), _storer(8)


@inner
def count_up(address: int, index: int) -> int:
    """The number at address[index], which becomes one more."""
    number = get(address, index)
    put(address, index, number + 1)
    return number


@inner
def same_bytes(one: int, other: int, length: int) -> bool:
    """Whether two texts of one length are the same."""
    for i in range(length):  # noqa: SIM110 (no generators in a kernel)
        if get_byte(one, i) != get_byte(other, i):
            return False
    return True


@inner
def copy_bytes(target: int, source: int, length: int) -> None:
    """Copy bytes, from the first on."""
    for i in range(length):
        put_byte(target, i, get_byte(source, i))


def _rmw_of(operation: str) -> Any:
    def function(context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.atomic_rmw(operation, _pointer(builder, args[0], 64), args[1], "seq_cst")

        return types.int64(types.int64, types.int64), generate

    return intrinsic(function)


add = _rmw_of("add")
lower = _rmw_of("min")
exchange = _rmw_of("xchg")


@_typed
def pause(context: Any) -> Any:
    """Tell the processor that this is a spin loop."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(ir.InlineAsm(kind, "pause" if X86_64 else "yield", "", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), generate


_clock_gettime: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.int64))
libc_signal: Any = types.ExternalFunction("signal", types.int64(types.int32, types.int64))


@compiled
def now(time_at: int) -> Any:
    """CLOCK_MONOTONIC in ns."""
    _clock_gettime(np.int32(1), np.int64(time_at))
    return peek(time_at) * 1_000_000_000 + peek(time_at + 8)
