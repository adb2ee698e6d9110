"""What `iotrace replay` prints: runs, latencies by operation, unexpected outcomes, what was left out, warnings."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from iotrace.replay.conditions import conditions_lines
from iotrace.terminal import Cell, Column, paragraph, printable, show, table
from iotrace.units import bytes_text, count_text, duration_text, rate_text

if TYPE_CHECKING:
    from rich.console import Console

    from iotrace.replay.figures import JobTotals, Spread
    from iotrace.replay.result import ResultInfo, Run

_COLUMNS: Final = (
    Column("operation", align="left", stretch=True), Column("calls"), Column("errors"), Column("bytes"), Column("time"),
    Column("p50"), Column("p99"), Column("p99.9"),
)  # fmt: skip
_STEP_COLUMNS: Final = (
    Column("step", align="left", stretch=True), Column("calls"), Column("errors"), Column("bytes"), Column("time"),
    Column("p50"), Column("p99"),
)  # fmt: skip
_JOB_COLUMNS: Final = (
    Column("lane", align="left"), Column("step", align="left", stretch=True), Column("jobs"), Column("median"),
    Column("slowest"), Column("I/O wait"), Column("errors"), Column("in all"), Column("bytes"),
)  # fmt: skip
_WIDE: Final = 100
"""In a narrower terminal the last two of them are left out: names of steps need the room."""
_RUN_COLUMNS: Final = (
    Column("run"), Column("on", align="left", stretch=True), Column("took"), Column("read/s"), Column("written/s"),
    Column("ops/s"), Column("metadata/s"), Column("errors"),
)  # fmt: skip
_OUTCOMES_SHOWN: Final = 12
_RUNS_IN_DETAIL: Final = 2
"""More runs are shown as a line each: their latencies are for `iotrace compare`."""


def print_result(info: ResultInfo, out: Console) -> None:
    """Print a result for people, within the console's width."""
    if len(info.runs) > _RUNS_IN_DETAIL:
        _print_runs(info.runs, out)
    else:
        for number, run in enumerate(info.runs):
            if number:
                show(out, "")
            _print_run(run, info, out, len(info.runs) > 1)
    if info.not_replayed:
        show(out, "")
        show(out, f"Not replayed, {sum(info.not_replayed.values())} recorded operations (their time is think time):")
        for reason, count in info.not_replayed.items():
            paragraph(out, f"{count_text(count):>7}  {reason}", indent=9)
    show(out, "")
    for line in conditions_lines(info):
        paragraph(out, printable(f"Conditions: {line}"), "dim", indent=2)
    for sentence in info.warnings:
        paragraph(out, f"Warning: {sentence}", "yellow", indent=2)


def _print_runs(runs: list[Run], out: Console) -> None:
    first = runs[0]
    paragraph(
        out,
        f"{count_text(first.ops)} operations a run, read {bytes_text(first.bytes_read)}, written "
        f"{bytes_text(first.bytes_written)}; staged before: {first.staged_files} files and folders, "
        f"{bytes_text(first.staged_bytes)}",
        indent=2,
    )
    rows: list[list[str | Cell]] = []
    for run in runs:
        wall = run.wall_s or 1e-9
        errors = Cell(count_text(run.errors), "bold red" if run.errors else "dim")
        name = printable(f"{run.fs} ({run.mount.type})" if run.mount.type else str(run.fs))
        rates = [rate_text(run.bytes_read / wall), rate_text(run.bytes_written / wall)]
        counts = [count_text(run.ops_per_s), count_text(run.metadata_ops_per_s)]
        rows.append([str(run.run + 1), name, duration_text(run.wall_s * 1e9), *rates, *counts, errors])
    show(out, table(_RUN_COLUMNS, rows, out.width))
    verdicts = verdicts_text(runs)
    if verdicts:
        paragraph(out, f"  cache guard: {verdicts}", indent=4)
    worst = max(runs, key=lambda run: (len(differences_of(run)), run.errors))
    if worst.errors or differences_of(worst):
        show(out, f"Run {worst.run + 1}:")
    _print_outcomes(worst, out)


