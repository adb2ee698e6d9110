"""Which recorded paths move to the mount under test, and which node of the tree each of them is.

Takes the prefixes (`--map`, or by default the command's working folder and every mount that is not the system's own)
and a trace's tables; gives a node for each path, -1 for those that stay where they are. A recorded path may lead
through symbolic links: the canonical path of its file tells, and such links are found here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from iotrace.errors import ReplayError
from iotrace.mounts.mountinfo import Mount, is_system_mount
from iotrace.replay.columns import NONE, Ids, Ints, Tables, chunks, components_of
from iotrace.replay.naming import ROOT, Tree
from iotrace.replay.operation_sets import LINKS, OPENS, RENAMES, SYMLINKS, one_of, that
from iotrace.replay.scans import first_pairs, first_rows, rows_of
from iotrace.trace.info import Mount as RecordedMount
from iotrace.trace.info import TraceInfo
from iotrace.trace.operations import NUMBER_OF, OPERATIONS, Change
from iotrace.trace.texts import path_bytes

Components = tuple[bytes, ...]

_CHANGES_FOLDER: Final = that(Change.MAKES, Change.REMOVES, Change.RENAMES, Change.ATTRIBUTES)
"""What makes a folder, takes its name away, or changes it itself; its times change with each name in it anyway."""
_READLINKS: Final = one_of(("readlink", "readlinkat"))
_NAMES_MADE: Final = ((SYMLINKS, "path"), (LINKS, "other_path"), (RENAMES, "other_path"))
"""Operations that make names other than files and folders, and the column of the name made."""


def default_prefixes(info: TraceInfo) -> list[str]:
    """The command's working folder and the mounts that are not the system's own."""
    points = [mount.point for mount in info.mounts if not is_system_mount(_as_mounted(mount))]
    folder = info.working_folder
    pseudo = folder.startswith(("/proc/", "/sys/")) or folder in ("/proc", "/sys")
    if folder.startswith("/") and not pseudo and components_of(folder):
        points.append(folder)
    return sorted({point for point in points if point.startswith("/")})


def _as_mounted(mount: RecordedMount) -> Mount:
    return Mount(mount.device, mount.point, mount.type, mount.source, mount.options)


def outermost(prefixes: Iterable[Components]) -> list[Components]:
    """Prefixes that lie within no other, sorted."""
    result: list[Components] = []
    for prefix in sorted(set(prefixes)):
        if not result or prefix[: len(result[-1])] != result[-1]:
            result.append(prefix)
    return result


def _by_first_use(prefixes: list[Components], parts: list[list[bytes]]) -> tuple[list[Components], int]:
    """Prefixes in the order in which the trace's paths first lie under them, the unused ones last; how many are used.

    No name decides, so that the plan of an anonymous copy is the plan of its trace.
    """
    first = dict.fromkeys(prefixes, len(parts))
    lengths = sorted({len(prefix) for prefix in prefixes})
    left = len(prefixes)
    for row, path in enumerate(parts):
        if left == 0:
            break
        for length in lengths:
            prefix = tuple(path[:length])
            if first.get(prefix) == len(parts):
                first[prefix] = row
                left -= 1
    return sorted(prefixes, key=first.__getitem__), len(prefixes) - left


@dataclass(slots=True)
class Mapping:
    """Nodes of a trace's paths.

    Attributes
    ----------
    prefixes: the mapped prefixes, as components.
    node: node of each path row, shape (paths,), int32, -1 where it is not mapped.
    canonical: node of each file's path at first sight, shape (files,), int32.
    links: symbolic links that were there before: node → node that it leads to, -1 for a dangling one.
    link_texts: node → length in bytes of the link's recorded text, where it is known.
    """

    tree: Tree
    prefixes: list[Components]
    node: Ids
    canonical: Ids
    links: dict[int, int] = field(default_factory=dict)
    link_texts: dict[int, int] = field(default_factory=dict)
    _outside: dict[Components, Components] = field(default_factory=dict)

    def locate(self, components: Sequence[bytes]) -> int:
        """Node of an absolute path in the trace; -1 when it is not mapped or is too long to make."""
        path = tuple(components)
        for number, prefix in enumerate(self.prefixes):
            if path[: len(prefix)] == prefix:
                return self.tree.descend(self.tree.add_prefix(number), list(path[len(prefix) :]))
        for length in range(len(path), 0, -1):
            if self._outside and path[:length] in self._outside:
                inner = self._outside[path[:length]] + path[length:]
                return -1 if inner[:length] == path[:length] else self.locate(inner)
        return -1

    def physical(self, node: int, follow: bool = False) -> int:
        """The node where a name lies once the links above it are followed, with `follow` the last component's too."""
        for _ in range(40 if self.links else 0):
            chain = self.tree.ancestors(node)
            if not follow:
                chain = chain[1:]
            link = next((above for above in reversed(chain) if above in self.links), -1)
            if link < 0:
                return node
            target = self.links[link]
            if target < 0:
                return -1
            below = []
            while node != link:
                below.append(self.tree.component[node])
                node = self.tree.parent[node]
            node = self.tree.descend(target, below[::-1])
            if node < 0:
                return -1
        return -1 if self.links else node

    def all_physical(self, follow: bool = False) -> Ints:
        """`physical` of every node, int64, (nodes,); those that the tree gets by asking lie where they are."""
        before = len(self.tree) if self.links else 0
        found = [self.physical(node, follow) if node else ROOT for node in range(before)]
        return np.append(np.array(found, np.int64), np.arange(before, len(self.tree)))


