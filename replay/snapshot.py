"""What must exist before a replay: the tree of folders, files and links as it stood when the recording began.

Inferred from the trace: the first use of each name says whether it was there (a stat that succeeded), was not
(ENOENT, mkdir), or came from elsewhere (a rename of the folder above it); the files table says how large it was;
reads that returned data say how large it must at least have been; the bytes of a whole listing say how many more
entries a folder had.
"""

from __future__ import annotations

import errno
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import NONE, Ids, Ints, Tables, chunks
from iotrace.replay.following import follows
from iotrace.replay.mapping import Mapping, target_node
from iotrace.replay.naming import ROOT, Names
from iotrace.replay.pieces import Pieces
from iotrace.replay.scans import first_rows, note_uses, rows_of
from iotrace.replay.select import (
    CHDIRS,
    FAULT,
    GETDENTS,
    HAS_PATH,
    KIND,
    OPENS,
    RENAMES,
    SYMLINKS,
    TAKES_NAME,
    Reason,
    Selection,
    one_of,
)  # fmt: skip
from iotrace.trace.operations import Kind

# what one use of a name says about it
ABSENT: Final = 0
MAKES: Final = 1
PRESENT: Final = 2
MAYBE_MAKES: Final = 3
SILENT: Final = 4

_REMOVES: Final = one_of(("unlink", "unlinkat", "rmdir"))
_MKDIRS: Final = one_of(("mkdir", "mkdirat"))
_FOLDERS: Final = _MKDIRS | one_of(("rmdir", "chdir"))
_GETXATTR: Final = one_of(("getxattr", "lgetxattr", "fgetxattr", "removexattr", "lremovexattr", "fremovexattr"))
_FOLDERS_BY_FLAG: Final = OPENS | one_of(("unlinkat",))
_READS: Final = np.isin(KIND, [list(Kind).index(Kind.READ), list(Kind).index(Kind.COPY)])
_CHANGES_SIZE: Final = (list(Kind).index(Kind.WRITE) == KIND) | one_of(("ftruncate", "truncate", "fallocate"))
_O_CREAT, _O_EXCL, _O_TRUNC, _O_DIRECTORY = 0o100, 0o200, 0o1000, 0o200000
_AT_REMOVEDIR: Final = 0x200
_O_TMPFILE: Final = 0o20000000
FILLERS_MAX: Final = 100_000
"""Most entries that are added to one folder so that its listing has the recorded size."""
ATTRIBUTE_BYTES_MAX: Final = 255
"""XATTR_NAME_MAX."""


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


def infer_snapshot(tables: Tables, mapping: Mapping, selection: Selection) -> Snapshot:
    """Infer the tree; marks as not replayed (Reason.STRANGER) answers that no tree can bring about."""
    return _Inference(tables, mapping, selection).run()


