"""Calls that wait to be resumed, in the kernels' tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from iotrace.trace.formats.strace.kernels import layout as k
from iotrace.trace.formats.strace.state import State


class Pending:
    """Calls that wait to be resumed, by thread id: (name, time_ns, text); long ones are out of the kernel's reach."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._long: dict[int, tuple[str, int, str]] = {}

    def _slot(self, tid: int) -> int:
        return self._state.pending_of[tid] if 0 <= tid <= k.MAX_PID else k.IN_PYTHON

    def __contains__(self, tid: int) -> bool:
        slot = self._slot(tid)
        return tid in self._long if slot == k.IN_PYTHON else slot > 0

    def __setitem__(self, tid: int, call: tuple[str, int, str]) -> None:
        self.pop(tid, None)
        state = self._state
        name, at, text = call
        rest = f"{name}({text}".encode("latin-1")
        if not 0 <= tid <= k.MAX_PID or len(rest) > k.PENDING_ROOM:
            self._long[tid] = call
            if 0 <= tid <= k.MAX_PID:
                state.pending_of[tid] = k.IN_PYTHON
            return
        if state.h[k.PENDING_FREE] < 0:
            state._grow_pending(len(state._pending) // k.PENDING_ROOM)
        row = state.h[k.PENDING_FREE]
        rows, at_row = state.tables[k.PENDING_TABLE], k.PENDING_FIELDS * row
        state.h[k.PENDING_FREE] = rows[at_row]
        rows[at_row], rows[at_row + k.W_NAME], rows[at_row + k.W_LENGTH] = at, len(name), len(rest)
        state._pending[k.PENDING_ROOM * row : k.PENDING_ROOM * row + len(rest)] = np.frombuffer(rest, np.uint8)
        state.pending_of[tid] = row + 1

    def _read(self, slot: int) -> tuple[str, int, str]:
        rows, at = self._state.tables[k.PENDING_TABLE], k.PENDING_FIELDS * (slot - 1)
        begin = k.PENDING_ROOM * (slot - 1)
        text = self._state._pending[begin : begin + rows[at + k.W_LENGTH]].tobytes().decode("latin-1")
        length = rows[at + k.W_NAME]
        return text[:length], rows[at], text[length + 1 :]

    def pop(self, tid: int, default: Any = None) -> Any:
        slot = self._slot(tid)
        if slot == 0:
            return default
        if slot == k.IN_PYTHON:
            if 0 <= tid <= k.MAX_PID:
                self._state.pending_of[tid] = 0
            return self._long.pop(tid, default)
        found = self._read(slot)
        rows, at = self._state.tables[k.PENDING_TABLE], k.PENDING_FIELDS * (slot - 1)
        rows[at] = self._state.h[k.PENDING_FREE]
        self._state.h[k.PENDING_FREE] = slot - 1
        self._state.pending_of[tid] = 0
        return found

    def items(self) -> list[tuple[int, tuple[str, int, str]]]:
        """All that wait, in order of thread id."""
        table = np.asarray(self._state.pending_of)
        short = [tid for tid in np.flatnonzero(table).tolist() if table[tid] != k.IN_PYTHON]
        found = {tid: self._read(int(table[tid])) for tid in short} | self._long
        return sorted(found.items())
