"""What must exist before a replay: a tree of folders, files and links (found by iotrace.replay.inference)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from iotrace.replay.columns import Ints
from iotrace.replay.mapping import Mapping, target_node
from iotrace.replay.naming import Names

ATTRIBUTE_BYTES_MAX: Final = 255
"""XATTR_NAME_MAX."""
PERMISSIONS: Final = 0o755
"""Others never get to write in a tree, whatever a trace says."""
GONE: Final = b"_gone/"
"""A folder that is never made, in which dangling links end: no generated name begins so."""


@dataclass(slots=True)
class StagedFile:
    """A file to make: its path within the tree, size in bytes, permission bits, number of the file (-1 none)."""

    path: bytes
    size: int
    mode: int
    file: int


@dataclass(slots=True)
class Snapshot:
    """The tree before the run; paths are relative to its folder, parents come before what lies in them.

    Attributes
    ----------
    folders: (path, permission bits); files; hard_links: (path, path of the first name); links: (path, path that it
    leads to, relative to the tree's folder); fillers: (folder, how many empty entries, length of their names in
    bytes);
    attributes: (path, generated name of the attribute, bytes).
    size_of_file: staged size of each file of the trace, shape (files,), int64, 0 for those not staged.
    """

    folders: list[tuple[bytes, int]] = field(default_factory=list)
    files: list[StagedFile] = field(default_factory=list)
    hard_links: list[tuple[bytes, bytes]] = field(default_factory=list)
    links: list[tuple[bytes, bytes]] = field(default_factory=list)
    fillers: list[tuple[bytes, int, int]] = field(default_factory=list)
    attributes: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    size_of_file: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def entries(self) -> int:
        """Files, folders and links."""
        named = len(self.folders) + len(self.files) + len(self.hard_links) + len(self.links)
        return named + sum(count for _, count, _ in self.fillers)


def attribute_name(names: Names, raw: bytes) -> bytes:
    """Generated name of an extended attribute of the user namespace: as long, and nothing else of the trace's text."""
    return b"user." + names.name(raw[len(b"user.") : ATTRIBUTE_BYTES_MAX])


def dangling(mapping: Mapping, link: int) -> bytes:
    """Where a link without a recorded target leads: a name inside the tree at which nothing ever stands."""
    length = mapping.link_texts.get(link, 8)
    return GONE + b"x" * max(1, min(length, 200))


def link_target(mapping: Mapping, link: int, text: bytes) -> bytes:
    """Where a link that is made during the run leads, relative to the tree's folder."""
    node = target_node(mapping, link, text)
    if node >= 0:
        return mapping.tree.path(node)
    return GONE + b"x" * max(1, min(len(text), 200))
