"""Passing descriptors from a parent's process to its child's at a fork: SCM_RIGHTS over a socket of the child's worker.

A message holds which thread it is for, how many entries of that thread's table it stands for, and for each descriptor
that goes with it the slot that it fills. What a parent could not open it cannot pass: its child's slot stays empty.
"""

from __future__ import annotations

from typing import Any, Final

from iotrace.compiling import compiled
from iotrace.machine import X86_64, add, load, peek, poke32, poke64, system_call

_SENDMSG, _RECVMSG, _NANOSLEEP = (46, 47, 35) if X86_64 else (211, 212, 101)
ENTRIES_MAX: Final = 250
"""Descriptors in one message; the kernel takes 253."""
_DONTWAIT, _NOSIGNAL = 0x40, 0x4000
_CMSG_CLOEXEC: Final = 0x40000000
_SOCKET_RIGHTS: Final = 1 | 1 << 32
"""cmsg_level SOL_SOCKET, cmsg_type SCM_RIGHTS."""
_EAGAIN, _EINTR = 11, 4
# a lane's scratch: msghdr (56 bytes), iovec, pause, then control (16 + 4 a descriptor) and body (16 + 8 a descriptor)
_VECTOR, _PAUSE, _CONTROL, _BODY = 64, 80, 128, 2048
_BODY_BYTES: Final = 16 + 8 * ENTRIES_MAX


@compiled
def _head(place: int, body: int, control: int) -> Any:
    for k in range(0, 56, 8):
        poke64(place + k, 0)
    poke64(place + 16, place + _VECTOR)
    poke64(place + 24, 1)
    poke64(place + _VECTOR, place + _BODY)
    poke64(place + _VECTOR + 8, body)
    if control > 0:
        poke64(place + 32, place + _CONTROL)
        poke64(place + 40, control)


@compiled
def give(
    thread: int, door: int, take_begin: Any, take_from: Any, take_to: Any, slots: Any, place: int, control: int
) -> Any:  # fmt: skip
    """Send a thread all that it is given over the socket `door`; `place`: scratch (8 KiB), `control`: the stop flag."""
    k, last = take_begin[thread], take_begin[thread + 1]
    while k < last:
        count, begin = 0, k
        while k < last and count < ENTRIES_MAX:
            descriptor = slots[take_from[k]]
            if descriptor >= 0:
                poke32(place + _CONTROL + 16 + 4 * count, descriptor)
                poke64(place + _BODY + 16 + 8 * count, take_to[k])
                count += 1
            k += 1
        poke64(place + _BODY, thread)
        poke64(place + _BODY + 8, k - begin)
        poke64(place + _CONTROL, 16 + 4 * count)
        poke64(place + _CONTROL + 8, _SOCKET_RIGHTS)
        _head(place, 16 + 8 * count, (16 + 4 * count + 7) // 8 * 8 if count else 0)
        while True:
            result = system_call(_SENDMSG, door, place, _DONTWAIT | _NOSIGNAL, 0, 0, 0)
            if result >= 0 or peek(control) != 0:
                break
            if result == -_EAGAIN:
                poke64(place + _PAUSE, 0)
                poke64(place + _PAUSE + 8, 100_000)
                system_call(_NANOSLEEP, place + _PAUSE, 0, 0, 0, 0, 0)
            elif result != -_EINTR:
                # the descriptors cannot go (too many under way): let the child know that nothing comes
                if peek(place + 40) == 0:
                    break
                _head(place, 16, 0)


@compiled
def _receive(inbox: int, flags: int, got: int, slots: Any, place: int) -> Any:
    """Receive one message and put its descriptors where they belong; gives its length, or -errno."""
    _head(place, _BODY_BYTES, 16 + 4 * ENTRIES_MAX)
    result = system_call(_RECVMSG, inbox, place, _CMSG_CLOEXEC | flags, 0, 0, 0)
    if result < 16:
        return result
    count = (result - 16) // 8
    room = peek(place + 40)
    came = (peek(place + _CONTROL) - 16) // 4 if room >= 16 else 0
    for k in range(min(count, came)):
        word = peek(place + _CONTROL + 16 + k // 2 * 8)
        descriptor = (word >> 32 if k % 2 else word) & 0xFFFFFFFF
        slots[peek(place + _BODY + 16 + 8 * k)] = descriptor
    add(got + 8 * peek(place + _BODY), peek(place + _BODY + 8))
    return result


@compiled
def take(thread: int, inbox: int, take_begin: Any, got: int, slots: Any, place: int, control: int) -> Any:
    """Receive until all that the thread is given is there; what comes for others is put where it belongs, too.

    `inbox`: socket, whose receiving ends after a while; `got`: address of a counter for each thread.
    """
    total = take_begin[thread + 1] - take_begin[thread]
    while load(got + 8 * thread) < total and peek(control) == 0:
        result = _receive(inbox, 0, got, slots, place)
        if result < 16 and result != -_EAGAIN and result != -_EINTR:
            break


@compiled
def drain(inbox: int, got: int, slots: Any, place: int) -> Any:
    """Receive all that has come.

    A socket holds some hundred messages; one whose worker is busy must not keep those who fork from going on.
    """
    while _receive(inbox, _DONTWAIT, got, slots, place) >= 16:
        pass
