"""Workloads: many users' jobs over lanes, as one trace, and what they ask for.

A lane is a thread of a scheduler's process: it forks a job's process when the jobs before it have ended, and waits for
its end. So a replay of the trace starts each job when the storage under test let the ones before it end.
"""

from __future__ import annotations

import heapq
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from iotrace.errors import UsageError
from iotrace.profiles.caching import CACHED
from iotrace.profiles.layout import Class, Layout, layout_of
from iotrace.profiles.made import MadeTrace
from iotrace.profiles.model import Profile, Workload
from iotrace.profiles.needs import needs_of
from iotrace.profiles.numbers import checked_seed
from iotrace.profiles.placement import Disk
from iotrace.profiles.steps import JOBS_MAX, LIVE, MICROSCOPE, Step, crowd_of, steps_of
from iotrace.profiles.synthesise import ROUND_ROWS, Counters, Synthesis, info_of
from iotrace.trace.info import TraceInfo
from iotrace.trace.matrix import batch_of_columns
from iotrace.trace.operations import NUMBER_OF
from iotrace.trace.schema import NULL

_CALL_NS: Final = 1_000


@dataclass(slots=True)
class _Job:
    user: int
    step: Step
    number: int
    layout: Layout
    needs: int
    ready_ns: int
    followers: list[_Job] = field(default_factory=list)
    before: list[_Job] = field(default_factory=list)
    lane: int = -1
    caches: list[Class] = field(default_factory=list)  # of each lane with a cache: the stacks there
    made: Synthesis | None = None

    @property
    def made_(self) -> Synthesis:
        assert self.made is not None
        return self.made


