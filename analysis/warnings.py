"""All warnings that comparisons, costs and reports give, as full sentences; their advice fits the options given.

Takes sides of a comparison (see iotrace.analysis.comparison.sides), gives sentences. A warning stands here when a
reader who does not know it would draw a wrong conclusion from figures that are right.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from iotrace.analysis.comparison.family import primary_level
from iotrace.analysis.comparison.quality import drift, outliers
from iotrace.analysis.comparison.sides import same_work
from iotrace.mounts.counters.guard import CLIENT_CACHE, STORAGE
from iotrace.statistics import LEVEL, samples_needed, samples_needed_unpaired
from iotrace.units import binary_text, bytes_text

if TYPE_CHECKING:
    from iotrace.analysis.comparison.sides import Side

_MUST_AGREE: Final = (
    "timing",
    "speed",
    "order",
    "engine",
    "direct",
    "cache",
    "users",
    "share_inputs",
    "jitter",
    "seed",
    "think_scale",
    "verify",
    "compress",
    "duplicate",
    "null",
    "memory",
)
"""Options of a replay that change what is measured."""


def warnings_of(sides: Sequence[Side], paired: bool) -> list[str]:
    """Every warning that these sides deserve, the gravest first."""
    found = [
        *_different_plans(sides),
        *_errors(sides),
        *_different_options(sides),
        *_mixed_sets(sides),
        *_cache(sides),
        *_think_time(sides),
        *_one_storage(sides),
        *(_few_runs(sides, paired) if len(sides) > 1 else ()),
        *_drift(sides, paired),
        *_outliers(sides),
        *_not_in_turns(sides, paired),
        *_different_hosts(sides),
        *_different_conditions(sides),
    ]
    said = [sentence for side in sides for info in side.infos or [side.info] for sentence in info.warnings]
    return list(dict.fromkeys([*found, *said]))


def cost_warnings_of(groups: Sequence[tuple[str, int, Sequence[Side], bool]]) -> list[str]:
    """Every warning that costs deserve which are worked out from sides; those that ran on one instance form a group.

    Parameters
    ----------
    groups: name of the instance, its vCPUs (0: not known), its sides (the baseline first), whether they ran in turns.
    """
    found = []
    for name, vcpus, sides, paired in groups:
        found += [
            *_different_plans(sides),
            *_errors(sides),
            *_different_options(sides),
            *_no_queue(sides),
            *_cache(sides),
            *_other_machine(name, vcpus, sides),
            *_one_storage(sides),
            *(_few_runs(sides, paired) if len(sides) > 1 else ()),
            *_not_in_turns(sides, paired),
            *_different_hosts(sides),
        ]
    said = [sentence for _, _, sides, _ in groups for side in sides for sentence in side.info.warnings]
    return list(dict.fromkeys([*found, *said]))


def _no_queue(sides: Sequence[Side]) -> list[str]:
    """A makespan that is not the time of the job."""
    found = []
    bare = [side.label for side in sides if side.info.options.get("timing") == "asap"]
    if bare:
        found.append(
            f"Replayed with --timing asap ({', '.join(bare)}): the program's own time is left out, so a real queue "
            "takes longer and costs more, and what is saved is a smaller share. --timing think keeps it."
        )
    for side in sides:
        options = side.info.options
        if options.get("null"):
            found.append(f"{side.label} was replayed with --null, without I/O: its cost says nothing of a storage.")
        factors = [
            f"--{name.replace('_', '-')} {options[name]:g}"
            for name in ("speed", "think_scale")
            if isinstance(options.get(name), int | float) and options[name] != 1
        ]
        if factors:
            found.append(f"{side.label} was replayed with {' and '.join(factors)}: its time is not that of the job.")
        users = options.get("users")
        if isinstance(users, int) and users > 1:
            found.append(f"{side.label} replayed {users} users at a time: a queue here is all of them on one client.")
    return found


def _other_machine(name: str, vcpus: int, sides: Sequence[Side]) -> list[str]:
    found = {
        f"--instance says {name} ({vcpus} vCPUs), but {side.info.host or 'the host'} had {side.info.cpus} CPUs: the "
        "cost is that of the instance for the time that this machine took."
        for side in sides
        if vcpus and side.info.cpus and side.info.cpus != vcpus
    }
    return sorted(found)


def _different_plans(sides: Sequence[Side]) -> list[str]:
    baseline, *others = sides
    if all(same_work(baseline, side) for side in others):
        return []
    if len({side.tool for side in sides}) > 1:
        return [
            "The sides are of different programs (iotrace and fio): their figures are not of the same work, so no "
            "verdict is given."
        ]
    if not all(side.plan for side in sides):
        unknown = ", ".join(side.label for side in sides if not side.plan)
        return [f"It is not known, or not one and the same, which work was done on {unknown}: no verdict is given."]
    if baseline.tool == "fio":
        return [
            "The sides ran fio jobs with different options: their figures are not of the same work, so no verdict "
            "is given."
        ]
    sources = ", ".join(f"{side.label}: {side.info.source or 'unknown'}" for side in sides)
    return [
        f"The sides replayed different plans ({sources}): their figures are not of the same work, "
        "so no verdict is given."
    ]


def _errors(sides: Sequence[Side]) -> list[str]:
    found = []
    for side in sides:
        errors, ops = sum(run.errors for run in side.runs), sum(run.ops for run in side.runs)
        if errors and side.tool == "fio":
            failed = [error for run in side.runs for error in run.errors_by]
            found.append(
                f"On {side.label} {len(failed)} jobs of fio ended with an error, the first with errno "
                f"{failed[0].replayed} ({os.strerror(failed[0].replayed)}): its figures are of less work."
            )
        elif errors:
            worst = sorted(
                (error for run in side.runs for error in run.errors_by), key=lambda error: error.calls, reverse=True
            )
            example = f", most of them {worst[0].op}" if worst else ""
            found.append(
                f"On {side.label} {errors:,} of {ops:,} operations did not end as recorded{example}: "
                "a storage that fails is not fast."
            )
    return found


def _different_options(sides: Sequence[Side]) -> list[str]:
    found = []
    for name in _MUST_AGREE:
        values = [side.info.options.get(name) for side in sides]
        if any(value != values[0] for value in values):
            listed = ", ".join(f"{side.label}: {value}" for side, value in zip(sides, values, strict=True))
            found.append(f"The sides were replayed with different --{name.replace('_', '-')} ({listed}).")
    return found


def _cache(sides: Sequence[Side]) -> list[str]:
    if sides[0].tool == "fio" and all(side.tool == "fio" for side in sides):
        buffered = [side for side in sides if not side.info.options.get("direct")]
        reads = any(run.bytes_read for side in buffered for run in side.runs)
        return (
            ["The client's page cache may have served the reads: fio's direct=1 passes it by."] if reads else []
        )  # fmt: skip
    reading = [side for side in sides if any(run.bytes_read or "mmap.fault" in run.by_op for run in side.runs)]
    verdicts = {side.label: {run.guard.verdict if run.guard else "" for run in side.runs} for side in reading}
    served = [label for label, found in verdicts.items() if CLIENT_CACHE in found]
    if served and len(served) < len(verdicts):
        others = ", ".join(label for label in verdicts if label not in served)
        return [
            f"The reads of {', '.join(served)} were served by the client's cache, those of {others} were not: their "
            "read figures are not of the same thing. Replay all with --cold."
        ]
    if served or (verdicts and all(found == {STORAGE} for found in verdicts.values())):
        # what the cache guard found stands in the results' own warnings
        return []
    # a result that says it itself is quoted
    if not reading or any(
        "client's page cache (--cache" in sentence for side in sides for sentence in side.info.warnings
    ):
        return []
    if all(side.info.options.get("direct") for side in reading):
        return []
    staged = max(run.staged_bytes for side in reading for run in side.runs)
    memory = max(side.info.memory_bytes for side in reading)
    sizes = f" ({bytes_text(staged)} of files, {binary_text(memory)} of memory)" if staged and memory else ""
    if all(side.info.options.get("cache") == "cold" for side in reading):
        return [f"The client's page cache was emptied before each run, but may have served what was read twice{sizes}."]
    return [
        f"The client's page cache may have served the reads{sizes}: then read figures are those of this "
        "machine's memory, not of the storage."
    ]


def _think_time(sides: Sequence[Side]) -> list[str]:
    if not any(side.info.options.get("timing") in ("think", "original") for side in sides):
        return []
    return [
        "Makespan and rates include the recorded think time, which no storage shortens: compare latencies and "
        "what the storage adds, or replay with --timing asap."
    ]


def _one_storage(sides: Sequence[Side]) -> list[str]:
    mounts = [
        {(side.info.host, run.mount.point, run.mount.source) for run in side.runs if run.mount.point} for side in sides
    ]
    if len(mounts) > 1 and mounts[0] and all(mount == mounts[0] for mount in mounts[1:]):
        return [f"All sides lie on one mount ({sides[0].runs[0].mount.point}): this compares a storage with itself."]
    return []


def _few_runs(sides: Sequence[Side], paired: bool) -> list[str]:
    fewest = min(len(side.runs) for side in sides)
    needed = samples_needed(LEVEL)
    if fewest >= needed:
        return []
    level = primary_level(max(1, len(sides) - 1))
    able = samples_needed(level) if paired else samples_needed_unpaired(level)
    shown = "no difference can be shown" if fewest < able else "medians have no interval"
    return [
        f"With {fewest} run{'' if fewest == 1 else 's'} a side {shown}: a {LEVEL:.0%} interval needs at least {needed} "
        f"{'files, a run each' if sides[0].tool == 'fio' else f'(--repeat {needed})'}."
    ]


def _mixed_sets(sides: Sequence[Side]) -> list[str]:
    found = []
    for side in sides:
        infos = side.infos or [side.info]
        names = [name for name in _MUST_AGREE if any(i.options.get(name) != infos[0].options.get(name) for i in infos)]
        if names:
            listed = ", ".join(f"--{name.replace('_', '-')}" for name in names)
            found.append(f"The results of {side.label} were replayed with different {listed}.")
        if len({info.host for info in infos}) > 1:
            found.append(f"The results of {side.label} are of several hosts: the client is part of what is compared.")
    return found


def _drift(sides: Sequence[Side], paired: bool) -> list[str]:
    found = []
    for side in sides:
        # files of fio are given in any order
        change = drift([run.wall_s for run in side.runs]) if side.tool == "iotrace" else None
        if change is not None:
            remedy = "pairs cancel what both sides share" if paired else "so runs are not alike: repeat it in turns"
            found.append(
                f"On {side.label} the makespan {'rose' if change > 0 else 'fell'} by about {abs(change):.0%} from the "
                f"first run to the last; {remedy}."
            )
    for side in sides[1:] if paired else []:
        change = drift([b.wall_s / a.wall_s for a, b in zip(sides[0].runs, side.runs, strict=True)])
        if change is not None:
            found.append(
                f"The ratio of {side.label} to {sides[0].label} itself drifts, by about {abs(change):.0%} from the "
                "first round to the last: the storages do not change alike, and the median hides that."
            )
    return found


def _outliers(sides: Sequence[Side]) -> list[str]:
    found = []
    for side in sides:
        far = outliers([run.wall_s if side.tool == "iotrace" else run.ops_per_s for run in side.runs])
        if far:
            listed = ", ".join(str(side.runs[place].run + 1) for place in far[:5])
            more = f" and {len(far) - 5} more" if len(far) > 5 else ""
            found.append(
                f"On {side.label} run {listed}{more} of {len(side.runs)} lies far from the others: medians bear that, "
                "but look for what disturbed it (other users, a cold cache) and repeat."
            )
    return found


def _not_in_turns(sides: Sequence[Side], paired: bool) -> list[str]:
    if paired or len(sides) < 2:
        return []
    if any(side.tool == "fio" for side in sides):
        return [
            "The sides are not known to have been run in turns: what changed on the machine or the network between "
            "them looks like a difference."
        ]
    return [
        "The sides were not run in turns, so what changed on the machine or the network between them looks like "
        "a difference: give all mounts to one replay (--fs A --fs B --repeat 6)."
    ]


def _different_hosts(sides: Sequence[Side]) -> list[str]:
    hosts = list(dict.fromkeys(side.info.host for side in sides if side.info.host))
    if len(hosts) < 2:
        return []
    return [f"The sides ran on different hosts ({', '.join(hosts)}): the client is part of what is compared."]


_FILL_APART: Final = 0.2
"""Fill levels further apart than this share of a file system are told."""


def _different_conditions(sides: Sequence[Side]) -> list[str]:
    """What was not alike beside the storage: the client's memory, fill levels, who staged what the runs read."""
    found = []
    memory = {side.label: side.info.memory_bytes for side in sides if side.info.memory_bytes}
    if memory and max(memory.values()) > 1.05 * min(memory.values()):
        listed = ", ".join(f"{label}: {binary_text(size)}" for label, size in memory.items())
        found.append(f"The clients had different memory ({listed}): the larger one keeps more of what is read.")
    full: dict[str, float] = {}
    for side in sides:
        # memory does not get slower as it fills
        on_disk = [run.conditions for run in side.runs if run.conditions and run.mount.type not in ("tmpfs", "ramfs")]
        levels = [one.full for one in on_disk if one.full is not None]
        if levels:
            full[side.label] = max(levels)
    if full and max(full.values()) - min(full.values()) > _FILL_APART:
        listed = ", ".join(f"{label}: {level:.0%}" for label, level in full.items())
        found.append(f"The file systems were not equally full before staging ({listed}): a full one may be slower.")
    striped = {side.label: _layouts(side) for side in sides if _layouts(side)}
    if len(set(striped.values())) > 1:
        listed = "; ".join(f"{label}: {', '.join(layouts)}" for label, layouts in striped.items())
        found.append(f"The files were not striped alike ({listed}): stripes decide the bandwidth of a file.")
    own = {
        side.label: any(run.conditions.staged_by_reader for run in side.runs if run.conditions)
        for side in sides
        if any(run.conditions for run in side.runs)
    }
    if len(set(own.values())) > 1:
        listed = ", ".join(label for label, same in own.items() if same)
        found.append(
            f"On {listed} the machine that read the files had staged them, on the others another one had: a client may "
            "keep what it wrote."
        )
    return found


def _layouts(side: Side) -> tuple[str, ...]:
    return tuple(sorted({layout for run in side.runs if run.conditions for layout in run.conditions.layouts}))
