"""fio's own results (`--output-format=json` and `json+`) as a side: a file is one run, a job's name is a step.

Field names are those of fio's stat.c (show_thread_status_json). json+ carries whole histograms, whose bins are within
0.8 % as ours are; json only percentiles, which do not merge over jobs. Work is the same where the jobs' options are,
but for those that say where files lie and how results are printed.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from iotrace import histogram
from iotrace.analysis.comparison.latencies import Latencies, counted, merged
from iotrace.errors import TraceError
from iotrace.replay.figures import JobTotals, StepTotals
from iotrace.replay.result import ClassTotals, ErrorCount, MountInfo, ResultInfo, Run

_PLACES: Final = {
    "directory", "filename", "filename_format", "filesize_target", "group_reporting", "write_bw_log", "write_lat_log",
    "write_iops_log", "write_hist_log", "log_avg_msec", "description", "percentile_list", "lat_percentiles",
    "clat_percentiles", "slat_percentiles", "unlink",
}  # fmt: skip
"""Options that change where files lie or what is printed, not the work."""
_KINDS: Final = {"read": "read", "write": "write", "trim": "metadata", "sync": "sync"}
"""Directions of fio, and the class of operations that each is."""
_LARGEST: Final = 1 << 31


@dataclass(frozen=True)
class FioFile:
    """One file of fio's JSON: `info` with the one run in it, latencies by what they are of (see sides.Key)."""

    path: Path
    info: ResultInfo
    latencies: dict[tuple[str, ...], dict[int, Latencies]] = field(repr=False)


