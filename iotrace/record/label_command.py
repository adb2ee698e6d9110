"""`iotrace label`: label a finished trace from the job folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from iotrace.errors import UsageError


def label(
    trace: Path,
    *,
    root: Annotated[list[str] | None, Parameter(negative=(), consume_multiple=False)] = None,
) -> None:
    """Find the CryoSPARC labels of a finished trace's processes.

    Labels come from the command lines in the trace, and from the job folders (project.json, job.json) on its paths.
    Those that the trace has already hold; events are not touched.

    ```
    iotrace label T.iotrace --root /bulk/projects=/mnt/copy/projects
    ```

    Parameters
    ----------
    trace
        The trace to label; it gets one more part of its table of processes.
    root
        Where a recorded folder lies by now, as OLD=NEW; may be given several times.
    """
    from iotrace.record.relabel import relabel
    from iotrace.terminal import printable
    from iotrace.trace.reader import open_trace

    found = relabel(open_trace(trace), [_root(text) for text in root or ()])
    counts = Counter(
        (row.get("project"), row.get("job"), row.get("job_type"), row.get("step")) for row in found.processes
    )
    for (project, job, job_type, step), count in counts.most_common():
        what = " ".join(word for word in (project, job) if word) or "no job"
        kind = f" ({job_type}: {step})" if job_type and step != job_type else f" ({job_type})" if job_type else ""
        print(printable(f"{what}{kind}: {count} {'process' if count == 1 else 'processes'}"))
    print(f"{found.changed} of {len(found.processes)} processes got labels that they had not")
    for sentence in found.unseen:
        print(printable(f"not read: {sentence}"))


def _root(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old.startswith("/") or not new.startswith("/"):
        raise UsageError(f"--root {text}: write it as OLD=NEW, both absolute, as in --root /bulk=/mnt/bulk.")
    return old, new
