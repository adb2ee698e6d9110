"""The text of a path and its bytes: tables hold names as text, in which `\\xNN` stands for what is not text."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")


def path_bytes(text: str) -> bytes:
    """The bytes of a path's text: \\xNN stands for a byte that is not UTF-8 or is a control character."""
    data = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), data) if b"\\x" in data else data
