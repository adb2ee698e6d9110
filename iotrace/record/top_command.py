"""`iotrace top`: a live table of what jobs or processes ask of the storage."""

from __future__ import annotations

import contextlib
import json as json_module
import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from iotrace.record.scope import Scope, find_cgroup, mount_points, running
from iotrace.terminal import console, printable, shorten
from iotrace.units import count_text, duration_text

if TYPE_CHECKING:
    from rich.text import Text

    from iotrace.record.ebpf.tallies import TallyBackend
    from iotrace.record.top import Latest, Nowhere, Row

By = Literal["process", "job"]
Sort = Literal["read", "write", "operations", "metadata", "p99", "name"]
_POLL_SECONDS: Final = 0.02
_ALL: Final = 1
"""Everything descends from the first process."""
_WIDTHS: Final = (("READ MB/s", 10), ("WRITE MB/s", 11), ("OPS/s", 9), ("META/s", 9), ("P99", 9))
_FIELDS: Final = ("read", "write", "operations", "metadata", "p99")


def top(
    *,
    pid: Annotated[tuple[int, ...], Parameter(negative=())] = (),
    cgroup: str | None = None,
    cryosparc: Annotated[bool, Parameter(negative=())] = False,
    fs: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
    by: By = "process",
    sort: Sort = "operations",
    interval: float = 2.0,
    count: int | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show live what jobs or processes ask of the storage.

    Rates are of the last interval, p99 is of the latency of all calls in it; the kernel does the counting, nothing is
    written. Keys: r w o m p n sort by read, write, operations, metadata operations, p99, name; j switches between jobs
    and processes; q ends.

    ```
    iotrace top --fs /mnt/weka
    ```

    Parameters
    ----------
    pid
        Only this process, with its threads and children; may be given several times. By default the whole machine.
    cgroup
        Only a control group: its folder, or its name as in /proc/PID/cgroup.
    cryosparc
        Only CryoSPARC jobs.
    fs
        Only files on this mount; may be given several times.
    by
        process or job.
    sort
        Column to sort by: read, write, operations, metadata, p99 or name.
    interval
        Seconds from one table to the next.
    count
        End after so many tables; where standard output is no terminal, after one.
    json
        Print one JSON object for each table.
    """
    scope = _scope(pid, cgroup, cryosparc, fs)
    live = not json and sys.stdout.isatty() and sys.stdin.isatty() and count is None
    with _counting(scope, interval) as (backend, latest, facts):
        if live:
            _show_live(backend, latest, facts, by, sort)
            return
        for _ in range(count if count is not None else 1):
            counts, seconds = _wait(backend, latest)
            _print_once(backend, facts, counts, seconds, by, sort, json)


def _scope(pid: tuple[int, ...], cgroup: str | None, cryosparc: bool, fs: tuple[Path, ...]) -> Scope:
    from iotrace.errors import UsageError

    if sum([bool(pid), cgroup is not None, cryosparc]) > 1:
        raise UsageError("look at one thing at a time: --pid, or --cgroup, or --cryosparc.")
    mounts = mount_points(fs)
    if cgroup is not None:
        return Scope("cgroup", cgroup=find_cgroup(cgroup), mounts=mounts)
    if cryosparc:
        return Scope("cryosparc", mounts=mounts)
    return Scope("pid", running(pid) if pid else (_ALL,), mounts=mounts)


_KEYS: Final = "sort: r read, w write, o ops, m meta, p p99, n name   j jobs   q quit"


@contextlib.contextmanager
def _counting(scope: Scope, interval_s: float) -> Iterator[tuple[TallyBackend, Latest, Nowhere]]:
    """A recorder that counts, ended in any case."""
    from iotrace.mounts.mountinfo import mounts_of_this_machine
    from iotrace.record.ebpf.program import COUNTING_RING_BYTES, load_aside, wanted_of

    loading = load_aside(wanted_of(scope, COUNTING_RING_BYTES, tallies=True))
    from iotrace.record.ebpf.tallies import TallyBackend
    from iotrace.record.top import Latest, Nowhere
    from iotrace.trace.info import Mount, info_of_this_machine

    info = info_of_this_machine("ebpf", [])
    info.mounts = [Mount(m.device, m.point, m.type, m.source, m.options) for m in mounts_of_this_machine()]
    latest, facts = Latest(), Nowhere(info)
    backend = TallyBackend(facts, scope, loading, interval_s, latest.put)
    before = signal.signal(signal.SIGTERM, _end)
    backend.attach()
    try:
        yield backend, latest, facts
    except KeyboardInterrupt:
        pass
    finally:
        backend.stop()
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _wait(backend: TallyBackend, latest: Latest) -> tuple[Any, float]:
    while (new := latest.take()) is None:
        backend.poll()
        time.sleep(_POLL_SECONDS)
    return new


def _print_once(
    backend: TallyBackend, facts: Nowhere, counts: Any, seconds: float, by: By, sort: Sort, json: bool
) -> None:
    from iotrace.record.top import rows_of, total_of

    rows, total = rows_of(counts, seconds, _facts_of(facts), by, sort), total_of(counts, seconds)
    if json:
        found = {
            "seconds": seconds,
            "lost": facts.info.lost,
            "total": _figures(total),
            "rows": [_figures(r) for r in rows],
        }
        print(json_module.dumps(found, ensure_ascii=True, allow_nan=False), flush=True)
        return
    out = console()
    out.print(_page(rows, total, seconds, facts.info.lost, by, sort, out.width, len(rows)))


def _figures(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "user": row.user,
        "read_bytes_per_s": round(row.read, 1),
        "write_bytes_per_s": round(row.write, 1),
        "ops_per_s": round(row.operations, 2),
        "metadata_ops_per_s": round(row.metadata, 2),
        "p99_us": None if math.isnan(row.p99) else round(row.p99, 3),
    }


def _facts_of(facts: Nowhere) -> Any:
    return lambda number: facts.processes.get(number, {})


def _show_live(backend: TallyBackend, latest: Latest, facts: Nowhere, by: By, sort: Sort) -> None:
    from rich.live import Live
    from rich.text import Text

    from iotrace.record.top import SORTS, rows_of, total_of

    out = console()
    counts, seconds = None, 1.0
    with _single_keys(), Live(Text("counting …"), console=out, screen=True, auto_refresh=False) as screen:
        while True:
            backend.poll()
            key = _key()
            if key in ("q", "\x03", "\x04"):
                return
            if key == "j":
                by = "job" if by == "process" else "process"
            elif key in SORTS:
                sort = SORTS[key]  # type: ignore[assignment]
            new = latest.take()
            if new is not None:
                counts, seconds = new
            if counts is not None and (new is not None or key):
                rows = rows_of(counts, seconds, _facts_of(facts), by, sort)
                total, room = total_of(counts, seconds), out.height - 4
                page = _page(rows, total, seconds, facts.info.lost, by, sort, out.width, room, _KEYS)
                screen.update(page, refresh=True)


def _page(
    rows: list[Row], total: Row, seconds: float, lost: dict[str, int], by: By, sort: Sort, width: int, room: int,
    keys: str = "",
) -> Text:  # fmt: skip
    """The whole screen: totals, what was lost and which keys there are, as many rows as there is room for."""
    from rich.text import Text

    gone = sum(lost.values())
    text = Text(no_wrap=True, overflow="crop")
    what = {"job": "job", "process": "process"}[by] if len(rows) == 1 else {"job": "jobs", "process": "processes"}[by]
    moved = f"read {total.read / 1e6:.1f} MB/s, write {total.write / 1e6:.1f} MB/s"
    head = f"{moved}, {count_text(round(total.operations))} ops/s, last {seconds:.1f} s, {len(rows)} {what}"
    text.append(shorten(head, width) + "\n")
    kinds = ", ".join(f"{kind} {number}" for kind, number in lost.items())
    text.append(f"LOST {gone} ({kinds})" if gone else "lost 0", style="bold red" if gone else "dim")
    text.append(f"   {keys}\n" if keys else "\n", style="dim")
    user = width >= 90
    name_width = max(12, width - sum(size for _, size in _WIDTHS) - (10 if user else 0))
    line = f"{'JOB' if by == 'job' else 'PROCESS':<{name_width}}" + (f"{'USER':<10}" if user else "")
    text.append(line, style="bold")
    for field, (title, size) in zip(_FIELDS, _WIDTHS, strict=True):
        text.append(f"{title:>{size}}", style="bold reverse" if field == sort else "bold")
    for row in rows[: max(1, room)]:
        name = shorten(printable(row.name), name_width - 1)
        text.append(f"\n{name:<{name_width}}")
        if user:
            text.append(f"{shorten(printable(row.user), 9):<10}")
        p99 = "-" if math.isnan(row.p99) else duration_text(row.p99 * 1e3)
        text.append(
            f"{row.read / 1e6:>10.1f}{row.write / 1e6:>11.1f}{row.operations:>9.0f}{row.metadata:>9.0f}{p99:>9}"
        )
    return text


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Keys arrive as they are pressed and are not shown; the terminal is as before in any case."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key() -> str:
    """A key that was pressed; waits a moment for one."""
    ready, _, _ = select.select([sys.stdin], [], [], _POLL_SECONDS)
    return os.read(sys.stdin.fileno(), 1).decode("latin-1") if ready else ""
