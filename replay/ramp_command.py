"""What `iotrace replay --ramp` does: a result for each number of users, a table, and the knee."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from iotrace.errors import UsageError
from iotrace.replay.ramp import Knee, Level, climb, parse_ramp
from iotrace.replay.result import RESULT_NAME, Result
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

    def measure(users: int) -> Level:
        result = replay(users)
        runs = result.info.runs
        folder = result.save(output / f"users-{users}.ioresult", force=force)
        limit = next((run.limit for run in runs if run.limit), "")
        errors = sum(run.errors + len(differences_of(run)) for run in runs)
        return Level(
            users, [run.wall_s for run in runs], [run.ops_per_s for run in runs], errors, limit, str(folder)
        )  # fmt: skip

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
        _print(knee)
        show(out, printable(f"Results: {output}"))
    return 1 if any(level.errors for level in knee.levels) else 0


def _print(knee: Knee) -> None:
    out = console()
    first = float(np.median(knee.levels[0].makespan_s))
    rows = []
    for level in knee.levels:
        made = np.array(level.makespan_s)
        ratio = float(np.median(made)) / first
        speed = float(np.median(level.ops_per_s))
        rows.append([
            str(level.users), duration_text(float(np.median(made)) * 1e9),
            f"{duration_text(made.min() * 1e9)} … {duration_text(made.max() * 1e9)}", significant(ratio, 3),
            count_text(int(speed)), "generator" if level.limit else "",
        ])  # fmt: skip
    columns = [Column("users"), Column("makespan"), Column("least … most"), Column("× fewest"), Column("operations/s"),
               Column("limit", "left")]  # fmt: skip
    show(out, table(columns, rows, out.width))
    bound = significant(1 + knee.slack, 3)
    most = knee.levels[-1].users
    if knee.users is None:
        text = f"No knee: {most} users still take no more than {bound} times as long as {knee.levels[0].users}."
    else:
        high = f"{knee.high:.3g}" if knee.high is not None else f"more than {most}"
        low = f"{knee.low:.3g}" if knee.low is not None else f"more than {most}"
        text = (
            f"Knee: {knee.users:.3g} users (95 %: {low} to {high}); beyond, all take more than {bound} times as long."
        )
    paragraph(out, text, "bold")
    who = f"{knee.plateau_users} user{'s reach' if knee.plateau_users > 1 else ' reaches'}"
    top = count_text(int(knee.plateau_ops_per_s))
    paragraph(out, f"{who} 95 % of the highest throughput, {top} operations/s.")
    if any(len(level.makespan_s) < 5 for level in knee.levels):
        paragraph(out, "Fewer than five runs of each number (--repeat): the interval is too narrow.", "yellow")
    if knee.stopped:
        paragraph(out, f"More users could not be tried: {printable(knee.stopped)}", "yellow")
    lowest = knee.levels[0]
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
            "Where the limit is the generator, this client was too slow, not the storage: take --timing think, or more "
            "nodes.",
            "yellow",
        )
