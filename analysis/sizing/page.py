"""The model's answers as chapters of a page: `iotrace size --html`, and `iotrace report --size`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iotrace.analysis.report.page import Origin, Section, picture_block, write_sections
from iotrace.analysis.report.tables import Fact, Grid, GridCell, Head
from iotrace.analysis.sizing import plots
from iotrace.analysis.sizing.answer import PEAK, SHARES, Answer
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.questions import MONTHS
from iotrace.analysis.sizing.show import GPU_IDLE, TITLES, all_rates, duration_of, rate_of, share_text
from iotrace.terminal import printable
from iotrace.units import bytes_text, count_text, rate_text

NOTE: Final = (
    "All figures of how much storage is needed are modelled and were measured nowhere: jobs are loops of computing and "
    "I/O from the recipes, the storage's figures are those of its entry. docs/model.md says what the model leaves out."
)


def write_page(answers: Sequence[Answer], output: Path, force: bool) -> Path:
    """Write the page; see iotrace.analysis.report.write_report for what is raised."""
    title = "Storage size: " + printable(answers[0].case.workload.name)
    return write_sections(title, size_sections(answers), size_origins(answers), [NOTE], output, force)


def size_sections(answers: Sequence[Answer]) -> list[Section]:
    """The chapters: all choices beside each other, then each by itself."""
    return [
        Section(
            "choices", "The choices beside each other",
            lead=printable(f"{answers[0].case.workload.title}: what each storage and node makes of it."),
            blocks=[_choices(answers)],
        ),
        *(_section(one, number) for number, one in enumerate(answers, 1)),
    ]  # fmt: skip


def _choices(answers: Sequence[Answer]) -> Grid:
    heads = [
        Head("storage", text=True), Head("node", text=True), Head("units", "of what it is bought by"),
        Head("to structure", "mean, from a user's arrival to the end of the last step"),
        Head("GPU idle", "share of the GPU-seconds held in which their jobs wait for storage"), Head("read p95"),
        Head("read peak"),
    ]  # fmt: skip
    rows = []
    for one in answers:
        mean = float(one.run.structure_s.mean())
        read, peak = one.run.percentile(e.READ_RATE, 0.95), one.run.peak(e.READ_RATE)
        rows.append(
            [
                _name(one.case.storage_name), _name(one.case.node_name), GridCell(str(one.units), str(one.units)),
                GridCell(duration_of(mean), repr(mean)), _share(one.run.gpu_idle),
                GridCell(rate_text(read), repr(read)), GridCell(rate_text(peak), repr(peak)),
            ]
        )  # fmt: skip
    return Grid("Nodes and storages", heads, rows, "modelled", f"{GPU_IDLE}.")


def _name(text: str) -> GridCell:
    return GridCell(printable(text), printable(text))


def _share(share: float | None) -> GridCell:
    return GridCell(share_text(share), "" if share is None else repr(share))


def _section(one: Answer, number: int) -> Section:
    needed, crowd = one.needed, one.run.demand.crowd
    facts = [
        Fact("units", f"{one.units} × {printable(one.case.storage.unit)}"),
        Fact("needed", f"{needed.units}, for {needed.binding}"),
        Fact("time to structure", duration_of(float(one.run.structure_s.mean()))),
        Fact("GPU idle", _gpu_text(one)),
        Fact("users, lanes", f"{crowd.users}, {crowd.lanes}"),
    ]
    if one.working != one.units:
        facts[0] = Fact("units", f"{facts[0].text}, {one.units - one.working} of them failed")
        facts.insert(3, Fact("to structure while all work", duration_of(float(one.whole.structure_s.mean()))))
    if one.knee is not None:
        facts.append(Fact("knee", f"{one.knee.users} users{' or more' if one.knee.more else ''}"))
    drawn = [plots.throughput(one), plots.lanes(one), plots.constraints(one), plots.knee(one)]
    blocks = [picture_block(picture) for picture in drawn if picture is not None]
    title = printable(f"{one.case.storage_name}, {one.case.node_name}")
    return Section(
        f"choice-{number}", title, printable(" ".join(one.notes)), facts,
        blocks=[*blocks, _steps(one), *_rates(one), _needed(one), _months(one), _effects(one)],
        provenance="modelled",
    )  # fmt: skip


def _gpu_text(one: Answer) -> str:
    held, waiting = one.run.gpu_seconds
    if not held:
        return "no job holds a GPU"
    return f"{waiting / held:.1%}: {waiting / 3600:.1f} of {held / 3600:.1f} GPU-hours"


def _steps(one: Answer) -> Grid:
    heads = [
        Head("step", text=True), Head("a job"), Head("bound by", "the largest part of its time", text=True),
        Head("waits for", "the largest part of its time in which it does not compute", text=True), Head("compute"),
        Head("GPUs", "that a job holds"),
        Head("GPU idle", "share of a job's time in which they wait for storage"), Head("read", "bytes of a job"),
        Head("written", "bytes of a job"), Head("peak read", "of a job"), Head("peak write", "of a job"),
        Head("operations/s", "reads and writes a second of a job"),
        Head("metadata/s", "calls a second about names and open files, not their bytes, of a job"),
        Head("peak metadata/s", "of a job"),
    ]  # fmt: skip
    rows = [
        [
            _name(step.step), GridCell(duration_of(step.job_s), repr(step.job_s)), _name(step.binding),
            _name(step.waits_for or "-"), GridCell(f"{step.compute:.0%}", repr(step.compute)),
            GridCell(str(step.gpus) if step.gpus else "-", str(step.gpus)), _share(step.gpu_idle),
            GridCell(bytes_text(step.read_bytes), repr(step.read_bytes)),
            GridCell(bytes_text(step.written_bytes), repr(step.written_bytes)),
            GridCell(rate_text(step.peak_read), repr(step.peak_read)),
            GridCell(rate_text(step.peak_write), repr(step.peak_write)),
            GridCell(_count(step.operations_s), repr(step.operations_s)),
            GridCell(_count(step.metadata_s), repr(step.metadata_s)),
            GridCell(_count(step.peak_metadata), repr(step.peak_metadata)),
        ]
        for step in one.steps()
    ]  # fmt: skip
    return Grid("Steps: one job", heads, rows, "modelled")


def _count(rate: float) -> str:
    return count_text(rate) if rate >= 10 else f"{rate:.1f}"


def _rates(one: Answer) -> list[Grid]:
    heads = [Head("step", text=True), *(Head(figure, "of the time") for figure in SHARES), Head(PEAK)]
    note = "All jobs of a step together, over the time in which one of them runs; the mix until the last user's end."
    return [
        Grid(
            f"{title} a second",
            heads,
            [
                [_name(step), *(GridCell(rate_of(name, value), repr(value)) for value in found[name].values())]
                for step, found in all_rates(one)
            ],
            "modelled",
            note,
        )
        for name, title in TITLES.items()
    ]


def _needed(one: Answer) -> Grid:
    heads = [Head("what asks for it", text=True), Head("units", "spare ones included")]
    rows = [
        [_name(name), GridCell(str(getattr(one.needed, name)), str(getattr(one.needed, name)))]
        for name in one.needed.__slots__
    ]
    spare = f"{one.case.storage.spare} of them may fail." if one.case.storage.spare else "None of them may fail."
    return Grid("Units needed: the most of these", heads, rows, "modelled", spare)


def _months(one: Answer) -> Grid:
    last = one.months[-1].month
    shown = [month for month in one.months if month.month <= MONTHS or month.month % 12 == 0 or month.month == last]
    heads = [Head("month", text=True), Head("on the storage"), Head("archived")]
    rows = [
        [
            GridCell(str(month.month), str(month.month)), GridCell(bytes_text(month.hot), str(month.hot)),
            GridCell(bytes_text(month.cold), str(month.cold)),
        ]
        for month in shown
    ]  # fmt: skip
    return Grid("Capacity at the end of each month", heads, rows, "modelled", f"As in month {last} from then on.")


def _effects(one: Answer) -> Grid:
    heads = [
        Head("input", text=True), Head("change", text=True), Head("time to structure", "as a factor"),
        Head("units needed", f"{one.needed.units} without the change"),
    ]  # fmt: skip
    rows = [
        [
            _name(effect.name), _name(effect.change), GridCell(f"× {effect.factor:.2f}", repr(effect.factor)),
            _name("more than any") if effect.units is None else GridCell(str(effect.units), str(effect.units)),
        ]
        for effect in one.effects
    ]  # fmt: skip
    return Grid("What matters: each input changed by itself", heads, rows, "modelled")


def size_origins(answers: Sequence[Answer]) -> list[Origin]:
    """Where the figures of storages and nodes come from."""
    found: dict[str, Origin] = {}
    for one in answers:
        for name, entry in ((one.case.storage_name, one.case.storage), (one.case.node_name, one.case.node)):
            facts = [Fact("what", printable(entry.title)), Fact("source", printable(entry.source))]
            if entry.inferred:
                facts.append(Fact("guessed", printable(entry.inferred)))
            found[name] = Origin(printable(name), "modelled", facts)
    return list(found.values())