class _Inference:
    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection) -> None:
        self.tables = tables
        self.mapping = mapping
        self.selection = selection
        self.tree = mapping.tree
        self.folders: set[int] = set()
        self.firsts: dict[int, tuple[int, int]] = {}  # node → first event that names it, what it says
        self.sizes = _least_sizes(tables, selection)
        known = tables.file_existed
        self.was_there = np.append((known == 1) | ((known < 0) & (self.sizes > 0)), False)
        self.lies: dict[int, int] = {}
        self.followed: list[tuple[int, int]] = []  # link, event that followed it
        self.working: list[int] = []
        self.present: dict[int, int] = {}  # node → event that says so (-1: implied)
        self.renames: dict[int, list[tuple[int, int]]] = {}  # destination → (event, source), in order
        self.leads: dict[int, list[tuple[int, int]]] = {}  # link that the run makes → (event, target), in order
        self.makes = np.zeros(0, np.int64)  # node << 32 | event by which the run makes it, a rename to it included

    def run(self) -> Snapshot:
        events, firsts = self.tables.events, self.firsts
        uses = self._note_uses()
        self._folders_seen()
        self._folder_renames()
        first, says = uses.first, uses.says
        named = np.flatnonzero(first < len(events))
        firsts |= zip(named.tolist(), zip(first[named].tolist(), says[named].tolist(), strict=True), strict=True)
        for x in np.flatnonzero(self.selection.open_inherited).tolist():
            at = int(self.selection.open_node[x])
            firsts[at] = (-1, PRESENT)
            self._note(at, int(self.selection.open_first[x]))
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
                if not overlaps and self._origin(at, seen)[0] == at:
                    # something outside the recording made it: take it as there from the start
                    self._exists(at, seen)
                    strange[at] = seen
        for at in self.working:
            if not self._made_before(at, np.iinfo(np.int64).max) and self._origin(at, len(self.tables.events))[0] == at:
                self.present.setdefault(at, -1)
        self._reached_through_links()
        self._imply_folders(uses.worked)
        if strange:
            self._leave_out(strange)
        return self._snapshot()

    def _leave_out(self, strange: dict[int, int]) -> None:
        """Answers that a name is not there, given before something outside the recording made it."""
        until = np.full(len(self.tree) + 1, -1, np.int64)
        until[list(strange)] = list(strange.values())
        left = Pieces()
        for rows in chunks(len(self.tables.events)):
            node, event, says, _ = self._uses(rows)
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

    def _note_uses(self) -> _Noted:
        """What all uses of names say of each."""
        events = self.tables.events
        noted = _Noted(len(events))
        makes = Pieces()
        proofs = np.zeros(0, np.int64)
        for rows in chunks(len(events)):
            node, event, says, proving = self._uses(rows)
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
        links += self.followed
        if links:
            through = np.array(links, np.int64)
            through = through[np.argsort(through[:, 1], kind="stable")]
            present = np.full(len(links), PRESENT, np.int8)
            noted.add(len(self.tree), through[:, 0].astype(np.int32), through[:, 1], present)
        self.makes = makes.whole()
        self.makes.sort()
        noted.extend(len(self.tree))
        return noted

    def _uses(self, rows: slice) -> tuple[Ids, Ints, npt.NDArray[np.int8], tuple[Ids, Ints]]:
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
        flags = np.where(op[opens] == _number("creat"), _O_CREAT | _O_TRUNC, flags)
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
                if one not in self.lies:
                    self.lies[one] = self._lies(one)
            node = np.array([self.lies[one] for one in node.tolist()], np.int32)
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
            node = self._carry(node, link, target) if target > ROOT else -1
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
            if self._follows(row) or self.tables.events.result[row] == -errno.ELOOP:
                self.followed.append((lies[link], row))
                target = mapping.physical(link, follow=True)
                if target > ROOT:
                    node[i] = target
                else:
                    says[i] = SILENT

    def _folders_seen(self) -> None:
        """Nodes that are folders by what was done to them."""
        events, selection = self.tables.events, self.selection
        nodes = np.zeros(len(self.tree) + 1, np.bool_)
        listed, bases = np.zeros(self.tables.opens + 1, np.bool_), np.zeros(self.tables.opens + 1, np.bool_)
        for rows in chunks(len(events)):
            part = events.at(rows)
            op = part.op
            good = (selection.reason[rows] == Reason.KEPT) & (part.result >= 0)
            nodes[selection.node[rows][good & _FOLDERS[op]]] = True
            by_flag = np.flatnonzero(good & _FOLDERS_BY_FLAG[op])
            flags = np.maximum(part.flags[by_flag], 0)
            unlinks = op[by_flag] == _number("unlinkat")
            tmpfile = (flags & (_O_TMPFILE | _O_DIRECTORY)) == _O_TMPFILE | _O_DIRECTORY
            folder = ((flags & _O_DIRECTORY) != 0) & ((flags & _O_TMPFILE) == 0)
            is_folder = np.where(unlinks, (flags & _AT_REMOVEDIR) != 0, folder | tmpfile)
            nodes[selection.node[rows][by_flag[is_folder]]] = True
            listed[part.open[good & (GETDENTS | CHDIRS)[op]]] = True
            opens = OPENS[op]
            bases[part.open[HAS_PATH[op] & ~opens]] = True
            bases[part.other_open[opens]] = True
        self.folders.update(np.flatnonzero(nodes[:-1]).tolist())
        self.folders.update(selection.open_node[np.flatnonzero(listed[:-1])].tolist())
        for number, kind in enumerate(self.tables.file_type):
            if kind == "directory":
                self.folders.add(int(self.mapping.canonical[number]))
        for x in np.flatnonzero(bases[:-1]).tolist():
            node = int(selection.open_node[x])
            if node > ROOT and self.tree.has_children[node]:
                self.folders.add(node)
        self.folders.discard(-1)
        cwd = {self.mapping.locate(_parts(text)) for text in self.tables.process_cwd if text.startswith("/")}
        self.working = sorted(cwd - {-1})
        self.folders.update(self.working)
        self.folders.update([self._lies(node) for node in self.folders])

    def _note(self, node: int, row: int) -> None:
        self.present.setdefault(node, row)

    def _folder_renames(self) -> None:
        """Renames after which what lay at and beneath the old name lies at and beneath the new one."""
        events, selection = self.tables.events, self.selection
        rows = rows_of(RENAMES | SYMLINKS, events.op)
        rows = rows[(selection.reason[rows] == Reason.KEPT) & (events.result[rows] >= 0)]
        renames = RENAMES[events.op[rows]]
        rows, symlinks = rows[renames], rows[~renames]
        for row, source, target in zip(
            rows.tolist(), selection.node[rows].tolist(), selection.node2[rows].tolist(), strict=True
        ):
            source, target = self._lies(source), self._lies(target)
            self.renames.setdefault(target, []).append((row, source))
        for row in symlinks.tolist():
            link, text = int(selection.node[row]), int(events.other_path[row])
            if text >= 0 and (target := target_node(self.mapping, link, self.tables.path_raw[text])) > ROOT:
                self.leads.setdefault(self._lies(link), []).append((row, target))

    def _lies(self, node: int) -> int:
        """Where a name lies, or the name itself where that is not known."""
        lies = self.mapping.physical(node) if self.mapping.links else node
        return lies if lies > ROOT else node

    def _origin(self, node: int, row: int, moved: bool = False) -> tuple[int, int]:
        """Where a name used at event `row` stood at the start, through links and renames of folders above it.

        Goes back in time, from the latest rename to the first; -1 where the run itself made what stands there. With
        `moved` renames of the node itself count as well.
        """
        if not (self.renames or self.leads or moved):
            return self.mapping.physical(node), row
        for _ in range(64):
            latest, source, renamed = -1, -1, -1
            chain = self.tree.ancestors(node)
            for above in chain if self.renames or self.leads else ():
                known = self.renames.get(above, []) if moved or above != node else []
                # what a link leads to says nothing of the link itself
                known = known + self.leads.get(above, []) if above != node else known
                for at, one in known:
                    if latest < at < row:
                        latest, source, renamed = at, one, above
            if moved and any(self._made_between(above, latest, row) for above in chain):
                return -1, row
            if renamed < 0:
                return self.mapping.physical(node), row
            node, row, moved = self._carry(node, renamed, source), latest, True
            if node < 0:
                return -1, row
        return -1, row

    def _made_between(self, node: int, after: int, before: int) -> bool:
        at = bisect_left(self.makes, (node << 32) + after + 1)
        return at < len(self.makes) and int(self.makes[at]) < (node << 32) + before

    def _carry(self, node: int, above: int, to: int) -> int:
        below = []
        while node != above:
            below.append(self.tree.component[node])
            node = self.tree.parent[node]
        return self.tree.descend(to, below[::-1])

    def _exists(self, node: int, row: int) -> None:
        origin, _ = self._origin(node, row)
        if origin > ROOT and (origin == node or not self._made_before(origin, row)):
            self.present.setdefault(origin, row)
            if node in self.folders:
                self.folders.add(origin)
        events = self.tables.events
        if node in self.mapping.links:
            target = self.mapping.links[node]
            follows = row >= 0 and self._follows(row) and events.result[row] >= 0
            if follows and target > ROOT and self.mapping.physical(target, follow=True) not in self.firsts:
                self.present.setdefault(self.mapping.physical(target, follow=True), row)

    def _follows(self, row: int) -> bool:
        """Whether a call acts on what a link leads to, not on the link."""
        events = self.tables.events
        return bool(follows(events.op[row], max(int(events.flags[row]), 0)))

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
                origin, _ = self._origin(at, implied[at] if implied[at] >= 0 else 0)
                if origin > ROOT and not self._made_before(origin, implied[at]):
                    self.present.setdefault(origin, -1)
                    self.folders.add(origin)

    def _made_before(self, node: int, row: int) -> bool:
        """Whether the run itself makes a name before an event."""
        at, said = self.firsts.get(node, (-1, SILENT))
        if said == MAYBE_MAKES:
            return at <= row and not self._was_there(int(self.tables.events.file[at]))
        return said in (MAKES, ABSENT) and at <= row

    def _snapshot(self) -> Snapshot:
        tables, tree, mapping = self.tables, self.tree, self.mapping
        snapshot = Snapshot(size_of_file=np.zeros(len(tables.file_type), np.int64))
        for number in range(len(mapping.prefixes)):
            prefix = tree.add_prefix(number)
            if tree.has_children[prefix]:
                self.present.setdefault(prefix, -1)
                self.folders.add(prefix)
        # all that exists needs the folders above it
        for node in list(self.present):
            for above in tree.ancestors(node)[1:]:
                self.present.setdefault(above, -1)
                self.folders.add(above)
        first_name: dict[int, bytes] = {}
        folder_files: dict[int, int] = {}
        for node in sorted(self.present):
            row = self.present[node]
            if node <= ROOT:
                continue
            number = self._file_at(node, row)
            path = tree.path(node)
            if node in mapping.links:
                target = mapping.links[node]
                snapshot.links.append((path, tree.path(target) if target >= 0 else dangling(mapping, node)))
            elif node in self.folders or (number >= 0 and tables.file_type[number] == "directory"):
                mode = _mode(tables, number, 0o755)
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
        return self._canonical_files().get(node, -1)

    def _canonical_files(self) -> dict[int, int]:
        if not hasattr(self, "_by_node"):
            self._by_node: dict[int, int] = {}
            events = self.tables.events
            seen = first_rows(np.ascontiguousarray(events.file), len(self.mapping.canonical))
            seen[seen == len(events)] = 0
            for number, node in enumerate(self.mapping.canonical.tolist()):
                if node < 0:
                    continue
                stood, _ = self._origin(node, int(seen[number]), moved=True) if self.renames else (node, 0)
                # a recorder may take a file for new that was renamed before it was first seen
                if self.tables.file_existed[number] != 0 or (stood > ROOT and stood != node):
                    self._by_node.setdefault(stood if stood > ROOT else node, number)
        return self._by_node

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


