"""What a result says of itself: what was replayed, where, how and by whom."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iotrace.mounts.mountinfo import Mount, mount_of, mounts_of_this_machine
from iotrace.replay.options import Options
from iotrace.replay.result import MountInfo, ResultInfo
from iotrace.replay.rows import Plan
from iotrace.trace.reader import Trace

CACHE_WARNING: Final = (
    "Reads may come from this client's page cache (--cache {}): for those of the storage itself, --cache cold."
)


def mount_under(folder: Path) -> Mount | None:
    """The mount that a folder is on; None when that cannot be found out."""
    return mount_of(os.path.realpath(folder), mounts_of_this_machine())


def told_alike(mount: Mount | None) -> str:
    """Type, source and root of a mount, as all nodes that have mounted one file system tell them.

    Nodes may have mounted it from different servers: of the source only what comes after their names is told.
    """
    if mount is None:
        return "not known"
    source = mount.source
    if ":/" in source:  # server:/export, monitor,monitor:/folder
        source = f"/{source.rpartition(':/')[2]}"
    elif source.startswith("//"):  # //server/share
        source = source[2:].partition("/")[2]
    elif mount.type == "wekafs":  # backend,backend/name
        source = source.rpartition("/")[2]
    return f"{mount.type} ({source}, from its {mount.root} on)"


def mount_info(mount: Mount | None) -> MountInfo:
    """What a result says of a mount; empty when it could not be found out."""
    return MountInfo(mount.point, mount.type, mount.source, mount.options) if mount else MountInfo()


def memory_of_this_machine() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def utc() -> str:
    """The time now, ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def result_info(plans: Sequence[tuple[Plan, Trace]], folders: Sequence[Path], options: Options) -> ResultInfo:
    """What is known before the first run of plans that users replay in turn."""
    from iotrace import __version__

    warnings = list(dict.fromkeys(warning for plan, _ in plans for warning in plan.warnings))
    if options.cache_state != "cold" and not options.null:
        warnings.append(CACHE_WARNING.format(options.cache_state))
    if not all(trace.info.complete for _, trace in plans):
        warnings.insert(0, "The trace is incomplete (cut off, or operations were lost): so is its replay.")
    not_replayed: Counter[str] = Counter()
    for plan in {id(plan): plan for plan, _ in plans}.values():
        not_replayed.update(plan.not_replayed)
    prefixes = list(dict.fromkeys(one for plan, _ in plans for one in plan.prefixes))
    return ResultInfo(
        version=__version__,
        host=platform.node(),
        kernel=platform.release(),
        created_utc=utc(),
        source=" + ".join(trace.folder.name for _, trace in plans),
        source_command=list(plans[0][1].info.command),
        plan_hash=_hash_of([plan.hash for plan, _ in plans], options.users),
        options={
            "fs": [str(folder) for folder in folders], "map": prefixes, "engine": options.engine,
            "timing": options.timing, "speed": options.speed, "order": options.order, "repeat": options.repeat,
            "max_bytes": options.max_bytes, "keep": options.keep, "depth": options.depth, "batch": options.batch,
            "fixed": options.fixed, "direct": options.direct, "compress": options.compress,
            "duplicate": options.duplicate, "staged": str(options.staged or ""), "cache": options.cache_state,
            "drop_caches": options.drop_caches, "remount": options.remount, "null": options.null,
            "verify": options.verify,
            "users": options.users, "share_inputs": options.share_inputs, "jitter": options.jitter,
            "seed": options.seed, "think_scale": options.think_scale, "timeout": options.timeout,
            "check": options.check, "memory": options.memory, "ranks": options.ranks,
        },
        not_replayed=dict(not_replayed),
        warnings=warnings,
        memory_bytes=memory_of_this_machine(),
        cpus=os.cpu_count() or 0,
    )  # fmt: skip


def _hash_of(hashes: Sequence[str], users: int) -> str:
    """Of what the users replay together: of one user the plan's own."""
    if users == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes[number % len(hashes)] for number in range(users)).encode()).hexdigest()
