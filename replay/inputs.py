"""Which staged files several users of a replay may share: those that no run changes."""

from __future__ import annotations

import numpy as np

from iotrace.replay.flushing import SETS_ATTRIBUTES
from iotrace.replay.manifest import changes_of
from iotrace.replay.rows import Plan


def shared_files(plan: Plan) -> frozenset[int]:
    """Positions in Snapshot.files of those that a run neither writes, truncates nor gives other attributes.

    A name may be removed or renamed: the other users have names of their own.
    """
    changed = set(changes_of(plan).files)
    rows = np.flatnonzero(SETS_ATTRIBUTES[plan.rows.op])
    nodes = plan.recorded["node"][rows]
    paths = plan.recorded["paths"]
    named = {paths[node] for node in np.unique(nodes[nodes >= 0]).tolist()}
    other_names = dict(plan.snapshot.hard_links)
    named |= {other_names[path] for path in named if path in other_names}
    return frozenset(
        i for i, file in enumerate(plan.snapshot.files) if i not in changed and file.path not in named
    )  # fmt: skip
