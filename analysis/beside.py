"""What was counted beside a recording, for people: a line for each source that saw something.

Counters are of all on a device, a mount or the machine at that time, not of the recorded programs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iotrace.mounts.counters.source import READ, UNPROTECTED, WRITTEN
from iotrace.trace.info import Counted
from iotrace.units import binary_text, bytes_text, duration_text, significant


def beside_lines(counters: Sequence[Counted], duration_s: float) -> list[str]:
    """Lines such as "block device sda (/sys/…/stat): 12.0 MB read, 3.15 MB written, busy 20 % of the time"."""
    lines = []
    for one in counters:
        said = ", ".join(_facts(one.during, duration_s))
        if said:
            lines.append(f"{one.source}: {said}")
    return lines


def _facts(during: Mapping[str, int], duration_s: float) -> list[str]:
    facts = [
        f"{bytes_text(during[name])} {what}" for name, what in ((READ, "read"), (WRITTEN, "written")) if name in during
    ]
    if facts and not (during.get(READ) or during.get(WRITTEN)):
        # a device or mount that nobody used
        return []
    if facts and "busy_ms" in during and duration_s:
        facts.append(f"busy {significant(100 * during['busy_ms'] / 1e3 / duration_s, 2)} % of the time")
    elif not facts and "busy_ms" in during:
        facts.append(f"all together worked {duration_text(during['busy_ms'] * 1e6)}")
        if during.get("stolen_ms"):
            facts.append(f"and a hypervisor took {duration_text(during['stolen_ms'] * 1e6)}")
    for ending, what in (("received_bytes", "received"), ("sent_bytes", "sent")):
        moved = sum(value for name, value in during.items() if name.endswith(ending))
        if moved and READ not in during:
            facts.append(f"{bytes_text(moved)} {what}")
    if during.get(UNPROTECTED):
        facts.append(
            f"the cluster rebuilt what a failure took, {binary_text(during[UNPROTECTED] << 20)} lacked protection"
        )
    if "dirty_bytes_now" in during:
        waiting = during["dirty_bytes_now"] + during.get("writeback_bytes_now", 0)
        facts.append(f"{bytes_text(waiting)} of this machine waited to be written at the end")
    return facts