def _print_run(run: Run, info: ResultInfo, out: Console, numbered: bool) -> None:
    label = f"Run {run.run + 1}: " if numbered else ""
    kind = f" ({run.mount.type})" if run.mount.type else ""
    null = bool(info.options.get("null"))
    show(out, Cell(printable(f"{label}{'without I/O (--null)' if null else run.fs}{kind}")).text)
    wall = run.wall_s or 1e-9
    parts = [
        f"{count_text(run.ops)} operations in {duration_text(run.wall_s * 1e9)}",
        f"{count_text(run.ops_per_s)} ops/s",
        f"{count_text(run.metadata_ops_per_s)} metadata ops/s",
    ]
    show(out, "  " + ", ".join(parts))
    if null:
        for line in times_lines(run, info):
            paragraph(out, f"  {line}", indent=4)
        return
    show(
        out,
        f"  read {bytes_text(run.bytes_read)} ({rate_text(run.bytes_read / wall)}), "
        f"written {bytes_text(run.bytes_written)} ({rate_text(run.bytes_written / wall)})",
    )
    show(out, f"  staged before: {run.staged_files} files and folders, {bytes_text(run.staged_bytes)}")
    for line in [*times_lines(run, info), *guard_lines(run)]:
        paragraph(out, f"  {line}", indent=4)
    rows: list[list[str | Cell]] = []
    for name, op in sorted(run.by_op.items(), key=lambda pair: -pair[1].time_s):
        errors = Cell(count_text(op.errors), "bold red" if op.errors else "dim")
        moved = bytes_text(op.bytes) if op.bytes else "-"
        latency = [duration_text((value or 0) * 1e3) for value in (op.p50_us, op.p99_us, op.p999_us)]
        rows.append([name, count_text(op.calls), errors, moved, duration_text(op.time_s * 1e9), *latency])
    show(out, table(_COLUMNS, rows, out.width))
    if len(run.jobs) > 1:
        show(out, "")
        columns = _JOB_COLUMNS if out.width >= _WIDE else _JOB_COLUMNS[:-2]
        show(out, table(columns, [row[: len(columns)] for row in job_rows(run)], out.width))
    if len(run.by_step) > 1:
        show(out, "")
        show(out, table(_STEP_COLUMNS, step_rows(run), out.width))
    _print_outcomes(run, out)


def verdicts_text(runs: Sequence[Run]) -> str:
    """How often each verdict of the cache guard was found; empty where nothing was read or judged."""
    verdicts = Counter(run.guard.verdict for run in runs if run.guard and (run.bytes_read or run.guard.needed_bytes))
    if len(runs) == 1:
        return "".join(verdicts)
    return ", ".join(f"{verdict} in {count} of {len(runs)} runs" for verdict, count in verdicts.items())


def guard_lines(run: Run) -> list[str]:
    """What the cache guard says of a run, and how much of what it wrote was written when: a line each."""
    guard = run.guard
    if guard is None:
        return []
    lines = [printable(f"cache guard: {guard.verdict}. {guard.why}")] if run.bytes_read or guard.needed_bytes else []
    if run.bytes_written and guard.wire_written_bytes is not None:
        written, later = run.bytes_written - run.copied_bytes, guard.wire_synced_bytes or 0
        missing = written - guard.wire_written_bytes - later
        rest = f", {bytes_text(missing)} not by then" if missing > 0.1 * written else ""
        what = f"of {bytes_text(written)} written" if written else ""
        if run.copied_bytes:
            what += (
                f"{', and ' if written else 'of '}{bytes_text(run.copied_bytes)} that copy_file_range need not move,"
            )
        lines.append(
            printable(
                f"{what} {bytes_text(guard.wire_written_bytes)} reached the storage while it ran, "
                f"{bytes_text(later)} in the sync after it{rest} ({guard.written_source})"
            )
        )
    return lines


def ranks_text(run: Run) -> str:
    """Which rank of a fleet was done first and last, and how well they began together; empty for a run of no fleet."""
    if not run.ranks:
        return ""
    first = min(run.ranks, key=lambda one: one.last_done_s)
    last = max(run.ranks, key=lambda one: one.last_done_s)
    unsure = max(one.clock_uncertainty_us for one in run.ranks)
    late = max(one.start_late_us for one in run.ranks)
    offset = max((one.clock_offset_ms for one in run.ranks), key=abs)
    apart = f"{_seconds(abs(offset) / 1e3)} {'ahead of' if offset >= 0 else 'behind'}"
    return (
        f"{len(run.ranks)} ranks: rank {first.rank} ({first.node}) was done first, after "
        f"{_seconds(first.last_done_s)}, rank {last.rank} ({last.node}) last, after {_seconds(last.last_done_s)}; "
        f"they started within {_seconds(late / 1e6)} of the agreed moment, clocks known to {_seconds(unsure / 1e6)}, "
        f"UTC at most {apart} rank 0's"
    )


