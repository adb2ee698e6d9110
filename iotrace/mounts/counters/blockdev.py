"""Block devices: /sys/dev/block/*/stat, the fields of /proc/diskstats (Linux, Documentation/admin-guide/iostats.rst).

There are 11 until Linux 4.18, 15 with discards, 17 with flushes since 5.5. Sectors are of 512 bytes
whatever the device's own are.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Final

from iotrace.mounts.counters.source import READ, WRITTEN, Counts, Source, text_of, whole
from iotrace.mounts.mountinfo import Mount

_SECTOR: Final = 512
_FIELDS: Final = (
    "reads", "reads_merged", "sectors_read", "read_ms", "writes", "writes_merged", "sectors_written", "write_ms",
    "in_flight", "busy_ms", "weighted_ms", "discards", "discards_merged", "sectors_discarded", "discard_ms", "flushes",
    "flush_ms",
)  # fmt: skip
_KEPT: Final = ("reads", "writes", "read_ms", "write_ms", "busy_ms", "flushes")
_LEAST: Final = 11


def parse_stat(text: str) -> Counts:
    """Counters of one device's `stat`; empty where the text does not have its form."""
    return _counts(text.split())


def _counts(words: list[str]) -> Counts:
    numbers = [whole(word) for word in words[: len(_FIELDS)]]
    known = [number for number in numbers if number is not None]
    if len(known) < _LEAST or len(known) != len(numbers):
        return {}
    fields = dict(zip(_FIELDS, known, strict=False))
    return {
        READ: fields["sectors_read"] * _SECTOR,
        WRITTEN: fields["sectors_written"] * _SECTOR,
        **{name: fields[name] for name in _KEPT if name in fields},
    }


def block_sources(mount: Mount) -> list[Source]:
    """The device that a file system lies on, of one with several (Btrfs) each; without those that do not count."""
    found = []
    for device in _devices_of(mount):
        folder = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
        try:
            real = folder.resolve(strict=True)
        except OSError:
            continue
        found.append((real, folder))
    counting = [(real, folder) for real, folder in found if _counts_io(real)]
    # of a file system with several devices some are not all
    decides = len(counting) == len(found)
    return [
        Source(f"block device {real.name} ({folder}/stat)", "device", partial(_read, folder / "stat"), decides=decides)
        for real, folder in counting
    ]


def _counts_io(device: Path) -> bool:
    """Whether a device, or the disk that it is a partition of, counts what it moves (queue/iostats)."""
    for place in (device, device.parent):
        try:
            return text_of(place / "queue/iostats").strip() != "0"
        except OSError:
            continue
    return True


def file_below(mount: Mount) -> str:
    """The file that a loop device shows as its contents, "" for other devices: the machine may cache that, too."""
    for device in _devices_of(mount):
        try:
            path = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop/backing_file")
            return text_of(path).rstrip("\n")
        except OSError:
            continue
    return ""


def _devices_of(mount: Mount) -> list[int]:
    if os.major(mount.device):
        return list(dict.fromkeys([mount.device, *_realtime_device(mount)]))
    # Btrfs and overlay have a number of no device; Btrfs names one as its source, and /sys the others
    try:
        if not mount.source.startswith("/dev/"):
            return []
        first = os.stat(mount.source).st_rdev
        name = Path(f"/sys/dev/block/{os.major(first)}:{os.minor(first)}").resolve(strict=True).name
        for volume in Path("/sys/fs/btrfs").glob("*/devices"):
            members = sorted(one.name for one in volume.iterdir())
            if name in members:
                texts = [text_of(volume / one / "dev").strip().partition(":") for one in members]
                return [os.makedev(int(major), int(minor)) for major, _, minor in texts]
        return [first]
    except (OSError, ValueError):
        return []


def _realtime_device(mount: Mount) -> list[int]:
    """The device on which XFS keeps the data of realtime files."""
    named = [option.removeprefix("rtdev=") for option in mount.options.split(",") if option.startswith("rtdev=/")]
    try:
        return [os.stat(path).st_rdev for path in named]
    except OSError:
        return []


def _read(path: Path) -> Counts:
    return parse_stat(text_of(path))
