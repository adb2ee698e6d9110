"""Steps of a workload as a graph: which wait for each other, and how many of a user may run at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def circle_of(after: Mapping[str, Sequence[str]]) -> list[str]:
    """Steps that wait for each other, and those behind them; none where all can run.

    Parameters
    ----------
    after: by step, which steps it waits for.
    """
    done: set[str] = set()
    while len(done) < len(after):
        free = [name for name, before in after.items() if name not in done and set(before) <= done]
        if not free:
            return [name for name in after if name not in done]
        done.update(free)
    return []


def width_of(after: Mapping[str, Sequence[str]]) -> int:
    """The most steps of which none waits for another, not even through others in between; `after` has no circle.

    By Dilworth's theorem as many as chains that hold all steps, and these are steps less pairs of a largest matching of
    each step with one that comes before it.
    """
    before: dict[str, set[str]] = {}
    while len(before) < len(after):
        for name, direct in after.items():
            if name not in before and all(one in before for one in direct):
                before[name] = set(direct).union(*(before[one] for one in direct))
    follower: dict[str, str] = {}

    def matched(name: str, tried: set[str]) -> bool:
        for one in before[name] - tried:
            tried.add(one)
            if one not in follower or matched(follower[one], tried):
                follower[one] = name
                return True
        return False

    return len(after) - sum(matched(name, set()) for name in after)
