"""--check around the runs of a replay: a recording of them all, and what it says of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iotrace.replay.clones import Clone
from iotrace.replay.evidence import Evidence
from iotrace.replay.fidelity import compare_recording, of_all
from iotrace.replay.result import Run
from iotrace.replay.rides import Rides
from iotrace.replay.rows import Plan
from iotrace.replay.witness import Witness


class Trial:
    """What ran where, beside a witness of it."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._ran: list[tuple[Run, list[tuple[Plan, Rides | None, Path]]]] = []

    def ran(self, run: Run, clones: Sequence[Clone]) -> None:
        """Note who ran on which tree."""
        self._ran.append((run, [(clone.plan, clone.rides, clone.ground.folder) for clone in clones]))

    def judge(self) -> None:
        """End the recording, and fill in of each run how far what the kernel saw is from the plan.

        Raises
        ------
        ReplayError: the recording did not end well. TraceError: it does not hold the runs.
        """
        recording = self._witness.testimony()
        lost = sum(recording.info.lost.values())
        evidence = Evidence(recording)
        for run, users in self._ran:
            whole = of_all([compare_recording(plan, evidence, run.round, tree, rides) for plan, rides, tree in users])
            if lost:
                whole.differences.insert(0, f"the recorder lost {lost} calls: other differences may be its own.")
            run.fidelity["check"] = whole.as_dict()