def times_lines(run: Run, info: ResultInfo) -> list[str]:
    """A run's figures about time, a line each."""
    lines = []
    null = info.without_io
    if run.ranks:
        lines.append(ranks_text(run))
    if run.users:
        times = sorted(user.wall_s for user in run.users)
        later = max(user.delay_s for user in run.users)
        began = f", the last began {_seconds(later)} after the first" if later else ""
        lines.append(
            f"{len(run.users)} users: the fastest took {_seconds(times[0])}, the median {_seconds(median(times))}, "
            f"the slowest {_seconds(times[-1])}{began}"
        )
    if null is not None and run.added_s is not None:
        lines.append(f"the storage adds {_added(run)} to {_seconds(null.makespan_s)} without I/O ({null.source})")
    elif null is not None and null.source == "modelled":
        lines.append(f"modelled: {_seconds(null.makespan_s)}")
    parts = [] if run.sync_s is None else [f"syncfs after it {_seconds(run.sync_s)}"]
    if run.cpu_us_per_op is not None:
        parts.append(f"CPU {duration_text(run.cpu_us_per_op * 1e3)} an operation")
    if run.first_done_lane != run.last_done_lane:
        parts.append(f"first thread done after {_seconds(run.first_done_s)}")
    if parts:
        lines.append(", ".join(parts))
    if run.open_times is not None:
        lines.append(
            f"open to close {_spread(run.open_times.replayed)}; recorded {_spread(run.open_times.recorded, short=True)}"
        )
    if run.issue_error is not None and run.issue_error.error.count:
        error = run.issue_error
        held = f"; {count_text(error.held.count)} held up" if error.held.count else ""
        lines.append(f"issued late by {_spread(error.error)}, drift {duration_text(error.drift_us * 1e3)}{held}")
    return lines


def _added(run: Run) -> str:
    """What the storage adds: both bounds where they differ."""
    most = max(0.0, run.added_s or 0.0)
    least = most if run.added_least_s is None else max(0.0, run.added_least_s)
    return _seconds(most) if least > 0.9 * most else f"{_seconds(least)} … {_seconds(most)}"


def _seconds(value: float) -> str:
    return duration_text(value * 1e9)


def _spread(spread: Spread, short: bool = False) -> str:
    p50, p99, largest = (duration_text((value or 0) * 1e3) for value in (spread.p50_us, spread.p99_us, spread.max_us))
    return f"{p50}, {p99}" if short else f"p50 {p50}, p99 {p99}" + f", max {largest}"


def job_rows(run: Run) -> list[list[str | Cell]]:
    """A row for each lane (label slurm_job) and step: how many jobs, and how long they took.

    Where a lane runs several steps, another one before them: from the first job's start to the last one's end.
    """
    lanes: dict[str, dict[str, list[JobTotals]]] = {}
    for job in sorted(run.jobs, key=lambda one: _in_order(one.slurm_job)):
        lanes.setdefault(job.slurm_job, {}).setdefault(job.step, []).append(job)
    rows: list[list[str | Cell]] = []
    for name, steps in lanes.items():
        whole = [job for jobs in steps.values() for job in jobs]
        if name and len(steps) > 1:
            took = max(job.end_s for job in whole) - min(job.start_s for job in whole)
            rows.append([printable(name), "all together", *_job_figures(whole, [took])])
            name = ""
        for step, jobs in steps.items():
            times = sorted(job.end_s - job.start_s for job in jobs)
            rows.append([printable(name), printable(step or "(no step)"), *_job_figures(jobs, times)])
            name = ""
    return rows


