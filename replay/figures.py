"""What a result says of a run besides counts and latencies: times without I/O, issue-time errors, open times, steps.

Each is a structure of result.json; docs/replay.md says what they mean.
"""

from __future__ import annotations

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """A distribution of times: how many, percentiles (within 0.8 %) and the largest, in µs; None of nothing."""

    count: int = 0
    p50_us: float | None = None
    p99_us: float | None = None
    max_us: float | None = None


class OpenTimes(msgspec.Struct, frozen=True):
    """From the start of an open to the end of the last close of what it opened, think time in between included.

    Attributes
    ----------
    replayed, recorded: of the same descriptions; by_extension: of those replayed, by the extension of the file's name.
    never_closed: descriptions that the trace opens and does not close, in none of the above.
    """

    replayed: Spread
    recorded: Spread
    by_extension: dict[str, Spread] = {}
    never_closed: int = 0


class IssueError(msgspec.Struct, frozen=True):
    """How much later than they should calls began.

    With timing `original`: after the recorded time (÷ speed) since the start of the run. With `think`: after the end of
    the call before and the gap (÷ speed).

    Attributes
    ----------
    error: of calls whose thread was free when they were due: the generator's own.
    drift_us: median error of the last tenth of the run less that of the first tenth; 0 when no error adds up.
    held: calls that were due while the call before them still ran, or while they waited for another thread: their
    lateness is not the generator's. Always empty with `think`, where the call before decides when a call is due.
    """

    error: Spread
    drift_us: float
    held: Spread


class StepTotals(msgspec.Struct):
    """One step of the workflow (label of the recorded process) in one run; "" for processes without a label."""

    calls: int = 0
    errors: int = 0
    bytes: int = 0
    time_s: float = 0.0
    p50_us: float | None = None
    p99_us: float | None = None


class JobTotals(msgspec.Struct, frozen=True):
    """One job of a run: the recorded processes with these labels.

    Attributes
    ----------
    replayer: the replay's user (--users), from 0; user, project, job, step, slurm_job: labels, "" for none.
    start_s, end_s: when its first call began and its last one ended, since the run's start.
    """

    replayer: int
    user: str
    project: str
    job: str
    step: str
    slurm_job: str
    start_s: float
    end_s: float
    ops: int = 0
    errors: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    io_s: float = 0.0


class UserTotals(msgspec.Struct, frozen=True):
    """One user of a run with several.

    Attributes
    ----------
    user: from 0, as in histograms.parquet; source: name of the trace; delay_s: how much later than the first it began.
    wall_s: from its own beginning to its last thread's end.
    """

    user: int
    source: str
    delay_s: float
    wall_s: float
    ops: int = 0
    errors: int = 0
    io_s: float = 0.0


class Counted(msgspec.Struct, frozen=True):
    """What a source counted beside a run; docs/counters.md says what the counters are.

    Attributes
    ----------
    source: its name and where it is read; scope: whose work it counts (iotrace.mounts.counters.source.Scope).
    during: how much each counter grew between the start and the last thread's end; syncing: and until the mount was
    written out. Counters that end in _now, _per_s or _minute_mean are as they were at the end of each.
    nodes: on how many machines it was read, of which this is the sum.
    """

    source: str
    scope: str
    during: dict[str, int] = {}
    syncing: dict[str, int] = {}
    nodes: int = 1


class Guard(msgspec.Struct, frozen=True):
    """What the cache guard says of a run (iotrace.mounts.counters.guard).

    Attributes
    ----------
    verdict: "storage", "client cache" or "cannot tell"; why: a sentence with the bytes and their source.
    needed_bytes: distinct bytes that were read and had to come from the storage; cached_bytes: of the pages that they
    lie in, in the page cache before the run, None where not known; wire_bytes: over the wire by the lowest of the
    sources that may decide, None where none could be read; source: its name; scope: whose work that counts.
    wire_written_bytes, wire_synced_bytes: that reached the storage during the run, and until the mount was written out;
    None where no source counts them; written_source: its name.
    """

    verdict: str
    why: str
    needed_bytes: int = 0
    cached_bytes: int | None = None
    wire_bytes: int | None = None
    source: str = ""
    wire_written_bytes: int | None = None
    wire_synced_bytes: int | None = None
    written_source: str = ""
    scope: str = ""


class RankTotals(msgspec.Struct, frozen=True):
    """One rank of a fleet in one run; times are on rank 0's clock.

    Attributes
    ----------
    node: name of the machine; users: how many it ran.
    first_done_s, last_done_s: when the first and the last of its threads ended, since the start.
    start_late_us: how much later than agreed it let its threads go.
    clock_offset_ms: its UTC less that of rank 0; clock_uncertainty_us: how exactly the two clocks are known.
    staged_by: names of the machines that made the trees of its users.
    sync_s, guard, counters: as of a run, of this rank; what a source counts for a device or a mount it counts for all
    ranks of the node.
    memory_bytes: of its machine; mount_options: with which the mount under test is mounted there.
    """

    rank: int
    node: str
    users: int
    ops: int
    first_done_s: float
    last_done_s: float
    start_late_us: float
    clock_offset_ms: float
    clock_uncertainty_us: float
    staged_by: list[str] = []
    sync_s: float | None = None
    guard: Guard | None = None
    counters: list[Counted] = []
    memory_bytes: int = 0
    mount_options: str = ""


class NullFigures(msgspec.Struct, frozen=True):
    """The plan without its I/O.

    Attributes
    ----------
    makespan_s: what the plan takes on a storage that answers at once, in the timing and at the speed of the replay.
    source: "modelled": the longest way through the plan's gaps and waits, calls taking no time, as many CPUs as
    threads; "measured": a pass of the generator over the plan that issues nothing.
    generator_s: makespan of such a pass without gaps; generator_ops_per_s: the most that the generator can issue on
    this machine; generator_cpu_us: its CPU time for each operation.
    """

    makespan_s: float
    source: str
    generator_s: float
    generator_ops_per_s: float
    generator_cpu_us: float
