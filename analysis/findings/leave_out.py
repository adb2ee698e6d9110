"""A trace without the calls that would fall away if a finding's advice were followed: what a replay of it gains, is
what the advice could gain on that mount.

Only calls can be left out on which no other call rests: a look at a name, a lock, an fsync, a listing, a read at a
place that it names. Another read moves the position of the next one, an open is what later calls work on, and pieces
that were joined would be other calls; there the rule says why there is no such replay.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.analysis.findings.evidence import Witness
from iotrace.analysis.findings.rules import Rule, rules
from iotrace.errors import UsageError
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import Trace
from iotrace.trace.tables import Tables
from iotrace.trace.writer import TraceWriter


def leave_out(trace: Trace, name: str, output: Path, force: bool = False, under: Path | None = None) -> int:
    """Write a copy of a trace without the spared calls of a rule; gives their number.

    Parameters
    ----------
    name: of the rule. output: folder of the copy. force: replace a trace that is there. under: as of search.

    Raises
    ------
    UsageError: no such rule, its calls cannot be left out, there are none, or the trace holds counts. TraceError: the
    output is there already, or the trace is damaged.
    """
    rule = _rule(name)
    if trace.info.detail == "histogram":
        raise UsageError(f"{trace.folder} holds counts, not operations: none can be left out.")
    if output.absolute() == trace.folder.absolute():
        raise UsageError(f"{output} is the trace itself: name another folder with -o.")
    with Tables(trace) as tables:
        spared = Witness(tables, under).spared(rule)
    if rule.no_replay:
        if spared and not spared.keys() & set(rule.can_go):
            others = " or ".join(rule.can_go)
            raise UsageError(f"--without {name}: {rule.no_replay} {trace.folder} holds no {others} among them.")
        spared = {op: calls for op, calls in spared.items() if op in rule.can_go}
    count = sum(map(len, spared.values()))
    if not count:
        raise UsageError(f"{trace.folder} holds no call that {name} would spare: nothing is left out.")
    info = TraceInfo(**{field: getattr(trace.info, field) for field in TraceInfo.__struct_fields__})
    info.events, info.chapters, info.max_bytes = 0, [], None
    info.filters = {**info.filters, "left_out": f"{count:,} calls of the finding {name}"}
    complete = trace.info.complete
    writer = TraceWriter(output, info, force)
    try:
        for table in ("paths", "files", "processes", "events"):
            for batch in trace.batches(table):
                writer.append(table, batch.filter(pa.array(_kept(batch, spared))) if table == "events" else batch)
        writer.close(complete)
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return count


def _rule(name: str) -> Rule:
    found = next((one for one in rules() if one.name == name), None)
    can = ", ".join(one.name for one in rules() if not one.no_replay or one.can_go)
    if found is None:
        raise UsageError(f"--without {name}: no such finding; calls can be left out of {can}.")
    if found.no_replay and not found.can_go:
        raise UsageError(f"--without {name}: {found.no_replay} Calls can be left out of {can}.")
    return found


def _kept(batch: pa.RecordBatch, spared: dict[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
    """Which rows remain."""
    time, thread = (batch.column(name).to_numpy().astype(np.int64) for name in ("time_ns", "thread"))
    when, kept = time * (1 << 16) + thread, np.ones(batch.num_rows, np.bool_)
    ops = batch.column("op")
    numbers = ops.indices.to_numpy()
    for number, op in enumerate(ops.dictionary.to_pylist()):
        if op in spared:
            kept &= (numbers != number) | np.isin(when, spared[op], invert=True)
    return kept
