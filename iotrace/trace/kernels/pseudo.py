"""Which names lie in file systems that hold no files: /proc and /sys."""

from __future__ import annotations

from iotrace.compiling import inner
from iotrace.machine import get_byte


@inner
def is_pseudo(text: int, length: int) -> bool:
    """Whether an absolute name, `length` bytes at address `text`, lies in /proc or /sys, or is one of them."""
    if length < 4 or get_byte(text, 0) != 47:
        return False
    a, b, c = get_byte(text, 1), get_byte(text, 2), get_byte(text, 3)
    if a == 112 and b == 114 and c == 111 and length >= 5 and get_byte(text, 4) == 99:
        return length == 5 or get_byte(text, 5) == 47
    if a == 115 and b == 121 and c == 115:
        return length == 4 or get_byte(text, 4) == 47
    return False
