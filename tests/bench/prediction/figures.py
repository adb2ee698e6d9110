"""From a study's runs to its figures: errors of the prediction, the program's own spread, the ranking, the causes.

All are of medians. Spread A/A is the median of |run ÷ previous run - 1| over the real program's runs on one mount: what
one would err by when predicting the program by itself. An interval is that of the median at 95 % where there are enough
runs (six), else from the least to the greatest run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

from iotrace.statistics import median, median_interval
from prediction.runs import OpTime
from prediction.study import Pair, Predicted, Study

IO_SHARE_LEAST: Final = 0.30
"""Where a program spends less of its time in I/O it predicts itself, and is not counted."""
ERROR_LIMIT: Final = 0.08
IO_ERROR_LIMIT: Final = 0.15
SPREADS_LIMIT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Causes:
    """Predicted less real makespan in seconds, by what it comes from; the four add up to it.

    Attributes
    ----------
    io_s: calls took longer in the replay than in a recording of the program on that mount.
    think_s: time between calls was longer than there.
    ends_s: time before the first and after the last call was longer than there.
    recorder_s: that recording took longer than the program alone.
    """

    io_s: float
    think_s: float
    ends_s: float
    recorder_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One program on one mount; see the module.

    Attributes
    ----------
    real_s, predicted_s: (median, low, high).
    error, io_error: predicted ÷ real - 1 of makespan and of I/O time; spread: of the real program, None with one run.
    io_share: part of the program's time on that mount; runs: real ones; unexpected: outcomes of replayed calls.
    causes: None for programs of several threads, whose I/O times overlap.
    """

    program: str
    mount: str
    runs: int
    real_s: tuple[float, float, float]
    predicted_s: tuple[float, float, float]
    error: float
    io_error: float
    spread: float | None
    io_share: float
    unexpected: int
    causes: Causes | None

    @property
    def counted(self) -> bool:
        """Whether I/O is enough of the program's time."""
        return self.io_share >= IO_SHARE_LEAST


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, low, high."""
    of = median_interval(values)
    if of.low is None or of.high is None:
        return of.median, min(values), max(values)
    return of.median, of.low, of.high


def spread_of(values: Sequence[float]) -> float | None:
    """Spread A/A of consecutive runs."""
    if len(values) < 2:
        return None
    return median([abs(b / a - 1) for a, b in pairwise(values)])


def figures_of(program: str, predicted: Predicted, mount: str, pair: Pair) -> Figures | None:
    """Figures of a pair; None before each of its three kinds of runs was made once."""
    disk = predicted.recording
    if disk is None or not (pair.real_s and pair.replayed and pair.recorded):
        return None
    ends = disk.before_s + disk.after_s
    real, expected = interval(pair.real_s), interval([ends + run.wall_s for run in pair.replayed])
    io, there_io = median([run.io_s for run in pair.replayed]), median([run.io_s for run in pair.recorded])
    causes = None
    if disk.lanes == 1:
        there = median([run.wall_s for run in pair.recorded])
        there_ends = median([run.before_s + run.after_s for run in pair.recorded])
        ends_s, io_s, recorder_s = ends - there_ends, io - there_io, there - real[0]
        causes = Causes(io_s, expected[0] - real[0] - ends_s - io_s - recorder_s, ends_s, recorder_s)
    return Figures(
        program=program,
        mount=mount,
        runs=len(pair.real_s),
        real_s=real,
        predicted_s=expected,
        error=expected[0] / real[0] - 1,
        io_error=io / there_io - 1,
        spread=spread_of(pair.real_s),
        io_share=median([run.io_share for run in pair.recorded]),
        unexpected=max(run.errors for run in pair.replayed),
        causes=causes,
    )


def all_figures(study: Study) -> list[Figures]:
    """Figures of all pairs that have them, by program, then mount."""
    found = [
        figures_of(name, predicted, mount, pair)
        for name, predicted in study.programs.items()
        for mount, pair in predicted.mounts.items()
    ]
    return [one for one in found if one is not None]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Pairs of mounts that a program tells apart (its intervals do not touch), and those predicted in that order."""

    separate: int
    right: int
    wrong: tuple[str, ...]


def ranking(figures: Sequence[Figures]) -> Ranking:
    """Whether the faster of two mounts was predicted to be the faster, wherever the real program shows one."""
    separate = right = 0
    wrong = []
    for one, other in combinations(figures, 2):
        if one.program != other.program:
            continue
        fast, slow = sorted((one, other), key=lambda figure: figure.real_s[0])
        if fast.real_s[2] >= slow.real_s[1]:
            continue
        separate += 1
        if fast.predicted_s[0] < slow.predicted_s[0]:
            right += 1
        else:
            wrong.append(f"{fast.program}: {fast.mount} is faster than {slow.mount}")
    return Ranking(separate, right, tuple(wrong))


@dataclass(frozen=True, slots=True)
class OpDifference:
    """An operation: its calls, and seconds inside them, in the program on the mount and in the replay there."""

    op: str
    real_calls: int
    replayed_calls: int
    real_s: float
    replayed_s: float


def left_out(pair: Pair, least_s: float = 0.001) -> list[tuple[str, OpTime]]:
    """What a replay does not issue and took at least so long in the program on the mount, longest first; medians."""
    found = []
    for op in {op for run in pair.recorded for op in run.left_out}:
        some = [run.left_out.get(op, OpTime(0, 0.0)) for run in pair.recorded]
        found.append((op, OpTime(round(median([of.calls for of in some])), median([of.time_s for of in some]))))
    return sorted([(op, of) for op, of in found if of.time_s >= least_s], key=lambda one: -one[1].time_s)


def differences(pair: Pair, most: int) -> list[OpDifference]:
    """The operations whose time differs most between recordings of the program and replays on the same mount."""

    def of(by_op: list[dict[str, OpTime]], op: str) -> tuple[int, float]:
        some = [one.get(op, OpTime(0, 0.0)) for one in by_op]
        return round(median([one.calls for one in some])), median([one.time_s for one in some])

    real, replayed = [run.by_op for run in pair.recorded], [run.by_op for run in pair.replayed]
    found = []
    for op in sorted({op for by_op in real + replayed for op in by_op}):
        (real_calls, real_s), (replayed_calls, replayed_s) = of(real, op), of(replayed, op)
        found.append(OpDifference(op, real_calls, replayed_calls, real_s, replayed_s))
    return sorted(found, key=lambda one: -abs(one.replayed_s - one.real_s))[:most]