class Composition:
    """The trace of a workload.

    Raises
    ------
    UsageError: a recipe is wrong, a number is not known, or there are too many jobs.
    """

    def __init__(self, workload: Workload, given: Mapping[str, float] | None = None, scale: float = 1.0, seed: int = 1):
        steps, (live, scope), numbers = steps_of(workload, given or {}, scale)
        self.workload, self._seed = workload, checked_seed(seed)
        crowd = crowd_of(workload, numbers)
        self.users, self.lanes, self.sessions = crowd.users, crowd.lanes, crowd.live
        if self.users * len(steps) + self.sessions > JOBS_MAX:
            raise UsageError(f"{workload.name}: more than {JOBS_MAX} jobs; choose fewer users.")
        arrival_ns = int(crowd.arrival_s * 1e9)
        self.scopes, self._cached_lanes = crowd.microscopes, crowd.cached_lanes
        self._disks = [Disk(crowd.kept) for _ in range(crowd.cached_lanes)]
        self._counters = Counters(threads=self.lanes + self.sessions + self.scopes)
        self._jobs: list[_Job] = []
        self._classes: dict[str, Class] = {}
        self._paths = 0
        for user in range(self.users):
            mine: dict[str, _Job] = {}
            for step in steps:
                job = _Job(
                    user, step, 0, layout_of(step.profile, step.numbers, f"/user{user + 1:02d}"), 0, user * arrival_ns
                )
                if step.cached:
                    cached = job.layout.classes[list(step.profile.files).index(CACHED)]
                    job.caches = [
                        replace(cached, text=cached.text.replace("/scratch/", f"/scratch/lane{lane + 1}/", 1))
                        for lane in range(self._cached_lanes)
                    ]
                mine[step.name] = job
                self._jobs.append(job)
            for step in steps:
                job = mine[step.name]
                job.before = [mine[name] for name in step.after]
                job.needs = len(job.before)
                for one in job.before:
                    one.followers.append(job)
        # beside the lanes: the sessions, then the microscopes of the first of them
        self._beside = [
            _Job(self.users + k, step, 0, layout_of(step.profile, step.numbers, f"/live{k + 1:02d}"), 0, 0)
            for step, count in ((live, self.sessions), (scope, self.scopes))
            for k in range(count)
        ]
        for number, job in enumerate([*self._jobs, *self._beside]):
            job.number = number + 1
        self._unite([*self._jobs, *self._beside])
        self.events = self.end_ns = 0

    def _unite(self, jobs: list[_Job]) -> None:
        """Give classes of one name the same files: what one job makes the next one reads."""
        for job in jobs:
            for one in [*job.layout.classes, *job.caches]:
                known = self._classes.get(one.text)
                if known is None:
                    self._classes[one.text] = one
                    continue
                made = known if not known.exists else one
                self._classes[one.text] = replace(
                    made, exists=known.exists and one.exists, count=max(known.count, one.count),
                    renamed=known.renamed or one.renamed,
                )  # fmt: skip
        for text, one in self._classes.items():
            self._classes[text] = replace(one, first=self._paths, temporary=self._paths + one.count)
            self._paths += 2 * one.count
        for job in jobs:
            job.layout = Layout(
                [
                    replace(one, first=self._classes[one.text].first, temporary=self._classes[one.text].temporary)
                    for one in job.layout.classes
                ],
                self._paths,
            )
            job.caches = [self._classes[one.text] for one in job.caches]

    @property
    def layout(self) -> Layout:
        """All names."""
        return Layout(list(self._classes.values()), self._paths)

    def processes(self) -> list[dict[str, Any]]:
        """Rows of the table processes, when all events are made."""
        scheduler = {
            "process": 0, "pid": 999, "command": "scheduler", "cwd": "/data", "umask": 0o022, "start_ns": 0,
            "end_ns": self.end_ns, "exit": 0,
        }  # fmt: skip
        return [scheduler, *(job.made_.process() for job in [*self._jobs, *self._beside])]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Events of all jobs, in order of their ends (nearly).

        Time goes from one job's end, or one user's arrival, to the next: as far as no running job may end before.
        """
        running: dict[int, tuple[_Job, Iterator[pa.RecordBatch]]] = {}
        free = dict.fromkeys(range(self.lanes), 0)
        ready = [job for job in self._jobs if not job.needs]
        ended: list[tuple[int, int, _Job]] = []
        held: list[pa.RecordBatch] = []
        now = 0
        for k, job in enumerate(self._beside):
            held.append(self._start(job, self.lanes + k, 0, running))
        while running or ready or ended:
            for job in sorted(ready, key=lambda one: (one.ready_ns, one.number)):
                if free and job.ready_ns <= now:
                    ready.remove(job)
                    lane = min(free, key=lambda one: (free[one], one))
                    held.append(self._start(job, lane, free.pop(lane), running))
            coming = [end for end, _, _ in ended[:1]]
            coming += [min(job.ready_ns for job in ready)] if ready and free else []
            safe = min((job.made_.reached_ns for job, _ in running.values()), default=1 << 62)
            then = min(coming, default=1 << 62)
            if then <= safe and coming:
                now = then
                while ended and ended[0][0] <= now:
                    held.append(self._end(heapq.heappop(ended)[2], free, ready))
            else:
                number = min(running, key=lambda one: running[one][0].made_.reached_ns)
                job, source = running[number]
                batch = next(source, None)
                if batch is None:
                    del running[number]
                    heapq.heappush(ended, (job.made_.end_ns, number, job))
                else:
                    held.append(batch)
            yield from self._ready_rows(held, min(safe, then))
        yield from self._ready_rows(held, 1 << 62)

    def _ready_rows(self, held: list[pa.RecordBatch], horizon: int) -> Iterator[pa.RecordBatch]:
        """What ends by `horizon`, sorted by its end, leaves `held`; little waits for more."""
        if horizon < 1 << 62 and sum(batch.num_rows for batch in held) < ROUND_ROWS:
            return
        done, rest = _split(held, horizon)
        held[:] = rest
        if done is not None:
            self.events += done.num_rows
            yield done

    def _start(
        self, job: _Job, lane: int, lane_free_ns: int, running: dict[int, tuple[_Job, Iterator[pa.RecordBatch]]]
    ) -> pa.RecordBatch:
        ended = max((one.made_.end_ns for one in job.before), default=0)
        begin = max(lane_free_ns, ended, job.ready_ns)
        waits = [(one.number, max(lane_free_ns, 0), max(one.made_.end_ns - lane_free_ns, 0)) for one in job.before]
        labels = {"parent": 0, "project": f"P{job.user + 1}"} | self._names_of(job, lane)
        fork_ns = begin + 3 * _CALL_NS
        job.lane = lane
        profile, layout = self._on_lane(job, lane)
        job.made = Synthesis(
            profile, job.step.numbers, self._seed * JOBS_MAX + job.number, layout, job.number,
            self._counters, fork_ns + 2 * _CALL_NS, labels, self._arrivals_of(lane, fork_ns + 2 * _CALL_NS),
        )  # fmt: skip
        running[job.number] = job, job.made.batches()
        # one after the other within the first of the three calls' time before the fork
        rows = [
            ("wait", lane, at + place * _CALL_NS // 4, took + 2 * _CALL_NS, process)
            for place, (process, at, took) in enumerate(waits)
        ]
        return self._lane_events([*rows, ("fork", lane, fork_ns, _CALL_NS, job.made.first_thread)])

    def _on_lane(self, job: _Job, lane: int) -> tuple[Profile, Layout]:
        """What a job does on a lane, with which files: stacks are on the lane's own disk where it has one."""
        if job.step.cached is None or lane >= len(job.caches):
            return job.step.profile, job.layout
        stacks = job.caches[lane]
        filling, full = job.step.cached
        there = self._disks[lane].find(job.user, stacks.text)
        classes = [stacks if one.name == CACHED else one for one in job.layout.classes]
        return full if there else filling, Layout(classes, job.layout.paths)

    def _names_of(self, job: _Job, lane: int) -> dict[str, str]:
        """Labels of a job."""
        beside = lane - self.lanes
        if beside < 0:
            return {"user": f"user{job.user + 1:02d}", "slurm_job": f"lane {lane + 1}", "job": f"J{job.number}"}
        if beside < self.sessions:
            return {"user": f"live{beside + 1:02d}", "slurm_job": LIVE, "job": f"S{beside + 1}"}
        number = beside - self.sessions + 1
        return {"user": f"microscope{number:02d}", "slurm_job": MICROSCOPE, "job": f"M{number}"}

    def _arrivals_of(self, lane: int, begin_ns: int) -> npt.NDArray[np.int64] | None:
        """When the movies of a session are there, (movies,): its microscope, which begins alike, has renamed them."""
        session = lane - self.lanes
        if not 0 <= session < self.scopes:
            return None
        job = self._beside[self.sessions + session]
        made = Synthesis(
            job.step.profile, job.step.numbers, self._seed * JOBS_MAX + job.number, job.layout, begin_ns=begin_ns
        )  # fmt: skip
        found = [batch.filter(pc.equal(batch.column("op").indices, NUMBER_OF["renameat"])) for batch in made.batches()]
        return np.concatenate([np.zeros(0, np.int64), *map(_ends, found)])

    def _end(self, job: _Job, free: dict[int, int], ready: list[_Job]) -> pa.RecordBatch:
        """Take in that a job has ended; gives the event of the lane that waited for it."""
        end = job.made_.end_ns
        self.end_ns = max(self.end_ns, end + 2 * _CALL_NS)
        if job.lane < self.lanes:
            free[job.lane] = end + 2 * _CALL_NS
        for one in job.followers:
            one.needs -= 1
            if not one.needs:
                one.ready_ns = max(one.ready_ns, *(before.made_.end_ns for before in one.before))
                ready.append(one)
        forked = job.made_.begin_ns - _CALL_NS
        return self._lane_events([("wait", job.lane, forked, end + _CALL_NS - forked, job.number)])

    def _lane_events(self, rows: list[tuple[str, int, int, int, int]]) -> pa.RecordBatch:
        """Events of lanes: operation, thread, start, duration, child."""
        op, thread, at, took, child = np.array([(NUMBER_OF[op], *rest) for op, *rest in rows], np.int64).T
        none = np.zeros(len(rows), np.int64)
        columns = {
            "op": op, "thread": thread, "time_ns": at, "duration_ns": took, "off_cpu_ns": none, "process": none,
            "child": child, "result": 1000 + child, "flags": np.where(op == NUMBER_OF["fork"], signal.SIGCHLD, NULL),
        }  # fmt: skip
        return batch_of_columns(columns, len(rows))


