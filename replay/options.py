"""How to replay: the options of a run, and which of them make sense together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from iotrace.errors import UsageError
from iotrace.replay.cache import STATES
from iotrace.replay.kernels import words
from iotrace.replay.kernels.ring import DEPTH_MAX

TIMINGS: Final = {"asap": words.ASAP, "think": words.THINK, "original": words.ORIGINAL}
ENGINES: Final = ("psync", "uring")
USERS_MAX: Final = 4096


@dataclass(slots=True)
class Options:
    """How to replay; see run_replay. Of `ranks` of a fleet this is `rank`; `users` are those of all ranks."""

    prefixes: list[str] = field(default_factory=list)
    engine: str = "psync"
    timing: str = "think"
    speed: float = 1.0
    order: str = "file"
    repeat: int = 1
    max_bytes: int | None = None
    keep: bool = False
    depth: int = 1
    batch: int = 1
    fixed: bool = False
    direct: bool = False
    compress: float = 0.0
    duplicate: float = 0.0
    staged: Path | None = None
    cache: str = "recorded"
    drop_caches: bool = False
    remount: bool = False
    null: bool = False
    verify: bool = False
    users: int = 1
    share_inputs: bool = False
    jitter: float = 0.0
    seed: int = 1
    think_scale: float = 1.0
    timeout: float | None = None
    check: bool = False
    memory: int | None = None
    rank: int = 0
    ranks: int = 1

    @property
    def pace(self) -> float:
        """What the kernels divide gaps and times by."""
        return self.speed / self.think_scale

    def delays_ns(self) -> list[int]:
        """How much later each user of this rank begins, in ns: spread evenly at random, the first of all at once."""
        random = np.random.default_rng(self.seed)
        later = random.uniform(0, self.jitter * 1e9, self.users).astype(np.int64)
        later[0] = 0
        return [int(one) for one in later[self.rank :: self.ranks]]

    @property
    def cache_state(self) -> str:
        """State of the page cache before a run: with O_DIRECT nothing is to be there."""
        return "cold" if self.direct else self.cache


TIMEOUT_LEAST_S: Final = 0.1


def check_options(options: Options) -> None:
    """Refuse what makes no sense.

    Raises
    ------
    UsageError: with the option's name and what to choose.
    """
    for name, value, allowed in (
        ("--timing", options.timing, tuple(TIMINGS)), ("--engine", options.engine, ENGINES),
        ("--order", options.order, ("file", "thread")), ("--cache", options.cache, STATES),
    ):  # fmt: skip
        if value not in allowed:
            raise UsageError(f"{name} {value}: choose one of {', '.join(allowed)}.")
    if not options.speed > 0 or options.speed == float("inf"):
        raise UsageError(f"--speed {options.speed}: a factor above 0, such as 2 for twice as fast.")
    if not 0 < options.think_scale < float("inf"):
        raise UsageError(f"--think-scale {options.think_scale}: a factor above 0, such as 0.5 for half the think time.")
    if options.think_scale != 1 and options.timing != "think":
        raise UsageError("--think-scale goes with --timing think; --speed is a factor on all times.")
    if options.check:
        for wrong, why in (
            (options.ranks > 1, "ranks: each would have to record its own node"),
            (options.null, "--null: nothing is issued that could be recorded"),
        ):
            if wrong:
                raise UsageError(f"--check with {why}; leave one of the two out.")
    check_timeout(options.timeout)
    if options.memory is not None and (options.null or options.cache_state != "cold"):
        raise UsageError(
            "--memory bounds what a run itself brings into the page cache: it goes with --cold, and without --null."
        )
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: a whole number, 0 or more.")
    if not 1 <= options.users <= USERS_MAX:
        raise UsageError(f"--users {options.users}: from 1 to {USERS_MAX}.")
    if options.users < options.ranks:
        raise UsageError(f"--users {options.users} on {options.ranks} ranks: at least one user for each rank.")
    if not 0 <= options.jitter < float("inf"):
        raise UsageError(f"--jitter {options.jitter}: seconds, 0 or more.")
    if options.users > 1 and (options.keep or options.staged):
        raise UsageError(f"{'--keep' if options.keep else '--staged'} is for one user: leave it out, or --users.")
    if options.users == 1 and (options.share_inputs or options.jitter):
        raise UsageError("--share-inputs and --jitter are for several users: say how many with --users N.")
    if options.engine != "uring" and (options.depth, options.batch, options.fixed) != (1, 1, False):
        raise UsageError("--depth, --batch and --fixed are options of --engine uring.")
    if not 1 <= options.batch <= options.depth <= DEPTH_MAX:
        raise UsageError(
            f"--depth {options.depth} --batch {options.batch}: a depth from 1 to {DEPTH_MAX}, a batch up to it."
        )
    if options.null and (options.keep or options.staged):
        raise UsageError("--null makes no tree: leave out --keep and --staged.")
    if options.verify:
        for wrong, why in (
            (options.order != "file", "--order thread: a read that overtakes a write would count as stale"),
            (options.engine != "psync", f"--engine {options.engine}: verified calls are the recorded ones"),
            (options.null, "--null: without I/O there is nothing to verify"),
        ):
            if wrong:
                raise UsageError(f"--verify with {why}; leave one of the two out.")
    if options.direct and options.cache == "warm":
        raise UsageError("--cache warm: --direct reads past the page cache; leave one of them out.")
    if options.remount and (options.cache_state != "cold" or options.null):
        raise UsageError("--remount mounts anew before each run: it goes with --cold, and not with --null.")
    if options.repeat < 1:
        raise UsageError(f"--repeat {options.repeat}: at least 1.")


def check_timeout(timeout: float | None) -> None:
    """Refuse a --timeout that no answer can meet.

    Raises
    ------
    UsageError: says what to choose.
    """
    if timeout is not None and not TIMEOUT_LEAST_S <= timeout < float("inf"):
        raise UsageError(f"--timeout {timeout:g}: seconds, at least {TIMEOUT_LEAST_S}.")
