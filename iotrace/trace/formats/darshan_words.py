"""What a trace made from a log of Darshan does not know, as sentences for trace.json's `unseen`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from iotrace.trace.formats.darshan_contents import Contents
from iotrace.units import bytes_text

_TAKEN: Final = ("POSIX", "STDIO", "DXT_POSIX", "DXT_MPIIO")
_METADATA: Final = (
    ("OPENS", "opens"), ("STATS", "stats"), ("SEEKS", "seeks"), ("FSYNCS", "fsyncs"), ("FDSYNCS", "fdatasyncs"),
    ("MMAPS", "mmaps"), ("RENAME_SOURCES", "renames"),
)  # fmt: skip


def unseen(contents: Contents) -> list[str]:
    """The sentences, what matters most first."""
    about = _of_events if contents.detail == "events" else _of_counts
    return [*_of_all(contents), *about(contents), *_last(contents)]


def _of_all(contents: Contents) -> Iterator[str]:
    if contents.partial:
        yield f"all that happened after Darshan ran out of memory for {', '.join(contents.partial)}"
    yield "calls that failed, closes, and reads and writes of mapped files: Darshan does not count them"


def _of_events(contents: Contents) -> Iterator[str]:
    posix, stdio = contents.sums.get("POSIX", Counter()), contents.sums.get("STDIO", Counter())
    others = ", ".join(f"{posix[f'POSIX_{name}']:,} {word}" for name, word in _METADATA if posix[f"POSIX_{name}"])
    yield f"other calls than reads and writes ({others or 'not counted'}): DXT has none; trace.json's counters add up"
    if stdio:
        yield (
            f"C's streams ({bytes_text(stdio['STDIO_BYTES_READ'])} read, "
            f"{bytes_text(stdio['STDIO_BYTES_WRITTEN'])} written through fread, fwrite): DXT has none"
        )
    yield "the form of a call (read, readv), its thread, and what it asked for: all are pread64 and pwrite64, whole"
    if contents.asked:
        yield (
            "the calls below MPI-IO on files of which DXT has no others: requests to MPI-IO stand in their place "
            f"({contents.asked:,}), as pread64 and pwrite64"
        )
    if contents.above:
        yield f"requests to MPI-IO ({contents.above:,}): the calls that they became are there"
    if len(contents.hosts) > 1:
        yield f"which of {len(contents.hosts)} hosts a rank ran on"


def _of_counts(contents: Contents) -> Iterator[str]:
    yield "order, positions and latencies of calls: Darshan adds up calls, bytes and time by file and rank"
    yield "the form of a call: read stands for pread64 and readv too, write, open and stat likewise"
    yield "times of fsync and fdatasync (in that of write), of opens, closes, stats and seeks (in counted.metadata)"
    if contents.moves.ranks:
        yield "DXT's segments: left out for the counters"
    if contents.shared:
        yield (
            f"which of {contents.job.ranks:,} ranks used the files that all of them opened ({len(contents.shared):,}): "
            "Darshan adds those ranks up"
        )
    if contents.doubts.guessed:
        yield f"sizes of {contents.doubts.guessed:,} calls: they stand at the mean of those that are left over"
    if "STDIO" in contents.sums:
        yield "which calls to the kernel C's streams (stdio.read, stdio.write …) became behind their buffer"
    if contents.doubts.bad_times:
        yield f"sums of time that are below 0, or none, in the log ({contents.doubts.bad_times:,})"
    if contents.doubts.untold:
        yield f"what this version of Darshan did not count: {', '.join(sorted(contents.doubts.untold))}"


def _last(contents: Contents) -> Iterator[str]:
    modules = [name for name, _, _ in contents.job.modules]
    if "POSIX" not in modules and "DXT_POSIX" not in modules:
        yield "calls of POSIX: the log has no such module"
    others = [name for name in modules if name not in _TAKEN]
    if others:
        yield f"what only these modules tell: {', '.join(others)}"
