"""Counters before, during and after each run, and what the cache guard makes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from iotrace.mounts.counters.blockdev import file_below
from iotrace.mounts.counters.guard import CANNOT_TELL, CLIENT_CACHE, STORAGE, Evidence, Figure, judge
from iotrace.mounts.counters.sampling import Sampler, Watch
from iotrace.mounts.counters.source import READ, UNAVAILABLE, UNPROTECTED, WRITTEN
from iotrace.mounts.family import family_of
from iotrace.mounts.mountinfo import Mount
from iotrace.mounts.stripes import on_metadata_target
from iotrace.replay.crew import Start
from iotrace.replay.figures import Counted, Guard
from iotrace.replay.needed import PAGE, Needed, needed
from iotrace.replay.provenance import CACHE_WARNING
from iotrace.replay.result import COUNTERS, ResultInfo, Run
from iotrace.replay.work import Work
from iotrace.units import binary_text, bytes_text

_BEGIN, _DONE, _SYNCED = 0, 1, 2
"""Looks: when the run began, when its last thread had ended, when the mount was written out."""
_AGAIN: Final = 0.1
WORST_FIRST: Final = (CLIENT_CACHE, CANNOT_TELL, STORAGE)
_DATA_ON_MDT: Final = (
    "the files begin on a metadata target, and what comes with the answer to an open is counted nowhere"
)


class Counting:
    """Counts beside the runs of these users; `rank`: of a fleet."""

    def __init__(self, sampler: Sampler, users: Sequence[Work], rank: int = 0) -> None:
        self._sampler, self._rank = sampler, rank
        self._needed: list[Needed] = []
        seen: dict[int, Needed] = {}
        for work in users:
            if id(work) not in seen:
                seen[id(work)] = needed(work.plan, work.sights)
                self._needed.append(seen[id(work)])
            else:
                # what users share is there once, and comes once
                self._needed.append(seen[id(work)].without(work.shared))
        self._mount: Mount | None = None
        self.tables: list[pa.Table] = []

    def before(self, start: Start, mount: Mount | None) -> Start:
        """Look before a start that all threads wait for: what it took to get there is not the run's."""

        def begin(wake: Callable[[], None]) -> int:
            self.begin(mount)
            return start(wake)

        return begin

    def begin(self, mount: Mount | None) -> None:
        """A run on a mount begins; None: one that could not be found out, of which nothing is counted."""
        self._mount = mount
        if mount:
            self._sampler.begin([mount], os.getpid())

    def mark(self) -> None:
        """Its last thread has ended, or its mount was written out."""
        self._sampler.mark()

    def end(self, run: Run, cached: Sequence[Sequence[int]], layouts: Sequence[str] = ()) -> None:
        """Fill a run's counters and verdict.

        Parameters
        ----------
        cached: of each user, pages of each file that were in the page cache before the run; -1 where not known.
        layouts: of the first user's files, on Lustre.
        """
        watch = self._sampler.end()
        run.counters = [
            Counted(name, scope, watch.between(at, _BEGIN, _DONE), watch.between(at, _DONE, _SYNCED))
            for at, (name, scope, _) in enumerate(watch.sources)
        ]
        copied = sum(one.copied for one in self._needed)
        run.guard = _guard(watch, run.counters, self._mount, *_sums(self._needed, cached), copied, layouts)
        self.tables.append(_table(run, watch, self._rank))

    def table(self) -> pa.Table:
        """What was counted each second of all runs."""
        return pa.concat_tables(self.tables) if self.tables else COUNTERS.empty_table()


def _sums(needed: Sequence[Needed], cached: Sequence[Sequence[int]]) -> tuple[int, int, int | None]:
    """Of all users: bytes needed, bytes of the pages that they lie in, and how many of these were cached and are not
    read past the page cache; None where that is not known."""
    wanted, pages = sum(int(one.bytes.sum()) for one in needed), sum(int(one.pages.sum()) for one in needed)
    there = 0
    for one, known in zip(needed, cached, strict=True):
        asked = np.asarray(known, np.int64)
        if (asked[one.by_cache > 0] < 0).any():
            return wanted, pages * PAGE, None
        # a file of which more is cached than needed may have the wrong pages there; then the verdict is too strict
        there += int(np.minimum(np.maximum(asked, 0), one.by_cache).sum())
    return wanted, pages * PAGE, there * PAGE


def _guard(
    watch: Watch, counters: Sequence[Counted], mount: Mount | None, wanted: int, pages: int, cached: int | None,
    copied: int, layouts: Sequence[str],
) -> Guard:  # fmt: skip
    family = family_of(mount) if mount else None
    figures, written, synced, places = [], 0, 0, []
    for counted, (_, _, decides) in zip(counters, watch.sources, strict=True):
        if decides and READ in counted.during:
            figures.append(Figure(counted.source, counted.scope, counted.during[READ]))
        if decides and WRITTEN in counted.during:
            written += counted.during[WRITTEN]
            synced += counted.syncing.get(WRITTEN, 0)
            places.append(counted.source)
    found = judge(
        Evidence(
            wanted, cached, figures, bool(family and mount and family.page_cache_only and not _kept_elsewhere(mount)),
            file_below(mount) if mount else "", pages, bool(family and family.compresses),
            copied, _uncounted(mount) if mount else "",
            _DATA_ON_MDT if on_metadata_target(layouts) else "",
        )
    )  # fmt: skip
    why = found.why
    if found.verdict == CANNOT_TELL and watch.wrong:
        why += " Not read: " + "; ".join(f"{name}: {reason}" for name, reason in watch.wrong.items()) + "."
    scope = next((one.scope for one in figures if one.source in found.source.split(", ")), "")
    guard = Guard(found.verdict, why, wanted, cached, found.wire_bytes, found.source, scope=scope)
    if not places:
        return guard
    return replace(
        guard, wire_written_bytes=written, wire_synced_bytes=synced, written_source=", ".join(dict.fromkeys(places))
    )


