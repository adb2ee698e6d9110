"""What `iotrace replay --ramp` does: a result for each number of users, a table, and the knee."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from iotrace import histogram
from iotrace.errors import StorageError, UsageError
from iotrace.mounts.counters.guard import CLIENT_CACHE
from iotrace.replay.counting import WORST_FIRST, has_read, way_out
from iotrace.replay.fleet import Fleet, FleetStopped
from iotrace.replay.ramp import RAMP_NAME, RUNS_MIN, Knee, climb, knee_of
from iotrace.replay.ramp_levels import Level
from iotrace.replay.ramp_rules import Latency, Rule
from iotrace.replay.result import RESULT_NAME, Result, Run
from iotrace.replay.show import differences_of
from iotrace.terminal import Column, console, paragraph, printable, show, table
from iotrace.trace.info import INFO_NAME
from iotrace.units import count_text, duration_text, significant

if TYPE_CHECKING:
    from rich.text import Text


_DRIFT: Final = 0.25
"""Where the fewest users take so much longer at one time than at the other, the knee is not to be relied on."""


def ramp(
    span: tuple[int, int], rules: Sequence[Rule], output: Path, force: bool, json: bool,
    replay: Callable[[int, Fleet | None], Result], fleet: Fleet | None = None,
) -> int:  # fmt: skip
    """Raise users, save a result for each number, print what was found.

    Parameters
    ----------
    span: the fewest users and the most. output: folder of the results to make, users-N.ioresult each.
    replay: replays with so many users, of a fleet on each rank of it.

    Returns
    -------
    The exit status: 1 where calls ended otherwise than recorded, or --check found differences.

    Raises
    ------
    UsageError: the folder is there, or nothing was replayed that a rule is about. What `replay` raises.
    """
    if fleet and fleet.rank:
        # rank 0 says with how many users, and at last none
        while users := fleet.exchange(0)[0]:
            replay(users, fleet)
        return fleet.exchange(0)[0]
    if output.exists() and not force:
        raise UsageError(f"{output} exists already: choose another name with -o, or --force to add to it.")
    if (output / INFO_NAME).exists() or (output / RESULT_NAME).exists():
        raise UsageError(f"{output} is a trace or a result: -o names a folder in which results are made.")
    output.mkdir(parents=True, exist_ok=True)
    ways: dict[str, None] = {}
    levels: dict[int, Level] = {}
    thinks = False

    def measure(users: int) -> Level:
        nonlocal thinks
        if fleet:
            fleet.exchange(users)
        result = replay(users, fleet)
        thinks = result.info.options.get("timing") == "think"
        latencies = {rule.key: latencies_of(result, rule) for rule in rules if isinstance(rule, Latency)}
        folder = result.save(output / f"users-{users}{'-again' * (users in levels)}.ioresult", force=force)
        info = result.info
        ways.update((way_out(run, info), None) for run in info.runs if run.guard and run.guard.verdict == CLIENT_CACHE)
        level = level_of(users, info.runs, str(folder), latencies)
        levels.setdefault(users, level)
        return level

    def tell(knee: Knee) -> int:
        (output / RAMP_NAME).write_bytes(msgspec.json.encode(knee))
        if json:
            print(json_module.dumps(msgspec.to_builtins(knee), allow_nan=False))
        else:
            _print(knee, rules, list(ways), thinks)
            show(console(), printable(f"Results: {output}"))
        return 1 if any(level.errors for level in knee.levels) else 0

    try:
        knee = climb(measure, *span, rules, goes_on=fleet is None)
    except BaseException as error:
        if fleet and len(levels) > 1 and isinstance(error, (StorageError, FleetStopped)):
            # ranks that have stopped cannot go on: what they have measured says something all the same
            tell(knee_of(levels, rules, stopped=str(error)))
        # what was refused at once leaves no folder that stands in the next one's way
        with suppress(OSError):
            output.rmdir()
        raise
    status = tell(knee)
    if fleet:
        fleet.exchange(0)
        fleet.exchange(status)
    return status


def latencies_of(result: Result, rule: Latency) -> list[float]:
    """The percentile of each run that a rule is about, µs.

    Raises
    ------
    UsageError: the plan has no such operations.
    """
    counts = [result.histogram(run=run.run, kind=rule.kind or None) for run in result.info.runs]
    if not all(one.any() for one in counts):
        there = ", ".join(sorted(result.info.runs[0].by_class))
        raise UsageError(f"--latency-bound {rule.key}: no {rule.kind} operations are replayed; there are {there}.")
    return [histogram.quantile(one, rule.share) / 1e3 for one in counts]


def level_of(
    users: int, runs: Sequence[Run], result: str, latency_us: dict[str, list[float]] | None = None
) -> Level:  # fmt: skip
    """What the runs of a number of users say."""
    limit = next((run.limit for run in runs if run.limit), "")
    errors = sum(run.errors + len(differences_of(run)) for run in runs)
    verdicts = [run.guard.verdict for run in runs if run.guard and has_read(run)]
    return Level(
        users, [max((user.wall_s for user in run.users), default=run.wall_s) for run in runs],
        [_speed(run) for run in runs], errors, limit, result, min(verdicts, key=WORST_FIRST.index, default=""),
        latency_us or {},
    )  # fmt: skip


def _speed(run: Run) -> float:
    """Operations per second; the time in which users did not yet work is none of theirs."""
    if not any(user.delay_s for user in run.users):
        return run.ops_per_s
    return sum(user.ops / (user.wall_s or 1e-9) for user in run.users)


def _print(knee: Knee, rules: Sequence[Rule], ways: Sequence[str], thinks: bool) -> None:
    """Show what was found; `ways`: out of the client's cache; `thinks`: timing was think already."""
    out = console()
    lowest = knee.levels[0]
    show(out, _table(knee, out.width))
    if knee.ended:
        paragraph(out, f"Ended at {_users(knee.levels[-1].users)}: {knee.ended}.")
    elif not knee.stopped:
        paragraph(out, f"Ended at {_users(knee.levels[-1].users)}, the most to be tried.")
    text = knee_text(knee, rules)
    cached = [level for level in [*knee.levels, *filter(None, [knee.again])] if level.verdict == CLIENT_CACHE]
    if cached:
        text = f"Not the storage's, but this client's: {text[0].lower()}{text[1:]}"
    paragraph(out, text, "bold")
    if cached:
        whose = ", ".join(dict.fromkeys(str(level.users) for level in cached))
        paragraph(
            out, f"With {whose} users reads were served by this client's cache: no storage result. {' '.join(ways)}",
            "yellow",
        )  # fmt: skip
    who = f"{_users(knee.plateau_users)} reach{'' if knee.plateau_users > 1 else 'es'}"
    top = count_text(int(knee.plateau_ops_per_s))
    paragraph(out, f"{who} 95 % of the highest throughput, {top} operations/s.")
    if not knee.interval:
        paragraph(out, f"No interval: {RUNS_MIN} runs of each number (--repeat {RUNS_MIN}) are the least.", "yellow")
    if knee.again:
        before, after = float(np.median(lowest.makespan_s)), float(np.median(knee.again.makespan_s))
        if max(before, after) > (1 + _DRIFT) * min(before, after):
            paragraph(
                out,
                f"The fewest users took {duration_text(before * 1e9)} at the beginning and "
                f"{duration_text(after * 1e9)} at the end: the mount or this machine has changed meanwhile, and the "
                "knee is not to be relied on.",
                "yellow",
            )
    if knee.stopped:
        paragraph(out, f"More users could not be tried: {printable(knee.stopped)}", "yellow")
    failed = [one.users for one in knee.levels[1:] if one.errors * lowest.users > lowest.errors * one.users]
    if failed:
        paragraph(
            out,
            f"With {', '.join(map(str, failed))} users more calls of each ended otherwise than recorded than with "
            f"{lowest.users}: a call that fails at once makes a run short, so these numbers may not be held.",
            "yellow",
        )
    if any(level.limit for level in knee.levels):
        paragraph(
            out,
            "Where the limit is the generator, this client was too slow, not the storage: "
            f"{'take a larger machine' if thinks else 'take --timing think'}, or more nodes.",
            "yellow",
        )


