"""Which thread of a replay gets which descriptors of the recording: at forks, at the start, and to close at its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iotrace.replay.columns import NONE, Tables
from iotrace.replay.descriptors import Descriptors
from iotrace.replay.mapping import Mapping
from iotrace.replay.rows import Inherited
from iotrace.replay.scans import note_owners
from iotrace.replay.schedule import Lanes
from iotrace.replay.select import Selection


@dataclass(slots=True)
class Passed:
    """What is passed at forks.

    Attributes
    ----------
    takes: thread → (slot that the parent has it in, slot that it gets it in); takers: (fork, thread that takes);
    opened_before: (event that opened, fork) of what another thread than the forking one opened.
    """

    takes: dict[int, list[tuple[int, int]]]
    takers: list[tuple[int, int]]
    opened_before: list[tuple[int, int]]


def pass_on(tables: Tables, descriptors: Descriptors, lanes: Lanes) -> Passed:
    """Which thread gets what is passed at forks: the child, or the first of its process that does anything.

    Puts that thread in the place of what the fork makes (`descriptors.made`).
    """
    events, held = tables.events, descriptors.holdings
    first = {int(held.group_of[held.process_of[family[0]]]): family[0] for family in lanes.families}
    takes: dict[int, list[tuple[int, int]]] = {}
    takers: list[tuple[int, int]] = []
    for fork, source, slots in descriptors.passed:
        child = int(events.child[fork])
        if lanes.of_thread[child] < 0:
            child = first.get(int(held.group_of[held.process_of[child]]), -1)
        if child >= 0:
            descriptors.made[fork] = child
            takers.append((fork, child))
            takes.setdefault(child, []).extend((source, slot) for slot in slots)
    opened = [
        (held.opened[to], fork) for fork, _, to in held.passed if events.thread[held.opened[to]] != events.thread[fork]
    ]
    return Passed(takes, takers, opened)


def closes_at_ends(tables: Tables, descriptors: Descriptors, lanes: Lanes) -> tuple[list[list[int]], set[int]]:
    """Slots that each thread closes at its end: what the trace leaves open, by the last that may use it.

    Returns
    -------
    Slots by thread, and the families whose last thread closes what its others have left.
    """
    events = tables.events
    held = descriptors.holdings
    thread_of = np.full(held.count + 1, -1, np.int32)
    process_of = np.full(held.count + 1, -1, np.int32)
    for column in (descriptors.open, descriptors.other_open):
        if column.strides[0]:
            note_owners(column, events.thread, thread_of)
            note_owners(column, events.process, process_of)
    family_of = {int(held.group_of[held.process_of[one[0]]]): at for at, one in enumerate(lanes.families)}
    close: list[list[int]] = [[] for _ in range(tables.threads)]
    families_that_close: set[int] = set()
    for x, slot in descriptors.left:
        thread = int(thread_of[x])
        if thread < 0 or lanes.of_thread[thread] < 0:
            group = int(held.group[x]) if held.group[x] >= 0 else int(held.group_of[process_of[x]])
            family = family_of.get(group, -1)
            if family < 0:
                continue
            families_that_close.add(family)
            thread = lanes.last[family]
        close[thread].append(slot)
    return close, families_that_close


def inherited_of(
    tables: Tables, mapping: Mapping, selection: Selection, descriptors: Descriptors, lanes: Lanes
) -> list[Inherited]:
    """Files that are open when a replay begins, and whose."""
    events, tree, held = tables.events, mapping.tree, descriptors.holdings
    process_of = np.full(held.count + 1, -1, np.int32)
    for column in (events.open, events.other_open):
        if column.strides[0]:
            note_owners(column, events.process, process_of)
    worker_of = {
        int(held.group_of[held.process_of[family[0]]]): worker
        for family, worker in zip(lanes.families, lanes.family_worker, strict=True)
    }
    found: dict[int, Inherited] = {}
    for one, slots in descriptors.inherited:
        x = int(held.description[one])
        group = int(held.group[one]) if held.group[one] >= 0 else int(held.group_of[process_of[one]])
        worker = worker_of.get(group, -1)
        if x in found:
            found[x].slots += slots
            found[x].workers += [worker] * len(slots)
            continue
        event = int(selection.open_first[x])
        file = int(events.file[event])
        flags = int(tables.file_inherited_flags[file]) if file >= 0 else NONE
        offset = int(tables.file_inherited_offset[file]) if file >= 0 else NONE
        found[x] = Inherited(
            list(slots), [worker] * len(slots), tree.path(int(selection.open_node[x])),
            0o2 if flags == NONE else flags, max(0, 0 if offset == NONE else offset),
        )  # fmt: skip
    return list(found.values())
