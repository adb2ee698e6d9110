"""What a rule's query finds in a trace: how many calls, their time, which files, when.

DuckDB scans the parts and may spill to disk; what is kept is one row for each operation, file and process concerned,
never the calls themselves.

The views that rules are written for, beside those of the trace's own tables:

- io: the columns of events, and kind (class of the operation), opens (it opens a file by name), looks (a call of
  stat's kind, access or readlink), copies_files (from a file to a file).
- moves: of these reads and writes at a known position, with in_sequence: it begins where the last one that was
  completed on the same open description ended. A table with some columns of io, for several rules look at it.
- copies: the calls that copy files: see iotrace.analysis.findings.copies.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from iotrace.analysis.findings.copies import find_copies
from iotrace.analysis.findings.rules import Rule
from iotrace.trace.operations import OPERATIONS, Kind
from iotrace.trace.tables import Tables
from iotrace.units import duration_text

EXAMPLES: Final = 3
_WHOLE: Final = (
    "calls", "spared", "files", "processes", "bytes", "time_ns", "gain_ns", "first_ns", "last_ns"
)  # fmt: skip
_LOOKING: Final = ("access", "faccessat", "faccessat2", "readlink", "readlinkat", "uring.statx")
OPENS: Final = ", ".join(f"'{o.name}'" for o in OPERATIONS if o.result == "fd" and "path" in o.arguments)
LOOKS: Final = ", ".join(
    f"'{o.name}'" for o in OPERATIONS if {"stat", "statx"} & set(o.arguments) or o.name in _LOOKING
)  # fmt: skip
"""Names of the operations that open a file by name, and of stat's kind, as SQL."""


def _empty(*texts: str, numbers: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="str") for name in texts} | dict.fromkeys(numbers, _NO_NUMBERS))


_NO_NUMBERS: Final = pd.Series(dtype="int64")
_SUMS: Final = ("calls", "spared", "time_ns", "gain_ns")
_NO_DETAILS: Final = (
    _empty("op", numbers=_SUMS), _empty("path", "op", numbers=_SUMS),
    _empty("step", "op", numbers=("calls", "gain_ns")),
)  # fmt: skip
"""by_op, example_ops and step_ops of an Evidence without calls."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the whole trace, or of several added up.

    Attributes
    ----------
    calls, time_ns: all, and the time in them (all threads together; processes' own calls do not count).
    wall_ns: from the first start to the last end; of several traces the sum, as that of what they could spare is one.
    first_ns: the first start. traces: how many. clock_ns: of several, how long at least one of them was recorded; 0
    where they have no clock in common.
    """

    calls: int
    time_ns: int
    wall_ns: int
    first_ns: int = 0
    traces: int = 1
    clock_ns: int = 0

    @property
    def wall_text(self) -> str:
        """wall_ns in words that say what it is."""
        if self.traces == 1:
            return duration_text(self.wall_ns)
        clock = f"; {duration_text(self.clock_ns)} by the clock" if self.clock_ns else ""
        return f"{duration_text(self.wall_ns)} ({self.traces} recordings added up{clock})"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Figures of the calls that a rule is about.

    Attributes
    ----------
    calls, spared: all, and those that would fall away if the advice were followed.
    files, processes: how many are concerned (files: those with spared calls, where there are any). bytes: moved by
    the calls.
    time_ns: in the calls, threads added up; gain_ns: of it, what the advice could spare at most.
    first_ns, last_ns: when they were made, since the start of the recording.
    calls_share, spared_share: of all calls of the trace. time_share, gain_share: of the time in all its calls.
    time_wall_share, gain_wall_share: of its wall time, which can exceed 1 where threads wait at the same time.
    by_op: columns op, calls, spared, time_ns, gain_ns. example_ops: columns path, op, calls, spared, time_ns, gain_ns,
    of the files with most gain as recorded. step_ops: columns step, op, calls, gain_ns.
    numbers: the rule's own, by name.
    """

    calls: int
    spared: int
    files: int
    processes: int
    bytes: int
    time_ns: int
    gain_ns: int
    first_ns: int
    last_ns: int
    totals: Totals
    by_op: pd.DataFrame = field(repr=False)
    example_ops: pd.DataFrame = field(repr=False)
    step_ops: pd.DataFrame = field(repr=False)
    numbers: dict[str, float]

    @property
    def examples(self) -> pd.DataFrame:
        """Columns path, calls, spared, time_ns, gain_ns, the largest gain first."""
        summed = self.example_ops.drop(columns="op").groupby("path", as_index=False, sort=False).sum()
        order = ["gain_ns", "time_ns", "calls", "path"]
        return summed.sort_values(order, ascending=[False, False, False, True], ignore_index=True)

    @property
    def by_step(self) -> pd.DataFrame:
        """Columns step, calls, gain_ns."""
        return self.step_ops.drop(columns="op").groupby("step", as_index=False).sum()

    @property
    def spared_share(self) -> float:
        """0 to 1; see above."""
        return self.spared / max(1, self.totals.calls)

    @property
    def calls_share(self) -> float:
        """0 to 1; see above."""
        return self.calls / max(1, self.totals.calls)

    @property
    def time_wall_share(self) -> float:
        """From 0; see above."""
        return self.time_ns / max(1, self.totals.wall_ns)

    @property
    def time_share(self) -> float:
        """0 to 1; see above."""
        return self.time_ns / max(1, self.totals.time_ns)

    @property
    def gain_share(self) -> float:
        """0 to 1; see above."""
        return self.gain_ns / max(1, self.totals.time_ns)

    @property
    def gain_wall_share(self) -> float:
        """From 0; see above."""
        return self.gain_ns / max(1, self.totals.wall_ns)

    def triggers(self, rule: Rule) -> bool:
        """Whether the rule's limits are reached."""
        reached = {name: getattr(self, name) >= least for name, least in (rule.least | rule.either).items()}
        # a limit may stand in both, with different values
        all_of = all(getattr(self, name) >= least for name, least in rule.least.items())
        one_of = not rule.either or any(getattr(self, name) >= least for name, least in rule.either.items())
        return bool(reached) and self.calls > 0 and all_of and one_of