def dangling(mapping: Mapping, link: int) -> bytes:
    """Where a link without a recorded target leads: a name inside the tree at which nothing ever stands."""
    length = mapping.link_texts.get(link, 8)
    return b"gone/" + b"x" * max(1, min(length, 200))


def link_target(mapping: Mapping, link: int, text: bytes) -> bytes:
    """Where a link that is made during the run leads, relative to the tree's folder."""
    node = target_node(mapping, link, text)
    if node >= 0:
        return mapping.tree.path(node)
    return b"gone/" + b"x" * max(1, min(len(text), 200))


def _least_sizes(tables: Tables, selection: Selection) -> Ints:
    """Size of each file at the start: as the trace says, and for files never written at least what was read of them."""
    events = tables.events
    sizes = np.where(tables.file_size == NONE, 0, np.maximum(tables.file_size, 0))
    ends = np.zeros(len(sizes) + 1, np.int64)
    grows = np.zeros(len(sizes) + 1, np.bool_)
    for rows in chunks(len(events)):
        part = events.at(rows)
        kept = selection.reason[rows] == Reason.KEPT
        for chosen, moved in (
            (_READS[part.op] & (part.result > 0), part.result), (FAULT[part.op], np.broadcast_to(1, len(part))),
        ):  # fmt: skip
            at = np.flatnonzero(kept & chosen & (part.file >= 0))
            if len(at):
                offset = part.offset[at]
                end = np.where(offset >= 0, np.minimum(offset, 1 << 60) + moved[at], 0)
                np.maximum.at(ends, part.file[at], end)
        grows[part.file[kept & _CHANGES_SIZE[part.op]]] = True
        if part.other_file.strides[0]:
            grows[part.other_file[kept]] = True
    return np.where(grows[:-1], sizes, np.maximum(sizes, ends[:-1]))


def _extended(values: Ints, count: int, value: int) -> Ints:
    if len(values) >= count:
        return values
    return np.append(values, np.full(count - len(values), value, values.dtype))


class _Noted:
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


def _mode(tables: Tables, number: int, default: int) -> int:
    if number < 0 or tables.file_mode[number] == NONE:
        return default
    return int(tables.file_mode[number]) & 0o777


def _number(name: str) -> int:
    from iotrace.trace.operations import NUMBER_OF

    return NUMBER_OF[name]


def _parts(text: str) -> list[bytes]:
    from iotrace.replay.columns import components_of

    return components_of(text)
