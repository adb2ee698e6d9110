"""Threads and processes of a log: who is whose child, what clone(2) makes them share, and when they end.

A child may turn up in a log before its parent's fork returns. With one fork under way it is taken for that one's; with
several its calls are held until a fork returns its id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from iotrace.trace.assembly.calls import Call
from iotrace.trace.assembly.rows import Rows
from iotrace.trace.assembly.tasks import (
    CLONE_FILES,
    CLONE_FS,
    CLONE_THREAD,
    CLONE_VM,
    Descriptors,
    Folder,
    Memory,
    Process,
    Thread,
)  # fmt: skip
from iotrace.trace.writer import TraceWriter

_HELD_CALLS: Final = 200_000


class Family(Rows):
    """Rows, and the tasks that they belong to.

    Parameters
    ----------
    cwd, umask: of the first process, where known.

    Attributes
    ----------
    unrelated: threads of which no fork was seen; each is taken for a process of its own.
    """

    def __init__(self, writer: TraceWriter, cwd: bytes | None, umask: int | None, probe_since_ns: int | None) -> None:
        super().__init__(writer, probe_since_ns)
        self._cwd = cwd
        self._first_umask = umask
        self._thread_count = 0
        self._threads: dict[int, Thread] = self._make_threads()
        self._process_count = 0
        self._process_of_pid: dict[int, Process] = {}
        self._forking: dict[int, Call] = {}
        self._guessed: dict[int, Thread] = {}
        self._held: dict[int, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}
        self._held_calls = 0
        self.unrelated = 0

    def _make_threads(self) -> dict[int, Thread]:
        return {}

    def _make_process(self, number: int, pid: int, start_ns: int) -> Process:
        return Process(number, pid, start_ns)

    def _make_thread(
        self, tid: int, process: Process, descriptors: Descriptors, folder: Folder, memory: Memory
    ) -> Thread:
        return Thread(self._thread_count, tid, process, descriptors, folder, memory)

    def _make_descriptors(self) -> Descriptors:
        return Descriptors()

    def _make_folder(self) -> Folder:
        return Folder(self._cwd, self._first_umask)

    def _make_memory(self) -> Memory:
        return Memory()

    def fork_begun(self, call: Call) -> None:
        """A fork is under way: a thread that turns up before it returns is its child."""
        self._forking[call.tid] = call

    def ended(self, tid: int, time_ns: int, status: int) -> None:
        """A thread is gone; status is its exit status, or -signal."""
        thread = self._threads.get(tid)
        if thread is None:
            if tid in self._held:
                self._hold(tid, self.ended, tid, time_ns, status)
            return
        self._end(thread, time_ns, status)
        del self._threads[tid]

    def superseded(self, leader: int, by: int, time_ns: int) -> None:
        """An exec in the thread `by` ended its process's first thread, and `by` goes on under that one's id."""
        self.ended(leader, time_ns, 0)
        thread = self._threads.pop(by, None)
        if thread is not None:
            thread.tid = leader
            self._threads[leader] = thread

    def end_without_notice(self, time_ns: int) -> None:
        """For logs that do not tell when a thread is gone: its exit call ended it."""
        for thread in list(self._threads.values()):
            if thread.exiting_ns is not None:
                self._end(thread, thread.exiting_ns, (thread.status or 0) & 0xFF)
                del self._threads[thread.tid]

    def set_close_on_exec(self, tid: int, fd: int, on: bool) -> None:
        """ioctl FIOCLEX and FIONCLEX."""
        thread = self._threads.get(tid)
        if thread is not None and fd in thread.descriptors.open:
            (thread.descriptors.close_on_exec.add if on else thread.descriptors.close_on_exec.discard)(fd)

    def unshared(self, tid: int, flags: int) -> None:
        """unshare(2) of descriptors or working folder."""
        thread = self._threads.get(tid)
        if thread is not None:
            if flags & CLONE_FILES:
                thread.descriptors = thread.descriptors.copy()
            if flags & CLONE_FS:
                thread.folder = thread.folder.copy()

    @property
    def running(self) -> list[int]:
        """Ids of the threads that have been seen, and not their end."""
        return [*self._threads, *self._held]

    def is_running(self, tid: int) -> bool:
        """Whether a thread has been seen, and not its end."""
        return tid in self._threads

    def _newcomer(self, tid: int, time_ns: int) -> Thread | None:
        """A thread id that is seen for the first time; None when it is not yet clear whose child it is."""
        waiting = [call for parent, call in self._forking.items() if parent not in self._guessed]
        if tid in self._held or len(waiting) > 1:
            return None
        if waiting:
            parent = self._threads.get(waiting[0].tid)
            if parent is not None:
                child = self._fork_child(parent, tid, waiting[0])
                self._guessed[parent.tid] = child
                return child
        self.unrelated += 1
        return self._new_thread(tid, self._new_process(tid, time_ns, None), None, 0)

    def _hold(self, tid: int, method: Callable[..., None], *arguments: Any) -> None:
        self._held.setdefault(tid, []).append((method, arguments))
        self._held_calls += 1
        if self._held_calls > _HELD_CALLS:
            self._release_all()

    def _release(self, tid: int) -> None:
        held = self._held.pop(tid, [])
        self._held_calls -= len(held)
        for method, arguments in held:
            method(*arguments)

    def _release_all(self) -> None:
        for tid in list(self._held):
            if tid not in self._threads:
                self.unrelated += 1
                self._new_thread(tid, self._new_process(tid, 0, None), None, 0)
            self._release(tid)

    def _new_process(self, pid: int, start_ns: int, parent: Process | None) -> Process:
        process = self._make_process(self._process_count, pid, start_ns)
        if parent is not None:
            process.parent = parent.number
            process.command, process.arguments = parent.command, parent.arguments
            process.environment, process.labels = parent.environment, dict(parent.labels)
        self._process_count += 1
        self._process_of_pid[pid] = process
        self._changed[process.number] = process
        return process

    def _new_thread(self, tid: int, process: Process, parent: Thread | None, flags: int) -> Thread:
        if parent is None:
            descriptors, folder, memory = self._make_descriptors(), self._make_folder(), self._make_memory()
        else:
            descriptors = parent.descriptors if flags & CLONE_FILES else parent.descriptors.copy()
            folder = parent.folder if flags & CLONE_FS else parent.folder.copy()
            memory = parent.memory if flags & CLONE_VM else parent.memory.copy()
        thread = self._make_thread(tid, process, descriptors, folder, memory)
        if process.alive == 0:
            process.cwd, process.umask = folder.cwd, folder.umask
        process.alive += 1
        self._thread_count += 1
        self._threads[tid] = thread
        return thread

    def _fork_child(self, parent: Thread, tid: int, call: Call) -> Thread:
        flags = call.flags or 0
        process = parent.process
        if not flags & CLONE_THREAD:
            process = self._new_process(tid, call.time_ns, parent.process)
        return self._new_thread(tid, process, parent, flags)

    def _fork(self, thread: Thread, call: Call) -> None:
        self._forking.pop(call.tid, None)
        child = self._guessed.pop(call.tid, None)
        tid = call.result or 0
        if tid > 0 and child is None:
            child = self._fork_child(thread, tid, call)
        self._emit(thread, call, child=child.number if child is not None and tid > 0 else None)
        if tid > 0:
            self._release(tid)
        if not self._forking and self._held:
            self._release_all()

    def _end(self, thread: Thread, time_ns: int, status: int) -> None:
        process = thread.process
        if not thread.ended:
            thread.ended = True
            call = Call()
            call.tid, call.op, call.time_ns, call.duration_ns, call.result = thread.tid, "exit", time_ns, 0, status
            if thread.exiting_ns is not None:
                call.time_ns, call.duration_ns = thread.exiting_ns, max(0, time_ns - thread.exiting_ns)
            self._emit(thread, call)
            process.alive -= 1
        if thread.tid == process.pid:
            process.exit = status
        if process.alive <= 0:
            process.end_ns = time_ns
            process.exit = status if process.exit is None else process.exit
        self._changed[process.number] = process

    def _exit_call(self, thread: Thread, call: Call) -> None:
        thread.exiting_ns, thread.status = call.time_ns, call.mode
