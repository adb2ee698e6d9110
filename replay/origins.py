"""Where names stood when the recording began: back through the renames and links that the run makes."""

from __future__ import annotations

from bisect import bisect_left

from iotrace.replay.columns import Ints, Tables
from iotrace.replay.mapping import Mapping, target_node
from iotrace.replay.name_uses import carried, lies_at
from iotrace.replay.naming import ROOT
from iotrace.replay.operation_sets import RENAMES, SYMLINKS
from iotrace.replay.scans import rows_of
from iotrace.replay.select import Reason, Selection


class Origins:
    """The renames of a recording, and the links that it made.

    Parameters
    ----------
    makes: as of NameUses.

    Attributes
    ----------
    renames: destination → (event, source), in order; leads: link that the run makes → (event, target), in order.
    """

    def __init__(self, tables: Tables, mapping: Mapping, selection: Selection, makes: Ints) -> None:
        self.mapping, self.tree, self.makes = mapping, mapping.tree, makes
        self.renames: dict[int, list[tuple[int, int]]] = {}
        self.leads: dict[int, list[tuple[int, int]]] = {}
        events = tables.events
        rows = rows_of(RENAMES | SYMLINKS, events.op)
        rows = rows[(selection.reason[rows] == Reason.KEPT) & (events.result[rows] >= 0)]
        renames = RENAMES[events.op[rows]]
        rows, symlinks = rows[renames], rows[~renames]
        for row, source, target in zip(
            rows.tolist(), selection.node[rows].tolist(), selection.node2[rows].tolist(), strict=True
        ):
            source, target = lies_at(mapping, source), lies_at(mapping, target)
            self.renames.setdefault(target, []).append((row, source))
        for row in symlinks.tolist():
            link, text = int(selection.node[row]), int(events.other_path[row])
            if text >= 0 and (target := target_node(mapping, link, tables.path_raw[text])) > ROOT:
                self.leads.setdefault(lies_at(mapping, link), []).append((row, target))

    def origin(self, node: int, row: int, moved: bool = False) -> tuple[int, int]:
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
            if moved and any(self.is_made(above, latest, row) for above in chain):
                return -1, row
            if renamed < 0:
                return self.mapping.physical(node), row
            node, row, moved = carried(self.tree, node, renamed, source), latest, True
            if node < 0:
                return -1, row
        return -1, row

    def is_made(self, node: int, after: int = -1, before: int = 1 << 32) -> bool:
        """Whether the run makes what a name stands for, between two events."""
        at = bisect_left(self.makes, (node << 32) + after + 1)
        return at < len(self.makes) and int(self.makes[at]) < (node << 32) + before
