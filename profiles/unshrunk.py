"""What --scale does not shrink: counts grow smaller, but volumes, passes and a person's looks stay what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from iotrace.units import significant

if TYPE_CHECKING:
    from iotrace.profiles.totals import Totals

_MEASURES: Final[dict[str, Any]] = {
    "calls": lambda one: one.events, "bytes read": lambda one: one.bytes_read,
    "bytes written": lambda one: one.bytes_written, "think time": lambda one: one.think_s,
}  # fmt: skip
TIMES: Final = 2.0
"""What is so many times what the scale would make of it has not shrunk with it."""

Jobs = Sequence[tuple[str, int, "Totals"]]
"""Steps: name, how many jobs, what each does."""


def unshrunk(whole: Jobs, scaled: Jobs, scale: float) -> dict[str, dict[str, float]]:
    """How many times more than `scale` times the whole each step still does, where that is more than TIMES.

    Parameters
    ----------
    whole: at scale 1; scaled: at `scale`, below 1.
    """
    before, after = _by_step(whole), _by_step(scaled)
    found: dict[str, dict[str, float]] = {}
    for step, measures in after.items():
        for measure, value in measures.items():
            most = before.get(step, {}).get(measure, 0.0) * scale
            if most and value > TIMES * most:
                found.setdefault(step, {})[measure] = value / most
    return found


def unshrunk_text(found: Mapping[str, Mapping[str, float]], scale: float) -> str:
    """A sentence for people; none where all has shrunk."""
    if not found:
        return ""
    steps = [
        f"{step} ({', '.join(f'{measure} × {significant(times, 2)}' for measure, times in measures.items())})"
        for step, measures in found.items()
    ]  # fmt: skip
    return (
        f"--scale {scale:g} shrinks counts, never sizes. More than that part is left (× so many times more) of: "
        f"{', '.join(steps)}."
    )


def _by_step(jobs: Jobs) -> Mapping[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for step, count, totals in jobs:
        sums = found.setdefault(step, dict.fromkeys(_MEASURES, 0.0))
        for measure, value in _MEASURES.items():
            sums[measure] += value(totals) * count
    return found
