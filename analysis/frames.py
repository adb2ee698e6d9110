"""The Python face: what the commands print, as pandas frames for notebooks.

Each function is reached as `iotrace.NAME`; docs/python.md shows them together. Times are in seconds, sizes in bytes,
latencies in µs where a column's name ends in `_us`; what is not known is NaN or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from iotrace.replay.result import Result, open_result
from iotrace.trace.counted import tables_of
from iotrace.trace.reader import Trace, open_trace
from iotrace.trace.tables import Key


def table(trace: Trace | str | Path, by: Key | str = "op", limit: int | None = None) -> pd.DataFrame:
    """Calls, errors, bytes, latencies and sizes of a trace by operation, class, file, process, thread, mount, step, job
    or user: the columns of iotrace.trace.tables.Tables.by.

    Raises
    ------
    UsageError: an unknown key. TraceError: no trace, or a damaged one.
    """
    with tables_of(_trace(trace), [by]) as tables:
        return tables.by(by, limit)


def timeline(trace: Trace | str | Path, bins: int = 200) -> pd.DataFrame:
    """Calls and bytes in equal slices of a recording, by class: the columns of iotrace.trace.tables.Tables.timeline.

    Raises
    ------
    UsageError: there is less than one slice. TraceError: no trace, or a damaged one.
    """
    with tables_of(_trace(trace), ()) as tables:
        return tables.timeline(bins)


def findings(trace: Trace | str | Path, under: str | Path | None = None) -> pd.DataFrame:
    """What hurts in a trace, the largest gain first, a row each.

    Parameters
    ----------
    under: look only at files below this folder.

    Returns
    -------
    Columns name, title, says, calls, spared, files, bytes, time_s, gain_s (at most), gain_share (of the time in all
    calls), first_s, last_s, advice.

    Raises
    ------
    UsageError: the trace holds nothing below `under`, or counts and a folder is given.
    TraceError: no trace, or a damaged one.
    """
    from iotrace.analysis.findings.search import search

    columns = [
        "name", "title", "says", "calls", "spared", "files", "bytes", "time_s", "gain_s", "gain_share", "first_s",
        "last_s", "advice",
    ]  # fmt: skip
    found = search(_trace(trace), Path(under) if under is not None else None, with_reuse=False)
    return pd.DataFrame([one.to_json() for one in found.findings], columns=columns)


def cache_curve(trace: Trace | str | Path, under: str | Path | None = None) -> pd.DataFrame:
    """How much of what a trace reads client caches of all sizes serve.

    Returns
    -------
    Columns step, cache_bytes, served (share of the step's reads, 0 to 1): iotrace.analysis.findings.reuse.Reuse.curve.

    Raises
    ------
    As of findings.
    """
    from iotrace.analysis.findings.search import search

    found = search(_trace(trace), Path(under) if under is not None else None)
    return found.reuse.curve if found.reuse is not None else pd.DataFrame(columns=["step", "cache_bytes", "served"])


def runs(result: Result | str | Path) -> pd.DataFrame:
    """The runs of a result, a row each.

    Returns
    -------
    Columns run, round, fs, type (of the file system), wall_s, ops, errors, ops_per_s, metadata_ops_per_s, bytes_read,
    bytes_written, io_s (time in calls, threads added up), added_s (what the storage adds at most).

    Raises
    ------
    TraceError: no result, or a damaged one.
    """
    opened = result if isinstance(result, Result) else open_result(result)
    names = (
        "run", "round", "fs", "wall_s", "ops", "errors", "ops_per_s", "metadata_ops_per_s", "bytes_read",
        "bytes_written", "io_s", "added_s",
    )  # fmt: skip
    rows = [{name: getattr(run, name) for name in names} | {"type": run.mount.type} for run in opened.info.runs]
    return pd.DataFrame(rows, columns=[*names[:3], "type", *names[3:]])


def latencies(result: Result | str | Path, op: str, fs: str) -> pd.DataFrame:
    """The latencies of an operation on one mount of a result, over all its runs: columns latency_us, share (of calls
    that took so long or less).

    Raises
    ------
    UsageError: the operation was not issued there. TraceError: no result, or a damaged one.
    """
    from iotrace.errors import UsageError
    from iotrace.histogram import middles

    opened = result if isinstance(result, Result) else open_result(result)
    counts = opened.histogram(fs=fs, op=op)
    used = np.flatnonzero(counts)
    if not len(used):
        raise UsageError(f"{op} was not issued on {fs}: see runs(result) for mounts, table(trace) for operations.")
    share = np.cumsum(counts[used]) / counts.sum()
    return pd.DataFrame({"latency_us": middles()[used] / 1e3, "share": share})


def compare(*results: Any, smallest: float = 0.05) -> pd.DataFrame:
    """Results side by side, or the mounts of one result, the first being the baseline.

    The whole answer, with its warnings, gives iotrace.compare_results.

    Returns
    -------
    Columns metric, baseline, candidate, a and b (medians), a_low, a_high, b_low, b_high (their intervals, 95 %),
    ratio, ci_low, ci_high (its interval), p, p_adjusted, p_mann_whitney, verdict (faster, slower, or ~ where nothing is
    shown).

    Raises
    ------
    UsageError: there is only one side. TraceError: no result, or a damaged one.
    """
    from iotrace.analysis.compare import compare_results

    return pd.DataFrame(compare_results(*results, smallest=smallest).to_json()["rows"])


def size(
    workload: str | Path, storages: Sequence[str] = ("fsx-lustre-500", "weka-i3en"),
    nodes: Sequence[str] = ("reference",),
    units: int | None = None, numbers: Mapping[str, float] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """How much storage a workload needs, by the model of docs/model.md: a row for each node, storage and step.

    Parameters
    ----------
    workload: a name of `iotrace profile list`, or a .toml. storages, nodes: names of `iotrace size --list`.
    units: how many of the storage there are; None: as many as are needed.
    numbers: other values of the workload's numbers, such as {"users": 40}.

    Returns
    -------
    Columns node, storage, units, needed_for (what needs so many), structure_h (the mean user's whole pipeline
    while as many units have failed as may), gpu_idle (share of the GPU-seconds held that wait for storage, NaN without
    GPUs), step, job_h, binding (the largest part of its time), waits_for (the largest beside computing), read_bytes,
    written_bytes (of one job), gpus (that it holds), step_gpu_idle, and of all jobs of the step together
    read_p50, read_p95, read_p99, read_peak (bytes/s), the same of write, operations and metadata (a second). All of it
    is modelled.

    Raises
    ------
    UsageError: an unknown name, or numbers that make no sense.
    """
    from iotrace.analysis.sizing.answer import PEAK, RATES, SHARES
    from iotrace.analysis.sizing.asking import answers_for
    from iotrace.errors import UsageError
    from iotrace.profiles.numbers import given_numbers

    if units is not None and units < 1:
        raise UsageError(f"units {units}: 1 or more of the storage, or None for as many as are needed.")
    given = given_numbers([f"{name}={value}" for name, value in (numbers or {}).items()])
    columns = [
        "node", "storage", "units", "needed_for", "structure_h", "gpu_idle", "step", "job_h", "binding", "waits_for",
        "read_bytes", "written_bytes", "gpus", "step_gpu_idle",
        *(f"{name}_{figure}" for name in RATES for figure in (*SHARES, PEAK)),
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for made in answers_for(workload, storages, nodes, units=units, given=given, search=False):
        whole = {
            "node": made.case.node_name, "storage": made.case.storage_name, "units": made.units,
            "needed_for": made.needed.binding, "structure_h": float(made.run.structure_s.mean()) / 3600,
            "gpu_idle": np.nan if made.run.gpu_idle is None else made.run.gpu_idle,
        }  # fmt: skip
        rows += [
            whole | {
                "step": one.step, "job_h": one.job_s / 3600, "binding": one.binding,
                "waits_for": one.waits_for, "read_bytes": one.read_bytes, "written_bytes": one.written_bytes,
                "gpus": one.gpus, "step_gpu_idle": np.nan if one.gpu_idle is None else one.gpu_idle,
            }
            | {f"{name}_{figure}": value for name, found in one.rates.items() for figure, value in found.items()}
            for one in made.steps()
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _trace(trace: Trace | str | Path) -> Trace:
    return trace if isinstance(trace, Trace) else open_trace(trace)
