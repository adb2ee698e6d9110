"""Lines of strace's logs: who, when, which call, with what result; calls that others interrupted are put together.

Reads what `strace -f -ttt -T -yy -o FILE` writes, and with less certainty logs without times (`-t`, `-tt`, `-r`, none),
without `-T`, without `-y`, without `-f`, or mixed with the program's own output. A line that is not understood is
counted and named, never silently dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from iotrace.trace.assemble import Assembler, Call
from iotrace.trace.formats.strace import values as v
from iotrace.trace.formats.strace.calls import fill, fork_flags, is_fork, is_operation, operation_of
from iotrace.trace.operations import OPERATIONS

_HEAD = (
    # who (with -Y its name), when (and since when), with -n the call's number, with -i where the program stands
    r" *(?:(?:\[pid +(\d+)(?:<[^<>]*>)?\]|(\d+)(?:<[^<>]*>)?) +)?"
    r"(?:(\d+\.\d+|\d\d:\d\d:\d\d(?:\.\d+)?|\d{9,}) +(?:\( *\+ *\d+\.\d+\) +)?)?"
    r"(?:\[ *\d+\] )?(?:\[(?:[0-9a-f]+|\?+)\] )?"
)
_CALL: Final = re.compile(
    _HEAD + r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<((?:->|[^<>]|<[^<>]*>)*+)>(\(deleted\))?)?"
    r"(?: /\* (\d+) in strace's PID NS \*/)?(?: ([A-Z][A-Z0-9_]+))?(?: \(.*\))?(?: <(\d+\.\d+|unavailable)>)?$",
    re.DOTALL,
)
REST: Final = re.compile(_HEAD + r"(.*)$", re.DOTALL)
_RESULT: Final = re.compile(
    r"(.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<((?:->|[^<>]|<[^<>]*>)*+)>(\(deleted\))?)?"
    r"(?: /\* (\d+) in strace's PID NS \*/)?(?: ([A-Z][A-Z0-9_]+))?(?: \(.*\))?(?: <(\d+\.\d+|unavailable)>)?$",
    re.DOTALL,
)
_BEGUN: Final = re.compile(r"(\w+)\((.*)$", re.DOTALL)
_RESUMED: Final = re.compile(r"<\.\.\. (\w+) resumed> ?(.*)$", re.DOTALL)
_GONE: Final = re.compile(r"\+\+\+ (?:exited with (\d+)|killed by (\w+).*?|superseded by execve in pid (\d+)) \+\+\+$")
_UNFINISHED: Final = re.compile(r" ?<(?:unfinished|detached|pid changed to \d+|ptrace\([^>]*|p?ptrace[^>]*) ?\.\.\.>$")
_RIGHTS: Final = re.compile(r"cmsg_type=(?:SCM_RIGHTS|0x1|1), cmsg_data=\[([^\]]*(?:\[[^\]]*\][^\]]*)*)\]")
_ONE_RIGHT: Final = re.compile(r"(\d+)(?:<((?:->|[^<>]|<[^<>]*>)*+)>(\(deleted\))?)?")
MAX_PID: Final = 1 << 22
DAY_NS: Final = 86_400 * 10**9
_FAR_NS: Final = 1 << 62
"""Later than any time that strace prints (year 2116)."""
_BY_NUMBER: Final = {
    # from 424 on a call has the same number everywhere
    f"syscall_{number:#x}": operation.name
    for operation in OPERATIONS
    for number in (operation.x86_64, operation.aarch64)
    if number is not None and number >= 424
}
BESIDE: Final = frozenset(("ioctl", "recvmsg", "pidfd_getfd", "unshare"))
"""Calls that are no operations but change descriptors."""


class StraceLog:
    """Takes lines of strace logs, in order, and hands calls to an Assembler.

    Parameters
    ----------
    assembler: takes the calls.
    start_ns: UTC in ns at time_ns = 0; None: the first line's time.

    Attributes
    ----------
    lines: taken so far. understood: of these. first_bad: number and text of the first line that was not understood.
    cut_names: names of attributes and texts of links of which the log shows the beginning only. cut_arguments: the
        same of a program's arguments.
    lost: calls of the table whose line was torn or not to be parsed, by kind of operation.
    decorated: the log shows what descriptors are (-y). timed: it has times. measured: it has durations (-T).
    relative: its first time tells how long ago the line before was (-r).
    last_ns: newest time_ns. base_utc_ns: UTC of time_ns = 0 where the log has it.
    command: of the first exec.
    """

    def __init__(self, assembler: Assembler, start_ns: int | None = None) -> None:
        self.assembler = assembler
        self.lines = self.understood = self.foreign = 0
        self.cut_names = self.cut_arguments = 0
        self.lost: dict[str, int] = {}
        self.first_bad: tuple[int, str] | None = None
        self.decorated = self.timed = self.measured = self.notices = self.relative = False
        self.last_ns = 0
        self.base_utc_ns = start_ns
        self.command: list[bytes] = []
        self._unfinished: dict[int, tuple[str, int, str]] = {}
        self._base = start_ns
        self._before = 0
        self._clock = ""

    def feed(self, lines: Sequence[str], pid: int | None = None) -> None:
        """Take whole lines (Latin-1, without their ends); `pid` is for logs that do not tell it."""
        for line in lines:
            self._take(line, pid)
            self.assembler.flush_if_full()

    def feed_bytes(self, data: bytes, pid: int | None = None) -> None:
        """Take whole lines, each with its line feed."""
        self.feed(data.decode("latin-1").split("\n")[:-1], pid)

    def feed_runs(self, data: Any, runs: Any) -> None:
        """Take the lines of several logs: bytes, and the (begin, end, pid) of each run of one log's lines in them."""
        first = data.ctypes.data
        for begin, end, pid in runs.tolist():
            self.feed_bytes(data[begin - first : end - first].tobytes(), pid)

    def _take(self, line: str, pid: int | None) -> None:
        # a log that came by way of Windows
        line = line[:-1] if line.endswith("\r") else line
        self.lines += 1
        try:
            known = self._line(line, pid)
        except (v.NotUnderstood, OverflowError):
            known = False
        if known:
            self.understood += 1
        elif line:
            self.foreign += 1
            if self.first_bad is None:
                self.first_bad = (self.lines, line[:120])

    def finish(self, torn: str = "") -> None:
        """End of the log: write the calls that still ran, and what a torn last line tells."""
        if torn:
            self.feed([torn])
        for tid, (name, begun, text) in sorted(self._unfinished.items(), key=lambda item: (item[1][1], item[0])):
            self._cut_short(tid, begun, name, text)
        self._unfinished = {}
        if not self.notices:
            self.assembler.end_without_notice(self.last_ns)
        self.assembler.finish()

    # ---- lines ----

    def _line(self, line: str, pid: int | None) -> bool:
        match = _CALL.match(line)
        if match is None:
            return self._other_line(line, pid)
        in_brackets, plain, clock, name, text, result, shown, deleted, here, error, duration = match.groups()
        tid, at = self._who_when(in_brackets or plain, clock, pid)
        if not is_operation(name, text):
            if name in BESIDE:
                self._beside(tid, at, name, text, result)
            elif name.startswith("syscall_"):
                self._numbered(name)
            return True
        shown_name = v.shown_name(shown, bool(deleted))
        # --decode-pids=pidns: the ids before the lines are those of strace's own namespace
        return self._complete(tid, at, name, text, here or result, shown_name, error, duration, None)

    def _complete(
        self, tid: int, at: int, name: str, text: str, result: str, shown: bytes | None, error: str | None,
        duration: str | None, resumed_ns: int | None,
    ) -> bool:  # fmt: skip
        duration_ns = None
        if duration is not None and duration != "unavailable":
            duration_ns = nanoseconds(duration)
            self.measured = True
        elif resumed_ns is not None and self.timed:
            duration_ns = resumed_ns - at
        if duration_ns is not None and at + duration_ns > self.last_ns:
            self.last_ns = at + duration_ns
        value: int | None
        try:
            if error is not None:
                value = -v.errno_of(error)
            else:
                value = None if result == "?" else v.number(result)
                if value is not None and not -(1 << 63) < value < 1 << 63:
                    raise v.NotUnderstood(result)
        except v.NotUnderstood:
            self._lose(name)
            return False
        return self._call(tid, at, name, text, value, shown, duration_ns)

    def _other_line(self, line: str, pid: int | None) -> bool:
        match = REST.match(line)
        if match is None:
            return False
        in_brackets, plain, clock, rest = match.groups()
        if rest.startswith("<... "):
            resumed = _RESUMED.match(rest)
            return resumed is not None and self._resume(resumed[1], resumed[2], in_brackets or plain, clock, pid)
        if rest.startswith("+++ "):
            gone = _GONE.match(rest)
            if gone is None:
                return False
            tid, at = self._who_when(in_brackets or plain, clock, pid)
            self.notices = True
            self._gone(tid, at, *gone.groups())
            return True
        if rest.startswith("--- ") and rest.endswith(" ---"):
            self._who_when(in_brackets or plain, clock, pid)
            return True
        if not rest or rest.startswith(("strace: ", "> ", "| ", "* ")):
            # strace's own words, with -k the functions that called, with -e read=… what was read
            return True
        begun = _BEGUN.match(rest)
        if begun is None:
            return False
        if not _UNFINISHED.search(rest):
            if in_brackets or plain or clock:
                self._lose(begun[1])
            return False
        tid, at = self._who_when(in_brackets or plain, clock, pid)
        self._begin(tid, at, begun[1], begun[2])
        return True

    def _begin(self, tid: int, at: int, name: str, text: str) -> None:
        before = self._unfinished.pop(tid, None)
        if before is not None:
            # lines are missing: nothing tells how that call ended
            self._lose(before[0])
        self._unfinished[tid] = (name, at, text)
        if is_fork(name):
            call = Call()
            call.tid, call.time_ns = tid, at
            fork_flags(call, name, _UNFINISHED.sub("", text))
            self.assembler.fork_begun(call)

    def _resume(self, name: str, rest: str, who: str | None, clock: str | None, pid: int | None) -> bool:
        tid, at = self._who_when(who, clock, pid)
        waiting = self._unfinished.pop(tid, None)
        if waiting is None:
            # the log begins in the midst of this call, which without its arguments is no event
            self._lose(name)
            return True
        if waiting[0] != name:
            self._lose(waiting[0])
            return False
        if _UNFINISHED.search(rest):
            self._unfinished[tid] = (name, waiting[1], _UNFINISHED.sub("", waiting[2]) + rest)
            return True
        match = _RESULT.match(rest)
        if match is None:
            self._lose(name)
            return False
        text, result, shown, deleted, here, error, duration = match.groups()
        text = _UNFINISHED.sub("", _UNFINISHED.sub("", waiting[2]) + text)
        if not is_operation(name, text):
            if name in BESIDE:
                self._beside(tid, at, name, text, result)
            elif name.startswith("syscall_"):
                self._numbered(name)
            return True
        return self._complete(
            tid, waiting[1], name, text, here or result, v.shown_name(shown, bool(deleted)), error, duration, at
        )

    def _gone(self, tid: int, at: int, status: str | None, killed_by: str | None, superseded_by: str | None) -> None:
        interrupted = self._unfinished.pop(tid, None)
        if superseded_by is not None:
            by = int(superseded_by)
            self.assembler.superseded(tid, by, at)
            if by in self._unfinished:
                self._unfinished[tid] = self._unfinished.pop(by)
            return
        if interrupted is not None:
            self._cut_short(tid, interrupted[1], interrupted[0], interrupted[2])
        if status is not None:
            code = int(status) & 0xFF
        else:
            code = -v.CONSTANTS.get(killed_by or "", 1)
        self.assembler.ended(tid, at, code)

    def _cut_short(self, tid: int, begun: int, name: str, text: str) -> None:
        """A call whose end will not be seen."""
        if is_operation(name, text):
            self._call(tid, begun, name, _UNFINISHED.sub("", text).rstrip(", "), None, None, None, partial=True)

    def _who_when(self, who: str | None, clock: str | None, pid: int | None) -> tuple[int, int]:
        """Thread id and time_ns of a line."""
        if who is not None and clock is None and len(who) >= 7 and int(who) > MAX_PID:
            who, clock = None, who
        tid = int(who) if who is not None else pid or 0
        if clock is None:
            if not self.timed:
                # without times only the order is known: a microsecond a line
                self.last_ns = self.lines * 1000
            return tid, self.last_ns
        self.timed = True
        if ":" in clock:
            at = time_of_day(clock)
            if at < self._before - DAY_NS // 2:
                at += (self._before - at + DAY_NS // 2) // DAY_NS * DAY_NS
            self._before = max(self._before, at)
            kind = "day"
        else:
            at = nanoseconds(clock)
            kind = "utc" if at >= 10**17 else "relative"
            if kind == "relative":
                # -r: time since the line before
                at += self._before
                if at > _FAR_NS:
                    raise v.NotUnderstood(clock)
                self._before = at
        if self._base is None:
            self._base = at
            self.relative = kind == "relative"
            if kind == "utc":
                self.base_utc_ns = at
        at -= self._base
        if not -_FAR_NS < at < _FAR_NS:
            raise v.NotUnderstood(clock)
        if at > self.last_ns:
            self.last_ns = at
        return tid, at

    # ---- calls ----

    def _call(
        self, tid: int, at: int, name: str, text: str, result: int | None, shown: bytes | None,
        duration_ns: int | None, partial: bool = False,
    ) -> bool:  # fmt: skip
        """Hand a call over; returns whether its arguments were understood."""
        call = Call()
        call.tid, call.time_ns, call.duration_ns, call.result = tid, at, duration_ns, result
        if shown is not None:
            call.result_name = shown
            self.decorated = True
        try:
            fill(call, name, text)
        except (ValueError, IndexError, KeyError):
            # of a call that was cut short what could be read is taken
            if not partial or not call.op:
                self._lose(call.op or name)
                return False
        call.size, call.old_size, call.address = _bounded(call.size), _bounded(call.old_size), _bounded(call.address)
        call.offset, call.offset2 = _bounded(call.offset), _bounded(call.offset2)
        if call.fd_name is not None or call.dirfd_name is not None:
            self.decorated = True
        if call.op == "exec" and not self.command and call.arguments and (result or 0) >= 0:
            self.command = call.arguments
        self.cut_names += call.cut_names
        self.cut_arguments += call.cut_arguments
        self.assembler.add(call)
        return True

    def _lose(self, name: str) -> None:
        operation = operation_of(name)
        if operation is not None:
            kind = str(operation.kind)
            self.lost[kind] = self.lost.get(kind, 0) + 1

    def _numbered(self, name: str) -> None:
        """A call newer than the strace that wrote the log: its arguments stand there as plain numbers."""
        operation = _BY_NUMBER.get(name)
        if operation is not None:
            self._lose(operation)

    def _beside(self, tid: int, at: int, name: str, text: str, result: str) -> None:
        if result.startswith("-") or result == "?":
            return
        if name == "ioctl":
            parts = text.split(", ")
            if len(parts) > 1 and parts[1] in ("FIOCLEX", "FIONCLEX", "0x5451", "0x5450"):
                fd, _ = v.descriptor(parts[0])
                self.assembler.set_close_on_exec(tid, fd, parts[1] in ("FIOCLEX", "0x5451"))
        elif name == "recvmsg":
            rights = _RIGHTS.search(text)
            if rights:
                found = _ONE_RIGHT.finditer(rights[1])
                received = [(int(m[1]), v.shown_name(m[2], m[3] is not None)) for m in found]
                self.assembler.received(tid, received, at)
        elif name == "unshare":
            self.assembler.unshared(tid, v.flags(text) or 0)


def nanoseconds(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    value = int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0") or "0")
    if value > _FAR_NS:
        raise v.NotUnderstood(text)
    return value


def _bounded(value: int | None) -> int | None:
    """A number of 64 bits in two's complement, as the kernel has them; None for the one that has no positive."""
    if value is None or -(1 << 63) < value < 1 << 63:
        return value
    value = ((value + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)
    return value if value != -(1 << 63) else None


def time_of_day(text: str) -> int:
    hours, minutes, seconds = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60 * 10**9 + nanoseconds(seconds)


def looks_right(line: str) -> bool:
    """Whether a line is strace's beyond doubt: a whole call, an interrupted one, or a thread's end."""
    line = line.removesuffix("\r")
    match = _CALL.match(line)
    if match is not None:
        return True
    rest = REST.match(line)
    return rest is not None and bool(_GONE.match(rest[4]) or (_BEGUN.match(rest[4]) and _UNFINISHED.search(rest[4])))
