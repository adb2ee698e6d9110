"""A fleet: the same `iotrace replay` command, started on several ranks by mpirun or srun, that is one replay.

Ranks speak by messages of mpi4py, which the main thread looks for between other work (Asked.look): so a rank that
fails ends the others too, whatever they are at, and each removes its own trees. Users are dealt out in turn: user u
runs on rank u modulo the number of ranks. Rank 0 gathers what all measured, on its own clock, and writes the result.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from iotrace.errors import IotraceError, MountHangs, ReplayError, UsageError
from iotrace.replay.stopping import Asked

T = TypeVar("T")

_STOP, _DATA, _BACK, _PING, _PONG, _LEFT = 1, 2, 3, 4, 5, 6
_SIZES: Final = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""What launchers (hydra and pmi2, Open MPI, srun) say of the number of ranks that they started."""
_PINGS: Final = 30
_AHEAD_NS: Final = 50_000_000
"""The agreed start lies so far ahead that all ranks hear of it before."""
_SPIN_NS: Final = 200_000
_NETMOD: Final = "MPIR_CVAR_CH4_NETMOD"
_FAREWELL_S: Final = 60.0
"""Ranks that end because one failed have so long to remove their trees."""


class FleetStopped(ReplayError):
    """Another rank failed, and so this one ended; the exit status is that rank's."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Clock:
    """A rank's clock against that of rank 0.

    Attributes
    ----------
    offset_ns: to be added to the rank's CLOCK_MONOTONIC; uncertainty_ns: half of the quickest round trip.
    utc_ns: how far the rank's UTC is ahead of that of rank 0.
    late_ns: how much later than agreed the rank let its threads go.
    """

    offset_ns: int = 0
    uncertainty_ns: int = 0
    utc_ns: int = 0
    late_ns: int = 0


class Fleet:
    """The ranks of a replay, as one of them sees them.

    Attributes
    ----------
    rank, size: of MPI's world; host: name of this rank's node; asked: whose request to stop ends waiting.
    clock: of the last start.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank, self.size = int(comm.Get_rank()), int(comm.Get_size())
        self.host = os.environ.get("SLURMD_NODENAME") or platform.node()
        self.asked: Asked | None = None
        self.clock = Clock()
        self._gone: set[int] = set()
        self._parted = False

    def look(self) -> None:
        """End this rank's work when another rank has failed; called now and then while a replay works."""
        stopped = self._stopped()
        if stopped and self.asked:
            self.asked.fail(stopped)

    def exchange(self, value: T) -> list[T]:
        """What each rank gave, by rank; returns when all have called it.

        Raises
        ------
        FleetStopped: another rank failed. Interrupted: a signal came.
        """
        values = self.collect(value)
        if self.rank:
            back: list[T] = self._receive(0, _BACK)
            return back
        for send in [self._comm.isend(values, rank, _BACK) for rank in range(1, self.size)]:
            self._await(send.Test)
        return values

    def collect(self, value: T) -> list[T]:
        """On rank 0 what each rank gave, by rank; elsewhere nothing. Raises as `exchange`."""
        if self.rank:
            send = self._comm.isend(value, 0, _DATA)
            self._await(send.Test)
            return []
        return [value, *(self._receive(rank, _DATA) for rank in range(1, self.size))]

    def agree(
        self, what: Mapping[str, object], mend: str = "give all the same command, trace and version of iotrace"
    ) -> None:  # fmt: skip
        """Refuse a replay of which ranks have different ideas; `mend`: what to do then.

        Raises
        ------
        ReplayError: names the first thing in which a rank differs from rank 0.
        """
        said = self.exchange((self.host, dict(what)))
        host, first = said[0]
        for rank, (other, mine) in enumerate(said):
            for name, value in first.items():
                if mine[name] != value:
                    raise ReplayError(
                        f"ranks do not replay the same: {name} is {value} on rank 0 ({host}) and {mine[name]} on rank "
                        f"{rank} ({other}); {mend}."
                    )

    def start(self, wake: Callable[[], None] = lambda: None) -> int:
        """Wait for all ranks, wake the threads, wait for the agreed moment; gives it on this rank's clock (ns).

        Clocks are compared just before, since they drift apart while trees are made.
        """
        self.exchange(None)
        self.clock = self._compare_clocks()
        begin = self.exchange(time.monotonic_ns() + _AHEAD_NS)[0] - self.clock.offset_ns
        wake()
        while (left := begin - time.monotonic_ns()) > 0:
            if left > _SPIN_NS:
                time.sleep((left - _SPIN_NS) / 1e9)
        late = max(0, time.monotonic_ns() - begin)
        self.clock = Clock(self.clock.offset_ns, self.clock.uncertainty_ns, self.clock.utc_ns, late)
        return begin

    def _compare_clocks(self) -> Clock:
        """Ask rank 0 for its time some times; the quickest answer counts (Cristian's algorithm)."""
        if self.rank == 0:
            for rank in range(1, self.size):
                self._comm.send(None, rank, _PONG)
                for _ in range(_PINGS):
                    self._receive(rank, _PING, at_once=True)
                    self._comm.send((time.monotonic_ns(), _utc_ahead_ns()), rank, _PONG)
            return Clock()
        self._receive(0, _PONG)
        best = Clock(uncertainty_ns=1 << 62)
        for _ in range(_PINGS):
            asked = time.monotonic_ns()
            self._comm.send(None, 0, _PING)
            there, ahead = self._receive(0, _PONG, at_once=True)
            took = time.monotonic_ns() - asked
            if took // 2 < best.uncertainty_ns:
                offset = there - asked - took // 2
                best = Clock(offset, took // 2, _utc_ahead_ns() - ahead - offset)
        return best

    def _receive(self, rank: int, tag: int, at_once: bool = False) -> Any:
        """A message; `at_once`: looked for without pauses."""
        found: list[Any] = []

        def came() -> bool:
            message = self._comm.improbe(rank, tag)
            if message is not None:
                found.append(message.recv())
            return bool(found)

        self._await(came, 0.0 if at_once else 20e-6)
        return found[0]

    def _await(self, done: Callable[[], bool], pause: float = 20e-6) -> None:
        """Wait, with pauses that grow (others may need the CPU), and not longer than all ranks are well."""
        while not done():
            stopped = self._stopped()
            if stopped:
                raise stopped
            if self.asked:
                self.asked.check()
            time.sleep(pause)
            pause = min(2 * pause, 2e-3)

    def _stopped(self) -> FleetStopped | None:
        from mpi4py import MPI

        status = MPI.Status()
        if not self._comm.iprobe(MPI.ANY_SOURCE, _STOP, status):
            return None
        rank = status.Get_source()
        host, text, exit_status = self._comm.recv(None, rank, _STOP)
        self._gone.add(rank)
        return FleetStopped(f"rank {rank} on {host}: {text}", exit_status)

    def farewell(self, error: BaseException) -> None:
        """Say that this rank ends, and wait until all others have said so: who ends before kills the others."""
        text, exit_status = str(error) or type(error).__name__, int(getattr(error, "exit_status", 1))
        self._part(_STOP, (self.host, text, exit_status), exit_status)

    def leave(self) -> None:
        """Say that this rank has ended well, and wait as `farewell` does: none is sent anything when it is gone."""
        self._part(_LEFT, None, 1)

    def _part(self, tag: int, what: object, exit_status: int) -> None:
        from mpi4py import MPI

        if self._parted:
            return
        self._parted = True
        others = [rank for rank in range(self.size) if rank != self.rank]
        sends = [self._comm.isend(what, rank, tag) for rank in others]
        status, until = MPI.Status(), time.monotonic() + _FAREWELL_S
        while len(self._gone) < len(others) or not all(send.Test() for send in sends):
            # what nobody waits for any more is taken in, so that its sender can end
            message = self._comm.improbe(MPI.ANY_SOURCE, MPI.ANY_TAG, status)
            if message is not None:
                message.recv()
                if status.Get_tag() in (_STOP, _LEFT):
                    self._gone.add(status.Get_source())
                continue
            if time.monotonic() > until:
                self._comm.Abort(exit_status)
            time.sleep(1e-3)


def launched() -> int:
    """How many ranks a launcher says that it has started; 1 without one."""
    return max([1, *(int(value) for name in _SIZES if (value := os.environ.get(name, "")).isdigit())])


@contextmanager
def joined(ranks: int | None) -> Iterator[Fleet | None]:
    """The fleet that this process belongs to, None for a replay of one process; says farewell when an error leaves.

    Parameters
    ----------
    ranks: how many there must be; None: as many as the launcher says.

    Raises
    ------
    UsageError: mpi4py is missing, or the world has another size.
    """
    wanted = launched() if ranks is None else ranks
    if wanted < 1:
        raise UsageError(f"--ranks {wanted}: at least 1.")
    if wanted == 1 and launched() == 1:
        yield None
        return
    fleet = Fleet(_world())
    try:
        if fleet.size != wanted:
            raise UsageError(
                f"{wanted} ranks were to replay together, and MPI's world has {fleet.size}: start `mpirun -n {wanted}` "
                "or `srun -n` with an MPI that fits mpi4py's (srun --mpi=pmi2 with mpich)."
            )
        yield fleet
        fleet.leave()
    except BaseException as error:
        fleet.farewell(error)
        if fleet.rank and isinstance(error, IotraceError) and not isinstance(error, MountHangs):
            # rank 0 says it; the others' lines would be the same once more
            raise SystemExit(error.exit_status) from None
        raise


def _world() -> Any:
    try:
        import mpi4py

        # begun below, when it is known which MPI it is
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except ImportError as error:
        if "mpi4py" in str(error):
            raise UsageError("several ranks need mpi4py: pip install 'iotrace[mpi]' mpich.") from None
        raise UsageError(f"mpi4py finds no MPI ({str(error).splitlines()[0]}): pip install mpich.") from None
    except RuntimeError as error:
        raise UsageError(f"mpi4py finds no MPI ({str(error).splitlines()[0]}): pip install mpich.") from None
    if not MPI.Is_initialized():
        os.environ.update(_settings(os.environ, MPI.Get_library_version()))
        MPI.Init_thread()
    return MPI.COMM_WORLD


def _settings(environment: Mapping[str, str], library: str) -> dict[str, str]:
    """What MPI needs to be told before it begins: short addresses where srun's PMI-2 plugin passes them on.

    MPICH speaks PMI-1 to that plugin, which reads a command of at most 1,024 bytes (Slurm 22.05) and says that a value
    may have as many. The addresses of MPICH's netmod ucx are cut to the latter and so make longer commands, depending
    on what lies in memory behind them: the ranks then wait for ever. Those of ofi have some 20 bytes.
    """
    by_srun = "SLURM_STEP_ID" in environment and "PMI_FD" in environment
    device = next((line for line in library.splitlines() if "ch4:" in line), "")
    if not by_srun or _NETMOD in environment or not ("ucx" in device and "ofi" in device):
        return {}
    return {_NETMOD: "ofi"}


def _utc_ahead_ns() -> int:
    """UTC less CLOCK_MONOTONIC."""
    before = time.monotonic_ns()
    utc = time.time_ns()
    return utc - (before + time.monotonic_ns()) // 2
