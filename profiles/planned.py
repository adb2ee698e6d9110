"""What `iotrace profile plan` prints of a recipe and of a workload: arithmetic, no event is made."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Any, Final

from iotrace.memory import EVENT_BYTES, ROW_BYTES, free_bytes, most_events
from iotrace.profiles.model import Profile, Workload
from iotrace.profiles.numbers import Numbers
from iotrace.profiles.placement import FILLS, FULL, WITHOUT
from iotrace.profiles.scales import largest_scale
from iotrace.profiles.unshrunk import unshrunk, unshrunk_text
from iotrace.terminal import Cell, Column, console, paragraph, printable, show, table
from iotrace.units import bytes_text, count_text, duration_text

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from rich.console import Console

    from iotrace.profiles.totals import Totals

_PHASE_COLUMNS: Final = (
    Column("phase", align="left", stretch=True), Column("items"), Column("threads"), Column("calls"), Column("read"),
    Column("written"), Column("think time"),
)  # fmt: skip
_CACHE_TEXT: Final = {WITHOUT: "", FILLS: " (fills cache)", FULL: " (cache full)"}
_WIDE: Final = 100
_SUMS: Final = ("made_files", "bytes_read", "bytes_written", "bytes_mapped", "local_read", "local_written")
"""What of a workload's jobs is summed."""
_JOB_COLUMNS: Final = (
    Column("step", align="left", stretch=True), Column("jobs"), Column("files"), Column("needs"), Column("reads"),
    Column("writes"), Column("data calls"), Column("metadata"), Column("think time"),
)  # fmt: skip


def _text(value: float, unit: str) -> str:
    if unit == "bytes":
        return bytes_text(value)
    if unit == "s":
        return duration_text(value * 1e9)
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def say_numbers(numbers: Numbers, out: Console) -> None:
    """Each number with its source, which must be readable as a whole."""
    show(out, "Numbers:")
    for name, number in sorted(numbers.known.items()):
        value = _text(numbers.values[name], number.unit)
        sum_text = f" = {number.value}" if isinstance(number.value, str) else ""
        mark = " [inferred]" if number.inferred else ""
        paragraph(out, printable(f"  {name}: {value}{sum_text}{mark}: {number.source}"), indent=6)


def as_dict(totals: Totals) -> dict[str, Any]:
    """For JSON."""
    return {
        "needed_files": totals.needed_files, "needed_bytes": totals.needed_bytes, "made_files": totals.made_files,
        "bytes_read": totals.bytes_read, "bytes_written": totals.bytes_written, "bytes_mapped": totals.bytes_mapped,
        "local_read": totals.local_read, "local_written": totals.local_written, "calls": dict(totals.calls),
        "by_class": dict(totals.by_class), "threads": totals.workers, "think_s": totals.think_s,
    }  # fmt: skip


def _room(events: int) -> dict[str, int]:
    """What the plan of a replay of so many operations takes, and what is free here, for JSON."""
    needed = (EVENT_BYTES + ROW_BYTES) * events
    return {"operations": events, "plan_bytes": needed, "free_memory_bytes": free_bytes()}


def _say_room(out: Console, events: int, count: Callable[[float], int], scale: float) -> None:
    room = _room(events)
    needed, free = room["plan_bytes"], room["free_memory_bytes"]
    text = f"A replay issues {count_text(events)} operations; its plan takes up to {bytes_text(needed)}"
    if events <= most_events():
        paragraph(out, f"{text} of memory ({bytes_text(free)} are free here).")
        return
    fits = largest_scale(count, scale, most_events())
    advice = f" --scale {fits:g} fits into memory." if fits is not None else ""
    paragraph(
        out,
        f"{text}, and {bytes_text(free)} of memory are free here: it would lie in files, if the disk that TMPDIR names "
        f"has room for that.{advice}",
    )


def say_plan(recipe: Profile, at: Callable[[float], Totals], scale: float, json: bool) -> None:
    """Print what a job does; `at` gives its totals at a scale."""
    totals = at(scale)
    left = unshrunk([(recipe.name, 1, at(1.0))], [(recipe.name, 1, totals)], scale) if scale < 1 else {}
    if json:
        whole = {"profile": recipe.name} | as_dict(totals) | _room(totals.events)
        print(json_module.dumps(whole | {"unshrunk": left}))
        return
    out = console()
    show(out, printable(f"{recipe.title} ({recipe.name}), by arithmetic:"))
    show(
        out,
        f"  needs {count_text(totals.needed_files)} files of {bytes_text(totals.needed_bytes)}, makes "
        f"{count_text(totals.made_files)}; reads {bytes_text(totals.bytes_read)}, writes "
        f"{bytes_text(totals.bytes_written)}{_mapped_text(totals.bytes_mapped)}",
    )
    rows: list[list[str | Cell]] = [
        [
            phase.name, count_text(phase.items), str(phase.workers), count_text(sum(phase.calls.values())),
            bytes_text(phase.bytes_read), bytes_text(phase.bytes_written), duration_text(phase.think_s * 1e9),
        ]
        for phase in totals.phases
    ]  # fmt: skip
    show(out, table(_PHASE_COLUMNS, rows, out.width))
    paragraph(out, f"Calls: {_classes_text(totals.by_class)}; at most {_many(totals.workers, 'thread')} at a time.")
    _say_unshrunk(out, left, scale)
    _say_room(out, totals.events, lambda scale: at(scale).events, scale)


