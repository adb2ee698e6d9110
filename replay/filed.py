"""Large arrays in files: what NumPy makes while it is asked to lies in mapped files without a name, not in memory.

The plan of a trace that is larger than memory, and what a run of it notes, are a few dozen long columns that are read
and written from one end to the other. In files the kernel keeps of them what has room, and takes the rest away; who
computes on them need not know. NumPy lets its data be allocated by others (NEP 49); the functions for that are a part
of its C interface and have fixed places there. Each array has a file of its own, whose room on the disk is taken
before it is used and given back with the array (or when the process ends, however it does).

A process and its forks share what lies in files: what each is to change for itself must be made outside `filed`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

import numba
import numpy as np
from numba import types

from iotrace.compiling import compiled
from iotrace.errors import ReplayError
from iotrace.units import bytes_text

LARGE_BYTES: Final = 8 << 20
"""Smaller arrays stay in memory: those of chunks, which come and go."""
_SET_HANDLER, _GET_HANDLER = 304, 305
"""Places of PyDataMem_SetHandler and PyDataMem_GetHandler in NumPy's table of functions (numpy/__multiarray_api.h)."""
_MOST: Final = 4096
"""Arrays in files at a time; further ones are made in memory."""
_PAGE: Final = 4096
_COUNT, _LEAST, _FOLDER, _ENTRIES = range(4)
"""Words of the table of arrays in files: how many entries were used, from how many bytes on, the address of the
folder's path; from then on (address, bytes) of each array, 0 where it is gone."""


class _Allocator(ctypes.Structure):
    _fields_ = (
        ("context", ctypes.c_void_p), ("malloc", ctypes.c_void_p), ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p), ("free", ctypes.c_void_p),
    )  # fmt: skip


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of numpy/ndarraytypes.h."""

    _fields_ = (("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _Allocator))


_folder: ContextVar[str | None] = ContextVar("folder of large arrays", default=None)


@contextmanager
def filed(folder: str | None) -> Iterator[None]:
    """Meanwhile this thread's large arrays are made in files in `folder`; with None, where they were made before.

    Raises
    ------
    ReplayError: the folder has no room for an array.
    """
    if folder is None:
        yield
        return
    before = _set_handler()(_handler(folder, LARGE_BYTES))
    known = _folder.set(folder)
    try:
        yield
    except MemoryError:
        raise ReplayError(
            f"{folder} has no room for the plan ({bytes_text(shutil.disk_usage(folder).free)} are free): TMPDIR names "
            "another folder, or map less (--map PREFIX)."
        ) from None
    finally:
        _folder.reset(known)
        _set_handler()(before)


@contextmanager
def private() -> Iterator[None]:
    """Within `filed`: meanwhile arrays are made in memory, which forks change each for itself."""
    before = _set_handler()(_default())
    try:
        yield
    finally:
        _set_handler()(before)


def zeros_to_share(count: int, dtype: np.dtype[Any]) -> Any:
    """Zeros in a file that forks share, (count,); None where they are few, or nothing is to lie in files now."""
    folder = _folder.get()
    if folder is None or count * dtype.itemsize < LARGE_BYTES:
        return None
    with filed(folder):
        return np.zeros(count, dtype)


def takes_files(folder: str) -> bool:
    """Whether files without a name can be made in a folder."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    return True


def in_file(array: Any) -> bool:
    """Whether the data of an array, or of that of which it is a part, lies in a file."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    address = array.ctypes.data
    tables = [table for _, table in _kept]
    return any(address in table[_ENTRIES : _ENTRIES + 2 * table[_COUNT] : 2] for table in tables)


@cache
def _default() -> Any:
    """The handler that was in force before any other was set."""
    return _from_table(_GET_HANDLER, ctypes.py_object)()


@cache
def _set_handler() -> Any:
    """Sets a handler, gives the one before it."""
    _default()
    return _from_table(_SET_HANDLER, ctypes.py_object, ctypes.py_object)


def _from_table(place: int, *types: Any) -> Any:
    """A function of NumPy's C interface."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = np._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
    table = ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    return ctypes.PYFUNCTYPE(*types)(table[place])


_kept: Final[list[tuple[Any, Any]]] = []
"""What arrays that outlive everything else still point to."""


@cache
def _handler(folder: str, least: int) -> Any:
    """The handler as NumPy wants it."""
    path = ctypes.create_string_buffer(os.fsencode(folder))
    table = np.zeros(_ENTRIES + 2 * _MOST, np.int64)
    table[_LEAST], table[_FOLDER] = least, ctypes.addressof(path)
    functions = _functions()
    handler = _Handler(b"iotrace_filed", 1, _Allocator(table.ctypes.data, *(one.address for one in functions)))
    _kept.append(((path, functions, handler), table))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.addressof(handler), b"mem_handler", None)


