"""The result of a replay: a folder `NAME.ioresult/` with `result.json`, `histograms.parquet`, `intervals.parquet` and
`counters.parquet`.

`result.json` says what was replayed, where, how and by whom, with totals by operation and by class for each run; the
first two tables hold counts in the buckets of iotrace.histogram (in ns), which add up over runs, threads and nodes as
percentiles do not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iotrace import histogram
from iotrace.errors import StorageError, TraceError
from iotrace.mounts.family import Kind, family_of
from iotrace.mounts.mountinfo import Mount
from iotrace.replay.figures import (
    Counted,
    Guard,
    IssueError,
    JobTotals,
    NullFigures,
    OpenTimes,
    RankTotals,
    StepTotals,
    UserTotals,
)
from iotrace.trace.info import read_described

if TYPE_CHECKING:
    import pandas as pd

FORMAT_MAJOR: Final = 1
FORMAT_MINOR: Final = 3
RESULT_NAME: Final = "result.json"
SUFFIX: Final = ".ioresult"

HISTOGRAMS: Final = pa.schema(
    [
        ("run", pa.int32()), ("fs", pa.string()), ("user", pa.int32()), ("lane", pa.int32()), ("step", pa.string()),
        ("op", pa.string()), ("class", pa.string()), ("bucket", pa.int32()), ("count", pa.int64()),
    ]
)  # fmt: skip
INTERVALS: Final = pa.schema(
    [
        ("run", pa.int32()), ("fs", pa.string()), ("second", pa.int32()), ("class", pa.string()), ("ops", pa.int64()),
        ("bytes", pa.int64()), ("buckets", pa.list_(pa.int32())), ("counts", pa.list_(pa.int64())),
    ]
)  # fmt: skip
COUNTERS: Final = pa.schema(
    [
        ("run", pa.int32()), ("fs", pa.string()), ("rank", pa.int32()), ("source", pa.string()),
        ("counter", pa.string()), ("at_s", pa.float64()), ("value", pa.int64()),
    ]
)  # fmt: skip


class OpTotals(msgspec.Struct):
    """One operation in one run: calls, unexpected outcomes, bytes moved, seconds inside the calls, latency in µs."""

    kind: str
    calls: int = 0
    errors: int = 0
    bytes: int = 0
    time_s: float = 0.0
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None


class ClassTotals(msgspec.Struct):
    """Totals of one class of operations in one run."""

    calls: int = 0
    errors: int = 0
    bytes: int = 0
    time_s: float = 0.0


class ErrorCount(msgspec.Struct, frozen=True):
    """Calls whose outcome was not the recorded one: 0 for success (however many bytes), errno otherwise.

    Where both are 0 the calls moved another number of bytes than was recorded. `example`: the recorded name that one of
    them was about, "" for none.
    """

    op: str
    recorded: int
    replayed: int
    calls: int
    example: str = ""


class Verified(msgspec.Struct, frozen=True):
    """What --verify found in one run.

    Attributes
    ----------
    wrong: wrong blocks by kind (see docs/replay.md); checked_bytes, unchecked_bytes: of reads, compared and not.
    named: sentences about the first of them.
    """

    wrong: dict[str, int] = {}
    checked_bytes: int = 0
    unchecked_bytes: int = 0
    named: list[str] = []


class MountInfo(msgspec.Struct, frozen=True):
    """The mount that a run was on, as mountinfo shows it."""

    point: str = ""
    type: str = ""
    source: str = ""
    options: str = ""

    @property
    def kind(self) -> Kind:
        """Where the data of such a file system lie."""
        return family_of(Mount(0, self.point, self.type, self.source, self.options)).kind


class Stall(msgspec.Struct, frozen=True):
    """A time in which calls did not come back for at least 5 s.

    Attributes
    ----------
    at_s: since the run's start; took_s: until the last of the calls came back.
    calls: how many; named: clauses about the first of them.
    """

    at_s: float
    took_s: float
    calls: int
    named: list[str] = []


class Conditions(msgspec.Struct, frozen=True):
    """What two results must share for their figures to be of the same thing.

    Attributes
    ----------
    total_bytes, free_bytes: of the file system, before anything was staged (free for this user); None where it did not
    say so in time.
    staged_by, read_by: machines that made the tree, and that replayed on it, in order of the alphabet.
    memory_bytes: what the workers of each process of the replay were bounded to (--memory), page cache included; None
    for no bound. layouts: of the largest staged files on Lustre, with how many have it (iotrace.mounts.stripes).
    staged_by_reader: whether a machine read what it had made itself, and so may have kept.
    """

    total_bytes: int | None = None
    free_bytes: int | None = None
    staged_by: list[str] = []
    read_by: list[str] = []
    memory_bytes: int | None = None
    layouts: list[str] = []
    staged_by_reader: bool = True

    @property
    def full(self) -> float | None:
        """Share of the file system (0 to 1) that was not free; None where that is not known."""
        if not self.total_bytes or self.free_bytes is None:
            return None
        return 1 - self.free_bytes / self.total_bytes


class Run(msgspec.Struct, kw_only=True):
    """One pass over the plan on one mount.

    Attributes
    ----------
    run, round: number of the run (from 0, in the order run); round of the interleaving that it belongs to.
    fs: the folder given by --fs.
    ops: calls issued (touched pages included); errors: those whose outcome was not the recorded one.
    wall_s: from the start barrier to the last thread's end, of all users.
    bytes_read, bytes_written: moved by reads, writes and copies.
    ops_per_s, metadata_ops_per_s: over wall_s.
    io_s: time inside the calls, summed over threads; cpu_s: CPU time of all threads in wall_s, the wait for
    the start not in it.
    staged_files, staged_bytes: made before the run, not part of it.
    fidelity: what was issued against what was planned; "check": what --check found (iotrace.replay.fidelity.Fidelity).
    verified: what --verify found, null without it; reads of wrong blocks are among the errors.
    added_s: what the storage adds at most: wall_s less ResultInfo.without_io.makespan_s; None with --null.
    added_least_s: the same less what calls were issued late, which may be the machine's doing or the storage's; None
    where that is not known.
    sync_s: time of a syncfs of the mount after the last thread's end, not part of wall_s; wall_and_sync_s: with it.
    None where the plan changes nothing.
    first_done_s, first_done_lane, last_done_s, last_done_lane: when, since the start, and which lane of
    which user (first_done_user, last_done_user) ended.
    cpu_us_per_op: cpu_s for each operation, in µs; None with timing think, where CPU time is burnt.
    issue_error: None with timing asap, and where requests of a thread overlap.
    open_times: None where nothing was opened.
    by_step: by label `step` of the recorded process, "" for none; empty where no process has one.
    limit: why the generator, not the storage, was the limit; empty when it was not.
    jobs: by labels of the recorded processes, in the order of their starts; empty where no process has one.
    ranks: of a fleet; empty for a replay of one process.
    users: where there are several; the other figures are of all of them together.
    counters: of this client beside the run, of a fleet the sum over its nodes; guard: whether the reads were the
    storage's. Empty and None with --null, and in results of older versions.
    conditions: of this run; likewise None.
    stalls: the longest 20.
    """

    run: int
    round: int
    fs: str
    mount: MountInfo
    started_utc: str
    ops: int = 0
    errors: int = 0
    wall_s: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    ops_per_s: float = 0.0
    metadata_ops_per_s: float = 0.0
    io_s: float = 0.0
    cpu_s: float = 0.0
    staged_files: int = 0
    staged_bytes: int = 0
    by_op: dict[str, OpTotals] = {}
    by_class: dict[str, ClassTotals] = {}
    errors_by: list[ErrorCount] = []
    fidelity: dict[str, Any] = {}
    verified: Verified | None = None
    added_s: float | None = None
    added_least_s: float | None = None
    sync_s: float | None = None
    wall_and_sync_s: float | None = None
    first_done_s: float = 0.0
    first_done_lane: int = 0
    first_done_user: int = 0
    last_done_s: float = 0.0
    last_done_lane: int = 0
    last_done_user: int = 0
    cpu_us_per_op: float | None = None
    issue_error: IssueError | None = None
    open_times: OpenTimes | None = None
    by_step: dict[str, StepTotals] = {}
    limit: str = ""
    users: list[UserTotals] = []
    jobs: list[JobTotals] = []
    ranks: list[RankTotals] = []
    counters: list[Counted] = []
    guard: Guard | None = None
    conditions: Conditions | None = None
    stalls: list[Stall] = []

    @property
    def copied_bytes(self) -> int:
        """Bytes that copy_file_range moved, of which the storage need not have moved any; in bytes_read and
        bytes_written."""
        copies = self.by_op.get("copy_file_range")
        return copies.bytes if copies else 0


class ResultInfo(msgspec.Struct, kw_only=True):
    """Contents of result.json.

    Attributes
    ----------
    source, source_command: name of the trace (of several: with " + " between) and the command that was recorded in the
    first.
    plan_hash: sha256 of the plan, or of what all users replay; two results compare the same work only when it is
    equal.
    options: every option of the replay (timing, order, speed, engine, repeat, map, …).
    not_replayed: recorded operations that the plan left out, by reason.
    warnings: sentences that a reader of the figures must know.
    without_io: the plan without its I/O; None in results of older versions.
    """

    format: tuple[int, int] = (FORMAT_MAJOR, FORMAT_MINOR)
    tool: str = "iotrace"
    version: str = ""
    host: str = ""
    kernel: str = ""
    created_utc: str = ""
    source: str = ""
    source_command: list[str] = []
    plan_hash: str = ""
    options: dict[str, Any] = {}
    not_replayed: dict[str, int] = {}
    warnings: list[str] = []
    without_io: NullFigures | None = None
    runs: list[Run] = []
    memory_bytes: int = 0
    cpus: int = 0


class Result:
    """A result, in memory or opened from its folder.

    Attributes
    ----------
    info: contents of result.json.
    folder: where it lies, None while it has not been saved.
    """

    def __init__(
        self, info: ResultInfo, histograms: pa.Table, intervals: pa.Table, folder: Path | None = None,
        counters: pa.Table | None = None,
    ) -> None:  # fmt: skip
        self.info = info
        self.folder = folder
        self._histograms = histograms
        self._intervals = intervals
        self._counters = COUNTERS.empty_table() if counters is None else counters

    def __repr__(self) -> str:
        return f"Result({self.info.source!r}, {len(self.info.runs)} runs)"

    def histograms(self) -> pd.DataFrame:
        """Latency counts: run, fs, user, lane, step, op, class, bucket (of ns), count."""
        frame: pd.DataFrame = self._histograms.to_pandas()
        return frame

    def intervals(self) -> pd.DataFrame:
        """Each second of each run by class: run, fs, second, class, ops, bytes, buckets (list), counts (list)."""
        frame: pd.DataFrame = self._intervals.to_pandas()
        return frame

    def counters(self) -> pd.DataFrame:
        """Counters of each second of each run: run, fs, rank (of a fleet, of whose node they are), source, counter,
        at_s (since the run's start), value (growth since then; of what ends in _now, _per_s or _minute_mean the figure
        itself)."""
        frame: pd.DataFrame = self._counters.to_pandas()
        return frame

    def histogram(
        self, run: int | None = None, fs: str | None = None, op: str | None = None, kind: str | None = None
    ) -> histogram.Counts:
        """Latency counts of what matches, dense: shape (histogram.BUCKETS,), int64, buckets of ns."""
        table = self._histograms
        chosen = np.ones(table.num_rows, dtype=bool)
        for name, value in (("run", run), ("fs", fs), ("op", op), ("class", kind)):
            if value is not None:
                chosen &= table.column(name).to_numpy(zero_copy_only=False) == value
        return histogram.dense(table.column("bucket").to_numpy()[chosen], table.column("count").to_numpy()[chosen])

    def save(self, folder: str | Path, force: bool = False) -> Path:
        """Write NAME.ioresult/.

        Raises
        ------
        TraceError: something stands there that is not a result, or `force` was not given.
        StorageError: it cannot be written.
        """
        target = Path(folder)
        if target.exists() or target.is_symlink():
            if not force:
                raise TraceError(f"{target} exists already: choose another name, or --force to replace it.")
            if target.is_symlink() or not (target / RESULT_NAME).is_file():
                raise TraceError(f"{target} exists and is not a result; --force replaces only results.")
        try:
            if target.exists():
                shutil.rmtree(target)
            target.mkdir()
            pq.write_table(self._histograms, target / "histograms.parquet", compression="zstd")
            pq.write_table(self._intervals, target / "intervals.parquet", compression="zstd")
            pq.write_table(self._counters, target / "counters.parquet", compression="zstd")
            # result.json comes last: a folder that has it is whole
            (target / RESULT_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(self.info), indent=1))
        except OSError as error:
            raise StorageError(f"cannot write the result {target}: {error.strerror or error}.") from None
        self.folder = target
        return target


def open_result(folder: str | Path) -> Result:
    """Open a result for reading.

    Raises
    ------
    TraceError: nothing is there, it is not a result, it is damaged, or a newer iotrace wrote it.
    """
    path = Path(folder)
    info = read_described(path, RESULT_NAME, "result", ResultInfo, FORMAT_MAJOR)
    tables = []
    for name, schema in (
        ("histograms.parquet", HISTOGRAMS),
        ("intervals.parquet", INTERVALS),
        ("counters.parquet", COUNTERS),
    ):
        if schema is COUNTERS and tuple(info.format) < (1, 2):
            tables.append(COUNTERS.empty_table())
            continue
        # before, only those of rank 0 were kept
        ranked = schema is not COUNTERS or tuple(info.format) >= (1, 3)
        try:
            found = pq.read_table(path / name, columns=[one for one in schema.names if ranked or one != "rank"])
            if not ranked:
                at, zeros = schema.get_field_index("rank"), np.zeros(found.num_rows, np.int32)
                found = found.add_column(at, "rank", pa.array(zeros))
            tables.append(found.cast(schema))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise TraceError(f"{path / name} is missing or damaged: {str(error).splitlines()[0]}.") from None
    return Result(info, tables[0], tables[1], path, tables[2])


def as_json(info: ResultInfo) -> dict[str, Any]:
    """What `replay --json` prints: the figures of the one run, and all runs where there are several."""
    runs: list[dict[str, Any]] = [msgspec.to_builtins(run) for run in info.runs]
    rest: dict[str, Any] = msgspec.to_builtins(info)
    del rest["runs"]
    if len(runs) == 1:
        return runs[0] | rest
    total = {
        name: sum(run[name] for run in runs) for name in ("ops", "errors", "wall_s", "bytes_read", "bytes_written")
    }
    return total | rest | {"runs": runs}
