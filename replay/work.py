"""What a run needs beside its options: a plan with its tree's needs and contents, for each trace that users replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iotrace.errors import ReplayError
from iotrace.replay.checking import Check, Verification
from iotrace.replay.flushing import changes_storage
from iotrace.replay.inputs import shared_files
from iotrace.replay.options import Options
from iotrace.replay.payload import Contents, Payload
from iotrace.replay.plan import build_plan
from iotrace.replay.rides import Rides, rides_of
from iotrace.replay.ring import no_ring_warning, why_no_ring
from iotrace.replay.rows import Plan
from iotrace.replay.sight import Sights, load_sights
from iotrace.replay.stage import Needs, needs_of
from iotrace.trace.reader import Trace, open_trace

VERIFY_WARNING: Final = (
    "What the program gave to io_uring or libaio was replayed as calls, one after the other, so that each can be "
    "verified."
)


@dataclass(slots=True)
class Work:
    """What one user replays, and others may replay too.

    Attributes
    ----------
    shared: positions in Snapshot.files of what the users of this trace share.
    changes: a run changes what is on its mount.
    """

    trace: Trace
    plan: Plan
    sights: Sights
    needs: Needs
    contents: Contents
    rides: Rides | None
    verification: Verification | None
    shared: frozenset[int]
    changes: bool
    depth: int

    @property
    def overlap(self) -> bool:
        """Requests of one thread may be in flight together."""
        return self.rides is not None and (self.depth > 1 or self.plan.asynchronous)

    def check(self) -> Check | None:
        """Where reads are verified: for one user's run, all blocks as staged."""
        return self.verification.check(self.plan) if self.verification else None


def plan_of(trace: Trace, options: Options, alignment: int) -> Plan:
    """The plan of a trace.

    Raises
    ------
    ReplayError: nothing remains to be replayed.
    """
    if trace.info.detail == "histogram":
        raise ReplayError(
            f"{trace.folder} holds counts, not operations: only what was recorded without --detail histogram can be "
            "replayed."
        )
    return build_plan(trace, options.prefixes, options.order, rides=options.engine == "uring", alignment=alignment)


def work_of(plan: Plan, trace: Trace, options: Options, warnings: list[str]) -> Work:
    """A plan made ready to run; `warnings` gets what a reader of the figures must know."""
    sights = load_sights(trace)
    # blocks that say which they are say of which plan's tree, too
    seed = {"seed": int(plan.hash[:14], 16)} if options.verify else {}
    contents = Contents(Payload(compress=options.compress, duplicate=options.duplicate, verify=options.verify, **seed))
    verification = Verification(plan, trace, contents, sights) if options.verify else None
    notes: list[str] = []
    rides = None if verification else _rides(plan, options, notes)
    if verification and plan.asynchronous:
        notes.append(VERIFY_WARNING)
    warnings += [note for note in notes if note not in warnings]
    shared = shared_files(plan) if options.share_inputs else frozenset()
    return Work(
        trace, plan, sights, needs_of(plan, sights), contents, rides, verification, shared, changes_storage(plan),
        options.depth,
    )  # fmt: skip


def needs_of_users(users: Sequence[Work]) -> Needs:
    """What the trees of all users take."""
    needs, seen = Needs(0, 0, 0, 0), set()
    for work in users:
        own = work.needs
        there = sum(work.plan.snapshot.files[i].size for i in work.shared) if id(work) in seen else 0
        seen.add(id(work))
        needs = Needs(
            needs.staged_bytes + max(0, own.staged_bytes - there), needs.staged_entries + own.staged_entries,
            needs.growth_bytes + own.growth_bytes, needs.growth_entries + own.growth_entries,
        )  # fmt: skip
    return needs


def _rides(plan: Plan, options: Options, warnings: list[str]) -> Rides | None:
    """What rides on rings, with a warning where there are none to ride on."""
    uring = options.engine == "uring"
    rides = rides_of(plan, all_rows=uring, depth=options.depth, batch=options.batch, fixed=options.fixed)
    reason = why_no_ring() if rides else None
    if reason:
        warnings.append(no_ring_warning(options.engine, reason))
        return None
    return rides


def open_traces(traces: Sequence[object]) -> list[Trace]:
    """The traces, opened; those of one folder are one."""
    opened: dict[Path, Trace] = {}
    found = []
    for one in traces:
        if not isinstance(one, Trace):
            folder = Path(one)  # type: ignore[arg-type]
            one = opened[folder] = opened.get(folder) or open_trace(folder)
        found.append(one)
    return found
