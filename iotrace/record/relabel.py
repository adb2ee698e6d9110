"""Labels of a finished trace, found afterwards: from its command lines and paths, and from the job folders.

Takes a trace and the folders where its paths lie by now; appends rows of processes and never touches events. Labels
that the trace has already hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from iotrace.mounts.mountinfo import mounts_of_this_machine
from iotrace.record.label_book import READS, WRITES, LabelBook
from iotrace.record.label_reader import LabelReader
from iotrace.record.labels import LABELS, job_folders, step_of
from iotrace.trace.amend import append_rows
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import Trace

_WAIT_S: Final = 60.0
_WRITING: Final = tuple(
    o.name
    for o in OPERATIONS
    if o.kind == "write" or o.name.startswith(("creat", "mkdir", "symlink", "link", "rename", "truncate"))
)
_OPENING: Final = tuple(o.name for o in OPERATIONS if o.result == "fd" and "path" in o.arguments)
_WRITING_OTHER: Final = tuple(o.name for o in OPERATIONS if o.kind == "copy" or o.name.startswith(("rename", "link")))


@dataclass(frozen=True, slots=True)
class Relabelled:
    """What labelling a trace gave.

    Attributes
    ----------
    processes: label columns of every process, in order of their numbers.
    changed: how many of them got labels that they had not.
    unseen: what could not be read, as sentences.
    """

    processes: list[dict[str, str]]
    changed: int
    unseen: list[str]


class _MovedReader(LabelReader):
    """Reads folders where they lie by now, and answers under the names that the trace has."""

    def __init__(self, roots: Sequence[tuple[str, str]]) -> None:
        super().__init__(mount.point for mount in mounts_of_this_machine())
        # the longest one holds
        self._roots = sorted(roots, key=lambda root: -len(root[0]))

    def ask_folder(self, folder: str, uid: int | None, key: str | None = None) -> None:
        moved = folder
        for old, new in self._roots:
            if folder == old or folder.startswith(f"{old.rstrip('/')}/"):
                moved = f"{new.rstrip('/')}/{folder[len(old.rstrip('/')) :].lstrip('/')}"
                break
        super().ask_folder(moved, uid, key if key is not None else folder)


def relabel(trace: Trace, roots: Sequence[tuple[str, str]] = ()) -> Relabelled:
    """Label the processes of a finished trace.

    Parameters
    ----------
    trace: what to label.
    roots: (folder as recorded, folder where that is now) pairs.

    Raises
    ------
    TraceError: the trace is damaged or still being recorded.
    StorageError: it cannot be written.
    """
    rows: dict[int, dict[str, Any]] = {}
    for batch in trace.batches("processes"):
        rows |= {row["process"]: row for row in batch.to_pylist()}
    reader = _MovedReader(roots)
    book = LabelBook(reader)
    try:
        _tell(book, trace, rows)
        book.take(reader.last_answers(_WAIT_S))
    finally:
        reader.close()
    found = book.changes()
    changed = []
    for number, row in rows.items():
        had = {name: row[name] for name in LABELS if row[name] is not None}
        labels = {**found.get(number, {}), **had}
        if "job_type" in labels and "step" not in labels:
            labels["step"] = step_of(labels["job_type"]) or ""
        if labels != had:
            row |= labels
            changed.append(row)
    if changed:
        append_rows(trace, "processes", changed)
    every = [{name: row[name] for name in LABELS if row[name] is not None} for _, row in sorted(rows.items())]
    return Relabelled(every, len(changed), reader.unseen())


def _tell(book: LabelBook, trace: Trace, rows: dict[int, dict[str, Any]]) -> None:
    """Tell the book all that the trace knows: parents, command lines, working folders, paths."""
    begun: set[int] = set()
    for number in rows:
        line: list[int] = []
        at: int | None = number
        # a damaged trace may have a process among its own ancestors
        while at is not None and at in rows and at not in begun and at not in line:
            line.append(at)
            at = rows[at]["parent"]
        for process in reversed(line):
            begun.add(process)
            book.began(process, rows[process]["parent"])
    for number, row in rows.items():
        book.executed(number, row["arguments"] or [], None, row["cwd"])
        if row["job"] is not None or row["project"] is not None:
            book.has(number, row["project"], row["job"])
    texts = {
        row["path"]: row["text"]
        for batch in trace.batches("paths", ["path", "text"])
        for row in batch.to_pylist()
        if job_folders(row["text"])
    }
    if texts:
        for process, path, writes in _uses(trace, list(texts)):
            book.uses(process, texts[path], WRITES if writes else READS)


def _uses(trace: Trace, paths: list[int]) -> list[tuple[int, int, bool]]:
    """(process, path, wrote to it) for each pair in the events."""
    connection = trace.connect()
    try:
        connection.execute("create temp table wanted as select unnest(?::int[]) as path", [paths])
        return connection.execute(
            """
            select process, path, bool_or(writes) from (
                select process, path, result >= 0 and (list_contains($writing, op::varchar)
                    or (list_contains($opening, op::varchar) and flags & 3 != 0)) as writes
                from events where path in (select path from wanted)
                union all
                select process, other_path, result >= 0 and list_contains($other, op::varchar)
                from events where other_path in (select path from wanted)
            ) group by process, path order by process, min(path), path
            """,
            {"writing": list(_WRITING), "opening": list(_OPENING), "other": list(_WRITING_OTHER)},
        ).fetchall()
    finally:
        connection.close()
