"""What the runs with one number of users say: a level of a ramp."""

from __future__ import annotations

import msgspec


class Level(msgspec.Struct, frozen=True):
    """Runs with one number of users.

    Attributes
    ----------
    makespan_s: of each run, the slowest user's from its own beginning (--jitter) to its end. ops_per_s: of all users
    together; with --jitter the sum of what each did in its own time. errors: unexpected outcomes, and differences that
    --check found. limit: why the generator, not the storage, was the limit of a run; empty where it was not. result:
    folder of the result. verdict: the worst of the runs' cache guards; empty where nothing was read.
    latency_us: of each run, the percentiles that --latency-bound bounds, such as "p99" and "read.p99".
    """

    users: int
    makespan_s: list[float]
    ops_per_s: list[float]
    errors: int = 0
    limit: str = ""
    result: str = ""
    verdict: str = ""
    latency_us: dict[str, list[float]] = {}
