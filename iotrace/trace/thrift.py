"""Thrift's compact protocol, as far as a Parquet footer and page headers need it (writing only).

Takes field numbers and values, gives bytes; thrift-compact-protocol.md of Apache Thrift is the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_I16: Final = 4
_I32: Final = 5
_I64: Final = 6
_BINARY: Final = 8
_LIST: Final = 9
_STRUCT: Final = 12


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> bytes:
    return _varint((value << 1) ^ (value >> 63))


class Struct:
    """A struct being written; fields must come by ascending number. `done()` gives its bytes."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._last = 0

    def _field(self, number: int, kind: int) -> bytearray:
        self._out.append((number - self._last) << 4 | kind)
        self._last = number
        return self._out

    def i16(self, number: int, value: int) -> Struct:
        """A short integer."""
        self._field(number, _I16).extend(_zigzag(value))
        return self

    def i32(self, number: int, value: int) -> Struct:
        """An integer, also an enumeration's value."""
        self._field(number, _I32).extend(_zigzag(value))
        return self

    def i64(self, number: int, value: int) -> Struct:
        """A long integer."""
        self._field(number, _I64).extend(_zigzag(value))
        return self

    def text(self, number: int, value: bytes) -> Struct:
        """A string or binary."""
        self._field(number, _BINARY).extend(_varint(len(value)) + value)
        return self

    def struct(self, number: int, value: bytes) -> Struct:
        """A nested struct, or a union: the bytes that done() gave."""
        self._field(number, _STRUCT).extend(value)
        return self

    def structs(self, number: int, values: Sequence[bytes]) -> Struct:
        """A list of structs."""
        return self._list(number, _STRUCT, values)

    def texts(self, number: int, values: Sequence[bytes]) -> Struct:
        """A list of strings."""
        return self._list(number, _BINARY, [_varint(len(value)) + value for value in values])

    def i32s(self, number: int, values: Sequence[int]) -> Struct:
        """A list of integers."""
        return self._list(number, _I32, [_zigzag(value) for value in values])

    def _list(self, number: int, kind: int, values: Sequence[bytes]) -> Struct:
        out = self._field(number, _LIST)
        if len(values) < 15:
            out.append(len(values) << 4 | kind)
        else:
            out.append(0xF0 | kind)
            out.extend(_varint(len(values)))
        for value in values:
            out.extend(value)
        return self

    def done(self) -> bytes:
        """The struct's bytes."""
        return bytes(self._out) + b"\0"
