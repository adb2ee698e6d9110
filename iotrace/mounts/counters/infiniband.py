"""InfiniBand and RoCE ports: /sys/class/infiniband/*/ports/*/counters (Linux, Documentation/ABI/stable).

What RDMA moves (Lustre on o2ib, NFS on RDMA, BeeGFS) passes /proc/net/dev by; ports count it, for all users of the
machine. port_rcv_data and port_xmit_data are in units of 4 octets, whatever the link. No such port was there to try.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from iotrace.mounts.counters.source import Counts, Source, text_of, whole

NAME: Final = "InfiniBand and RoCE ports (/sys/class/infiniband)"
_FOLDER: Final = Path("/sys/class/infiniband")
_UNIT: Final = 4
_COUNTERS: Final = {"port_rcv_data": "received_bytes", "port_xmit_data": "sent_bytes"}


def infiniband_sources(folder: Path = _FOLDER) -> list[Source]:
    """All ports of this machine, by device and number; none where there are none."""
    ports = sorted(folder.glob("*/ports/*/counters"))
    return [Source(NAME, "node", partial(_read, ports), decides=False)] if ports else []


def _read(ports: list[Path]) -> Counts:
    found: Counts = {}
    for port in ports:
        name = f"{port.parent.parent.parent.name}/{port.parent.name}"
        for file, counter in _COUNTERS.items():
            try:
                number = whole(text_of(port / file).strip())
            except OSError:
                # a port that is down has none on some devices
                continue
            if number is not None:
                found[f"{name}.{counter}"] = number * _UNIT
    return found
