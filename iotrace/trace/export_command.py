"""`iotrace export`: a trace for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.terminal import console, paragraph, printable
from iotrace.trace.reader import open_trace
from iotrace.units import bytes_text, count_text


def export(
    format: Literal["csv", "fio", "perfetto"],
    trace: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Give a trace to another tool: CSV, a job for fio, or Perfetto's format.

    ```
    iotrace export csv T.iotrace -o T.csv
    iotrace export fio T.iotrace -o fio-T
    iotrace export perfetto T.iotrace -o T.pftrace
    ```

    A trace is plain Parquet already: docs/interop.md says how DuckDB, Polars, pandas and Dask open it.

    Parameters
    ----------
    format
        csv: a row a call. fio: a folder with job.fio, a log for each thread, and prepare.sh, which makes the files.
        perfetto: a file for ui.perfetto.dev (needs the package perfetto).
    trace
        The trace; it stays as it is.
    output
        File (fio: folder) to make.
    force
        Replace a file that is there already.
    """
    opened = open_trace(trace)
    if opened.info.detail == "histogram":
        raise UsageError(f"{trace} holds counts alone, no single calls: record with --detail events.")
    out = console()
    if format == "csv":
        from iotrace.trace.formats.csv_export import export_csv

        rows = export_csv(opened, output, force)
        paragraph(out, printable(f"{count_text(rows)} calls → {output}"))
    elif format == "perfetto":
        from iotrace.trace.formats.perfetto_export import export_perfetto

        slices = export_perfetto(opened, output, force)
        paragraph(out, printable(f"{count_text(slices)} calls → {output} (open it at ui.perfetto.dev)"))
    else:
        from iotrace.trace.formats.fio_export import export_fio

        made = export_fio(opened, output)
        paragraph(
            out,
            printable(
                f"{count_text(made.calls)} lines for {made.threads} threads, {count_text(made.files)} files of "
                f"{bytes_text(made.bytes)} → {output}: in the folder to test run sh {output}/prepare.sh, then "
                f"fio {output}/job.fio"
            ),
        )
        if made.left_out:
            left = ", ".join(f"{op} {count_text(n)}" for op, n in sorted(made.left_out.items(), key=lambda i: -i[1]))
            paragraph(out, f"left out, for fio's logs cannot say it: {left}", "yellow")
