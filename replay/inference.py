"""What was there when a recording began, inferred from the trace.

The first use of each name says whether it was there (see iotrace.replay.name_uses), or came from elsewhere (a rename of
the folder above it); the files table says how large it was; reads that returned data say how large it must at least
have been; the bytes of a whole listing say how many more entries a folder had.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from iotrace.replay.columns import Ints, Tables, chunks, components_of
from iotrace.replay.first_sizes import least_sizes
from iotrace.replay.mapping import Mapping
from iotrace.replay.name_uses import ABSENT, MAKES, MAYBE_MAKES, PRESENT, SILENT, NameUses, lies_at
from iotrace.replay.naming import ROOT
from iotrace.replay.operation_sets import CHDIRS, GETDENTS, HAS_PATH, OPENS, one_of
from iotrace.replay.origins import Origins
from iotrace.replay.pieces import Pieces
from iotrace.replay.select import Reason, Selection
from iotrace.replay.snapshot import Snapshot
from iotrace.replay.snapshot_maker import SnapshotMaker
from iotrace.trace.operations import NUMBER_OF

_FOLDERS: Final = one_of(("mkdir", "mkdirat", "rmdir", "chdir"))
_FOLDERS_BY_FLAG: Final = OPENS | one_of(("unlinkat",))
_UNLINKAT: Final = NUMBER_OF["unlinkat"]
_O_DIRECTORY: Final = 0o200000
_AT_REMOVEDIR: Final = 0x200
_O_TMPFILE: Final = 0o20000000


def infer_snapshot(tables: Tables, mapping: Mapping, selection: Selection) -> Snapshot:
    """Infer the tree; marks as not replayed (Reason.STRANGER) answers that no tree can bring about."""
    return _Inference(tables, mapping, selection).run()


class _Inference:
    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection) -> None:
        self.tables = tables
        self.mapping = mapping
        self.selection = selection
        self.tree = mapping.tree
        self.firsts: dict[int, tuple[int, int]] = {}  # node → first event that names it, what it says
        self.sizes = least_sizes(tables, selection)
        known = tables.file_existed
        self.was_there = np.append((known == 1) | ((known < 0) & (self.sizes > 0)), False)
        self.present: dict[int, int] = {}  # node → event that says so (-1: implied)
        self.uses = NameUses(tables, mapping, selection, self.was_there)
        self.noted = self.uses.note()
        self.folders, self.working = folders_seen(tables, mapping, selection)
        self.origins = Origins(tables, mapping, selection, self.uses.makes)

    def run(self) -> Snapshot:
        events, firsts, uses = self.tables.events, self.firsts, self.noted
        first, says = uses.first, uses.says
        named = np.flatnonzero(first < len(events))
        firsts |= zip(named.tolist(), zip(first[named].tolist(), says[named].tolist(), strict=True), strict=True)
        for x in np.flatnonzero(self.selection.open_inherited).tolist():
            at = int(self.selection.open_node[x])
            firsts[at] = (-1, PRESENT)
            self.present.setdefault(at, int(self.selection.open_first[x]))
        strange: dict[int, int] = {}  # node → event that sees what nothing in the recording made
        for at, (row, said) in list(firsts.items()):
            maybe = said == MAYBE_MAKES and self._was_there(int(events.file[row]))
            if (said == PRESENT and row >= 0) or maybe:
                self._exists(at, row)
            elif said == ABSENT and uses.seen[at] < uses.made[at]:
                seen, made = int(uses.seen[at]), int(uses.made[at])
                # a call may see a name before the call that makes it has ended
                overlaps = made < len(events) and events.time_ns[made] < events.time_ns[seen] + max(
                    int(events.duration_ns[seen]), 0
                )
                if not overlaps and self.origins.origin(at, seen)[0] == at:
                    # something outside the recording made it: take it as there from the start
                    self._exists(at, seen)
                    strange[at] = seen
        for at in self.working:
            if not self._made_before(at, np.iinfo(np.int64).max) and self.origins.origin(at, len(events))[0] == at:
                self.present.setdefault(at, -1)
        self._reached_through_links()
        self._imply_folders(uses.worked)
        if strange:
            self._leave_out(strange)
        maker = SnapshotMaker(self.tables, self.mapping, self.selection, self.origins, self.sizes)
        return maker.snapshot(self.present, self.folders, self.working)

    def _leave_out(self, strange: dict[int, int]) -> None:
        """Answers that a name is not there, given before something outside the recording made it."""
        until = np.full(len(self.tree) + 1, -1, np.int64)
        until[list(strange)] = list(strange.values())
        left = Pieces()
        for rows in chunks(len(self.tables.events)):
            node, event, says, _ = self.uses.of(rows)
            left.add(event[(says == ABSENT) & (event < until[node])])
        self.selection.reason[left.whole()] = Reason.STRANGER

    def _was_there(self, number: int) -> bool:
        return bool(self.was_there[number])

    def _reached_through_links(self) -> None:
        """Files that were there and are only ever named through links."""
        events = self.tables.events
        first = np.full(len(self.tables.file_type), len(events), np.int64)
        for rows in chunks(len(events)):
            part = events.at(rows)
            good = np.flatnonzero((self.selection.reason[rows] == Reason.KEPT) & (part.file >= 0) & (part.result >= 0))
            np.minimum.at(first, part.file[good], good + rows.start)
        there = (first < len(events)) & (self.tables.file_existed == 1) & (self.mapping.canonical > ROOT)
        for number in np.flatnonzero(there).tolist():
            node = int(self.mapping.canonical[number])
            if node not in self.firsts and node not in self.present:
                self._exists(node, int(first[number]))

    def _exists(self, node: int, row: int) -> None:
        origin, _ = self.origins.origin(node, row)
        if origin > ROOT and (origin == node or not self._made_before(origin, row)):
            self.present.setdefault(origin, row)
            if node in self.folders:
                self.folders.add(origin)
        events = self.tables.events
        if node in self.mapping.links:
            target = self.mapping.links[node]
            follows = row >= 0 and self.uses.follows_link(row) and events.result[row] >= 0
            if follows and target > ROOT and self.mapping.physical(target, follow=True) not in self.firsts:
                self.present.setdefault(self.mapping.physical(target, follow=True), row)

    def _imply_folders(self, worked: Ints) -> None:
        """Whatever has something in it before it could have been made was there as a folder.

        `worked`: first event that shows or makes each node, as many as there are events where none does.
        """
        never = np.iinfo(np.int64).max
        count = len(self.tree)
        earliest = np.full(count, never, np.int64)
        earliest[: len(worked)] = np.where(worked < len(self.tables.events), worked, never)
        for at, row in list(self.present.items()):
            if 0 <= at < count:
                earliest[at] = min(int(earliest[at]), row)
        implied = [never] * count
        values = earliest.tolist()
        parent = self.tree.parent
        for at in range(count - 1, 0, -1):
            above = parent[at]
            value = min(values[at], implied[at])
            if value < implied[above]:
                implied[above] = value
        for at in range(1, count):
            if implied[at] == never:
                continue
            if at in self.mapping.links:
                lies = self.mapping.physical(at)
                if lies > ROOT and not self._made_before(at, implied[at]):
                    self.present.setdefault(lies, -1)
                continue
            self.folders.add(at)
            row, said = self.firsts.get(at, (never, SILENT))
            if implied[at] < row or (said == SILENT) or at in self.present:
                origin, _ = self.origins.origin(at, implied[at] if implied[at] >= 0 else 0)
                if origin > ROOT and not self._made_before(origin, implied[at]):
                    self.present.setdefault(origin, -1)
                    self.folders.add(origin)

    def _made_before(self, node: int, row: int) -> bool:
        """Whether the run itself makes a name before an event."""
        at, said = self.firsts.get(node, (-1, SILENT))
        if said == MAYBE_MAKES:
            return at <= row and not self._was_there(int(self.tables.events.file[at]))
        return said in (MAKES, ABSENT) and at <= row


def folders_seen(tables: Tables, mapping: Mapping, selection: Selection) -> tuple[set[int], list[int]]:
    """Nodes that are folders by what was done to them, and those of them that were working folders, in order."""
    events, tree, folders = tables.events, mapping.tree, set[int]()
    nodes = np.zeros(len(tree) + 1, np.bool_)
    listed, bases = np.zeros(tables.opens + 1, np.bool_), np.zeros(tables.opens + 1, np.bool_)
    for rows in chunks(len(events)):
        part = events.at(rows)
        op = part.op
        good = (selection.reason[rows] == Reason.KEPT) & (part.result >= 0)
        nodes[selection.node[rows][good & _FOLDERS[op]]] = True
        by_flag = np.flatnonzero(good & _FOLDERS_BY_FLAG[op])
        flags = np.maximum(part.flags[by_flag], 0)
        unlinks = op[by_flag] == _UNLINKAT
        tmpfile = (flags & (_O_TMPFILE | _O_DIRECTORY)) == _O_TMPFILE | _O_DIRECTORY
        folder = ((flags & _O_DIRECTORY) != 0) & ((flags & _O_TMPFILE) == 0)
        is_folder = np.where(unlinks, (flags & _AT_REMOVEDIR) != 0, folder | tmpfile)
        nodes[selection.node[rows][by_flag[is_folder]]] = True
        listed[part.open[good & (GETDENTS | CHDIRS)[op]]] = True
        opens = OPENS[op]
        bases[part.open[HAS_PATH[op] & ~opens]] = True
        bases[part.other_open[opens]] = True
    folders.update(np.flatnonzero(nodes[:-1]).tolist())
    folders.update(selection.open_node[np.flatnonzero(listed[:-1])].tolist())
    for number, kind in enumerate(tables.file_type):
        if kind == "directory":
            folders.add(int(mapping.canonical[number]))
    for x in np.flatnonzero(bases[:-1]).tolist():
        node = int(selection.open_node[x])
        if node > ROOT and tree.has_children[node]:
            folders.add(node)
    folders.discard(-1)
    cwd = {mapping.locate(components_of(text)) for text in tables.process_cwd if text.startswith("/")}
    working = sorted(cwd - {-1})
    folders.update(working)
    folders.update([lies_at(mapping, node) for node in folders])
    return folders, working
