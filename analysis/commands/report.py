"""`iotrace report`: writes traces and results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from iotrace.terminal import printable


def report(
    source: Path,
    /,
    *sources: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write traces and results as one HTML page.

    The page holds everything it shows: verdict, pictures, sortable tables, warnings, and where each figure comes
    from. It loads nothing from the network and can be sent by mail.

    ```
    iotrace report T.iotrace R.ioresult -o report.html
    ```

    Parameters
    ----------
    source
        Folder of a trace (NAME.iotrace) or of a result (NAME.ioresult).
    sources
        More of them, in any order; results are compared, the first mount is the baseline.
    output
        File to write; an earlier report there is replaced.
    force
        Replace the file even where it is not a report of iotrace.
    """
    from iotrace.analysis.report import write_report

    written = write_report([source, *sources], output, force)
    print(printable(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)"))
