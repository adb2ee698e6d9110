"""Lustre clients: `lctl get_param` of llite.*.stats, osc.*.stats, osc.*.rpc_stats, mdc.*.stats and mdc.*.md_stats.

Forms, as the Lustre manual ("Monitoring Client Activity") and the sources of versions 1.8 to 2.16 have them: a line
`NAME=` or `NAME=VALUE` for each parameter, then `snapshot_time` (`secs.usecs`, since 2.10 `secs.nsecs`; newer ones add
`start_time` and `elapsed_time`), then `counter N samples [unit] min max sum sumsq`, the sums only where the unit has
them. Versions before 2.0 count in llite what the object storage targets moved, as osc_read and osc_write, some of them
in osc.*.stats too. Since 2.11 files may begin on a metadata target (Data-on-MDT): what is read of those is in
mdc.*.stats, as read_bytes of the same form, but for data that come with the answer to an open, which nothing counts.

rpc_stats has no bytes: requests by their size, in powers of two of pages. They give the most that was moved.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from functools import partial
from typing import Final

from iotrace.mounts.counters.source import READ, WRITTEN, Counts, Source
from iotrace.mounts.mountinfo import Mount

_PARAMETER: Final = re.compile(r"([A-Za-z][\w-]*(?:\.[^=\s]+)+)=(.*)")
_SAMPLES: Final = re.compile(r"(\w+)\s+(\d{1,39}) samples \[(\w+)\]((?: \d{1,39})*)\s*")
_BUCKET: Final = re.compile(r"\s*(\d{1,15}):\s+(\d{1,39})\s+\d+\s+\d+\s*\|\s*(\d{1,39})\s")
_LCTL_S: Final = 5.0
_PAGE: Final = 4096
"""Lustre counts pages of 4 KiB on x86_64; elsewhere a page is the kernel's."""
_ASKED: Final = ("read_bytes", "write_bytes")
_MOVED: Final = {"read_bytes": READ, "write_bytes": WRITTEN}
_MOVED_OLD: Final = {"osc_read": READ, "osc_write": WRITTEN}


def parse_parameters(text: str) -> dict[str, str]:
    """Text of each parameter in the output of `lctl get_param`, by its name."""
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.splitlines():
        match = _PARAMETER.fullmatch(line)
        if match:
            lines = found.setdefault(match[1], [])
            lines.append(match[2])
        elif lines is not None:
            lines.append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def parse_stats(text: str) -> dict[str, tuple[int, int | None]]:
    """How often each counter of a `stats` or `md_stats` was counted, and the sum of its samples where it has one."""
    found = {}
    for line in text.splitlines():
        match = _SAMPLES.fullmatch(line.rstrip())
        if match:
            more = [int(word) for word in match[4].split()]
            found[match[1]] = (int(match[2]), more[2] if len(more) >= 3 else None)
    return found


def parse_rpc_stats(text: str, page: int = _PAGE) -> tuple[int, int]:
    """The most bytes that reads and writes of an `rpc_stats` moved, from its table of pages per RPC."""
    read = written = 0
    inside = False
    for line in text.splitlines():
        if "pages per rpc" in line:
            inside = True
        elif inside:
            match = _BUCKET.match(line)
            if not match:
                inside = False
                continue
            pages = int(match[1])
            read += pages * int(match[2])
            written += pages * int(match[3])
    return read * page, written * page


def counts_of(parameters: dict[str, str], file_system: str) -> Counts:
    """Counters of one file system (its name, such as fsx), added up over its targets.

    `read_bytes` and `written_bytes` are what the targets moved; without osc.*.stats (a user who is not
    root does not see them), and where an old client has no osc_read either, there are none, and `rpc_read_bytes_most`
    and `rpc_written_bytes_most` say what it was at most.
    """
    found: Counts = {}
    targets: dict[str, Counts] = {"osc": {}, "mdc": {}, "llite": {}}
    seen = False

    def add(name: str, value: int) -> None:
        found[name] = found.get(name, 0) + value

    for name, text in parameters.items():
        kind, _, rest = name.partition(".")
        instance, _, what = rest.rpartition(".")
        if not _is_of(instance, file_system):
            continue
        stats = parse_stats(text) if what in ("stats", "md_stats") else {}
        if kind in ("osc", "mdc") and what == "stats":
            seen |= kind == "osc"
            for counter, into in _MOVED.items():
                if counter in stats:
                    targets[kind][into] = targets[kind].get(into, 0) + (stats[counter][1] or 0)
        elif (kind, what) == ("osc", "rpc_stats"):
            read, written = parse_rpc_stats(text)
            add("rpc_read_bytes_most", read)
            add("rpc_written_bytes_most", written)
        elif (kind, what) == ("llite", "stats"):
            for counter, (count, total) in stats.items():
                if counter in _ASKED:
                    add(f"asked_{counter.replace('write', 'written')}", total or 0)
                elif counter in _MOVED_OLD and total is not None:
                    into = _MOVED_OLD[counter]
                    targets[kind][into] = targets[kind].get(into, 0) + total
                else:
                    add(f"llite.{counter}", count)
        elif (kind, what) == ("mdc", "md_stats"):
            for counter, (count, _) in stats.items():
                add(f"mdc.{counter}", count)
    if seen or targets["llite"]:
        # the same bytes may stand in both; a counter is not shown before its first sample
        objects = targets["osc"] or targets["llite"]
        for into in (READ, WRITTEN) if seen else objects:
            found[into] = objects.get(into, 0) + targets["mdc"].get(into, 0)
    return found


def _is_of(instance: str, file_system: str) -> bool:
    return not file_system or instance == file_system or instance.startswith(f"{file_system}-")


def name_of(mount: Mount) -> str:
    """Name of the file system that is mounted: `fsx` of `10.0.0.1@tcp:/fsx/folder`."""
    return mount.source.rpartition(":/")[2].partition("/")[0]


def lustre_sources(mount: Mount) -> list[Source]:
    """A Lustre mount; nothing where lctl does not answer."""
    name = name_of(mount)
    if not name or not re.fullmatch(r"[\w-]+", name):
        return []
    return [Source(f"Lustre {name} (lctl get_param)", "mount", partial(_read, name))]


def _read(name: str) -> Counts:
    kinds = ("llite", "stats"), ("osc", "stats"), ("osc", "rpc_stats"), ("mdc", "stats"), ("mdc", "md_stats")
    wanted = [f"{kind}.{name}-*.{what}" for kind, what in kinds]
    counts = counts_of(parse_parameters(lctl("get_param", wanted)), name)
    if not counts:
        raise ValueError(f"lctl names no counter of {name}: they are root's to read")
    return counts


def lctl(action: str, words: Iterable[str]) -> str:
    """What `lctl ACTION WORDS` prints; it ends with an error where only some of the words are known, so that counts for
    nothing.

    Raises
    ------
    OSError: there is no lctl, or it does not answer in time.
    """
    try:
        done = subprocess.run(
            ["lctl", action, *words], capture_output=True, text=True, errors="replace", timeout=_LCTL_S, check=False
        )
    except FileNotFoundError:
        raise OSError("there is no lctl command in PATH") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"lctl does not answer within {_LCTL_S:.0f} s") from None
    return done.stdout