def _kept_elsewhere(mount: Mount) -> bool:
    """Whether an option has the client keep data on a disk of its own (fscache)."""
    return any(option == "fsc" or option.startswith("fsc=") for option in mount.options.split(","))


def _uncounted(mount: Mount) -> str:
    """The option by which files, or those that are marked for it, are read straight from persistent memory."""
    options = mount.options.split(",")
    return next((one for one in ("dax", "dax=always", "dax=inode") if one in options), "")


def _table(run: Run, watch: Watch, rank: int) -> pa.Table:
    """A row for each counter of each look; counters since the beginning, figures of the moment as they are."""
    begin = watch.marks[0][0] if watch.marks else 0
    rows = [
        (run.run, run.fs, rank, source, name, (at - begin) / 1e9, value)
        for at, source, name, value in watch.each_look()
    ]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COUNTERS)
    return pa.table([pa.array(c, type=f.type) for c, f in zip(columns, COUNTERS, strict=True)], schema=COUNTERS)


def has_read(run: Run) -> bool:
    """Whether a run has read anything, by calls or by mapped pages: otherwise there is nothing to judge."""
    return bool(run.bytes_read) or "mmap.fault" in run.by_op


def way_out(run: Run, info: ResultInfo) -> str:
    """What makes a run that the client's cache served a storage's: a sentence."""
    if run.mount.kind == "memory":
        return "For one, another mount: this one is memory."
    if info.options.get("cache") != "cold":
        return "For one, --cold."
    remount = "" if info.options.get("remount") else "--remount, "
    return f"--cold did not do: for one, {remount}files larger than this client's memory, or another mount."


def _rebuilds(info: ResultInfo) -> list[str]:
    """A sentence for each folder whose cluster was rebuilding, or could not give all data, during a run."""
    found = []
    for folder in dict.fromkeys(run.fs for run in info.runs):
        runs = [run for run in info.runs if run.fs == folder]
        states = [
            [max((one.during.get(name, 0) for one in run.counters), default=0) for name in (UNPROTECTED, UNAVAILABLE)]
            for run in runs
        ]
        weak = sum(any(state) for state in states)
        if weak:
            unprotected, unavailable = (max(column) for column in zip(*states, strict=True))
            gone = f", {binary_text(unavailable << 20)} could not be read at all" if unavailable else ""
            found.append(
                f"On {folder} the cluster rebuilt what a failure took in {weak} of {len(runs)} runs "
                f"({binary_text(unprotected << 20)} lacked protection{gone}): they compare with none of a whole one."
            )
    return found


def _by_calls(run: Run) -> int:
    """Bytes that came to this client for calls: without those of copies that need not move any."""
    return run.bytes_read - run.copied_bytes


def _is_counted(run: Run) -> bool:
    return run.guard is not None and run.guard.wire_bytes is not None


def _again(run: Run) -> int:
    """Of what calls read, bytes that need not have come from the storage, and by no counter did: what does not fit into
    memory, or into that of --memory, comes again."""
    return _by_calls(run) - max(run.guard.needed_bytes, run.guard.wire_bytes or 0) if run.guard else 0


def conclude(info: ResultInfo) -> None:
    """Say in the warnings what the guard found; what it answers need not be warned of any more."""
    reading = [run for run in info.runs if has_read(run)]
    guards = [run.guard for run in reading if run.guard]
    if len(guards) == len(reading) and all(one.verdict != CANNOT_TELL for one in guards):
        stale = CACHE_WARNING.format(info.options.get("cache"))
        info.warnings[:] = [one for one in info.warnings if one != stale]
    info.warnings += _rebuilds(info)
    by_folder: dict[str, list[Run]] = {}
    for run in reading:
        by_folder.setdefault(run.fs, []).append(run)
    for folder, runs in by_folder.items():
        served = [run for run in runs if run.guard and run.guard.verdict == CLIENT_CACHE]
        if served:
            which = ", ".join(str(run.run + 1) for run in served[:5]) + (" …" if len(served) > 5 else "")
            of = f" in {len(served)} of {len(runs)} runs ({which})" if len(runs) > 1 else ""
            info.warnings.insert(
                0,
                f"On {folder}{of} reads were served by this client's cache: no storage result. "
                f"{served[0].guard.why if served[0].guard else ''} {way_out(served[0], info)}",
            )
        again, counted = max(((_again(run), _is_counted(run)) for run in runs), default=(0, False))
        most = max(_by_calls(run) for run in runs)
        if again > _AGAIN * most and len(served) < len(runs):
            came = "came from this client's memory" if counted else "need not have come from the storage"
            info.warnings.append(
                f"On {folder} {bytes_text(again)} of {bytes_text(most)} that a run read it had read before or written "
                f"itself: those {came}, whatever the cache was before the run."
            )