def map_paths(tables: Tables, info: TraceInfo, chosen: Sequence[str]) -> Mapping:
    """Find the node of every path.

    Raises
    ------
    ReplayError: a prefix is not an absolute path, or no recorded operation lies under any prefix.
    """
    texts = list(chosen) or default_prefixes(info)
    for text in texts:
        if not text.startswith("/"):
            raise ReplayError(f"--map {text}: a prefix is an absolute path of the recording, such as /data.")
    parts = [components_of(text) if text.startswith("/") else [] for text in tables.path_text]
    prefixes, used_prefixes = _by_first_use(outermost(tuple(components_of(text)) for text in texts), parts)
    tree = Tree(flat=used_prefixes == 1 and _is_plain_folder(prefixes[0], tables, parts))
    mapping = Mapping(
        tree,
        prefixes,
        np.full(len(tables.path_text), -1, np.int32),
        np.full(len(tables.file_type), -1, np.int32),
    )
    for number in range(len(mapping.prefixes)):
        tree.add_prefix(number)
    absolute = [text.startswith("/") for text in tables.path_text]
    used = _used_paths(tables)
    for row in used.tolist():
        if absolute[row]:
            mapping.node[row] = mapping.locate(parts[row])
    for number, row in enumerate(tables.file_path):
        if row >= 0 and absolute[row]:
            mapping.canonical[number] = mapping.node[row] if mapping.node[row] >= 0 else mapping.locate(parts[row])
    if _learn_outside_links(mapping, tables, parts):
        for row in used.tolist():
            if absolute[row] and mapping.node[row] < 0:
                mapping.node[row] = mapping.locate(parts[row])
    if not (mapping.node >= 0).any():
        raise ReplayError(_nothing_mapped(tables, parts, texts))
    _learn_links(mapping, tables)
    return mapping


def _is_plain_folder(prefix: Components, tables: Tables, parts: list[list[bytes]]) -> bool:
    """Whether a prefix has names beneath it and stays as it is: it may be the folder of a tree itself, to which nothing
    must happen, neither rights nor a name nor an end."""
    depth = len(prefix)
    here = np.array([len(path) == depth and tuple(path) == prefix for path in parts] + [False])
    if not any(len(path) > depth and tuple(path[:depth]) == prefix for path in parts):
        return False
    is_file = here[tables.file_path]
    if any(kind not in ("directory", "") for kind, is_here in zip(tables.file_type, is_file, strict=True) if is_here):
        return False
    events = tables.events
    rows = rows_of(_CHANGES_FOLDER, events.op)
    rows = rows[events.result[rows] >= 0]
    opens = rows_of(OPENS, events.op)
    opened = np.zeros(tables.opens + 1, np.bool_)
    opened[events.open[opens[here[events.path[opens]]]]] = True
    opened[-1] = False
    named = here[events.path[rows]] | here[events.other_path[rows]] | np.append(is_file, False)[events.file[rows]]
    return not (named | opened[events.open[rows]]).any()


def _used_paths(tables: Tables) -> Ints:
    """Rows of paths that events name, sorted."""
    used = np.zeros(len(tables.path_text) + 1, np.bool_)
    for rows in chunks(len(tables.events)):
        part = tables.events.at(rows)
        used[part.path] = True
        used[part.other_path] = True
    return np.flatnonzero(used[:-1])


def _named_pairs(tables: Tables) -> Ints:
    """Distinct (path, file) of calls by name that succeeded, and the first event of each: columns of int."""
    events = tables.events
    by_name = np.array([operation.argument("path") is not None for operation in OPERATIONS] + [False])
    by_name[
        [NUMBER_OF[name] for name in ("lstat", "readlink", "readlinkat", "unlink", "unlinkat", "symlink", "symlinkat")]
    ] = False
    path, file = np.ascontiguousarray(events.path), np.ascontiguousarray(events.file)
    rows = first_pairs(by_name, events.op, np.ascontiguousarray(events.result), path, file, len(tables.path_text))
    return _first_pairs(events.path, events.file, rows)


def _first_pairs(one: Ids, other: Ids, rows: Ints) -> Ints:
    """Distinct pairs of two columns in these rows, and the first row of each: shape (pairs, 3)."""
    left, right = one[rows].astype(np.int64), other[rows].astype(np.int64)
    _, first = np.unique((left << 32) + right, return_index=True)
    return np.column_stack([left[first], right[first], rows[first]])


