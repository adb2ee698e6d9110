"""Which file a call by name is about, where the trace does not say.

A recorder sees the file of an open and of a stat; of truncate, of the calls on extended attributes and of the like it
sees the name. Whoever keeps order between files, verifies what they hold or knows what a run changes needs the file:
it is the one for which the name stood, by what was last opened or looked at there, through all renames and links in
between; failing that, by what was next.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from iotrace.compiling import compiled
from iotrace.replay.columns import Ids, Ints, Tables, chunks
from iotrace.replay.following import follows
from iotrace.replay.mapping import Mapping, target_node
from iotrace.replay.operation_sets import (
    HAS_PATH,
    LINKS,
    OPENS,
    RENAMES,
    SYMLINKS,
    TAKES_NAME,
    one_of,
    that,
)
from iotrace.replay.scans import rows_of
from iotrace.replay.select import Reason, Selection
from iotrace.trace.operations import Change

CUTS_BY_NAME: Final = one_of(("truncate",))
XATTRS: Final = TAKES_NAME | one_of(("listxattr", "llistxattr", "flistxattr"))
_REMOVALS: Final = that(Change.REMOVES)
_WANTED: Final = CUTS_BY_NAME | (XATTRS & HAS_PATH)

_NOTHING, _ASKS, _SHOWS, _MAKES, _REMOVES, _RENAMES, _EXCHANGES, _LINKS, _POINTS = range(9)
_EXCHANGE: Final = 2
_O_CREAT, _O_EXCL = 0o100, 0o200


def name_files(tables: Tables, mapping: Mapping, selection: Selection) -> tuple[Ints, Ids]:
    """Give each replayed call by name that needs it the number of its file, in `tables.events.file`.

    Returns
    -------
    The events, in order, that got one, and their files; shape (n,) each.
    """
    events = tables.events
    asking = rows_of(_WANTED, events.op)
    asking = asking[(selection.reason[asking] == Reason.KEPT) & (events.file[asking] < 0)]
    asking = asking[selection.node[asking] >= 0]
    if len(asking) == 0:
        return asking, np.zeros(0, np.int32)
    lies, leads = (np.append(mapping.all_physical(follow), -1).astype(np.int32) for follow in (False, True))
    count = len(mapping.tree)
    does = np.full(len(events), _NOTHING, np.int8)
    first, second = np.full(len(events), -1, np.int32), np.full(len(events), -1, np.int32)
    following = np.zeros(len(events), np.bool_)
    for rows in chunks(len(events)):
        part = events.at(rows)
        kept = (selection.reason[rows] == Reason.KEPT) & HAS_PATH[part.op]
        good = kept & (part.result >= 0)
        flags = np.maximum(part.flags, 0)
        makes = OPENS[part.op] & ((flags & (_O_CREAT | _O_EXCL)) == (_O_CREAT | _O_EXCL))
        node = selection.node[rows]
        following[rows] = follows(part.op, flags)
        first[rows] = np.where(following[rows], leads[node], lies[node])
        second[rows] = lies[selection.node2[rows]]
        what = does[rows]
        what[good & (part.file >= 0)] = _SHOWS
        what[good & makes & (part.file >= 0)] = _MAKES
        what[good & _REMOVALS[part.op]] = _REMOVES
        what[good & RENAMES[part.op]] = _RENAMES
        what[good & RENAMES[part.op] & ((flags & _EXCHANGE) != 0)] = _EXCHANGES
        what[good & LINKS[part.op]] = _LINKS
        what[good & SYMLINKS[part.op]] = _POINTS
    does[asking] = _ASKS
    for row in np.flatnonzero(does == _POINTS).tolist():
        text = tables.path_raw[events.other_path[row]] if events.other_path[row] >= 0 else b""
        target = target_node(mapping, int(selection.node[row]), text) if text else -1
        second[row] = target
        count = max(count, target + 1)
    file = events.file.copy()
    none = np.full(count + 1, -1, np.int32)
    _look_back(does, first, second, following, file, none.copy(), none.copy())
    _look_ahead(does, first, second, file, none)
    events.change("file", file)
    named = asking[file[asking] >= 0]
    return named, file[named]


@compiled
def _look_back(does: Any, first: Any, second: Any, following: Any, file: Any, stands: Any, points: Any) -> Any:
    """Fill in `file` of the events that ask, by what came before.

    `stands` and `points`, -1 throughout: the file of each name, and the name that a link leads to which the run made.
    Puts into `first` the name at the end of such links.
    """
    for i in range(len(does)):
        what, a, b = does[i], first[i], second[i]
        if what == 0 or a < 0:
            continue
        if following[i]:
            for _ in range(40):  # as many as the kernel follows
                if points[a] < 0:
                    break
                a = points[a]
            first[i] = a
        if what == 1:
            file[i] = stands[a]
        elif what <= 3:
            stands[a] = file[i]
        elif what == 4:
            stands[a] = points[a] = -1
        elif what == 8:
            points[a] = b
        elif b >= 0:
            if what == 7:
                stands[b], points[b] = stands[a], points[a]
            else:
                moved, moved_to = stands[a], points[a]
                stands[a] = stands[b] if what == 6 else -1
                points[a] = points[b] if what == 6 else -1
                stands[b], points[b] = moved, moved_to
        else:
            stands[a] = -1


@compiled
def _look_ahead(does: Any, first: Any, second: Any, file: Any, stands: Any) -> Any:
    """As _look_back, by what comes after, for the events that still have no file."""
    for j in range(len(does)):
        i = len(does) - 1 - j
        what, a, b = does[i], first[i], second[i]
        if what == 0 or a < 0:
            continue
        if what == 1:
            if file[i] < 0:
                file[i] = stands[a]
        elif what == 2:
            stands[a] = file[i]
        elif what <= 4:
            stands[a] = -1  # what was made here was not there before, what was removed is not what came after
        elif b >= 0 and what != 8:
            if what == 7:
                if stands[a] < 0:
                    stands[a] = stands[b]
                stands[b] = -1
            else:
                moved = stands[b]
                stands[b] = stands[a] if what == 6 else -1
                stands[a] = moved
