"""Stalls: times of a run in which calls did not come back for seconds, with the calls named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from iotrace.replay.columns import Ints
from iotrace.replay.result import Stall

LEAST_S: Final = 5.0
"""A call that takes longer is a stall; a busy storage answers within less."""
SHOWN: Final = 20
_NAMED: Final = 3


def stalls_of(started: Ints, took: Ints, begin: int, name: Callable[[int], str]) -> list[Stall]:
    """Calls of at least LEAST_S, those that overlap as one stall; the longest SHOWN of them, in order of time.

    Parameters
    ----------
    started, took: of each call, ns, shape (n,); begin: of the run, ns.
    name: gives a clause about a call, "write of /data/x.mrc by python".
    """
    found: list[tuple[int, int, list[int]]] = []
    long = np.flatnonzero(took >= LEAST_S * 1e9)
    for at in long[np.argsort(started[long], kind="stable")].tolist():
        since, until = int(started[at]), int(started[at] + took[at])
        if found and since < found[-1][1]:
            before = found[-1]
            found[-1] = before[0], max(until, before[1]), [*before[2], at]
        else:
            found.append((since, until, [at]))
    longest = sorted(sorted(found, key=lambda one: one[0] - one[1])[:SHOWN])
    return [
        Stall((since - begin) / 1e9, (until - since) / 1e9, len(calls), [name(one) for one in calls[:_NAMED]])
        for since, until, calls in longest
    ]
