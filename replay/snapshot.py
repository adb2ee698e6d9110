"""What must exist before a replay: the tree of folders, files and links as it stood when the recording began.

Inferred from the trace: the first use of each name says whether it was there (a stat that succeeded), was not
(ENOENT, mkdir), or came from elsewhere (a rename of the folder above it); the files table says how large it was;
reads that returned data say how large it must at least have been; the bytes of a whole listing say how many more
entries a folder had.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from iotrace.replay.columns import NONE, Ids, Ints, Tables
from iotrace.replay.mapping import Mapping, target_node
from iotrace.replay.naming import ROOT, Names
from iotrace.replay.select import (
    CHDIRS,
    GETDENTS,
    HAS_PATH,
    KIND,
    LINKS,
    OPENS,
    RENAMES,
    SYMLINKS,
    TAKES_NAME,
    Reason,
    Selection,
    _table,
)  # fmt: skip
from iotrace.trace.operations import Kind

# what one use of a name says about it
ABSENT: Final = 0
MAKES: Final = 1
PRESENT: Final = 2
MAYBE_MAKES: Final = 3
SILENT: Final = 4

_REMOVES: Final = _table(("unlink", "unlinkat", "rmdir"))
_MKDIRS: Final = _table(("mkdir", "mkdirat"))
_FOLDERS: Final = _MKDIRS | _table(("rmdir", "chdir"))
_NO_FOLLOW: Final = _table(
    ("lstat", "readlink", "readlinkat", "unlink", "unlinkat", "rmdir", "symlink", "symlinkat", "lchown", "lsetxattr",
     "lgetxattr", "llistxattr", "lremovexattr", "mkdir", "mkdirat")
) | RENAMES | LINKS  # fmt: skip
_NO_FOLLOW_BY_FLAG: Final = _table(("newfstatat", "statx", "faccessat2", "fchmodat2", "fchownat", "utimensat"))
_O_NOFOLLOW, _AT_SYMLINK_NOFOLLOW = 0o400000, 0x100
_GETXATTR: Final = _table(("getxattr", "lgetxattr", "fgetxattr", "removexattr", "lremovexattr", "fremovexattr"))
_O_CREAT, _O_EXCL, _O_TRUNC, _O_DIRECTORY = 0o100, 0o200, 0o1000, 0o200000
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
        self.working: list[int] = []
        self.present: dict[int, int] = {}  # node → event that says so (-1: implied)
        self.renames: dict[int, list[tuple[int, int]]] = {}  # destination → (event, source), in order
        self.leads: dict[int, list[tuple[int, int]]] = {}  # link that the run makes → (event, target), in order
        self.makes: dict[int, list[int]] = {}  # node → events by which the run makes it, a rename to it included

    def run(self) -> Snapshot:
        node, event, says = self._uses()
        self._folders_seen()
        self._note_makes(node, event, says)
        self._folder_renames()
        order = np.lexsort((event, node))
        node, event, says = node[order], event[order], says[order]
        first = np.flatnonzero(np.r_[True, node[1:] != node[:-1]]) if len(node) else np.zeros(0, np.int64)
        last = np.r_[first[1:], len(node)].astype(np.int64)
        makes = np.isin(says, (MAKES, MAYBE_MAKES))
        made_at = np.full(len(self.tree), np.iinfo(np.int64).max)
        np.minimum.at(made_at, node[makes], event[makes])
        seen_at = np.full(len(self.tree), np.iinfo(np.int64).max)
        np.minimum.at(seen_at, node[says == PRESENT], event[says == PRESENT])
        events, firsts = self.tables.events, self.firsts
        firsts |= zip(node[first].tolist(), zip(event[first].tolist(), says[first].tolist(), strict=True), strict=True)
        for x, at in enumerate(self.selection.open_node.tolist()):
            if self.selection.open_inherited[x]:
                firsts[at] = (-1, PRESENT)
                self._note(at, int(self.selection.open_first[x]))
        strangers: list[int] = []
        place = dict(zip(node[first].tolist(), range(len(first)), strict=True))
        for at, (row, said) in list(firsts.items()):
            maybe = said == MAYBE_MAKES and self._was_there(int(self.tables.events.file[row]))
            if (said == PRESENT and row >= 0) or maybe:
                self._exists(at, row)
            elif said == ABSENT and seen_at[at] < made_at[at]:
                seen = int(seen_at[at])
                made = int(made_at[at])
                # a call may see a name before the call that makes it has ended
                overlaps = made < len(events) and events.time_ns[made] < events.end_ns[seen]
                if not overlaps and self._origin(at, seen)[0] == at:
                    # something outside the recording made it: take it as there from the start
                    self._exists(at, seen)
                    rows = slice(first[place[at]], last[place[at]])
                    early = (says[rows] == ABSENT) & (event[rows] < seen)
                    strangers += event[rows][early].tolist()
        for at in self.working:
            if not self._made_before(at, np.iinfo(np.int64).max) and self._origin(at, len(self.tables.events))[0] == at:
                self.present.setdefault(at, -1)
        self._reached_through_links()
        self._imply_folders(node, event, says)
        if strangers:
            self.selection.reason[np.array(strangers)] = Reason.STRANGER
        return self._snapshot()

    def _was_there(self, number: int) -> bool:
        if number < 0:
            return False
        known = int(self.tables.file_existed[number])
        return known == 1 or (known < 0 and int(self.sizes[number]) > 0)

    def _reached_through_links(self) -> None:
        """Files that were there and are only ever named through links."""
        events = self.tables.events
        kept = np.flatnonzero(self.selection.kept & (events.file >= 0) & (events.result >= 0))
        numbers, at = np.unique(events.file[kept], return_index=True)
        for number, row in zip(numbers.tolist(), kept[at].tolist(), strict=True):
            node = int(self.mapping.canonical[number])
            if (
                self.tables.file_existed[number] == 1
                and node > ROOT
                and node not in self.firsts
                and node not in self.present
            ):
                self._exists(node, row)

    def _uses(self) -> tuple[Ids, Ints, npt.NDArray[np.int8]]:
        """All uses of names: node, event, what the use says."""
        events, selection = self.tables.events, self.selection
        kept = selection.kept
        named = np.flatnonzero(kept & HAS_PATH[events.op] & (selection.node >= 0) & ~selection.unnamed)
        op, result, flags = events.op[named], events.result[named], np.maximum(events.flags[named], 0)
        flags = np.where(op == _number("creat"), _O_CREAT | _O_TRUNC, flags)
        success = result >= 0
        says = np.where(success, PRESENT, SILENT).astype(np.int8)
        says[result == -errno.ENOENT] = ABSENT
        says[np.isin(result, (-errno.EEXIST, -errno.EISDIR, -errno.ENOTEMPTY))] = PRESENT
        creates = OPENS[op] & ((flags & _O_CREAT) != 0) & success
        says[creates] = MAYBE_MAKES
        says[creates & ((flags & _O_EXCL) != 0)] = MAKES
        says[(_MKDIRS | SYMLINKS)[op] & success] = MAKES
        node = selection.node[named]
        links = self._uses_of_links(named, node, says)
        second = np.flatnonzero(kept & (selection.node2 >= 0))
        good = events.result[second] >= 0
        says2 = np.where(good, MAKES, SILENT).astype(np.int8)
        exchanges = RENAMES[events.op[second]] & good & (np.maximum(events.flags[second], 0) & 2 != 0)
        says2[exchanges | (events.result[second] == -errno.EEXIST) | (events.result[second] == -errno.ENOTEMPTY)] = (
            PRESENT
        )
        nodes = np.concatenate([node, selection.node2[second]])
        rows = np.concatenate([named, second]).astype(np.int64)
        says = np.concatenate([says, says2])
        if self.mapping.links:
            named_at, at = np.unique(nodes, return_inverse=True)
            earliest = np.full(len(named_at), len(events), np.int64)
            proves = ~np.isin(says, (SILENT, ABSENT))
            np.minimum.at(earliest, at[proves], rows[proves])
            for one, row in zip(named_at.tolist(), earliest.tolist(), strict=True):
                if row < len(events):
                    links += [(link, row) for link in self._links_above(one)]
            nodes = np.array([self._lies(one) for one in named_at.tolist()], np.int32)[at.reshape(-1)]
        spoken = says != SILENT
        through = np.array(links, np.int64).reshape(-1, 2)
        return (
            np.concatenate([nodes[spoken], through[:, 0].astype(np.int32)]),
            np.concatenate([rows[spoken], through[:, 1]]),
            np.concatenate([says[spoken], np.full(len(links), PRESENT, np.int8)]),
        )

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

    def _uses_of_links(self, rows: Ints, node: Ids, says: npt.NDArray[np.int8]) -> list[tuple[int, int]]:
        """Links that calls followed, and the events: they were there; what a call says, it says of what they lead to.

        Changes `node` and `says` in place.
        """
        mapping = self.mapping
        is_link = np.zeros(len(self.tree), np.bool_)
        lies = {one: mapping.physical(one) for one in np.unique(node).tolist()} if mapping.links else {}
        is_link[[one for one, at in lies.items() if at in mapping.links]] = True
        found: list[tuple[int, int]] = []
        for i in np.flatnonzero(is_link[node]).tolist():
            row, link = int(rows[i]), int(node[i])
            if self._follows(row) or self.tables.events.result[row] == -errno.ELOOP:
                found.append((lies[link], row))
                target = mapping.physical(link, follow=True)
                if target > ROOT:
                    node[i] = target
                else:
                    says[i] = SILENT
        return found

    def _note_makes(self, node: Ids, event: Ints, says: npt.NDArray[np.int8]) -> None:
        """Every time that the run makes a name which lies beneath a folder that is renamed."""
        makes = says == MAKES
        maybe = np.flatnonzero(says == MAYBE_MAKES)
        files = self.tables.events.file[event[maybe]]
        makes[maybe] = [not self._was_there(number) for number in files.tolist()]
        for at, row in zip(node[makes].tolist(), event[makes].tolist(), strict=True):
            self.makes.setdefault(at, []).append(row)

    def _folders_seen(self) -> None:
        """Nodes that are folders by what was done to them."""
        events, selection = self.tables.events, self.selection
        by_name = selection.kept & (events.result >= 0) & (selection.node >= 0)
        flags = np.maximum(events.flags, 0)
        is_folder = _FOLDERS[events.op] | (
            OPENS[events.op] & ((flags & _O_DIRECTORY) != 0) & ((flags & _O_TMPFILE) == 0)
        )
        is_folder |= OPENS[events.op] & ((flags & (_O_TMPFILE | _O_DIRECTORY)) == _O_TMPFILE | _O_DIRECTORY)
        is_folder |= (events.op == _number("unlinkat")) & ((flags & 0x200) != 0)
        self.folders.update(selection.node[by_name & is_folder].tolist())
        lists = selection.kept & (GETDENTS | CHDIRS)[events.op] & (events.result >= 0) & (events.open >= 0)
        self.folders.update(selection.open_node[np.unique(events.open[lists])].tolist())
        for number, kind in enumerate(self.tables.file_type):
            if kind == "directory":
                self.folders.add(int(self.mapping.canonical[number]))
        bases = events.open[HAS_PATH[events.op] & ~OPENS[events.op] & (events.open >= 0)]
        bases = np.union1d(bases, events.other_open[OPENS[events.op] & (events.other_open >= 0)])
        for x in bases.tolist():
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
        rows = np.flatnonzero(RENAMES[events.op] & selection.kept & (events.result >= 0))
        for row, source, target in zip(
            rows.tolist(), selection.node[rows].tolist(), selection.node2[rows].tolist(), strict=True
        ):
            source, target = self._lies(source), self._lies(target)
            self.renames.setdefault(target, []).append((row, source))
        for row in np.flatnonzero(SYMLINKS[events.op] & selection.kept & (events.result >= 0)).tolist():
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
            if moved and any(latest < at < row for above in chain for at in self.makes.get(above, ())):
                return -1, row
            if renamed < 0:
                return self.mapping.physical(node), row
            node, row, moved = self._carry(node, renamed, source), latest, True
            if node < 0:
                return -1, row
        return -1, row

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
        op, flags = events.op[row], max(int(events.flags[row]), 0)
        if _NO_FOLLOW[op] or (OPENS[op] and flags & _O_NOFOLLOW):
            return False
        return not (_NO_FOLLOW_BY_FLAG[op] and flags & _AT_SYMLINK_NOFOLLOW)

    def _imply_folders(self, node: Ids, event: Ints, says: npt.NDArray[np.int8]) -> None:
        """Whatever has something in it before it could have been made was there as a folder."""
        never = np.iinfo(np.int64).max
        count = len(self.tree)
        earliest = np.full(count, never, np.int64)
        worked = np.isin(says, (MAKES, PRESENT, MAYBE_MAKES))
        np.minimum.at(earliest, node[worked], event[worked])
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
            seen = np.zeros(len(self.mapping.canonical) + 1, np.int64)
            numbers, rows = np.unique(self.tables.events.file, return_index=True)
            seen[numbers] = rows
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
        lists = self.selection.kept & GETDENTS[events.op] & (events.result > 0) & (events.file >= 0)
        if not lists.any():
            return
        total = np.bincount(events.open[lists] + 1, weights=events.result[lists])
        listings: dict[int, int] = {}
        for x, number in {(int(x), int(f)) for x, f in zip(events.open[lists], events.file[lists], strict=True)}:
            listings[number] = max(listings.get(number, 0), int(total[x + 1]))
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
        rows = np.flatnonzero(self.selection.kept & TAKES_NAME[events.op] & (events.result >= 0) & (events.file >= 0))
        seen: set[tuple[int, int]] = set()
        for row in rows.tolist():
            number, name = int(events.file[row]), int(events.other_path[row])
            if (number, name) in seen:
                continue
            seen.add((number, name))
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
    kinds = list(Kind)
    kept = selection.kept & (events.file >= 0)
    reads = kept & np.isin(KIND[events.op], [kinds.index(Kind.READ), kinds.index(Kind.COPY)]) & (events.result > 0)
    reads &= events.offset >= 0
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.maximum.at(ends, events.file[reads], np.minimum(events.offset[reads], 1 << 60) + events.result[reads])
    faults = kept & (events.op == _number("mmap.fault")) & (events.offset >= 0)
    np.maximum.at(ends, events.file[faults], np.minimum(events.offset[faults], 1 << 60) + 1)
    grows = np.zeros(len(sizes) + 1, np.bool_)
    changes = kept & (
        (KIND[events.op] == kinds.index(Kind.WRITE)) | _table(("ftruncate", "truncate", "fallocate"))[events.op]
    )
    grows[events.file[changes]] = True
    grows[events.other_file[selection.kept & (events.other_file >= 0)]] = True
    return np.where(grows[:-1], sizes, np.maximum(sizes, ends[:-1]))


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
