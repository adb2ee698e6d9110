"""A study as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from iotrace.statistics import median
from prediction.figures import (
    ERROR_LIMIT,
    IO_ERROR_LIMIT,
    IO_SHARE_LEAST,
    SPREADS_LIMIT,
    Figures,
    all_figures,
    differences,
    left_out,
    ranking,
)
from prediction.study import Study

_THINK = ("think_cpu_s", "think_idle_s")


def _time(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3f}"


def _interval(values: tuple[float, float, float]) -> str:
    return f"{_time(values[0])} ({_time(values[1])}–{_time(values[2])})"


def _percent(share: float | None, sign: bool = True) -> str:
    if share is None:
        return "–"
    return f"{100 * share:+.1f} %" if sign else f"{100 * share:.1f} %"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows), ""]


def tables(study: Study) -> str:
    """The whole study: what was compared, errors, verdict, causes, operations."""
    figures = all_figures(study)
    counted = [one for one in figures if one.counted]
    runs = sorted({one.runs for one in figures})
    cache, setting = study.setting.cache, study.setting
    lines = [
        f"iotrace {setting.version}, Linux {setting.kernel}, {setting.cpus}; recorded on {setting.recorded_on}; "
        f"{cache} client cache; {'–'.join(map(str, runs[:: max(1, len(runs) - 1)])) or 0} runs of each; "
        f"{study.seconds / 60:.0f} minutes of measuring.",
        "",
        *(f"- {kind}: {made_of}" for kind, made_of in study.mounts.items()),
        "",
        "Makespan in s: median (interval). Error: predicted ÷ real - 1. A/A: the program against its previous run.",
        "",
    ]
    lines += _rows(
        ("program", "mount", "I/O share", "real", "predicted", "error", "A/A", "I/O time error", "counts"),
        [
            (
                one.program, one.mount, _percent(one.io_share, False), _interval(one.real_s),
                _interval(one.predicted_s), _percent(one.error), _percent(one.spread, False), _percent(one.io_error),
                ("yes" if one.counted else "no") + (f", {one.unexpected} outcomes differ" if one.unexpected else ""),
            )
            for one in figures
        ],
    )  # fmt: skip
    lines += _verdict(figures, counted)
    lines += ["Where the makespan's error comes from, in s (the four add up to it; programs of one thread):", ""]
    lines += _rows(
        ("program", "mount", "error", "calls", "between calls", "start and end", "recorder"),
        [
            (
                one.program, one.mount, f"{one.predicted_s[0] - one.real_s[0]:+.3f}", f"{causes.io_s:+.3f}",
                f"{causes.think_s:+.3f}", f"{causes.ends_s:+.3f}", f"{causes.recorder_s:+.3f}",
            )
            for one in figures
            if (causes := one.causes) is not None
        ],
    )  # fmt: skip
    lines += [
        "Between calls, in s: computing + not running, in the recording on the disk that is replayed, and in the",
        "program on the mount; and all of it in the replay (programs of one thread):",
        "",
    ]
    rows = []
    for one in figures:
        program, pair = study.programs[one.program], study.programs[one.program].mounts[one.mount]
        if one.causes is not None and (disk := program.recording) is not None:
            there_cpu, there_idle = (median([getattr(run, n) for run in pair.recorded]) for n in _THINK)
            replay = median([run.wall_s - run.io_s for run in pair.replayed])
            rows.append((
                one.program, one.mount, f"{disk.think_cpu_s:.3f} + {disk.think_idle_s:.3f}",
                f"{there_cpu:.3f} + {there_idle:.3f}", f"{replay:.3f}",
                "; ".join(f"{op} × {of.calls}: {_time(of.time_s)}" for op, of in left_out(pair)),
            ))  # fmt: skip
    lines += _rows(
        (
            "program",
            "mount",
            "recorded on the disk",
            "program on the mount",
            "replay",
            "calls left out, s on the mount",
        ),
        rows,
    )
    lines += ["Operations whose time differs most, program on the mount against replay there:", ""]
    differing = []
    for one in figures:
        for of in differences(study.programs[one.program].mounts[one.mount], 3):
            calls = (
                str(of.real_calls) if of.real_calls == of.replayed_calls else f"{of.real_calls} / {of.replayed_calls}"
            )
            differing.append((one.program, one.mount, of.op, calls, _time(of.real_s), _time(of.replayed_s)))
    lines += _rows(("program", "mount", "operation", "calls", "program, s", "replay, s"), differing)
    failed = [
        f"- {name} on {mount}: {pair.failed}"
        for name, program in study.programs.items()
        for mount, pair in program.mounts.items()
        if pair.failed
    ]
    return "\n".join([*lines, *(["Not measured:", "", *failed, ""] if failed else [])])


def _verdict(figures: Sequence[Figures], counted: Sequence[Figures]) -> list[str]:
    if not counted:
        return [f"No pair spends {IO_SHARE_LEAST:.0%} of its time in I/O.", ""]
    error = sum(abs(one.error) for one in counted) / len(counted)
    io_error = sum(abs(one.io_error) for one in counted) / len(counted)
    spreads = [one.spread for one in counted if one.spread is not None]
    own = sum(spreads) / len(spreads) if spreads else 0.0
    limit = max(ERROR_LIMIT, SPREADS_LIMIT * own)
    order = ranking(figures)
    middle = median([abs(one.error) for one in counted])
    return [
        f"{len(counted)} of {len(figures)} pairs count (I/O is at least {IO_SHARE_LEAST:.0%} of the program's time).",
        "",
        f"- makespan: mean |error| {_percent(error, False)} (median {_percent(middle, False)}), "
        f"mean A/A {_percent(own, False)}, limit {_percent(limit, False)}: {'met' if error <= limit else 'not met'}",
        f"- I/O time: mean |error| {_percent(io_error, False)}, limit {_percent(IO_ERROR_LIMIT, False)}: "
        f"{'met' if io_error <= IO_ERROR_LIMIT else 'not met'}",
        f"- ranking: right for {order.right} of {order.separate} pairs of mounts that the program itself tells apart"
        + "".join(f"; wrong: {text}" for text in order.wrong),
        "",
    ]
