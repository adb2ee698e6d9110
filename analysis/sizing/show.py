"""Answers of the model for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from iotrace.analysis.sizing.answer import PEAK, RATES, SHARES, Answer, Rates
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.questions import SLOWER
from iotrace.terminal import Cell, Column, paragraph, show, table
from iotrace.units import bytes_text, count_text, duration_text, rate_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from iotrace.analysis.sizing.questions import Month

_SLIGHT: Final = 0.01
_LEAST_WAIT: Final = 0.02
GPU_IDLE: Final = (
    "GPU idle: of the GPU-seconds that jobs in lanes hold (a job's time × its GPUs), the share in which they wait for "
    "storage instead of computing; steps that hold no GPU have none (-)"
)
DISKS: Final = "; what disks of nodes make faster or slower is left out"
"""Of the knee, where lanes have such disks for particle stacks."""
_NOTE: Final = (
    "All figures are modelled: jobs are loops of computing and I/O from the recipes (iotrace profile), the storage's "
    "figures are those of its entry (iotrace size --list). docs/model.md says what the model leaves out."
)


def print_answers(answers: Sequence[Answer], out: Console, rates: bool = False) -> None:
    """The choices beside each other, then each by itself; `rates`: with rates by step."""
    first = answers[0].run.demand
    crowd = first.crowd
    paragraph(
        out,
        f"{answers[0].case.workload.title}: {crowd.users} users, {crowd.lanes} lanes, {crowd.live} sessions of Live; "
        f"{bytes_text(first.raw_bytes)} of movies and {bytes_text(first.made_bytes)} made of them a data set"
        + (f"; {bytes_text(first.live_bytes)} a session of Live" if crowd.live else ""),
    )
    show(out, "")
    show(out, _choices(answers, out.width))
    for one in answers:
        _print_one(one, out, rates)
    show(out, "")
    paragraph(out, f"{GPU_IDLE}. {_NOTE}", "dim")


def _choices(answers: Sequence[Answer], width: int) -> Text:
    columns = [
        Column("node", "left", stretch=True), Column("storage", "left"), Column("units"), Column("to structure"),
        Column("GPU idle"), Column("read p95"), Column("peak"),
    ]  # fmt: skip
    rows: list[list[str | Cell]] = [
        [
            one.case.node_name, one.case.storage_name, str(one.units),
            duration_of(float(one.run.structure_s.mean())), share_text(one.run.gpu_idle),
            rate_text(one.run.percentile(e.READ_RATE, 0.95)), rate_text(one.run.peak(e.READ_RATE)),
        ]
        for one in answers
    ]  # fmt: skip
    units = dict.fromkeys(f"{one.case.storage_name} in units of a {one.case.storage.unit}" for one in answers)
    return table(columns, rows, width, f"Nodes and storages, modelled ({'; '.join(units)})")


def _print_one(one: Answer, out: Console, by_step: bool) -> None:
    storage, needed = one.case.storage, one.needed
    show(out, "")
    show(out, _steps(one, out.width))
    waits = [
        f"{step.step} {step.waits_for} ({step.parts[step.waits_for]:.0%})"
        for step in one.steps()
        if step.waits_for and step.parts[step.waits_for] >= _LEAST_WAIT
    ]
    if waits:
        text = f"What they wait for most (share of a job's time, from {_LEAST_WAIT:.0%} on): {'; '.join(waits)}."
        paragraph(out, text, indent=2)
    show(out, "")
    show(out, _step_rates(one, out.width))
    if by_step:
        for name in RATES:
            show(out, "")
            show(out, _rates_by_step(one, name, out.width))
        show(out, "")
    else:
        rates = "; ".join(
            f"{name} {' / '.join(rate_of(name, value) for value in found.values())}"
            for name, found in one.rates().items()
        )
        paragraph(
            out, f"Rates of the whole mix, p50 / p95 / p99 / peak of the time (by step: --rates): {rates}.", indent=2
        )
    if storage.local:
        paragraph(out, f"Capacity: {needed.units} in each node.", indent=2)
    else:
        paragraph(
            out,
            f"Needed: {needed.units} × {storage.unit}, for {needed.binding}: capacity {needed.capacity}, throughput "
            f"{needed.throughput}, operations {needed.operations}, metadata {needed.metadata}, jobs at most "
            f"{SLOWER:.0%} slower {needed.slowdown}"
            + (f"; {storage.spare} of each may fail." if storage.spare else "."),
            indent=2,
        )
    if one.working != one.units:
        paragraph(
            out,
            f"Times and rates are those while {one.units - one.working} of {one.units} have failed; while all work, "
            f"{duration_of(float(one.whole.structure_s.mean()))} to a structure.",
            indent=2,
        )
    paragraph(out, f"Capacity: {_capacity(one.months)}.", indent=2)
    if one.knee is not None:
        knee = one.knee
        count = f"{knee.users} users or more" if knee.more else f"{knee.users} users"
        paragraph(
            out,
            f"Knee: up to {count} jobs take at most {SLOWER:.0%} longer than one user's (lanes grow with the users, "
            f"and all begin at once{DISKS if one.run.demand.crowd.cached_lanes else ''}).",
            indent=2,
        )
    if one.effects:
        paragraph(out, f"What each input changes: {_effects(one)}", indent=2)
    for note in one.notes:
        paragraph(out, note, "yellow", indent=2)
    if storage.inferred:
        paragraph(out, f"Guessed of {one.case.storage_name}: {storage.inferred}.", "dim", indent=2)


def _capacity(months: Sequence[Month]) -> str:
    """The first three months, and the one from which on as much goes as comes."""
    last = months[-1]
    full = next(month for month in months if (month.hot, month.cold) == (last.hot, last.cold))
    first = [f"month {month.month} {_held(month)}" for month in months[:3] if month.month < full.month]
    return ", ".join([*first, f"from month {full.month} on {_held(full)}"])


def _held(month: Month) -> str:
    return bytes_text(month.hot) + (f" and {bytes_text(month.cold)} archived" if month.cold else "")


def _effects(one: Answer) -> str:
    """All inputs: what changes the time or the units, then what changes neither."""
    much, nothing = [], []
    for effect in one.effects:
        parts = []
        if abs(effect.factor - 1) >= _SLIGHT:
            parts.append(f"time to structure × {effect.factor:.2f}")
        if effect.units != one.needed.units:
            parts.append(f"{'more than any' if effect.units is None else effect.units} needed")
        if parts:
            much.append(f"{effect.name} {effect.change}: {', '.join(parts)}")
        else:
            nothing.append(f"{effect.name} {effect.change}")
    rest = f" Less than {_SLIGHT:.0%}, and no other number needed: {'; '.join(nothing)}." if nothing else ""
    return f"{'; '.join(much) or 'nothing'}.{rest}"


def _steps(one: Answer, width: int) -> Text:
    columns = [
        Column("step", "left"), Column("a job"), Column("compute"), Column("GPU idle"), Column("read"),
        Column("written"), Column("bound by", "left", stretch=True),
    ]  # fmt: skip
    rows: list[list[str | Cell]] = [
        [
            step.step, duration_of(step.job_s), f"{step.compute:.0%}", share_text(step.gpu_idle),
            bytes_text(step.read_bytes), bytes_text(step.written_bytes),
            Cell(step.binding, "dim" if step.binding == "compute" else "yellow"),
        ]
        for step in one.steps()
    ]  # fmt: skip
    failed = f", {one.units - one.working} of them failed" if one.working != one.units else ""
    units = f"{one.units} × {one.case.storage.unit}{failed}"
    return table(columns, rows, width, f"Steps on {one.case.storage_name} ({units}), {one.case.node_name}: one job")


def _step_rates(one: Answer, width: int) -> Text:
    columns = [
        Column("step", "left", stretch=True), Column("peak read"), Column("peak write"), Column("operations"),
        Column("metadata"), Column("peak metadata"),
    ]  # fmt: skip
    rows = [
        [
            step.step, rate_text(step.peak_read), rate_text(step.peak_write), _per_second(step.operations_s),
            _per_second(step.metadata_s), _per_second(step.peak_metadata),
        ]
        for step in one.steps()
    ]  # fmt: skip
    return table(columns, rows, width, "What one job of each step asks for: mean of its time, and peak")


TITLES: Final = {
    "read": "Bytes read", "write": "Bytes written", "operations": "Reads and writes", "metadata": "Metadata operations",
}  # fmt: skip
"""Of rates, by their names in RATES."""
MIX: Final = "whole mix"


def _rates_by_step(one: Answer, name: str, width: int) -> Text:
    columns = [Column("step", "left", stretch=True), *(Column(figure) for figure in (*SHARES, PEAK))]
    rows = [
        [step, *(rate_of(name, value) for value in found[name].values())] for step, found in all_rates(one)
    ]  # fmt: skip
    title = f"{TITLES[name]} a second: all jobs of a step together, of the time it runs"
    return table(columns, rows, width, title)


def all_rates(one: Answer) -> list[tuple[str, Rates]]:
    """Rates of each step, then of the whole mix."""
    return [*((step.step, step.rates) for step in one.steps()), (MIX, one.rates())]


def share_text(share: float | None) -> str:
    """A share in percent; nothing where there is none."""
    return "-" if share is None else f"{share:.0%}"


def duration_of(seconds: float) -> str:
    """Hours where it takes hours."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else duration_text(seconds * 1e9)


def _per_second(rate: float) -> str:
    return f"{count_text(rate)}/s" if rate >= 10 else f"{rate:.1f}/s"


def rate_of(name: str, value: float) -> str:
    """A rate of RATES with its unit."""
    return rate_text(value) if name in ("read", "write") else _per_second(value)
