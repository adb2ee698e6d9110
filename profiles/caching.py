"""Particle stacks on a node's own disk: what a job that reads them does on a node that has one."""

from __future__ import annotations

from typing import Final

import msgspec

from iotrace.profiles.model import Action, Files, Phase, Profile

FILL: Final = "ssd-cache"
"""The recipe whose phases fill a cache."""
CACHED: Final = "cached"
"""Its class of files for the stacks on the node's own disk."""


def cached_variants(profile: Profile, fill: Profile) -> tuple[Profile, Profile, Profile] | None:
    """A job that reads boxes of particles, three times with the same files; None for a job that reads none.

    Gives it without a cache; with one that it has to fill, as the recipe `fill` does; with one that is full already.
    """
    stacks = next((action.file for phase in profile.phases for action in phase.actions if action.do == "boxes"), None)
    if stacks is None or CACHED in profile.files:
        return None
    source = profile.files[stacks]
    cached = Files(fill.files[CACHED].path, source.count, source.size, place="cache")
    log = "log" in profile.files
    plain = msgspec.structs.replace(
        profile, files=profile.files | {CACHED: cached}, numbers=fill.numbers | profile.numbers
    )  # fmt: skip
    look, copy = fill.phases[1:]
    before = [_renamed(phase, stacks, log) for phase in (look, copy)]
    first = next(k for k, phase in enumerate(profile.phases) if any(one.do == "boxes" for one in phase.actions))
    phases = [
        msgspec.structs.replace(phase, actions=[_from_cache(action, stacks) for action in phase.actions])
        for phase in profile.phases
    ]
    filling = msgspec.structs.replace(plain, phases=[*phases[:first], *before, *phases[first:]])
    full = msgspec.structs.replace(plain, phases=[*phases[:first], before[0], *phases[first:]])
    return plain, filling, full


def _renamed(phase: Phase, stacks: str, log: bool) -> Phase:
    """A phase of the filling recipe with the job's own classes of files."""
    actions = [
        msgspec.structs.replace(action, file=stacks) if action.file == "particles" else action
        for action in phase.actions
        if log or action.file != "log"
    ]
    return msgspec.structs.replace(phase, actions=actions)


def _from_cache(action: Action, stacks: str) -> Action:
    return msgspec.structs.replace(action, file=CACHED) if action.do == "boxes" and action.file == stacks else action
