"""Hash tables that kernels reach by address: open addressing over a power of two of slots, −1 in place of a value marks
an empty one.

A slot is two words (key, value) or three (device, inode, file). Tables whose keys are hashes themselves may hold a key
twice; who looks there compares what the values stand for.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from iotrace.compiling import entry, inner
from iotrace.machine import get, get_byte, put

SEED: Final = 0xCBF29CE484222325
"""Where a text's hash begins (FNV-1a's offset basis)."""
_PRIME: Final = 0x100000001B3
_MIXER: Final = 0xFF51AFD7ED558CCD


@inner
def mix(value: int) -> int:
    """A hash of a number, not negative."""
    v = np.uint64(value)
    v ^= v >> np.uint64(33)
    v *= np.uint64(_MIXER)
    v ^= v >> np.uint64(33)
    return np.int64(v & np.uint64(0x7FFFFFFFFFFFFFFF))  # type: ignore[return-value]


@inner
def hash_bytes(text: int, length: int, seed: int) -> int:
    """A hash of a text, which depends on `seed` (64 bits without sign) too."""
    value = np.uint64(seed)
    for i in range(length):
        value = (value ^ np.uint64(get_byte(text, i))) * np.uint64(_PRIME)
    return mix(np.int64(value))  # type: ignore[arg-type]


def hash_of(text: bytes) -> int:
    """What hash_bytes() gives for a text from SEED on."""
    mask = (1 << 64) - 1
    value = SEED
    for byte in text:
        value = ((value ^ byte) * _PRIME) & mask
    value ^= value >> 33
    value = (value * _MIXER) & mask
    value ^= value >> 33
    return value & 0x7FFFFFFFFFFFFFFF


@entry
def find_key(table: int, slots: int, key: int) -> int:
    """Slot of a key: where it is, or where it would go."""
    mask = slots - 1
    slot = mix(key) & mask
    while get(table, 2 * slot + 1) != -1 and get(table, 2 * slot) != key:
        slot = (slot + 1) & mask
    return slot


@entry
def move_keys(old: int, slots: int, new: int, new_slots: int) -> None:
    """Move a table of (key, value) into a larger, empty one."""
    for i in range(slots):
        if get(old, 2 * i + 1) != -1:
            slot = find_key(new, new_slots, get(old, 2 * i))
            put(new, 2 * slot, get(old, 2 * i))
            put(new, 2 * slot + 1, get(old, 2 * i + 1))


@entry
def move_hashes(old: int, slots: int, new: int, new_slots: int) -> None:
    """Move a table of (hash, value), in which a hash may occur twice, into a larger, empty one."""
    for i in range(slots):
        if get(old, 2 * i + 1) != -1:
            slot = get(old, 2 * i) & (new_slots - 1)
            while get(new, 2 * slot + 1) != -1:
                slot = (slot + 1) & (new_slots - 1)
            put(new, 2 * slot, get(old, 2 * i))
            put(new, 2 * slot + 1, get(old, 2 * i + 1))


@entry
def find_inode(table: int, slots: int, device: int, inode: int) -> int:
    """Slot of an inode: where it is, or where it would go."""
    mask = slots - 1
    slot = mix(inode * 0x9E3779B9 + device) & mask
    while get(table, 3 * slot + 2) != -1 and not (get(table, 3 * slot + 1) == inode and get(table, 3 * slot) == device):
        slot = (slot + 1) & mask
    return slot


@entry
def move_inodes(old: int, slots: int, new: int, new_slots: int) -> int:
    """Move a table of inodes, without those whose file is negative, into a larger one; returns how many there are."""
    moved = 0
    for i in range(slots):
        if get(old, 3 * i + 2) >= 0:
            slot = find_inode(new, new_slots, get(old, 3 * i), get(old, 3 * i + 1))
            for field in range(3):
                put(new, 3 * slot + field, get(old, 3 * i + field))
            moved += 1
    return moved
