"""Generated names: the tree of names that a trace uses, and the names under which a replay makes it.

A generated name keeps the length of a component and its extension, where that is a well-known one, and nothing else of
the trace's text: an anonymous copy of a trace (iotrace/trace/tokens.py) has the same generated names. One component
gets the same name wherever it stands, so that a folder may be renamed and its contents still be found; different
components get different names. Paths are put together from a tree of components, never copied: no text of a trace,
hostile or not, can name anything outside the tree.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from iotrace.trace.tokens import EXTENSIONS

ROOT: Final = 0
"""Node of the tree's own folder; the mapped prefixes are its children."""
COMPONENT_BYTES_MAX: Final = 255
PATH_BYTES_MAX: Final = 3000
"""Longest path within the tree: leaves room for the folder that the tree is made in (PATH_MAX is 4096)."""

_DIGITS: Final = b"0123456789abcdefghijklmnopqrstuvwxyz"
_COUNTER_DIGITS: Final = 5
_EXTENSION: Final = re.compile(rb"[^.].*(\.[A-Za-z0-9]{1,8})", re.DOTALL)


class Names:
    """Component → generated name: injective, deterministic in the order of first use."""

    def __init__(self) -> None:
        self._names: dict[bytes, bytes] = {}
        self._used: dict[tuple[int, bytes], int] = {}

    def name(self, component: bytes) -> bytes:
        """Generated name: as long (longer when all names of that length are taken), same extension if well known."""
        known = self._names.get(component)
        if known is None:
            match = _EXTENSION.fullmatch(component)
            extension = match[1] if match and match[1][1:].lower() in EXTENSIONS else b""
            known = self._new(max(1, len(component) - len(extension)), extension)
            self._names[component] = known
        return known

    def _new(self, length: int, extension: bytes) -> bytes:
        width = min(length, _COUNTER_DIGITS)
        number = self._used.get((length, extension), 0)
        if number >= len(_DIGITS) ** width:
            return self._new(length + 1, extension)
        self._used[length, extension] = number + 1
        digits = bytearray()
        rest = number
        for _ in range(width):
            rest, digit = divmod(rest, len(_DIGITS))
            digits.append(_DIGITS[digit])
        digits.reverse()
        seed = b"%d%s%d" % (length, extension, number)
        filling = bytes(
            _DIGITS[10 + byte % 26] for byte in hashlib.shake_128(seed).digest(length - width)
        )  # letters only: a name never begins like a number or an option
        return filling + bytes(digits) + extension


class Tree:
    """Names as a tree of nodes; node 0 is the tree's folder. A node's parent has a smaller number than itself.

    Attributes
    ----------
    parent: parent of each node (-1 for the root); component: its component in the trace; depth.
    names: of components; attributes: of extended attributes, without their namespace.

    Parameters
    ----------
    flat: the first mapped prefix, the only one that the trace uses, is the tree's folder itself; else each is a folder
    m0, m1, … in it.
    """

    def __init__(self, flat: bool = False) -> None:
        self.flat = flat
        self.names = Names()
        self.attributes = Names()
        self.parent: list[int] = [-1]
        self.component: list[bytes] = [b""]
        self.depth: list[int] = [0]
        self._paths: list[bytes] = [b""]
        self._children: dict[tuple[int, bytes], int] = {}
        self.has_children: list[bool] = [False]

    def __len__(self) -> int:
        return len(self.parent)

    def add_prefix(self, number: int) -> int:
        """Node of the numbered mapped prefix."""
        return self._add(ROOT, b"\0m%d" % number, b"" if self.flat and number == 0 else b"m%d" % number)

    def child(self, parent: int, component: bytes) -> int:
        """Node of a component beneath a node; made when it is new; -1 when it would be too long to make."""
        known = self._children.get((parent, component))
        if known is not None:
            return known
        if parent < 0 or len(component) > COMPONENT_BYTES_MAX:
            return -1
        return self._add(parent, component, self.names.name(component))

    def _add(self, parent: int, component: bytes, name: bytes) -> int:
        known = self._children.get((parent, component))
        if known is not None:
            return known
        path = self._paths[parent] + b"/" + name if self._paths[parent] else name
        if len(path) > PATH_BYTES_MAX or len(name) > COMPONENT_BYTES_MAX:
            return -1
        node = len(self.parent)
        self.parent.append(parent)
        self.component.append(component)
        self.depth.append(self.depth[parent] + 1)
        self._paths.append(path)
        self._children[parent, component] = node
        self.has_children[parent] = True
        self.has_children.append(False)
        return node

    def descend(self, node: int, components: list[bytes]) -> int:
        """Node of a path beneath a node; -1 when it would be too long to make."""
        for component in components:
            node = self.child(node, component)
        return node

    def path(self, node: int) -> bytes:
        """Generated path of a node, relative to the tree's folder; b"" for the root, and for the prefix that it is."""
        return self._paths[node]

    def beneath(self, node: int, base: int) -> bytes | None:
        """Generated path of a node relative to `base`; b"." for itself; None when it does not lie beneath it.

        Names only ever lead down: with a `..` a folder that was renamed upwards could lead out of the tree.
        """
        if node == base:
            return b"."
        ancestor = node
        while self.depth[ancestor] > self.depth[base]:
            ancestor = self.parent[ancestor]
        if ancestor != base:
            return None
        return self._paths[node][len(self._paths[base]) + (1 if self._paths[base] else 0) :]

    def ancestors(self, node: int) -> list[int]:
        """The node itself and all folders above it, up to the root (left out)."""
        result = []
        while node > ROOT:
            result.append(node)
            node = self.parent[node]
        return result
