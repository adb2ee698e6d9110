"""How long the model takes: ten users, a thousand, and a sweep of 200 configurations with all questions.

No peer answers these questions: the figures stand by themselves, as medians of five with their spread.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

from iotrace.analysis.sizing.answer import answer
from iotrace.analysis.sizing.questions import Case, Keeping
from iotrace.analysis.sizing.storages import load_catalogue
from iotrace.profiles.model import Workload, load

ROUNDS = 5
SWEEP = 200


def timed(work: Callable[[], object]) -> str:
    """Median and spread of a few runs, in s."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return f"{statistics.median(times) * 1e3:.1f} ms ({min(times) * 1e3:.1f}–{max(times) * 1e3:.1f})"


def main() -> None:
    """Print the figures."""
    catalogue = load_catalogue()
    workload = load(Workload, "reference-architecture")

    def case(users: int, storage: str = "fsx-lustre-500", node: str = "g5.24xlarge", arrival: float = 0.0) -> Case:
        given = {"users": float(users), "lanes": float(max(1, users // 2)), "arrival_seconds": arrival}
        return Case(workload, node, catalogue.node(node), storage, catalogue.storage(storage), given)

    print(f"iotrace size, {platform.processor() or platform.machine()}, Python {platform.python_version()}")
    ten, thousand, spread = case(10), case(1000), case(1000, arrival=60.0)
    for name, one in (
        ("10 users", ten), ("1,000 users at once", thousand), ("1,000 users, one a minute", spread),
    ):  # fmt: skip
        demand = one.demand(30)
        one.run(30, demand)
        print(f"{name}: the run {timed(partial(one.run, 30, demand))}", flush=True)
    print(f"10 users: recipes and run {timed(lambda: case(10).run(30))}")
    begin = time.perf_counter()
    for number in range(SWEEP):
        storage = ("fsx-lustre-500", "weka-i3en", "nfs-server", "fsx-lustre-1000")[number % 4]
        node = ("g5.4xlarge", "g5.24xlarge")[number // 4 % 2]
        answer(case(5 + number // 8 * 5, storage, node), None, Keeping(10))
    print(f"{SWEEP} configurations, each with units needed, knee and sensitivity: {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
