"""Verification in a run: what --verify prepares before it, and what it tells after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from iotrace.errors import ReplayError
from iotrace.replay.actions import NOTHING, Actions, actions_of, tables_for_checks
from iotrace.replay.arguments import SCRATCH, VECTOR
from iotrace.replay.columns import load_tables
from iotrace.replay.kernels.verify import FOUND_WORDS
from iotrace.replay.payload import Contents
from iotrace.replay.racing import without_races
from iotrace.replay.result import Verified
from iotrace.replay.rows import Plan
from iotrace.replay.sharing import shared
from iotrace.replay.sight import Sights
from iotrace.replay.verify import Checks, findings_of
from iotrace.trace.reader import Trace
from iotrace.units import bytes_text

NAMED_MAX: Final = 10
"""So many wrong blocks are described in a result."""
_MEMORY_SHARE: Final = 0.5


class Verification:
    """What is the same in all runs of a plan.

    Parameters
    ----------
    contents: what the tree is staged with, Payload.verify among it.

    Raises
    ------
    ReplayError: the buffers of verified calls, or the states of the blocks, need more memory than there is.
    """

    def __init__(self, plan: Plan, trace: Trace, contents: Contents, sights: Sights) -> None:
        rows = plan.rows
        recorded = plan.recorded
        self.trace, self.contents = trace, contents
        tables = load_tables(trace)
        actions = actions_of(rows, tables, recorded["offset"], recorded["result"], recorded["file"])
        self.actions: Actions = without_races(actions, tables.events, rows.event)
        encoded = rows.arguments[:, 1]
        encoded = np.where((rows.kinds >> 4) & 15 == VECTOR, encoded & 15, encoded)
        self.buffer = np.clip(encoded, 0, SCRATCH).astype(np.uint8)
        self.plain = rows.awaited & (self.actions.what == NOTHING)
        self.tables = tables_for_checks(self.actions, plan.snapshot, sights)
        needed = plan.lanes * (plan.read_bytes + plan.write_bytes)
        room = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _MEMORY_SHARE)
        if needed > room:
            raise ReplayError(
                f"--verify needs {bytes_text(needed)} for buffers, since each thread compares its own, and may take "
                f"{bytes_text(room)} of this machine: map less (--map), or leave it out."
            )

    def check(self, plan: Plan) -> Check:
        """For one user's run: all blocks are as staged."""
        # of its own, for only one Checks may use a Contents
        contents = Contents(self.contents.payload)
        checks = Checks(contents, *self.tables)
        return Check(self, checks, shared((plan.lanes, FOUND_WORDS)), shared(len(plan.rows), np.int32))


@dataclass(slots=True)
class Check:
    """One run's state of blocks, and what its reads showed.

    Attributes
    ----------
    found: words of each lane; wrong: wrong blocks that each row read, (rows,). Workers share them.
    """

    verification: Verification
    checks: Checks
    found: Any
    wrong: Any

    def arguments(self, lane: int) -> tuple[Any, ...]:
        """What run_checked_lane takes beside run_lane's."""
        whole, actions = self.verification, self.verification.actions
        return (
            actions.what, actions.file, actions.offset, actions.size, whole.buffer, whole.plain, self.checks.address,
            int(self.found[lane].ctypes.data), self.wrong,
        )  # fmt: skip


def verified(checks: Sequence[Check]) -> Verified | None:
    """What the users of a run found, for a result; None of none."""
    if not checks:
        return None
    every = findings_of([words for check in checks for words in check.found])
    named: list[str] = []
    for user, check in enumerate(checks):
        wrong = findings_of(list(check.found)).named
        if wrong and len(named) < NAMED_MAX:
            name = _names(check.verification.trace)
            whose = f"user {user + 1}: " if len(checks) > 1 else ""
            named += [whose + one.text(name) for one in wrong]
    return Verified(every.wrong, every.checked_bytes, every.unchecked_bytes, named[:NAMED_MAX])


def _names(trace: Trace) -> Callable[[int], str]:
    """Recorded path of a file."""
    tables = load_tables(trace)

    def name(file: int) -> str:
        path = int(tables.file_path[file]) if 0 <= file < len(tables.file_path) else -1
        return tables.name_of_path(path) or f"file {file}"

    return name