def read_fio(path: Path) -> FioFile:
    """Read a file that fio wrote with `--output-format=json` or `json+`.

    What fio printed before the JSON (notes, warnings) is passed over.

    Raises
    ------
    TraceError: it cannot be read, is not fio's JSON, is cut off, holds no job that ran, or is of fio before 3.0.
    """
    found = _decode(path)
    version = str(found.get("fio version", ""))
    jobs = found.get("jobs")
    if not version.startswith("fio-"):
        raise TraceError(f'{path} is not fio\'s JSON: it names no "fio version"; run fio with --output-format=json+.')
    if "client_stats" in found and not jobs:
        raise TraceError(f"{path} is of fio --client, which is not read: run fio on the node itself.")
    if not isinstance(jobs, list) or not jobs:
        raise TraceError(f"{path} holds no job: fio was stopped before one ended, run it again.")
    try:
        if any("clat_ns" not in job["read"] for job in jobs):
            raise TraceError(f"{path} is of {version}, which has no times in ns: run it with fio 3.0 or newer.")
        return _run_of(path, version.removeprefix("fio-"), jobs, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TraceError(
            f"{path}: the JSON of {version} is not as iotrace knows it ({type(error).__name__}: {error}); "
            "it reads that of fio 3."
        ) from None


def _decode(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise TraceError(f"{path} is too large for fio's JSON ({path.stat().st_size:,} bytes).")
        text = path.read_text(errors="replace")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}.") from None
    begin = 0 if text.startswith("{") else text.find("\n{") + 1
    if not text.strip():
        raise TraceError(f"{path} is empty: fio was stopped before it printed, run it again.")
    if not text[begin:].startswith("{"):
        raise TraceError(f"{path} is neither a result of iotrace nor fio's JSON (--output-format=json+).")
    try:
        value, _ = json.JSONDecoder().raw_decode(text[begin:])
    except (json.JSONDecodeError, RecursionError) as error:
        line = (
            f" in line {text[:begin].count(chr(10)) + error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise TraceError(f"{path}: the JSON is cut off or damaged{line}: run fio again.") from None
    return dict(value)


def _run_of(path: Path, version: str, jobs: list[dict[str, Any]], found: dict[str, Any]) -> FioFile:
    shared = dict(found.get("global options") or {})
    run = Run(run=0, round=0, fs="", mount=MountInfo(), started_utc=str(found.get("time", "")))
    groups: dict[int, float] = {}
    parts: dict[tuple[str, ...], list[Latencies]] = {}
    for job in jobs:
        step, seconds = str(job["jobname"]), float(job["job_runtime"]) / 1e3
        group = int(job.get("groupid", 0))
        groups[group] = max(groups.get(group, 0.0), seconds)
        totals = run.by_step.setdefault(step, StepTotals())
        read, written, io_s = int(job["read"]["io_bytes"]), int(job["write"]["io_bytes"]), 0.0
        calls = 0
        for direction, kind in _KINDS.items():
            if direction not in job or not int(job[direction]["total_ios"]):
                continue
            one = job[direction]
            n, took = int(one["total_ios"]), _times(one)
            if n < 0 or not math.isfinite(float(took["mean"])):
                raise ValueError(f"{direction} has {n} operations of {took['mean']} ns")
            spent = float(took["mean"]) * n / 1e9
            of = run.by_class.setdefault(kind, ClassTotals())
            of.calls, of.bytes, of.time_s = of.calls + n, of.bytes + int(one.get("io_bytes", 0)), of.time_s + spent
            calls, io_s = calls + n, io_s + spent
            for key in (("class", kind), ("step", step, kind)):
                parts.setdefault(key, []).append(_latencies(one, n))
        totals.calls, totals.bytes, totals.time_s = (
            totals.calls + calls,
            totals.bytes + read + written,
            totals.time_s + io_s,
        )
        run.ops, run.io_s = run.ops + calls, run.io_s + io_s
        run.bytes_read, run.bytes_written = run.bytes_read + read, run.bytes_written + written
        error = int(job.get("error", 0)) or int(job.get("total_err", 0) and job.get("first_error", 0))
        if error:
            run.errors += 1
            run.errors_by.append(ErrorCount(f"fio job {step}", 0, error, 1))
        run.jobs.append(JobTotals(0, "", "", step, step, "", 0.0, seconds, calls, 0, read, written, io_s))
    # groups run one after the other (stonewall), jobs of a group at the same time
    run.wall_s = sum(groups.values())
    if run.ops and not run.wall_s:
        raise TraceError(f"{path} lasted less than 1 ms, which fio does not measure: give the job more to do.")
    if not run.ops:
        raise TraceError(f"{path} holds no operation: fio ended before its first one, see its messages.")
    run.ops_per_s = run.ops / run.wall_s
    run.metadata_ops_per_s = run.by_class["metadata"].calls / run.wall_s if "metadata" in run.by_class else 0.0
    options = [shared | dict(job.get("job options") or {}) for job in jobs]
    info = ResultInfo(
        tool="fio", version=version, source=path.name, plan_hash=_work(options), runs=[run],
        options={"direct": all(str(one.get("direct", "0")) != "0" for one in options)},
        warnings=_warnings(path, jobs, parts),
    )  # fmt: skip
    latencies = {key: {0: one} for key, found in parts.items() if (one := merged(found)) is not None}
    return FioFile(path, info, latencies)


def _times(one: dict[str, Any]) -> dict[str, Any]:
    """The total latency where fio counted it (lat_percentiles=1), else that of completion; of sync the only one."""
    total = one["lat_ns"]
    has = "percentile" in total or "bins" in total
    return dict(total if has or "clat_ns" not in one else one["clat_ns"])


def _latencies(one: dict[str, Any], calls: int) -> Latencies:
    took = _times(one)
    bins = took.get("bins")
    if bins:
        values = [int(value) for value in bins]
        return counted(histogram.bucket_of(values), [int(count) for count in bins.values()])
    return Latencies(calls, quoted={float(share) / 100: float(ns) for share, ns in took.get("percentile", {}).items()})


def _work(options: list[dict[str, Any]]) -> str:
    """Hash of what the jobs do; empty where fio did not say."""
    if not all(options):
        return ""
    kept = [{name: str(value) for name, value in one.items() if name not in _PLACES} for one in options]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _warnings(path: Path, jobs: list[dict[str, Any]], parts: dict[tuple[str, ...], list[Latencies]]) -> list[str]:
    found = []
    if any(merged(one) is None for one in parts.values()):
        found.append(
            f"{path.name} has percentiles of several jobs, which do not merge: --output-format=json+ gives "
            "histograms, --group_reporting the percentiles of all jobs."
        )
    return found


__all__ = ["FioFile", "read_fio"]
