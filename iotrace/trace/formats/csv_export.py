"""The events of a trace as CSV: a row a call, with names in the place of numbers."""

from __future__ import annotations

from pathlib import Path

from iotrace.errors import StorageError, UsageError
from iotrace.trace.reader import Trace
from iotrace.trace.schema import EVENT_COLUMNS


def export_csv(trace: Trace, output: Path, force: bool = False) -> int:
    """Write all events, in the order of the trace: its columns, those of paths as text, and process, command, job and
    step of their processes.

    Parameters
    ----------
    output: the file to write. force: replace it where it is there.

    Returns
    -------
    Rows.

    Raises
    ------
    UsageError: the file is there. StorageError: it cannot be written. TraceError: a part of the trace is damaged.
    """
    import duckdb

    if output.exists() and not force:
        raise UsageError(f"{output} is there already: choose another name, or --force.")
    columns = ", ".join(
        f"{name}.text as {name}" if (name := column.name) in ("path", "other_path") else f'e."{column.name}"'
        for column in EVENT_COLUMNS
    )
    connection = trace.connect()
    try:
        try:
            # a join may give its rows in another order; the number of the row brings them back
            connection.sql(
                f"""
                with numbered as (select *, row_number() over () as number from events)
                select {columns}, pr.pid, pr.command, pr.job, pr.step
                from numbered e left join paths path on e.path = path.path
                left join paths other_path on e.other_path = other_path.path
                left join processes pr on e.process = pr.process order by e.number
                """
            ).write_csv(str(output), header=True)
        except duckdb.IOException as error:
            reason = str(error).splitlines()[0].split("Error: ", 1)[-1].rstrip(".")
            raise StorageError(f"{output}: cannot write it: {reason}.") from None
        row = connection.execute("select count(*) from events").fetchone()
    finally:
        connection.close()
    return int(row[0]) if row else 0
