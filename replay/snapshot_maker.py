"""From what was there before a recording to the tree that a replay makes."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Final

import numpy as np

from iotrace.replay.columns import NONE, Ints, Tables
from iotrace.replay.ground import MARKER
from iotrace.replay.mapping import Mapping
from iotrace.replay.naming import ROOT
from iotrace.replay.operation_sets import GETDENTS, TAKES_NAME, one_of
from iotrace.replay.origins import Origins
from iotrace.replay.scans import first_rows, rows_of
from iotrace.replay.select import Reason, Selection
from iotrace.replay.snapshot import PERMISSIONS, Snapshot, StagedFile, attribute_name, dangling

FILLERS_MAX: Final = 100_000
"""Most entries that are added to one folder so that its listing has the recorded size."""
_GETXATTR: Final = one_of(("getxattr", "lgetxattr", "fgetxattr", "removexattr", "lremovexattr", "fremovexattr"))


class SnapshotMaker:
    """Makes a Snapshot of what was there.

    Parameters
    ----------
    sizes: of each file, (files,), int64.
    """

    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection, origins: Origins, sizes: Ints) -> None:
        self.tables, self.mapping, self.selection, self.origins, self.sizes = tables, mapping, selection, origins, sizes
        self.tree = mapping.tree

    def snapshot(self, present: dict[int, int], folders: set[int], working: Collection[int]) -> Snapshot:
        """The tree; `present`: node → event that says that it was there (-1: implied), `folders`: nodes that are some.

        Both are added to: what was there needs the folders above it. `working`: folders that processes begin in.
        """
        tables, tree, mapping = self.tables, self.tree, self.mapping
        snapshot = Snapshot(size_of_file=np.zeros(len(tables.file_type), np.int64))
        for number in range(len(mapping.prefixes)):
            prefix = tree.add_prefix(number)
            if tree.has_children[prefix] and (prefix in working or not self.origins.is_made(prefix)):
                present.setdefault(prefix, -1)
                folders.add(prefix)
        # all that exists needs the folders above it
        for node in list(present):
            for above in tree.ancestors(node)[1:]:
                present.setdefault(above, -1)
                folders.add(above)
        first_name: dict[int, bytes] = {}
        folder_files: dict[int, int] = {}
        for node in sorted(present):
            row = present[node]
            if node <= ROOT:
                continue
            number = self._file_at(node, row)
            path = tree.path(node)
            if node in mapping.links:
                target = mapping.links[node]
                snapshot.links.append((path, tree.path(target) if target >= 0 else dangling(mapping, node)))
            elif node in folders or (number >= 0 and tables.file_type[number] == "directory"):
                mode = _mode(tables, number, 0o755)
                if path:  # else the tree's folder, which is there, and nobody else's business
                    snapshot.folders.append((path, mode | 0o700))
                if number >= 0:
                    folder_files[number] = node
            elif number >= 0 and tables.file_type[number] == "link":
                snapshot.links.append((path, dangling(mapping, node)))
            elif number >= 0 and number in first_name:
                snapshot.hard_links.append((path, first_name[number]))
            else:
                size = int(self.sizes[number]) if number >= 0 else 0
                snapshot.files.append(StagedFile(path, size, _mode(tables, number, 0o644) | 0o600, number))
                if number >= 0:
                    first_name[number] = path
                    snapshot.size_of_file[number] = size
        self._fill_folders(snapshot, folder_files)
        self._attributes(snapshot, first_name, folder_files)
        return snapshot

    def _file_at(self, node: int, row: int) -> int:
        if row >= 0:
            number = int(self.tables.events.file[row])
            if number >= 0:
                return number
        return self._file_of_node.get(node, -1)

    @cached_property
    def _file_of_node(self) -> dict[int, int]:
        found: dict[int, int] = {}
        events = self.tables.events
        seen = first_rows(np.ascontiguousarray(events.file), len(self.mapping.canonical))
        seen[seen == len(events)] = 0
        for number, node in enumerate(self.mapping.canonical.tolist()):
            if node < 0:
                continue
            stood, _ = self.origins.origin(node, int(seen[number]), moved=True) if self.origins.renames else (node, 0)
            # a recorder may take a file for new that was renamed before it was first seen
            if self.tables.file_existed[number] != 0 or (stood > ROOT and stood != node):
                found.setdefault(stood if stood > ROOT else node, number)
        return found

    def _fill_folders(self, snapshot: Snapshot, folder_files: dict[int, int]) -> None:
        """Entries that the trace does not name: as many as the recorded listings were longer."""
        tables, events = self.tables, self.tables.events
        lists = rows_of(GETDENTS, events.op)
        lists = lists[
            (self.selection.reason[lists] == Reason.KEPT) & (events.result[lists] > 0) & (events.file[lists] >= 0)
        ]
        if len(lists) == 0:
            return
        opens, numbers = events.open[lists] + 1, events.file[lists]
        total = np.bincount(opens, weights=events.result[lists]).astype(np.int64)
        longest = np.zeros(len(tables.file_type), np.int64)
        np.maximum.at(longest, numbers, total[opens])
        listings = {number: int(longest[number]) for number in np.unique(numbers).tolist()}
        children: dict[int, list[int]] = {}
        for node in range(1, len(self.tree)):
            children.setdefault(self.tree.parent[node], []).append(node)
        for number, listed in sorted(listings.items()):
            folder = folder_files.get(number)
            if folder is None:
                continue
            known = [len(self.tree.component[child]) for child in children.get(folder, [])]
            if not self.tree.path(folder):
                known.append(len(MARKER))
            rest = listed - 48 - sum((length + 19 + 1 + 7) // 8 * 8 for length in known)
            entries = int(tables.file_entries[number])
            more = entries - len(known) if entries != NONE else rest // 32
            more = min(more, rest // 24, FILLERS_MAX)
            if more > 0:
                length = max(4, min(rest // more // 8 * 8 - 20, 200))
                snapshot.fillers.append((self.tree.path(folder), more, length))

    def _attributes(self, snapshot: Snapshot, first_name: dict[int, bytes], folder_files: dict[int, int]) -> None:
        """Extended attributes of the user that were read before they were set."""
        events = self.tables.events
        rows = rows_of(TAKES_NAME, events.op)
        rows = rows[
            (self.selection.reason[rows] == Reason.KEPT) & (events.result[rows] >= 0) & (events.file[rows] >= 0)
        ]
        _, first = np.unique((events.file[rows].astype(np.int64) << 32) + events.other_path[rows], return_index=True)
        for row in rows[np.sort(first)].tolist():
            number, name = int(events.file[row]), int(events.other_path[row])
            path = first_name.get(number)
            if path is None and number in folder_files:
                path = self.tree.path(folder_files[number])
            if path is not None and _GETXATTR[events.op[row]]:
                # an attribute that is only removed has no known size
                size = min(int(events.result[row]), 4000)
                made = attribute_name(self.tree.attributes, self.tables.path_raw[name])
                snapshot.attributes.append((path, made, size))


def _mode(tables: Tables, number: int, default: int) -> int:
    if number < 0 or tables.file_mode[number] == NONE:
        return default
    return int(tables.file_mode[number]) & PERMISSIONS