def _ends(rows: pa.RecordBatch | pa.Table) -> Any:
    return rows.column("time_ns").to_numpy() + pc.fill_null(rows.column("duration_ns"), 0).to_numpy()


def _split(batches: list[pa.RecordBatch], horizon: int) -> tuple[pa.RecordBatch | None, list[pa.RecordBatch]]:
    """What ends by `horizon`, sorted by its end, and the rest."""
    ready, held = [], []
    for batch in batches:
        done = _ends(batch) <= horizon
        if done.all():
            ready.append(batch)
        elif done.any():
            ready.append(batch.filter(pa.array(done)))
            held.append(batch.filter(pa.array(~done)))
        else:
            held.append(batch)
    if not ready:
        return None, held
    whole = pa.Table.from_batches(ready)
    ordered = whole.take(pa.array(np.argsort(_ends(whole), kind="stable"))).combine_chunks()
    return ordered.to_batches()[0], held


def composed(
    workload: Workload, *, given: Mapping[str, float] | None = None, scale: float = 1.0, seed: int = 1
) -> MadeTrace:
    """The trace of a workload, which is made when it is read; see iotrace.profiles.synthesise.synthesised."""
    info = info_of(["iotrace", "replay", workload.name, "--scale", f"{scale:g}"])
    info.working_folder = "/data"
    return MadeTrace(
        f"{workload.name}.iotrace", info, lambda: Composition(workload, given, scale, seed),
        lambda scale: needs_of(workload, given, scale).events, scale,
        lambda scale: needs_of(workload, given, scale).steps,
    )  # fmt: skip


def compose(
    workload: Workload,
    output: str | Path,
    *,
    given: Mapping[str, float] | None = None,
    scale: float = 1.0,
    seed: int = 1,
    force: bool = False,
) -> TraceInfo:
    """Write the trace of a workload; see iotrace.profiles.synthesise.synthesise."""
    return composed(workload, given=given, scale=scale, seed=seed).write(output, force)