class Witness:
    """Asks a trace; a context manager that lets go of it.

    Parameters
    ----------
    tables: of the trace, open. under: look only at files below this folder, or these.

    Attributes
    ----------
    by_op: of those that are no processes' own: columns op, mean_ns (of a call, where it is known), time_ns.
    totals: of the calls looked at. files: numbers of the files looked at, (n,), None where all are.
    """

    def __init__(self, tables: Tables, under: Path | Sequence[Path] | None = None) -> None:
        self._tables = tables
        self.files: npt.NDArray[np.int64] | None = None
        inside = self._inside(under)
        run = tables.query
        # of the operations, once: lists of names would be held against every call
        run(
            "create or replace temp table asked as "
            f"select op, kind, op in ({OPENS}) as opens, op in ({LOOKS}) as looks from kinds"
        )
        run(
            f"""
            create or replace temp view io as
            select e.*, coalesce(k.kind, 'unknown') as kind, coalesce(k.opens, false) as opens,
                   coalesce(k.looks, false) as looks,
                   coalesce(k.kind, '') = '{Kind.COPY}' and e.file is not null and e.other_file is not null
                   as copies_files
            from events e left join asked k on e.op = k.op {inside}
            """
        )
        run(
            """
            create or replace temp table moves as
            select op, process, thread, path, file, "offset", result, time_ns, duration_ns, kind,
                   coalesce("offset" = lag("offset" + result) over (
                       partition by open order by time_ns + coalesce(duration_ns, 0), time_ns), false) as in_sequence
            from io where kind in ('read', 'write') and "offset" is not null and open is not null and result >= 0
            """
        )
        find_copies(tables)
        self.by_op, self.totals = self._figures(under is None)

    def _figures(self, whole: bool) -> tuple[pd.DataFrame, Totals]:
        """`by_op`, and of all together; what passed is that of the whole trace, also where its first and last calls lie
        outside the folder."""
        passed = "min(time_ns) as first_ns, max(time_ns + coalesce(duration_ns, 0)) as last_ns"
        frame = self._tables.query(
            f"""
            select op, count(*) as calls, count(duration_ns) as timed, sum(duration_ns)::bigint as time_ns,
                   kind = '{Kind.PROCESS}' as of_process, {passed}
            from io group by op, of_process order by op
            """
        ).df()
        own = frame[(frame["timed"] > 0) & ~frame["of_process"]]
        ends = frame if whole else self._tables.query(f"select {passed} from events").df()
        first, last = (int(ends["first_ns"].min()), int(ends["last_ns"].max())) if len(frame) else (0, 0)
        by_op = pd.DataFrame({"op": own["op"], "mean_ns": own["time_ns"] / own["timed"], "time_ns": own["time_ns"]})
        by_op = by_op.astype({"time_ns": "int64"}).reset_index(drop=True)
        return by_op, Totals(int(frame["calls"].sum()), int(by_op["time_ns"].sum()), last - first, first)

    def _inside(self, under: Path | Sequence[Path] | None) -> str:
        """The condition of calls on files below folders, or where no file is known, with names below it."""
        if under is None:
            return ""
        wanted = [under] if isinstance(under, Path) else under
        folders = [os.path.normpath("/" + str(one).strip("/")).rstrip("/") for one in wanted]
        connection = self._tables.connection
        connection.register("wanted_folders", pd.DataFrame({"folder": pd.Series(folders, dtype="str")}))
        self._tables.query(
            "create or replace temp table inside_paths as select distinct path from paths, wanted_folders "
            "where text = folder or starts_with(text, folder || '/')"
        )
        self._tables.query(
            "create or replace temp table inside_files as select file from files semi join inside_paths using (path)"
        )
        found = self._tables.query("select file::bigint as file from inside_files").fetchnumpy()
        self.files = np.asarray(found["file"], np.int64)
        return (
            "where case when e.file is null and e.other_file is null then e.path in (select path from inside_paths) "
            "else e.file in (select file from inside_files) or e.other_file in (select file from inside_files) end"
        )

    def evidence(self, rule: Rule) -> Evidence:
        """What the rule's query finds."""
        run = self._tables.query
        numbers, calls, gain = self._filled_in(rule)
        self._concern(rule, calls, gain)
        sums = "sum(calls)::bigint, sum(spared)::bigint"
        row = run(
            f"""
            select {sums}, coalesce(nullif(count(distinct subject) filter (spared > 0), 0), count(distinct subject)),
                   count(distinct process), sum(bytes)::bigint, sum(time_ns)::bigint,
                   sum(gain_ns)::bigint, min(first_ns), max(last_ns) from concerned
            """
        ).fetchone()
        assert row is not None
        whole = [0 if value is None else int(value) for value in row]
        w = dict(zip(_WHOLE, whole, strict=True))
        # most rules concern no call of most traces: what is asked in vain would be most of a short trace's time
        by_op, example_ops, step_ops = self._details() if w["calls"] else _NO_DETAILS
        return Evidence(
            calls=w["calls"], spared=w["spared"], files=w["files"], processes=w["processes"], bytes=w["bytes"],
            time_ns=w["time_ns"], gain_ns=w["gain_ns"], first_ns=w["first_ns"], last_ns=w["last_ns"],
            totals=self.totals, by_op=by_op, example_ops=example_ops, step_ops=step_ops, numbers=numbers,
        )  # fmt: skip

    def _details(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """by_op, example_ops and step_ops of an Evidence."""
        steps = self._tables.query(
            "select p.step, c.op, sum(calls)::bigint as calls, sum(gain_ns)::bigint as gain_ns from concerned c "
            "join processes p on c.process = p.process where p.step is not null group by p.step, c.op order by all"
        ).df()
        return self._grouped("op", "concerned"), self._example_ops(), steps

    def spared(self, rule: Rule) -> dict[str, npt.NDArray[np.int64]]:
        """Of the calls that would fall away, by operation: time_ns · 2^16 + thread, (n,), for a thread makes one call
        at a time."""
        _, calls, _ = self._filled_in(rule)
        found = self._tables.query(f"select op::varchar as op, time_ns, thread from ({calls}) where spared").df()
        when = found["time_ns"] * (1 << 16) + found["thread"].astype("int64")
        return {str(op): part.to_numpy(np.int64) for op, part in when.groupby(found["op"])}

    def _filled_in(self, rule: Rule) -> tuple[dict[str, float], str, str]:
        """The rule's numbers, and its queries of calls and gain with them."""
        numbers = {name: self._number(query) for name, query in rule.numbers.items()}
        calls, gain = (text.format(**numbers) if numbers else text for text in (rule.calls, rule.gain))
        return numbers, calls, gain

    def _concern(self, rule: Rule, calls: str, gain: str) -> None:
        """Make the table `concerned`: sums of the rule's calls by op, file and process."""
        self._tables.query(
            f"""
            create or replace temp table concerned as
            select op, coalesce(file, -1 - path) as subject, process, count(*) as calls,
                   count(*) filter (spared) as spared, sum(coalesce(duration_ns, 0))::bigint as time_ns,
                   coalesce(sum({gain}), 0)::bigint as gain_ns,
                   sum(case when kind in ('read', 'write', 'copy', 'map') then greatest(result, 0) else 0 end)::bigint
                   as bytes,
                   min(time_ns) as first_ns, max(time_ns + coalesce(duration_ns, 0)) as last_ns
            from ({calls}) group by all
            """
        )

    def _number(self, query: str) -> float:
        row = self._tables.query(query).fetchone()
        return float(row[0]) if row and row[0] is not None else 0.0

    def _grouped(self, key: str, source: str, more: str = "") -> pd.DataFrame:
        frame: pd.DataFrame = self._tables.query(
            f"""
            select {key}, sum(calls)::bigint as calls, sum(spared)::bigint as spared, sum(time_ns)::bigint as time_ns,
                   sum(gain_ns)::bigint as gain_ns
            from {source} group by {key} order by gain_ns desc, time_ns desc, calls desc, {key} {more}
            """
        ).df()
        return frame

    def _example_ops(self) -> pd.DataFrame:
        named = """(
            select c.*, q.text as path from concerned c
            left join files f on c.subject >= 0 and f.file = c.subject
            left join paths q on q.path = case when c.subject < 0 then -1 - c.subject else f.path end
            where c.subject is not null)"""
        chosen = self._grouped("path", named, f"limit {EXAMPLES}").dropna(subset="path")
        self._tables.connection.register("chosen_paths", chosen[["path"]])
        return self._grouped("path, op", f"(select n.* from {named} n semi join chosen_paths using (path))")