def _table(knee: Knee, width: int) -> Text:
    """A row for each number of users; what holds for none of them has no column, and in a narrow terminal what others
    show as well."""
    first = float(np.median(knee.levels[0].makespan_s + (knee.again.makespan_s if knee.again else [])))
    levels = [*knee.levels, *filter(None, [knee.again])]
    bounded = list(knee.levels[0].latency_us)
    columns = [Column("users"), Column("makespan"), Column("least … most"), Column("× fewest"), Column("operations/s"),
               *map(Column, bounded), Column("limit", "left"), Column("cache guard", "left")]  # fmt: skip
    rows = []
    for level in levels:
        made = np.array(level.makespan_s)
        rows.append([
            f"{level.users} again" if level is knee.again else str(level.users),
            duration_text(float(np.median(made)) * 1e9),
            f"{duration_text(made.min() * 1e9)} … {duration_text(made.max() * 1e9)}",
            significant(float(np.median(made)) / first, 3), count_text(int(np.median(level.ops_per_s))),
            *(duration_text(float(np.median(level.latency_us[key])) * 1e3) for key in bounded),
            "generator" if level.limit else "", level.verdict,
        ])  # fmt: skip
    said = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    for spared in (None, "least … most", "× fewest"):
        said = [number for number in said if columns[number].title != spared]
        made_of = table([columns[number] for number in said], [[row[number] for number in said] for row in rows], width)
        if max(map(len, made_of.plain.splitlines())) <= width:
            break
    return made_of


def knee_text(knee: Knee, rules: Sequence[Rule]) -> str:
    """Where the knee is, and by which rule: a sentence."""
    fewest, most = knee.levels[0].users, knee.levels[-1].users
    if knee.users is None:
        # what ended the ramp was judged before the fewest were measured once more
        again = f"with the runs of {_users(fewest)} at the end counted too, " if knee.ended else ""
        return f"No knee: {again}{', '.join(rule.within(most, fewest) for rule in rules)}."
    rule = next(rule for rule in rules if rule.key == knee.rule)

    def bound(value: float | None) -> str:
        if value is None:
            return f"more than {most}"
        return f"{value:.3g}" if value else f"fewer than {fewest}"

    within = f" (95 %: {bound(knee.low)} to {bound(knee.high)})" if knee.interval else ""
    if not knee.users:
        return f"Knee: fewer than {_users(fewest)}{within}; already then {rule.beyond(fewest)}."
    least = "at most " if knee.users == fewest else ""
    number = _users(fewest) if least else f"{knee.users:.3g} users"
    return f"Knee: {least}{number}{within}; beyond, {rule.beyond(fewest)}."


def _users(number: int) -> str:
    return f"{number} user{'s' * (number > 1)}"
