"""The tables of iotrace.trace.tables over a large trace, from one pass of iotrace.trace.scan in the place of a dozen
queries; the same figures, in memory that does not grow with the number of events.

Where the trace has more rows of one kind than a scan keeps, or what a scan does not tell is asked for, DuckDB answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from iotrace.trace.kernels.scanning import FIGURES, FIRST, FIRST_OF_NONE, LAST
from iotrace.trace.partials import Counts, keyed, largest, no_histograms, typed
from iotrace.trace.reader import Trace
from iotrace.trace.scan import KINDS, Histograms, Scan, Unscannable, figures_frame
from iotrace.trace.tables import Key, Tables

_SLICES: Final = 200
_OF_OPERATIONS: Final = {"op", "class"}
"""Keys that need no look at who called, nor at which file."""
_CHOSEN: Final = 1024
"""Files, processes and threads up to which histograms are kept for each."""


class ScannedTables(Tables):
    """Tables of a trace with events, by one pass; by a second, where other keys than those named are asked for.

    Parameters
    ----------
    keys: that will be asked for; None: any.
    """

    def __init__(self, trace: Trace, keys: Sequence[Key | str] | None = None) -> None:
        super().__init__(trace)
        self._rows = keys is None or not set(keys) <= _OF_OPERATIONS
        self._found: Scan | None = None
        self._unscannable = False

    def _scan(self, rows: bool = False) -> Scan | None:
        """The pass, with figures by row where they are wanted now or will be; None where the trace is not for it."""
        rows = rows or self._rows
        if not self._unscannable and (self._found is None or (rows and not self._found.has_rows)):
            try:
                self._found = Scan(self, _SLICES, self._slice_ns(_SLICES), rows)
            except Unscannable:
                self._found, self._unscannable = None, True
        return self._found

    @cached_property
    def _details(self) -> dict[int, tuple[dict[str, npt.NDArray[Any]], Histograms]]:
        return {}

    def counts(self, key: Key | str, limit: int | None = None) -> Counts:
        scan = self._scan(key not in _OF_OPERATIONS)
        if scan is None:
            return super().counts(key, limit)
        if key == "op":
            return keyed(
                _counts(scan.by_op, scan.op_histograms, [scan.kind_of(i) for i in range(len(scan.ops))]), scan.ops
            )
        if key == "class":
            kinds = [scan.kind_of(i) for i in range(len(scan.ops))]
            return keyed(_counts(scan.by_op, scan.op_histograms, kinds), kinds)
        if key in ("step", "job", "user"):
            figures = np.stack([
                _summed(scan.by_process[scan.group_of_process == group]) for group in range(len(scan.groups))
            ])  # fmt: skip
            return keyed(_counts(figures, scan.group_histograms), self._labels(scan, key))
        if key == "mount":
            found = _counts(scan.by_mount, scan.mount_histograms)
            none = len(scan.by_mount) - 1
            return Counts(*(
                typed(frame.assign(key=frame["key"].astype("Int64").mask(frame["key"] == none)), key)
                for frame in (found.totals, found.latency, found.sizes)
            ))  # fmt: skip
        if key in ("file", "process", "thread"):
            found_by_row = self._by_row(scan, key, limit)
            return found_by_row if found_by_row is not None else super().counts(key, limit)
        return super().counts(key, limit)

    def sums(self, key: Key | str) -> Counts:
        scan = self._scan(True) if key == "file" else None
        if scan is None:
            return super().sums(key)
        rows = np.flatnonzero(scan.by_subject[:, FIRST] != FIRST_OF_NONE)
        figures = figures_frame(scan.by_subject, rows).assign(key=_file_numbers(scan, rows).array)
        figures["class"] = None
        return Counts(figures, *no_histograms())

    def _by_row(self, scan: Scan, key: str, limit: int | None) -> Counts | None:
        """Counts of files, processes or threads; None where there are too many to keep histograms of."""
        number = limit or 0
        if number not in self._details:
            rows = {
                name: _largest(figures, limit)
                for name, figures in (
                    ("process", scan.by_process),
                    ("thread", scan.by_thread),
                    ("file", scan.by_subject),
                )
            }
            if limit is None or not limit:
                # all that are wanted of one key, none of those that nobody asks for
                rows = {name: chosen if name == key else chosen[:0] for name, chosen in rows.items()}
            if len(rows[key]) > _CHOSEN:
                return None
            rows = {name: chosen[:_CHOSEN] for name, chosen in rows.items()}
            details = scan.details(rows["process"], rows["thread"], rows["file"])
            if not limit:
                return self._named(scan, key, rows, details)
            self._details[number] = rows, details
        return self._named(scan, key, *self._details[number])

    def _named(self, scan: Scan, key: str, rows: dict[str, npt.NDArray[Any]], details: Histograms) -> Counts:
        figures = {"process": scan.by_process, "thread": scan.by_thread, "file": scan.by_subject}[key]
        begin = sum(
            len(rows[name]) for name in ("process", "thread", "file")[: ("process", "thread", "file").index(key)]
        )
        mine = rows[key]
        numbers = pd.Series(mine, dtype="Int64")
        if key == "file":
            numbers = _file_numbers(scan, mine)

        def own(frame: pd.DataFrame) -> pd.DataFrame:
            at = frame["key"].to_numpy() - begin
            inside = (at >= 0) & (at < len(mine))
            return frame[inside].assign(key=numbers.iloc[at[inside]].array)

        totals = figures_frame(figures, mine).assign(key=numbers.array)
        totals["class"] = None
        return Counts(totals, own(details.latency_counts()), own(details.size_counts()))

    def _labels(self, scan: Scan, key: str) -> list[str | None]:
        groups = scan.groups
        if key != "job":
            return list(groups[key])
        # as DuckDB's concat_ws, which leaves out what is null
        return [
            job if project is None else "/".join(part for part in (project, job) if part is not None)
            for project, job in zip(groups["project"], groups["job"], strict=True)
        ]

    def histogram(self, key: Key | str, column: Literal["duration_ns", "size"]) -> pd.DataFrame:
        if key not in _OF_OPERATIONS or self._scan() is None:
            return super().histogram(key, column)
        counts = self.counts(key)
        frame = (counts.latency if column == "duration_ns" else counts.sizes)[["key", "bucket", "n"]]
        return frame.rename(columns={"n": "count"}).sort_values(["key", "bucket"], ignore_index=True)

    def timeline(self, bins: int = _SLICES) -> pd.DataFrame:
        scan = self._scan()
        if scan is None or bins != _SLICES:
            return super().timeline(bins)
        figures = scan.timeline
        at, kind = np.nonzero(figures[:, :, 0])
        width_s = self._slice_ns(bins) / 1e9
        frame = pd.DataFrame({"start_s": at * width_s, "width_s": width_s, "class": np.array(KINDS, object)[kind]})
        for number, name in enumerate(("calls", "bytes_read", "bytes_written")):
            frame[name] = figures[at, kind, number]
        return frame.sort_values(["start_s", "class"], ignore_index=True)

    def activity(self, bins: int = 120, most: int = 16) -> pd.DataFrame:
        scan = self._scan(True)
        if scan is None:
            return super().activity(bins, most)
        jobs = [job if job is not None else step
                for job, step in zip(self._labels(scan, "job"), scan.groups["step"], strict=True)]  # fmt: skip
        group, op = np.nonzero(scan.pairs[:, : len(scan.ops), 0])
        frame = pd.DataFrame({
            "job": [jobs[one] for one in group], "op": [scan.ops[one] for one in op], "group": group, "number": op,
            "calls": scan.pairs[group, op, 0], "ns": scan.pairs[group, op, 1],
        })  # fmt: skip
        frame["job"] = frame["job"].astype(object)
        frame = frame[np.array([scan.kind_of(one) != "process" for one in frame["number"]], np.bool_)]
        whole = frame.groupby(["job", "op"], dropna=False)[["ns", "calls"]].sum().reset_index()
        whole = whole.sort_values(["ns", "calls", "op"], ascending=[False, False, True]).head(most)
        whole = whole.assign(row=range(len(whole)), job=whole["job"].astype(object).where(whole["job"].notna(), None))
        chosen = frame.merge(whole[["job", "op", "row"]], on=["job", "op"])
        width_ns = self._slice_ns(bins)
        row_of = {(int(one["group"]), int(one["number"])): int(one["row"]) for one in chosen.to_dict("records")}
        slices = scan.activity(row_of, len(whole), bins, width_ns)
        row, at = np.nonzero(slices)
        # a column of texts would make NaN of None
        named = pd.Series([whole["job"].iloc[one] for one in row], dtype=object)
        return pd.DataFrame({
            "start_s": at * width_ns / 1e9, "width_s": width_ns / 1e9, "job": named.where(named.notna(), None),
            "op": whole["op"].to_numpy(object)[row], "calls": slices[row, at],
            "time_s": whole["ns"].to_numpy()[row] / 1e9,
        }).sort_values(["start_s", "job", "op"], ignore_index=True)  # fmt: skip

    def totals(self) -> dict[str, int]:
        scan = self._scan()
        if scan is None:
            return super().totals()
        row = self.query("select (select count(*) from files), (select count(*) from processes)").fetchall()[0]
        by = dict(zip(FIGURES, scan.by_op.sum(axis=0).tolist(), strict=True))
        return {"events": by["calls"], "bytes_read": by["bytes_read"], "bytes_written": by["bytes_written"],
                "files": row[0], "processes": row[1], "end_ns": scan.end_ns}  # fmt: skip


def _counts(figures: npt.NDArray[Any], histograms: Histograms, kinds: list[str] | None = None) -> Counts:
    """Counts of the rows that have calls, by number of the row."""
    rows = np.flatnonzero(figures[:, FIRST] != FIRST_OF_NONE)
    totals = figures_frame(figures, rows).assign(key=rows)
    totals["class"] = [kinds[row] for row in rows] if kinds else None
    return Counts(totals, histograms.latency_counts(), histograms.size_counts())


def _file_numbers(scan: Scan, subjects: npt.NDArray[Any]) -> pd.Series[Any]:
    """As Tables.by has them: a path without a file is -1 - path, no file is NA."""
    named = np.where(subjects < scan.files, subjects, -1 - (subjects - scan.files))
    return pd.Series(named, dtype="Int64").mask(pd.Series(subjects == len(scan.by_subject) - 1))


def _summed(figures: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One row for many."""
    found: npt.NDArray[Any] = figures.sum(axis=0)
    found[FIRST] = figures[:, FIRST].min(initial=FIRST_OF_NONE)
    found[LAST] = figures[:, LAST].max(initial=-FIRST_OF_NONE - 1)
    return found


def _largest(figures: npt.NDArray[Any], limit: int | None) -> npt.NDArray[Any]:
    """Numbers of the rows with calls that took most time, as Tables.by ranks them."""
    rows = np.flatnonzero(figures[:, FIRST] != FIRST_OF_NONE)
    return np.asarray(largest(figures_frame(figures, rows).assign(key=rows), limit)["key"])
