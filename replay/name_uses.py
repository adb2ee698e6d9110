"""What each use of a name says of it: that it was there, was not, or is made by the run.

A stat that succeeds says that its name was there, ENOENT that it was not, mkdir that the run makes it. What a call says
that follows a link, it says of what the link leads to.
"""

from __future__ import annotations

import errno
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import Flags, Ids, Ints, Tables, chunks
from iotrace.replay.following import follows
from iotrace.replay.mapping import Mapping
from iotrace.replay.naming import ROOT, Tree
from iotrace.replay.operation_sets import HAS_PATH, OPENS, RENAMES, SYMLINKS, one_of
from iotrace.replay.pieces import Pieces
from iotrace.replay.scans import note_uses
from iotrace.replay.select import Reason, Selection
from iotrace.trace.operations import NUMBER_OF

# what one use of a name says about it
ABSENT: Final = 0
MAKES: Final = 1
PRESENT: Final = 2
MAYBE_MAKES: Final = 3
SILENT: Final = 4

_MKDIRS: Final = one_of(("mkdir", "mkdirat"))
_CREAT: Final = NUMBER_OF["creat"]
_O_CREAT, _O_EXCL, _O_TRUNC = 0o100, 0o200, 0o1000


class NameUses:
    """The uses of names by the operations that are replayed.

    Parameters
    ----------
    was_there: of each file, whether it was there before; shape (files + 1,), the last entry for none.

    Attributes
    ----------
    makes: node << 32 | event by which the run makes it, a rename to it included; int64, sorted, after note().
    """

    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection, was_there: Flags) -> None:
        self.tables, self.mapping, self.selection, self.was_there = tables, mapping, selection, was_there
        self.tree = mapping.tree
        self.makes = np.zeros(0, np.int64)
        self._lies: dict[int, int] = {}
        self._followed: list[tuple[int, int]] = []  # link, event that followed it

    def note(self) -> Noted:
        """What all uses of names say of each."""
        events = self.tables.events
        noted = Noted(len(events))
        makes = Pieces()
        proofs = np.zeros(0, np.int64)
        for rows in chunks(len(events)):
            node, event, says, proving = self.of(rows)
            noted.add(len(self.tree), node, event, says)
            made = (says == MAKES) | (says == MAYBE_MAKES)
            if made.any():
                was_there = self.was_there[events.file[event[made]]]
                kept = (says[made] == MAKES) | ~was_there
                makes.add((node[made][kept].astype(np.int64) << 32) + event[made][kept])
            if len(proving[0]):
                proofs = _extended(proofs, len(self.tree), len(events))
                np.minimum.at(proofs, *proving)
        links: list[tuple[int, int]] = []
        for one in np.flatnonzero(proofs < len(events)).tolist():
            links += [(link, int(proofs[one])) for link in self._links_above(one)]
        links += self._followed
        if links:
            through = np.array(links, np.int64)
            through = through[np.argsort(through[:, 1], kind="stable")]
            present = np.full(len(links), PRESENT, np.int8)
            noted.add(len(self.tree), through[:, 0].astype(np.int32), through[:, 1], present)
        self.makes = makes.whole()
        self.makes.sort()
        noted.extend(len(self.tree))
        return noted

    def of(self, rows: slice) -> tuple[Ids, Ints, npt.NDArray[np.int8], tuple[Ids, Ints]]:
        """Uses of names by some events: node, event, what the use says; and where links matter: nodes as they are
        named and events that prove that these names led somewhere."""
        part, selection = self.tables.events.at(rows), self.selection
        kept = selection.reason[rows] == Reason.KEPT
        chosen = kept & HAS_PATH[part.op] & (selection.node[rows] >= 0) & ~selection.unnamed[rows]
        named = np.flatnonzero(chosen)
        op, result = part.op[named], part.result[named]
        success = result >= 0
        says = np.where(success, PRESENT, SILENT).astype(np.int8)
        if not success.all():
            says[result == -errno.ENOENT] = ABSENT
            says[np.isin(result, (-errno.EEXIST, -errno.EISDIR, -errno.ENOTEMPTY))] = PRESENT
        opens = np.flatnonzero(OPENS[op] & success)
        flags = np.maximum(part.flags[named[opens]], 0)
        flags = np.where(op[opens] == _CREAT, _O_CREAT | _O_TRUNC, flags)
        creates = (flags & _O_CREAT) != 0
        says[opens[creates]] = MAYBE_MAKES
        says[opens[creates & ((flags & _O_EXCL) != 0)]] = MAKES
        says[(_MKDIRS | SYMLINKS)[op] & success] = MAKES
        named += rows.start
        node = selection.node[named]
        if self.mapping.links:
            self._uses_of_links(named, node, says)
        if selection.node2.strides[0]:
            second = np.flatnonzero(kept & (selection.node2[rows] >= 0))
            result, flags = part.result[second], np.maximum(part.flags[second], 0)
            says2 = np.where(result >= 0, MAKES, SILENT).astype(np.int8)
            exchanges = RENAMES[part.op[second]] & (result >= 0) & (flags & 2 != 0)
            says2[exchanges | (result == -errno.EEXIST) | (result == -errno.ENOTEMPTY)] = PRESENT
            second += rows.start
            node = np.concatenate([node, selection.node2[second]])
            named, says = np.concatenate([named, second]), np.concatenate([says, says2])
            order = np.argsort(named, kind="stable")
            node, named, says = node[order], named[order], says[order]
        proving = np.zeros(0, np.int32), np.zeros(0, np.int64)
        if self.mapping.links:
            proves = (says != SILENT) & (says != ABSENT)
            proving = node[proves], named[proves]
            for one in np.unique(node).tolist():
                if one not in self._lies:
                    self._lies[one] = lies_at(self.mapping, one)
            node = np.array([self._lies[one] for one in node.tolist()], np.int32)
        spoken = says != SILENT
        return node[spoken], named[spoken], says[spoken], proving

    def _links_above(self, node: int) -> list[int]:
        """Links that a name leads through before its last component."""
        found: list[int] = []
        while node > ROOT and len(found) < 40:
            chain = self.tree.ancestors(node)[:0:-1]
            link = next((above for above in chain if above in self.mapping.links), -1)
            if link < 0:
                break
            found.append(link)
            target = self.mapping.links[link]
            node = carried(self.tree, node, link, target) if target > ROOT else -1
        return found

    def _uses_of_links(self, rows: Ints, node: Ids, says: npt.NDArray[np.int8]) -> None:
        """Notes links that calls followed, and the events: they were there; what a call says, it says of what they
        lead to.

        Changes `node` and `says` in place.
        """
        mapping = self.mapping
        lies = {one: mapping.physical(one) for one in np.unique(node).tolist()}
        is_link = np.zeros(len(self.tree), np.bool_)
        is_link[[one for one, at in lies.items() if at in mapping.links]] = True
        for i in np.flatnonzero(is_link[node]).tolist():
            row, link = int(rows[i]), int(node[i])
            if self.follows_link(row) or self.tables.events.result[row] == -errno.ELOOP:
                self._followed.append((lies[link], row))
                target = mapping.physical(link, follow=True)
                if target > ROOT:
                    node[i] = target
                else:
                    says[i] = SILENT

    def follows_link(self, row: int) -> bool:
        """Whether a call acts on what a link leads to, not on the link."""
        events = self.tables.events
        return bool(follows(events.op[row], max(int(events.flags[row]), 0)))