def _say_unshrunk(out: Console, found: dict[str, dict[str, float]], scale: float) -> None:
    if text := unshrunk_text(found, scale):
        paragraph(out, text)


def _many(count: int, what: str) -> str:
    return f"{count_text(count)} {what}{'s' * (count != 1)}"


def _classes_text(by_class: Counter[str]) -> str:
    return ", ".join(f"{count_text(count)} {kind}" for kind, count in by_class.most_common()) or "none"


def _mapped_text(mapped: int) -> str:
    return f", and {bytes_text(mapped)} come through memory maps" if mapped else ""


def say_workload(workload: Workload, given: dict[str, float], scale: float, numbers: bool, json: bool) -> None:
    """Print what a workload asks for, and with `numbers` where its own numbers come from."""
    from iotrace.profiles.needs import needs_of

    needs = needs_of(workload, given, scale)
    left = unshrunk(needs_of(workload, given).steps, needs.steps, scale) if scale < 1 else {}
    if json:
        jobs = [{"step": one.step, "jobs": one.jobs, "cache": one.cache} | as_dict(one.totals) for one in needs.jobs]
        whole = {"workload": workload.name, "dataset": workload.dataset, "lanes": needs.lanes, "users": needs.users}
        whole |= {"needed_files": needs.there_files, "needed_bytes": needs.there_bytes, "threads": needs.threads}
        whole |= {name: needs.summed(name) for name in _SUMS} | {"by_class": dict(needs.by_class)}
        whole |= {"most_jobs": needs.most_jobs, "jobs": jobs}
        print(json_module.dumps(whole | _room(needs.events) | {"unshrunk": left}))
        return
    out = console()
    show(out, printable(f"{workload.title} ({workload.name})"))
    paragraph(out, printable(" ".join(workload.about.split())))
    show(
        out,
        f"{_many(needs.users, 'user')}, {_many(needs.lanes, 'lane')}; {_many(needs.total_jobs, 'job')}, by arithmetic:",
    )
    rows: list[list[str | Cell]] = []
    for one in needs.jobs:
        totals, jobs_ = one.totals, one.jobs
        kinds = totals.by_class
        data = kinds["read"] + kinds["write"] + kinds["copy"]
        moved = [totals.bytes_read * jobs_, totals.bytes_written * jobs_]
        rows.append(
            [
                f"{one.step}{_CACHE_TEXT[one.cache]}", str(jobs_),
                count_text((totals.needed_files + totals.made_files) * jobs_), bytes_text(totals.needed_bytes * jobs_),
                *map(bytes_text, moved), count_text(data * jobs_), count_text(kinds["metadata"] * jobs_),
                duration_text(totals.think_s * 1e9),
            ]
        )  # fmt: skip
    # a narrow terminal has no room for files and bytes that must be there: their sums stand below
    wide = out.width >= _WIDE
    shown = [row if wide else row[:2] + row[4:] for row in rows]
    show(out, table(_JOB_COLUMNS if wide else _JOB_COLUMNS[:2] + _JOB_COLUMNS[4:], shown, out.width))
    sums = {name: needs.summed(name) for name in _SUMS}
    paragraph(
        out,
        f"All of them: {count_text(needs.there_files)} files of {bytes_text(needs.there_bytes)} must be there before; "
        f"they make {count_text(sums['made_files'])}, read {bytes_text(sums['bytes_read'])} and write "
        f"{bytes_text(sums['bytes_written'])}{_mapped_text(sums['bytes_mapped'])}.",
    )
    paragraph(
        out,
        f"Calls: {_classes_text(needs.by_class)}; at most {_many(needs.threads, 'thread')} at a time, "
        f"{_many(needs.most_jobs, 'job')}.",
    )
    if needs.cached_lanes:
        lanes = f"{needs.cached_lanes} of {needs.lanes} lanes have" if needs.lanes > 1 else "The lane has"
        read, written = sums["local_read"], sums["local_written"]
        room = f", each with room for {needs.cache_users} of the users (who used it longest ago makes room)"
        paragraph(
            out,
            f"{lanes} a disk for particle stacks{room if needs.cache_users else ''}: the first job that reads a "
            f"user's stacks there copies them, those after it find them. Of all this, {bytes_text(read)} are read from "
            f"such disks and {bytes_text(written)} written to them. Which jobs meet on a lane is by the recipes' own "
            "times.",
        )
    _say_unshrunk(out, left, scale)
    _say_room(out, needs.events, lambda scale: needs_of(workload, given, scale).events, scale)
    if numbers:
        show(out, "")
        say_numbers(needs.numbers, out)
