"""Asking for labels without ever waiting: a child process reads job folders and /proc, a thread asks it in turn.

Takes requests with ask() and gives what has been answered with answers(); neither blocks. The child (label_child.py)
starts with the first request. One that takes longer than TIME_LIMIT_S over a request is killed and left behind: it may
be stuck in the kernel for as long as its mount hangs. Nothing more is asked about that mount (on the root's file
system: about that project), so that one that is dead does not use up what others need; a new child takes its place, at
most RESTARTS times.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from iotrace.record.label_child import FRAME_LIMIT
from iotrace.record.priority import go_as_before

TIME_LIMIT_S: Final = 2.0
RESTARTS: Final = 4
_START_LIMIT_S: Final = 10.0
_LAST_WAIT_S: Final = 3.0
_QUEUE_LIMIT: Final = 4096

Request = dict[str, Any]
Answer = dict[str, Any]


class LabelReader:
    """Reads job folders and live processes, in a process of its own.

    Attributes
    ----------
    hung: what did not answer in time, as a folder's path or `process N`, in order.

    Parameters
    ----------
    points: mount points of this machine.
    """

    def __init__(self, points: Iterable[str] = ()) -> None:
        self.hung: list[str] = []
        self._points = sorted((point for point in points if point != "/"), key=len, reverse=True)
        self._dead: set[str] = set()
        self._requests: queue.SimpleQueue[tuple[object, Request] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[object, Answer]] = queue.SimpleQueue()
        self._asked = self._taken = 0
        self._children = 0
        self._dropped = 0
        self._given_up = self._closed = False
        self._child: subprocess.Popen[bytes] | None = None
        self._left: list[subprocess.Popen[bytes]] = []
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Requests not yet answered, or answered and not yet taken."""
        return self._asked - self._taken

    @property
    def child_pid(self) -> int | None:
        """The child that is asked at present."""
        child = self._child
        return child.pid if child is not None else None

    def ask_folder(self, folder: str, uid: int | None, key: str | None = None) -> None:
        """Ask what a job's folder says; `uid`: whose process named it, where known. The answer's key is the folder,
        unless another is given."""
        self._ask(key if key is not None else folder, {"folder": os.fsencode(folder).decode("latin-1"), "uid": uid})

    def ask_process(self, process: int, pid: int, arguments: bool) -> None:
        """Ask what a live process says of itself, `arguments`: its command line too. The answer's key is `process`."""
        self._ask(process, {"pid": pid, "arguments": arguments})

    def _ask(self, key: object, request: Request) -> None:
        if self._given_up or self.waiting >= _QUEUE_LIMIT:
            self._dropped += 1
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="iotrace-labels", daemon=True)
            self._thread.start()
        self._asked += 1
        self._requests.put((key, request))

    def answers(self) -> list[tuple[Any, Answer]]:
        """What has been answered since the last call: (key, answer); an empty answer where there was none in time."""
        found: list[tuple[Any, Answer]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._answers.get_nowait())
        self._taken += len(found)
        return found

    def last_answers(self, within_s: float = _LAST_WAIT_S) -> list[tuple[Any, Answer]]:
        """What is answered until nothing waits or the time is over."""
        deadline, found = time.monotonic() + within_s, self.answers()
        while self.waiting:
            try:
                found.append(self._answers.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                break
            self._taken += 1
        return found

    def close(self) -> None:
        """End the child; returns at once, whatever it does."""
        self._closed = True
        self._requests.put(None)
        child = self._child
        if child is not None:
            with contextlib.suppress(OSError):
                child.kill()

    def unseen(self) -> list[str]:
        """What could not be read, as sentences for trace.json."""
        said = [f"the labels of {what}: reading it took longer than {TIME_LIMIT_S:.0f} s" for what in self.hung]
        missed = self._dropped + self.waiting
        if missed:
            why = "reading labels hung too often" if self._given_up else "the recording ended or had too many"
            said.append(f"the labels of {missed} folders or processes: {why}")
        return said

    def _work(self) -> None:
        # the reader of labels that is started from here must not have the short slices of the recorder's threads
        go_as_before(os.getpriority(os.PRIO_PROCESS, 0))
        while (item := self._requests.get()) is not None:
            key, request = item
            answer: Answer = {}
            # whatever goes wrong with labels, a recording goes on without them
            with contextlib.suppress(OSError, msgspec.DecodeError, ValueError):
                answer = self._answer_of(request)
            self._answers.put((key, answer))
        self._abandon()

    def _place(self, request: Request) -> str | None:
        """What hangs where the folder of a request does: its mount, or on the root's file system its project."""
        folder = request.get("folder")
        if folder is None:
            return None
        name = os.fsdecode(folder.encode("latin-1"))
        return next((p for p in self._points if name.startswith(p.rstrip("/") + "/")), os.path.dirname(name))

    def _answer_of(self, request: Request, again: bool = True) -> Answer:
        place = self._place(request)
        if place in self._dead:
            return {}
        if self._child is None and not self._begin():
            self._dropped += self._given_up
            return {}
        child = self._child
        assert child is not None
        assert child.stdin is not None
        data = msgspec.json.encode(request)
        try:
            # the child has read all that came before, so this fits the pipe and does not wait
            os.write(child.stdin.fileno(), len(data).to_bytes(4, "big") + data)
            return self._receive(child, TIME_LIMIT_S)
        except TimeoutError:
            self.hung.append(_name(request))
            if place is not None:
                self._dead.add(place)
        except (OSError, EOFError):
            # it was killed before, or fell over this request: the next one shows which
            self._abandon()
            return self._answer_of(request, again=False) if again else {}
        self._abandon()
        return {}

    def _begin(self) -> bool:
        self._given_up = self._children > RESTARTS
        if self._given_up or self._closed:
            return False
        self._children += 1
        # no site, no environment, no folder of ours: it starts in a few ms and holds no mount
        program = Path(__file__).with_name("label_child.py")
        code = "import sys, runpy; sys.path.append(sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
        modules = str(Path(msgspec.__file__).parent.parent)
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", code, modules, str(program)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd="/", env={}, start_new_session=True, bufsize=0,
        )  # fmt: skip
        try:
            return bool(self._receive(self._child, _START_LIMIT_S).get("ready"))
        except (OSError, EOFError):
            self._abandon()
            return False

    def _receive(self, child: subprocess.Popen[bytes], within_s: float) -> Answer:
        deadline = time.monotonic() + within_s
        size = int.from_bytes(_read(child, 4, deadline), "big")
        if size > FRAME_LIMIT:
            raise EOFError
        answer = msgspec.json.decode(_read(child, size, deadline))
        return answer if isinstance(answer, dict) else {}

    def _abandon(self) -> None:
        """Kill the child and leave it behind: to wait for it could take as long as its mount hangs."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        self._left.append(child)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.05)
        self._left = [other for other in self._left if other.poll() is None]


def _read(child: subprocess.Popen[bytes], count: int, deadline: float) -> bytes:
    assert child.stdout is not None
    fd, data = child.stdout.fileno(), b""
    while len(data) < count:
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        more = os.read(fd, count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _name(request: Request) -> str:
    folder = request.get("folder")
    if folder is None:
        return f"process {request['pid']}"
    text = folder.encode("latin-1").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else "?" for c in text)
