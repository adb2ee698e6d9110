"""What `iotrace replay --ramp` does: a result for each number of users, a table, and the knee."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from iotrace.errors import UsageError
from iotrace.mounts.counters.guard import CLIENT_CACHE
from iotrace.replay.counting import WORST_FIRST, has_read, way_out
from iotrace.replay.ramp import RUNS_MIN, Knee, Level, climb, parse_ramp
from iotrace.replay.result import RESULT_NAME, Result, Run
from iotrace.replay.show import differences_of
from iotrace.terminal import Column, console, paragraph, printable, show, table
from iotrace.trace.info import INFO_NAME
from iotrace.units import count_text, duration_text, significant


def ramp(text: str, slack: float, output: Path, force: bool, json: bool, replay: Callable[[int], Result]) -> int:
    """Raise users, save a result for each number, print what was found.

    Parameters
    ----------
    text: of --ramp. output: folder of the results to make, NAME-users-N.ioresult each.
    replay: replays with so many users.

    Returns
    -------
    The exit status: 1 where calls ended otherwise than recorded, or --check found differences.

    Raises
    ------
    UsageError: the text or the slack make no sense, or the folder is there. What `replay` raises.
    """
    fewest, most = parse_ramp(text)
    if not 0 < slack <= 10:
        raise UsageError(f"--ramp-slack {slack:g}: a share from above 0 to 10, such as 0.25.")
    if output.exists() and not force:
        raise UsageError(f"{output} exists already: choose another name with -o, or --force to add to it.")
    if (output / INFO_NAME).exists() or (output / RESULT_NAME).exists():
        raise UsageError(f"{output} is a trace or a result: -o names a folder in which results are made.")
    output.mkdir(parents=True, exist_ok=True)
    out = console()

    ways: dict[str, None] = {}
    measured: set[int] = set()
    thinks = False

    def measure(users: int) -> Level:
        nonlocal thinks
        result = replay(users)
        thinks = result.info.options.get("timing") == "think"
        name = f"users-{users}{'-again' * (users in measured)}.ioresult"
        measured.add(users)
        folder = result.save(output / name, force=force)
        info = result.info
        ways.update((way_out(run, info), None) for run in info.runs if run.guard and run.guard.verdict == CLIENT_CACHE)
        return level_of(users, info.runs, str(folder))

    try:
        knee = climb(measure, fewest, most, slack)
    except BaseException:
        # what was refused at once leaves no folder that stands in the next one's way
        with suppress(OSError):
            output.rmdir()
        raise
    (output / "ramp.json").write_bytes(msgspec.json.encode(knee))
    if json:
        print(json_module.dumps(msgspec.to_builtins(knee), allow_nan=False))
    else:
        _print(knee, list(ways), thinks)
        show(out, printable(f"Results: {output}"))
    return 1 if any(level.errors for level in knee.levels) else 0


def level_of(users: int, runs: Sequence[Run], result: str) -> Level:
    """What the runs of a number of users say."""
    limit = next((run.limit for run in runs if run.limit), "")
    errors = sum(run.errors + len(differences_of(run)) for run in runs)
    verdicts = [run.guard.verdict for run in runs if run.guard and has_read(run)]
    return Level(
        users, [max((user.wall_s for user in run.users), default=run.wall_s) for run in runs],
        [_speed(run) for run in runs], errors, limit, result, min(verdicts, key=WORST_FIRST.index, default=""),
    )  # fmt: skip


def _speed(run: Run) -> float:
    """Operations per second; the time in which users did not yet work is none of theirs."""
    if not any(user.delay_s for user in run.users):
        return run.ops_per_s
    return sum(user.ops / (user.wall_s or 1e-9) for user in run.users)


def _print(knee: Knee, ways: Sequence[str], thinks: bool) -> None:
    """Show what was found; `ways`: out of the client's cache; `thinks`: timing was think already."""
    out = console()
    lowest = knee.levels[0]
    first = float(np.median(lowest.makespan_s + (knee.again.makespan_s if knee.again else [])))
    rows = []
    for level in [*knee.levels, *filter(None, [knee.again])]:
        made = np.array(level.makespan_s)
        ratio = float(np.median(made)) / first
        speed = float(np.median(level.ops_per_s))
        rows.append([
            f"{level.users} again" if level is knee.again else str(level.users),
            duration_text(float(np.median(made)) * 1e9),
            f"{duration_text(made.min() * 1e9)} … {duration_text(made.max() * 1e9)}", significant(ratio, 3),
            count_text(int(speed)), "generator" if level.limit else "", level.verdict,
        ])  # fmt: skip
    columns = [Column("users"), Column("makespan"), Column("least … most"), Column("× fewest"), Column("operations/s"),
               Column("limit", "left"), Column("cache guard", "left")]  # fmt: skip
    show(out, table(columns, rows, out.width))
    bound = significant(1 + knee.slack, 3)
    most = knee.levels[-1].users
    if knee.users is None:
        text = f"No knee: {most} users still take no more than {bound} times as long as {knee.levels[0].users}."
    else:
        high = f"{knee.high:.3g}" if knee.high is not None else f"more than {most}"
        low = f"{knee.low:.3g}" if knee.low is not None else f"more than {most}"
        within = f" (95 %: {low} to {high})" if knee.interval else ""
        text = f"Knee: {knee.users:.3g} users{within}; beyond, all take more than {bound} times as long."
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
    who = f"{knee.plateau_users} user{'s reach' if knee.plateau_users > 1 else ' reaches'}"
    top = count_text(int(knee.plateau_ops_per_s))
    paragraph(out, f"{who} 95 % of the highest throughput, {top} operations/s.")
    if not knee.interval:
        paragraph(out, f"No interval: {RUNS_MIN} runs of each number (--repeat {RUNS_MIN}) are the least.", "yellow")
    if knee.again:
        before, after = float(np.median(lowest.makespan_s)), float(np.median(knee.again.makespan_s))
        if max(before, after) > (1 + knee.slack) * min(before, after):
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
