"""Sentences under the table of a comparison: what its rows need, leave out and rest on."""

from __future__ import annotations

from iotrace.analysis.comparison import family, power
from iotrace.analysis.comparison.table import Row, RunsNeeded
from iotrace.statistics import LEVEL, samples_needed, samples_needed_unpaired


def footnotes(rows: list[Row], needs: list[RunsNeeded], primary: str, left_out: int) -> list[str]:
    """The notes of one table; `left_out`: runs that were left out to have pairs."""
    notes = []
    if left_out:
        notes.append(f"{left_out} run(s) of a round that was not finished on every mount are left out.")
    needed = {
        row.comparison.needed for row in rows if min(row.comparison.n_a, row.comparison.n_b) < row.comparison.needed
    }
    if needed:
        notes.append(
            f"A verdict needs at least {max(needed)} runs a side at the {LEVEL:.0%} level; with fewer it is ~."
        )
    notes += list(dict.fromkeys(_need_sentence(need, len(needs) > 1) for need in needs))
    few = sorted({row.title.rsplit(" ", 1)[0] for row in rows if row.calls is not None and row.calls < 100})
    if few:
        shown = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        notes.append(f"Fewer than 100 calls a run, so p99 is the slowest call: {shown}.")
    if any(row.comparison.ratio is None for row in rows):
        notes.append("Where a value is 0 there is no ratio.")
    if any(row.p_adjusted is not None for row in rows):
        title = next((row.title for row in rows if row.metric == primary), primary)
        notes.append(
            f"p is that of a row by itself. Verdicts are of the whole output, {title} first: of comparisons of a "
            f"storage with itself at most {1 - LEVEL:.0%} show any difference anywhere."
        )
        notes += _stricter(rows, primary, title)
    return notes


def _stricter(rows: list[Row], primary: str, title: str) -> list[str]:
    """How many runs other rows need where the primary measure shows nothing, when there are fewer."""
    tested = [row for row in rows if row.p_adjusted is not None]
    candidates = len({row.candidate for row in rows})
    level = family.secondary_level(candidates)
    paired = tested[0].comparison.paired
    needed = samples_needed(level) if paired else samples_needed_unpaired(level)
    silent = any(row.metric == primary and row.comparison.verdict == "~" for row in tested)
    if not silent or all(min(row.comparison.n_a, row.comparison.n_b) >= needed for row in tested):
        return []
    return [f"Where {title} shows no difference, other rows can show one from {needed} runs a side on."]


def _need_sentence(need: RunsNeeded, several: bool) -> str:
    what = "makespan" if need.metric == "makespan_s" else "operations per second"
    of = f" of {need.candidate}" if several else ""
    difference = f"a difference of {need.smallest * 100:g}% in {what}{of}"
    if need.runs is None and need.have < 3:
        return f"At least 3 runs a side are needed to say how many would find {difference}."
    if need.runs is None:
        return f"To find {difference} more than {power.MOST_RUNS} runs a side are needed: these runs vary too much."
    chance = f"in {power.POWER:.0%} of comparisons"
    if need.have >= need.runs:
        return f"{need.have} runs a side are enough to find {difference} {chance}: {need.runs} would be."
    return f"To find {difference} {chance}, {need.runs} runs a side are needed (--repeat {need.runs})."
