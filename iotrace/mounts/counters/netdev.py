"""Network cards: /proc/net/dev (proc(5)), all that have counted anything but the loopback.

What a bond, a VLAN or a bridge moves, the cards below it have moved too: where there are cards with a device, only
those are taken. What passes them by is not in it: RDMA (infiniband.py) and cards that a client drives itself (DPDK, as
WEKA does).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from iotrace.mounts.counters.source import Counts, Source, text_of, whole

NAME: Final = "network cards (/proc/net/dev)"
_NETDEV: Final = Path("/proc/self/net/dev")
_CARDS: Final = Path("/sys/class/net")
_RECEIVED, _SENT, _LEAST = 0, 8, 16


def parse_netdev(text: str) -> dict[str, Counts]:
    """Bytes and packets of each card; lines that do not have the file's form are left out."""
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.rpartition(":")
        numbers = [whole(word) for word in rest.split()]
        known = [number for number in numbers if number is not None]
        if colon and name.strip() and len(known) == len(numbers) >= _LEAST:
            found[name.strip()] = {
                "received_bytes": known[_RECEIVED],
                "received_packets": known[_RECEIVED + 1],
                "sent_bytes": known[_SENT],
                "sent_packets": known[_SENT + 1],
            }
    return found


def network_source() -> Source:
    """All cards of this machine, by name; in a container, which has none with a device, all but the loopback."""
    return Source(NAME, "node", _read, decides=False)


def _read() -> Counts:
    cards = {card: counts for card, counts in parse_netdev(text_of(_NETDEV)).items() if card != "lo"}
    real = [card for card in cards if (_CARDS / card / "device").exists()]
    return {
        f"{card}.{name}": value
        for card in sorted(real or cards)
        if any(cards[card].values())
        for name, value in cards[card].items()
    }
