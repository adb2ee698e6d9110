"""Touching pages that may be gone: a signal handler makes an outcome of it, where the kernel would end the process."""

from __future__ import annotations

from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from iotrace.compiling import compiled
from iotrace.machine import X86_64, libc_signal, load, store, system_call

TOUCH_LINES: Final = 4096
TOUCHING: Final = np.zeros((TOUCH_LINES, 8), np.int64)
"""One cache line a lane: the address being touched, and 1 once that address turned out not to be there."""
# an external symbol, not a constant: the cached machine code of another process finds this process's table
llvm.add_symbol("iotrace_touching", TOUCHING.ctypes.data)
_MMAP: Final = 9 if X86_64 else 222


@intrinsic  # type: ignore[untyped-decorator]
def touching_at(context: Any) -> Any:
    """Address of TOUCHING in this process."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name, word = "iotrace_touching", ir.IntType(64)
        table = builder.module.globals.get(name) or ir.GlobalVariable(builder.module, word, name)
        return builder.ptrtoint(table, word)

    return types.int64(), generate


@compiled
def missing_page(signal: int, info: int, lanes: int) -> Any:
    """Answer a SIGBUS or SIGSEGV: give a lane that is touching that address an empty page and say so; else die."""
    address = load(info + 16)
    table = touching_at()
    for lane in range(lanes):
        if address != 0 and load(table + 64 * lane) == address:
            store(table + 64 * lane + 8, 1)
            page = address & ~np.int64(4095)
            # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, readable
            system_call(_MMAP, page, 4096, 1, 0x32, -1, 0)
            return
    libc_signal(np.int32(signal), np.int64(0))