class Noted:
    """What the uses of each node say; arrays of shape (nodes,), as many as there are events where nothing says so.

    Attributes
    ----------
    first, says: first event that names it, and what that says; made: first that makes it or may; seen: first that finds
    it.
    """

    def __init__(self, events: int) -> None:
        self.events = events
        self.first, self.made, self.seen = (np.zeros(0, np.int64) for _ in range(3))
        self.says: npt.NDArray[np.int8] = np.zeros(0, np.int8)

    def add(self, nodes: int, node: Ids, event: Ints, says: npt.NDArray[np.int8]) -> None:
        """Some uses, in the order of events."""
        self.extend(nodes)
        note_uses(node, event, says, self.first, self.says, self.made, self.seen)

    def extend(self, nodes: int) -> None:
        """Make room for so many nodes."""
        for name in ("first", "made", "seen"):
            setattr(self, name, _extended(getattr(self, name), nodes, self.events))
        more = np.full(max(0, nodes - len(self.says)), SILENT, np.int8)
        self.says = np.append(self.says, more)

    @property
    def worked(self) -> Ints:
        """First event that finds each node, makes it or may make it."""
        return np.minimum(self.made, self.seen)


def _extended(values: Ints, count: int, value: int) -> Ints:
    if len(values) >= count:
        return values
    return np.append(values, np.full(count - len(values), value, values.dtype))


def lies_at(mapping: Mapping, node: int) -> int:
    """Where a name lies, or the name itself where that is not known."""
    lies = mapping.physical(node) if mapping.links else node
    return lies if lies > ROOT else node


def carried(tree: Tree, node: int, above: int, to: int) -> int:
    """The name that lies beneath `to` as `node` does beneath `above`."""
    below = []
    while node != above:
        below.append(tree.component[node])
        node = tree.parent[node]
    return tree.descend(to, below[::-1])
