"""A trace as DuckDB sees it: its tables, and views that say what a call moved and on which mount.

DuckDB may spill to a temporary folder; the events are never whole in memory. What it cannot read is told as what is
wrong with the trace, or what the machine lacks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from iotrace.errors import IotraceError, TraceError
from iotrace.memory import table_bytes
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.reader import Trace
from iotrace.trace.schema import ADDED, BYTES_READ, BYTES_WRITTEN, SCHEMAS
from iotrace.units import bytes_text

if TYPE_CHECKING:
    import duckdb


class Views:
    """One DuckDB connection over a trace, for several tables; a context manager that closes it.

    Its views: `sides` (events with kind and bytes moved), `calls` (those with their mounts) and `calls_by_file`, in
    which a copy is a row for each of its two files, and `counted` with the first.

    Parameters
    ----------
    trace: an opened trace.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._temporary = tempfile.TemporaryDirectory(prefix="iotrace-tables-")
        try:
            self.connection = self._connect()
            self._execute("set temp_directory = ?", [self._temporary.name])
            self._execute(f"set memory_limit = '{table_bytes() // 10**6}MB'")
            self._execute("set preserve_insertion_order = false")
            self._register()
        except BaseException:
            self._temporary.cleanup()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection and its temporary files."""
        self.connection.close()
        self._temporary.cleanup()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        try:
            return self.trace.connect()
        except duckdb.Error as error:
            raise self._damage(error) from None

    def _execute(self, query: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        """Run a query; what DuckDB cannot read is a damaged trace, not a fault of the query."""
        import duckdb

        try:
            return self.connection.execute(query, list(values))
        except duckdb.Error as error:
            raise self._damage(error) from None

    def query(self, text: str) -> duckdb.DuckDBPyConnection:
        """Run SQL of iotrace's own over the trace's views.

        Raises
        ------
        TraceError: a part of the trace is damaged. IotraceError: it takes more memory and disk than there is.
        """
        return self._execute(text)

    def _damage(self, error: Exception) -> IotraceError:
        """The part that is not as the format has it, or what the machine lacks; DuckDB's own words else."""
        import duckdb
        import pyarrow as pa
        import pyarrow.parquet as pq

        if isinstance(error, duckdb.OutOfMemoryException) or "No space left" in str(error):
            return IotraceError(
                f"{self.trace.folder} takes more than {bytes_text(table_bytes())} of memory and the room in "
                f"{tempfile.gettempdir()}: free some of either, or name a folder with more room in TMPDIR."
            )
        for table, schema in SCHEMAS.items():
            for part in self.trace.parts(table):
                try:
                    found = pq.read_schema(part)
                except (pa.ArrowException, OSError) as unreadable:
                    return TraceError(f"{part} cannot be read: {str(unreadable).splitlines()[0].rstrip('.')}.")
                missing = [name for name in schema.names if name not in found.names]
                missing = [name for name in missing if name not in ADDED.get(table, ())]
                if missing:
                    return TraceError(f"{part} lacks the columns {', '.join(missing)}: it is not a part of a trace.")
                for name in found.names:
                    if name not in schema.names:
                        continue
                    if pa.types.is_integer(schema.field(name).type) and not pa.types.is_integer(found.field(name).type):
                        return TraceError(f"{part}: the column {name} is {found.field(name).type}, not integer.")
        reason = str(error).splitlines()[0].split("Error: ", 1)[-1].rstrip(".")
        return TraceError(f"{self.trace.folder} is damaged or holds what no recording writes: {reason}.")

    def _register(self) -> None:
        kinds = pd.DataFrame(
            {
                "op": [operation.name for operation in OPERATIONS],
                "kind": [str(operation.kind) for operation in OPERATIONS],
                "reads": [operation.kind in BYTES_READ and operation.result == "bytes" for operation in OPERATIONS],
                "writes": [operation.kind in BYTES_WRITTEN and operation.result == "bytes" for operation in OPERATIONS],
            }
        )
        mounts = pd.DataFrame(
            [(number, mount.point.rstrip("/")) for number, mount in enumerate(self.trace.info.mounts)],
            columns=["mount", "point"],
        ).astype({"mount": "int32", "point": "str"})
        self.connection.register("kinds_frame", kinds)
        self.connection.register("mounts_frame", mounts)
        # a table of its own each: DuckDB would scan a registered frame anew in every query
        self._execute("create temp table kinds as select * from kinds_frame")
        self._execute("create temp table mount_points as select * from mounts_frame")
        self._execute(
            """
            create temp table path_mounts as
            select path, arg_max(mount, (length(point), mount)) as mount
            from paths join mount_points on text = point or starts_with(text, point || '/')
            group by path
            """
        )
        self._execute(
            "create temp table path_files as "
            "select path, min(file) as file from files where path is not null group by path"
        )
        # copies move bytes between two files: what is no file (a pipe, a socket) has no row and counts nothing
        self._execute(
            """
            create temp view sides as
            select e.time_ns, e.duration_ns, e.process, e.thread, e.op, e.path, e.file, e.other_path, e.other_file,
                   e.open, e."offset", e.size, e.result, e.off_cpu_ns,
                   coalesce(k.kind, 'unknown') as kind,
                   coalesce(k.reads or k.writes, false) as data,
                   case when k.reads and result > 0
                             and (k.kind <> 'copy' or e.file is not null or e.other_file is null) then result
                        else 0 end as bytes_read,
                   case when k.writes and result > 0
                             and (k.kind <> 'copy' or e.other_file is not null or e.file is null) then result
                        else 0 end as bytes_written
            from events e left join kinds k on e.op = k.op
            """
        )
        self._execute(
            """
            create temp view calls as
            select s.*, coalesce(f.mount, m.mount) as mount, true as counted
            from sides s left join files f on s.file = f.file left join path_mounts m on s.path = m.path
            """
        )
        self._execute(
            """
            create temp view calls_by_file as
            select * replace (
                case when kind = 'copy' and other_file is not null then 0 else bytes_written end as bytes_written)
            from calls
            union all
            select s.* replace (s.other_file as file, s.other_path as path, 0 as bytes_read),
                   coalesce(f.mount, m.mount) as mount, false as counted
            from sides s left join files f on s.other_file = f.file left join path_mounts m on s.other_path = m.path
            where s.kind = 'copy' and s.other_file is not null
            """
        )