def _in_order(name: str) -> list[str]:
    """Lane 10 comes behind lane 9."""
    return [part.rjust(20, "0") if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _job_figures(jobs: Sequence[JobTotals], times: Sequence[float]) -> list[str | Cell]:
    """What a row says of some jobs; times: that they took, sorted."""
    errors = sum(job.errors for job in jobs)
    moved = sum(job.bytes_read + job.bytes_written for job in jobs)
    return [
        str(len(jobs)), _seconds(median(times)), _seconds(times[-1]), _seconds(sum(job.io_s for job in jobs)),
        Cell(count_text(errors), "bold red" if errors else "dim"), _seconds(sum(times)), bytes_text(moved),
    ]  # fmt: skip


def step_rows(run: Run) -> list[list[str | Cell]]:
    """A row for each step of a run, the one with most time first."""
    rows: list[list[str | Cell]] = []
    for name, step in sorted(run.by_step.items(), key=lambda pair: -pair[1].time_s):
        errors = Cell(count_text(step.errors), "bold red" if step.errors else "dim")
        moved = bytes_text(step.bytes) if step.bytes else "-"
        latency = [duration_text((value or 0) * 1e3) for value in (step.p50_us, step.p99_us)]
        rows.append([name or "(no step)", count_text(step.calls), errors, moved, _seconds(step.time_s), *latency])
    return rows


def _print_verified(run: Run, out: Console) -> None:
    """What --verify found: a line, and the first wrong blocks."""
    if run.verified is None:
        return
    from iotrace.replay.verify import Findings

    found = run.verified
    line = Findings(found.wrong, found.checked_bytes, found.unchecked_bytes).text()
    paragraph(out, "  " + line, "bold red" if found.wrong else "", indent=4)
    for line in found.named:
        paragraph(out, f"    {line}", indent=6)


def _print_outcomes(run: Run, out: Console) -> None:
    differing = sum(one.calls for one in run.errors_by)
    if differing:
        from rich.text import Text

        share = f"{differing} of {run.ops} operations did not end as recorded:"
        show(out, Text(share, style="bold red"))
        for one in run.errors_by[:_OUTCOMES_SHOWN]:
            about = f", such as {one.example}" if one.example else ""
            text = f"{count_text(one.calls):>7}  {one.op}: {outcome_text(one.recorded, one.replayed)}{about}"
            paragraph(out, f"  {text}", indent=11)
        if len(run.errors_by) > _OUTCOMES_SHOWN:
            show(out, f"  … and {len(run.errors_by) - _OUTCOMES_SHOWN} more kinds, in result.json")
    else:
        show(out, "  every operation ended as recorded")
    for stall in run.stalls[:_OUTCOMES_SHOWN]:
        more = f" and {stall.calls - len(stall.named)} more calls" if stall.calls > len(stall.named) else ""
        text = f"stall of {stall.took_s:.1f} s, {stall.at_s:.1f} s after the start: {', '.join(stall.named)}{more}"
        paragraph(out, printable(f"  {text}"), "yellow", indent=4)
    _print_verified(run, out)
    _print_check(run, out)


def differences_of(run: Run) -> list[str]:
    """What --check found that differs although the program decides it."""
    found: list[str] = run.fidelity.get("check", {}).get("differences", [])
    return found


def _print_check(run: Run, out: Console) -> None:
    check = run.fidelity.get("check")
    if check is None:
        return
    calls = sum(op["recorded"] for op in check["by_op"].values())
    waits, missed = check["waits"]
    before, now = check["makespan_s"]
    times = f"makespan {_seconds(now)}" + (f", {now / before:.3g} × the recorded one" if before else "")
    seen = f"  checked: the kernel saw {count_text(calls)} calls"
    if check["exact"]:
        kept = f"all of {count_text(waits)} waits between threads were kept"
        text = f"{seen}, as recorded in order, files, sizes, offsets and results; {kept}; {times}"
        paragraph(out, text, indent=4)
        return
    text = f"{seen}, {count_text(missed)} of {count_text(waits)} waits missed; {times}; from the recording differ:"
    paragraph(out, text, "bold red", indent=4)
    for line in check["differences"][:_OUTCOMES_SHOWN]:
        paragraph(out, f"    {line}", indent=6)


def outcome_text(recorded: int, replayed: int) -> str:
    """How an outcome differs: "recorded success, replayed ENOENT"."""
    if recorded == replayed == 0:
        return "moved another number of bytes than recorded"
    return f"recorded {_code_text(recorded)}, replayed {_code_text(replayed)}"


def _code_text(code: int) -> str:
    if code == 0:
        return "success"
    return errno.errorcode.get(code, "not issued, since an earlier call failed" if code > 4095 else f"errno {code}")
