"""Logs of Darshan read into a trace: DXT's segments as events, counters as counts by file and rank.

Darshan counts what each rank did with each file, and keeps single reads and writes only where it was told to
(DXT_ENABLE_IO_TRACE). Of a log with such segments the trace holds these as events, and what else was counted as sums in
trace.json; of a log without, it holds the counters in the place of events. What neither can tell stands in `unseen`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from iotrace.terminal import printable
from iotrace.trace.formats.darshan_contents import Contents, Detail
from iotrace.trace.formats.darshan_words import unseen
from iotrace.trace.info import Counted, Mount, TraceInfo
from iotrace.trace.redact import redact
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.writer import TraceWriter

WORKING_FOLDER: Final = "/darshan"
"""Where names that are no absolute paths (streams, hashed names) are said to lie."""
_ROWS: Final = 1 << 14
_STREAMS: Final = (b"<STDIN>", b"<STDOUT>", b"<STDERR>")


def import_darshan(
    path: str | Path, output: str | Path, force: bool = False, detail: Detail | None = None
) -> TraceInfo:
    """Make a trace from a log of Darshan.

    Parameters
    ----------
    path: the log. output: folder of the trace. force: replace a trace that stands there.
    detail: events (of DXT's segments) or histogram (of counters); by default events where the log has segments.

    Raises
    ------
    UsageError: events are wanted of a log that has no segment.
    IotraceError: PyDarshan is not installed, or does not work.
    TraceError: the log cannot be read, is none of Darshan's or is damaged, or the trace cannot be made.
    """
    # all is read before anything is made: a log that is torn at its end leaves no half of a trace
    made = _Trace(Contents(Path(path), detail))
    writer = TraceWriter(output, made.info, force)
    try:
        made.write(writer)
    except BaseException:
        writer.close(complete=False)
        raise
    writer.close(complete=not made.contents.partial)
    return made.info


class _Trace:
    """The tables and trace.json of a log."""

    def __init__(self, contents: Contents) -> None:
        from iotrace import __version__

        self.contents, job = contents, contents.job
        self.events = contents.detail == "events"
        self._texts = [_text(contents.names.get(record, b""), record) for record in contents.files]
        self._ranks = contents.moves.ranks if self.events else sorted(contents.ranks)
        mounts = {printable(point): Mount(0, printable(point), printable(type_), "") for point, type_ in job.mounts}
        self._mount_of = {point.rstrip("/"): number for number, point in enumerate(mounts)}
        self.info = TraceInfo(
            version=__version__, backend="darshan", detail=contents.detail, command=redact(job.command.split()),
            working_folder=self._folder(), mounts=list(mounts.values()), unseen=unseen(contents),
            duration_ns=max(round(min(max(job.runtime_s, 0.0), 1e9) * 1e9), contents.last_ns),
            host=printable(contents.hosts[0]) if len(contents.hosts) == 1 and self.events else "",
            lost=contents.lost if self.events else {},
        )  # fmt: skip
        if 0 < job.started_ns < 1 << 62:
            self.info.started_utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.started_ns // 10**9))
            self.info.clock = [(0, job.started_ns)]
        self.info.counters = [
            Counted(f"darshan {module}", "the job", dict(sums)) for module, sums in contents.sums.items() if sums
        ]

    def write(self, writer: TraceWriter) -> None:
        """Write all tables."""
        contents = self.contents
        mounts = [self._mount(text) for text in self._texts]
        names = [contents.names.get(record, b"") for record in contents.files]
        writer.append_rows("paths", ({"path": i, "text": self._texts[i], "raw": name} for i, name in enumerate(names)))
        sizes = contents.moves.read_first() if self.events else {}
        writer.append_rows("files", (
            {"file": i, "path": i, "mount": mounts[i], "type": "other" if name in _STREAMS else "file",
             "size": sizes.get(i), "existed": True if i in sizes else None}
            for i, name in enumerate(names)
        ))  # fmt: skip
        writer.append_rows("processes", (self._process(i, rank) for i, rank in enumerate(self._ranks)))
        for batch in contents.moves.batches() if self.events else ():
            writer.append("events", batch)
        for batch in () if self.events else self._counts(mounts):
            writer.append("histograms", batch)

    def _process(self, number: int, rank: int) -> dict[str, object]:
        program = os.path.basename(self.info.command[0]) if self.info.command else "rank"
        command = program if rank >= 0 else f"{program} (all {self.contents.job.ranks} ranks)"
        return {
            "process": number, "pid": min(max(rank, -1), (1 << 31) - 1), "command": printable(command),
            "cwd": self.info.working_folder, "umask": 0o022, "start_ns": 0, "end_ns": self.info.duration_ns,
        }  # fmt: skip

    def _counts(self, mounts: list[int | None]) -> Iterator[pa.RecordBatch]:
        process_of = {rank: number for number, rank in enumerate(self._ranks)}
        for first in range(0, len(self.contents.rows), _ROWS):
            rows = [
                {"time_ns": 0, "interval_ns": self.info.duration_ns, "process": process_of[rank], "op": row.op,
                 "mount": mounts[file], "measure": row.measure, "bucket": row.bucket, "count": row.count,
                 "sum": row.sum, "file": file}
                for rank, file, row in self.contents.rows[first : first + _ROWS]
            ]  # fmt: skip
            yield pa.RecordBatch.from_pylist(rows, SCHEMAS["histograms"])

    def _mount(self, text: str) -> int | None:
        """The mount whose point is the longest beginning of a path."""
        while text not in self._mount_of:
            if not text:
                return None
            text = text.rpartition("/")[0]
        return self._mount_of[text]

    def _folder(self) -> str:
        """What a replay takes for the trace's own, unless told otherwise."""
        used = self.contents.moves.files if self.events else range(len(self._texts))
        return os.path.commonpath([os.path.dirname(self._texts[i]) for i in used] or [WORKING_FOLDER])


def _text(name: bytes, record: int) -> str:
    """An absolute path, bytes that cannot be shown escaped, as the format has it."""
    text = printable(name.decode("utf-8", "surrogateescape")) or f"record-{record:x}"
    return text if text.startswith("/") else f"{WORKING_FOLDER}/{text}"
