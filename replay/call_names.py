"""The names that a plan's calls are given: from its own folder down where the program named them so, else in full.

A relative name is relative to the node of a descriptor or of the process's working folder; where that is not known, or
does not lie above, a name is the whole one within the tree, before which the kernel puts the tree's folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from iotrace.replay.columns import Ids, Ints, Numbers, Tables, components_of
from iotrace.replay.mapping import Mapping
from iotrace.replay.naming import ROOT
from iotrace.replay.numbering import Numbering
from iotrace.replay.operation_sets import CHDIRS
from iotrace.replay.scans import rows_of
from iotrace.replay.select import Reason, Selection
from iotrace.replay.snapshot import attribute_name, link_target


@dataclass(slots=True)
class Strings:
    """Distinct names that calls use: bytes, and whether the tree's own folder goes before them."""

    texts: list[bytes] = field(default_factory=list)
    absolute: list[bool] = field(default_factory=list)
    _numbers: dict[tuple[bytes, bool], int] = field(default_factory=dict)

    def number(self, text: bytes, absolute: bool = False) -> int:
        """Number of a string, the same for equal ones."""
        key = (text, absolute)
        known = self._numbers.get(key)
        if known is None:
            known = self._numbers[key] = len(self.texts)
            self.texts.append(text)
            self.absolute.append(absolute)
        return known


class WorkingFolders:
    """Working folder of each process.

    Attributes
    ----------
    start: node at the process's start, shape (processes,), int32, -1 where names must be absolute.
    """

    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection) -> None:
        self._process = tables.events.process
        self.start = np.array(
            [mapping.locate(components_of(text)) if text.startswith("/") else -1 for text in tables.process_cwd]
            or [-1],
            np.int32,
        )
        self._moved: Ids | None = None
        moves = rows_of(CHDIRS, tables.events.op)
        moves = moves[tables.events.result[moves] >= 0]
        if len(moves):
            self._moved = self._follow(tables, selection, moves)

    def at(self, event: Numbers) -> Ids:
        """Node of the working folder at each event."""
        if self._moved is not None:
            return self._moved[event]
        return np.append(self.start, np.int32(-1))[self._process[event]]

    def _follow(self, tables: Tables, selection: Selection, moves: Ints) -> Ids:
        events = tables.events
        folder = np.append(self.start, np.int32(-1))[events.process]
        moving = np.zeros(len(self.start) + 1, np.bool_)
        moving[events.process[moves]] = True
        is_move = np.zeros(len(events), np.bool_)
        is_move[moves] = True
        of_moving = np.flatnonzero(moving[events.process])
        of_moving = of_moving[np.lexsort((events.time_ns[of_moving], events.process[of_moving]))]
        process = events.process[of_moving]
        for rows in np.split(of_moving, np.flatnonzero(process[1:] != process[:-1]) + 1):
            if (events.thread[rows] != events.thread[rows[0]]).any():
                folder[rows] = -1  # threads of one process share their folder, those of a replay do not
                continue
            changed = np.flatnonzero(is_move[rows])
            there = np.where(
                selection.node[rows[changed]] >= 0,
                selection.node[rows[changed]],
                np.append(selection.open_node, np.int32(-1))[events.open[rows[changed]]],
            )
            there = np.where(selection.reason[rows[changed]] == Reason.KEPT, there, -1)
            since = np.searchsorted(changed, np.arange(len(rows)), side="left") - 1
            folder[rows] = np.where(since >= 0, there[np.maximum(since, 0)], folder[rows])
        return folder.astype(np.int32)


class Names:
    """Numbers of the strings under which calls name their nodes.

    Attributes
    ----------
    strings: the strings.
    """

    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection) -> None:
        self.strings = Strings()
        self._tables, self._mapping = tables, mapping
        self.folders = WorkingFolders(tables, mapping, selection)
        self._open_kept = np.append(selection.open_kept, False)
        self._open_node = np.append(selection.open_node, np.int32(-1))
        self._path_node = np.append(mapping.node, np.int32(-1))
        # of each path: 1 absolute; 4 a slash at the end
        self._forms = np.array(
            [
                (1 if raw.startswith(b"/") else 0) + (4 if raw.endswith(b"/") and raw.strip(b"/") else 0)
                for raw in tables.path_raw
            ]
            + [1],
            dtype=np.int64,
        )
        self._seen = Numbering(3)
        self._numbers = np.zeros(0, np.int64)

    def of_nodes(self, event: Numbers, nodes: Ids, paths: Ids, opens: Ids) -> Ints:
        """Of nodes that events named by these paths, relative to what these descriptions are of; shape (n,).

        Parameters
        ----------
        opens: -1 where a name is relative to the working folder.
        """
        form = self._forms[paths]
        mapped_name = (self._path_node[paths] == nodes) | (opens >= 0)
        base = np.where(opens >= 0, self._open_node[opens], self.folders.at(event))
        base = np.where((opens >= 0) & ~self._open_kept[opens], -1, base)
        base = np.where((form & 3 == 1) | ~mapped_name, -1, base)
        known = self._seen.count
        found = self._seen.numbers(np.stack([nodes, base, form], axis=1).astype(np.int64))
        if self._seen.count > known:
            tree, numbers = self._mapping.tree, []
            for node, above, shape in self._seen.known(known).tolist():
                slash = b"/" if shape & 4 else b""
                inside = tree.beneath(node, above) if above > ROOT else None
                if inside is not None:
                    numbers.append(self.strings.number(inside + slash))
                else:
                    numbers.append(self.strings.number(tree.path(node) + slash, True))
            self._numbers = np.append(self._numbers, np.array(numbers, np.int64))
        return self._numbers[found]

    def of_links(self, nodes: Ids, targets: Ids) -> list[int]:
        """Of the texts of links that calls make: to the paths `targets`, -1 for none."""
        raw, tree = self._tables.path_raw, self._mapping.tree
        return [
            self.strings.number(
                *link_text(tree.path(node), link_target(self._mapping, node, raw[target] if target >= 0 else b""))
            )
            for node, target in zip(nodes.tolist(), targets.tolist(), strict=True)
        ]

    def of_attributes(self, paths: Ids) -> Ints:
        """Of extended attributes, whose names stand among the paths."""
        names, raw = self._mapping.tree.attributes, self._tables.path_raw
        distinct, of = np.unique(paths, return_inverse=True)
        numbers = [self.strings.number(attribute_name(names, raw[path])) for path in distinct.tolist()]
        return np.array(numbers, np.int64)[of]


def link_text(link: bytes, target: bytes) -> tuple[bytes, bool]:
    """Text of a link between two paths of the tree: downwards, or absolute (True: the tree's folder goes before it).

    Never upwards: a link with `..` that is renamed to a place further up would lead out of the tree.
    """
    if not target:
        return b".", True
    folder, slash, _ = link.rpartition(b"/")
    if target.startswith(folder + slash):
        return target[len(folder + slash) :], False
    return target, True