def _learn_outside_links(mapping: Mapping, tables: Tables, parts: list[list[bytes]]) -> bool:
    """Paths outside the map that lead inside through a link (/home/me/link/x is /data/x)."""
    for path, number, _ in _named_pairs(tables).tolist():
        if mapping.node[path] >= 0 or mapping.canonical[number] < 0:
            continue
        name, canonical = list(parts[path]), list(parts[tables.file_path[number]])
        while name and canonical and name[-1] == canonical[-1]:
            name.pop()
            canonical.pop()
        if name and name != canonical[: len(name)]:
            mapping._outside.setdefault(tuple(name), tuple(canonical))
    return bool(mapping._outside)


def _learn_links(mapping: Mapping, tables: Tables) -> None:
    """Links inside the map: files of that type, what readlink read, names that differ from canonical paths.

    Only what was seen before the run itself made something of that name tells of a link that was there before.
    """
    tree, events = mapping.tree, tables.events
    far = len(events)
    made: dict[int, int] = {}
    for makes, column in _NAMES_MADE:
        paths = getattr(events, column)
        rows = rows_of(makes, events.op)
        rows = rows[(events.result[rows] >= 0) & (paths[rows] >= 0)]
        nodes, first = np.unique(mapping.node[paths[rows]], return_index=True)
        for node, row in zip(nodes.tolist(), rows[first].tolist(), strict=True):
            made[node] = min(made.get(node, far), row)
    seen = first_rows(np.ascontiguousarray(events.file), len(tables.file_type))
    for number, kind in enumerate(tables.file_type):
        node = int(mapping.canonical[number])
        if kind == "link" and node > ROOT and tables.file_target[number] and seen[number] < made.get(node, far):
            _add_link(mapping, node, path_bytes(tables.file_target[number]))
    reads = rows_of(_READLINKS, events.op)
    reads = reads[(events.result[reads] > 0) & (events.path[reads] >= 0) & (events.other_path[reads] >= 0)]
    for path, target, row in _first_pairs(events.path, events.other_path, reads).tolist():
        if (node := int(mapping.node[path])) > ROOT and row < made.get(node, far):
            _add_link(mapping, node, tables.path_raw[target])
    canonical_nodes: set[int] = set()
    for number in np.flatnonzero(mapping.canonical >= 0).tolist():
        chain = tree.ancestors(int(mapping.canonical[number]))
        canonical_nodes.update(one for one in chain if seen[number] <= made.get(one, far))
    votes: dict[int, Counter[int]] = {}
    for path, number, row in _named_pairs(tables).tolist():
        at, lies = int(mapping.node[path]), int(mapping.canonical[number])
        if at < 0 or lies < 0 or at == lies or mapping.physical(at, follow=True) == lies:
            continue
        shared = False
        while at > ROOT and lies > ROOT and tree.component[at] == tree.component[lies]:
            at, lies, shared = tree.parent[at], tree.parent[lies], True
        # a whole other name is a hard link or a rename; a folder that is canonical itself is no link
        if shared and tree.depth[at] > 1 and lies > ROOT and at not in canonical_nodes and row < made.get(at, far):
            votes.setdefault(at, Counter())[lies] += 1
    for at, counter in votes.items():
        target, _ = counter.most_common(1)[0]
        if at not in tree.ancestors(target):
            mapping.links.setdefault(at, target)


def _add_link(mapping: Mapping, node: int, target: bytes) -> None:
    tree = mapping.tree
    mapping.link_texts.setdefault(node, len(target))
    if tree.depth[node] > 1:
        mapping.links.setdefault(node, target_node(mapping, node, target))


def target_node(mapping: Mapping, link: int, target: bytes) -> int:
    """The node that a link's recorded text leads to, -1 when that is not mapped."""
    tree = mapping.tree
    parts = target.split(b"/")
    if target.startswith(b"/"):
        path: list[bytes] = []
        for part in parts:
            if part == b"..":
                del path[-1:]
            elif part not in (b"", b"."):
                path.append(part)
        return mapping.locate(path)
    node = tree.parent[link]
    for part in parts:
        if part == b"..":
            node = tree.parent[node]
            if node <= ROOT:
                return -1
        elif part not in (b"", b"."):
            node = tree.child(node, part)
            if node < 0:
                return -1
    return node


def _nothing_mapped(tables: Tables, parts: list[list[bytes]], texts: list[str]) -> str:
    """The sentence that says what to map: the folders with the most operations."""
    events = tables.events
    counts = np.zeros(len(parts) + 1, np.int64)
    for rows in chunks(len(events)):
        part = events.at(rows)
        counts += np.bincount(part.path[part.result != NONE] + 1, minlength=len(counts))
    folders: Counter[str] = Counter()
    for row, count in enumerate(counts[1:].tolist()):
        if count and len(parts[row]) > 1:
            folders["/" + b"/".join(parts[row][:2]).decode("utf-8", "backslashreplace")] += int(count)
    if not folders:
        return "the trace names no file by an absolute path: nothing can be replayed."
    shown = ", ".join(f"{name} ({count} operations)" for name, count in folders.most_common(3))
    tried = ", ".join(texts) or "nothing by default"
    return (
        f"nothing to replay: no recorded operation is under {tried}; choose with --map PREFIX. Most are under {shown}."
    )