_malloc: Any = types.ExternalFunction("malloc", types.int64(types.int64))
_calloc: Any = types.ExternalFunction("calloc", types.int64(types.int64, types.int64))
_realloc: Any = types.ExternalFunction("realloc", types.int64(types.int64, types.int64))
_free: Any = types.ExternalFunction("free", types.void(types.int64))
_memcpy: Any = types.ExternalFunction("memcpy", types.int64(types.int64, types.int64, types.int64))
_open: Any = types.ExternalFunction("open", types.int32(types.int64, types.int32, types.int32))
_close: Any = types.ExternalFunction("close", types.int32(types.int32))
_reserve: Any = types.ExternalFunction("posix_fallocate", types.int32(types.int32, types.int64, types.int64))
_mmap: Any = types.ExternalFunction("mmap", types.int64(types.int64, types.int64, *[types.int32] * 3, types.int64))
_munmap: Any = types.ExternalFunction("munmap", types.int32(types.int64, types.int64))
_FLAGS: Final = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
_FULL: Final = -1
"""Not that many arrays can lie in files at a time."""


@compiled
def _entry(table: Any, address: int) -> int:
    """Place of an array in the table; -1 for one in memory."""
    if address & (_PAGE - 1) == 0:
        for i in range(_ENTRIES, _ENTRIES + 2 * table[_COUNT], 2):
            if table[i] == address:
                return i
    return -1


@compiled
def _in_new_file(table: Any, count: int) -> Any:
    """Address of so many bytes in a new file; 0 where there is no room, _FULL."""
    place = _ENTRIES
    while place < _ENTRIES + 2 * table[_COUNT] and table[place] != 0:
        place += 2
    if place == len(table):
        return _FULL
    whole = (count + _PAGE - 1) // _PAGE * _PAGE
    descriptor = _open(table[_FOLDER], np.int32(_FLAGS), np.int32(0o600))
    if descriptor < 0:
        return 0
    address = np.int64(-1)
    # without room on the disk the first use of a page would end the process
    if _reserve(descriptor, 0, whole) == 0:
        address = _mmap(0, whole, np.int32(3), np.int32(1), descriptor, 0)
    _close(descriptor)
    if address == -1:
        return 0
    table[place], table[place + 1] = address, whole
    table[_COUNT] = max(table[_COUNT], (place - _ENTRIES) // 2 + 1)
    return address


@compiled
def _give_back(table: Any, entry: int) -> None:
    _munmap(table[entry], table[entry + 1])
    table[entry] = table[entry + 1] = 0


@compiled
def _make(table: Any, count: int) -> Any:
    found = _in_new_file(table, count) if count >= table[_LEAST] else _FULL
    return _malloc(count) if found == _FULL else found


@compiled
def _make_zeros(table: Any, count: int) -> Any:
    found = _in_new_file(table, count) if count >= table[_LEAST] else _FULL
    return _calloc(count, 1) if found == _FULL else found


@compiled
def _make_longer(table: Any, old: int, count: int) -> Any:
    entry = _entry(table, old)
    if entry < 0:
        return _realloc(old, count)
    found = _in_new_file(table, count)
    if found == _FULL:
        found = _malloc(count)
    if found != 0:
        _memcpy(found, old, min(count, table[entry + 1]))
        _give_back(table, entry)
    return found


@compiled
def _end(table: Any, old: int) -> None:
    entry = _entry(table, old)
    if entry < 0:
        _free(old)
    else:
        _give_back(table, entry)


def _functions() -> list[Any]:
    """malloc, calloc, realloc and free as NumPy calls them: they can use nothing of Python's."""
    words, length = types.CPointer(types.int64), _ENTRIES + 2 * _MOST

    def make(context: Any, count: int) -> Any:
        return _make(numba.carray(context, length), count)

    def make_zeros(context: Any, many: int, each: int) -> Any:
        return _make_zeros(numba.carray(context, length), many * each)

    def make_longer(context: Any, old: int, count: int) -> Any:
        return _make_longer(numba.carray(context, length), old, count)

    def end(context: Any, old: int, count: int) -> None:
        _end(numba.carray(context, length), old)

    integer = types.int64
    return [
        numba.cfunc(integer(words, integer))(make), numba.cfunc(integer(words, integer, integer))(make_zeros),
        numba.cfunc(integer(words, integer, integer))(make_longer),
        numba.cfunc(types.void(words, integer, integer))(end),
    ]  # fmt: skip
