"""The calls that the rows of a plan really become: not each is the recorded one."""

from __future__ import annotations

from typing import Final

import numpy as np

from iotrace.replay.arguments import call_numbers
from iotrace.replay.columns import CALL_OF, Flags, Ints
from iotrace.replay.kernels import ring
from iotrace.replay.rides import Rides
from iotrace.replay.rows import PLAIN, Plan
from iotrace.trace.operations import NUMBER_OF

_OF_REQUEST: Final = (
    (ring.READ, "pread64"), (ring.READV, "pread64"), (ring.WRITE, "pwrite64"), (ring.WRITEV, "pwrite64"),
    (ring.FSYNC, "fsync"),
)  # fmt: skip
_LSEEK: Final = NUMBER_OF["lseek"]


class Issued:
    """What is issued for each row of a plan.

    Parameters
    ----------
    rides: what is given to io_uring; a request counts as the call that does the same.

    Attributes
    ----------
    op: operation that each row becomes, (rows,): another than recorded where a copy lacks an end, where --direct names
    the position of what was read or written at the description's own, and for a request. request: it is one, (rows,);
    None where it is not known what rode. reposition: position in bytes to which an lseek behind it sets the
    description, (rows,), -1 for none.
    """

    def __init__(self, plan: Plan, rides: Rides | None) -> None:
        rows = plan.rows
        self.op = CALL_OF[rows.op]
        numbers, replaced = call_numbers(), plan.recorded["substituted"]
        for name in ("sendfile", "write", "pwrite64"):
            self.op[replaced & (rows.number == numbers[NUMBER_OF[name]])] = NUMBER_OF[name]
        for name in ("pread64", "pwrite64"):
            named = (rows.special == PLAIN) & (rows.number == numbers[NUMBER_OF[name]])
            self.op[named] = NUMBER_OF[name]
        self.reposition = np.full(len(rows), -1, np.int64) if rides is None else rides.reposition
        self.request: Flags | None = None
        if rides is not None:
            self.request = rides.opcode != 0
            for opcode, name in _OF_REQUEST:
                self.op[rides.opcode == opcode] = NUMBER_OF[name]
            data_only = (rides.opcode == ring.FSYNC) & (rides.how & ring.FSYNC_DATASYNC != 0)
            self.op[data_only] = NUMBER_OF["fdatasync"]

    def calls(self, rows: Ints) -> tuple[Ints, Flags, Ints]:
        """All calls of some rows of a thread: of each its row, whether it is an lseek behind it, and its operation."""
        behind = self.reposition[rows] >= 0
        row = np.repeat(rows, 1 + behind)
        seeks = np.zeros(len(row), np.bool_)
        seeks[1:] = row[1:] == row[:-1]
        return row, seeks, np.where(seeks, _LSEEK, self.op[row])
