"""What a result says of itself: what was replayed, where, how and by whom."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iotrace.mounts.mountinfo import mount_of, mounts_of_this_machine
from iotrace.replay.options import Options
from iotrace.replay.result import MountInfo, ResultInfo
from iotrace.replay.rows import Plan
from iotrace.trace.reader import Trace

CACHE_WARNING: Final = (
    "Reads may come from this client's page cache (--cache {}): for those of the storage itself, --cache cold."
)


def mount_info(folder: Path) -> MountInfo:
    """The mount that a folder is on; empty when that cannot be found out."""
    mount = mount_of(os.path.realpath(folder), mounts_of_this_machine())
    return MountInfo(mount.point, mount.type, mount.source, mount.options) if mount else MountInfo()


def utc() -> str:
    """The time now, ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def result_info(plan: Plan, trace: Trace, folders: Sequence[Path], options: Options) -> ResultInfo:
    """What is known before the first run."""
    from iotrace import __version__

    warnings = list(plan.warnings)
    if options.cache_state != "cold" and not options.null:
        warnings.append(CACHE_WARNING.format(options.cache_state))
    if not trace.info.complete:
        warnings.insert(0, "The trace is incomplete (cut off, or operations were lost): so is its replay.")
    return ResultInfo(
        version=__version__,
        host=platform.node(),
        kernel=platform.release(),
        created_utc=utc(),
        source=trace.folder.name,
        source_command=list(trace.info.command),
        plan_hash=plan.hash,
        options={
            "fs": [str(folder) for folder in folders], "map": plan.prefixes, "engine": options.engine,
            "timing": options.timing, "speed": options.speed, "order": options.order, "repeat": options.repeat,
            "max_bytes": options.max_bytes, "keep": options.keep, "depth": options.depth, "batch": options.batch,
            "fixed": options.fixed, "direct": options.direct, "compress": options.compress,
            "duplicate": options.duplicate, "staged": str(options.staged or ""), "cache": options.cache_state,
            "drop_caches": options.drop_caches, "null": options.null, "verify": options.verify,
        },
        not_replayed=dict(plan.not_replayed),
        warnings=warnings,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cpus=os.cpu_count() or 0,
    )  # fmt: skip
