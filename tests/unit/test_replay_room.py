"""What a replay needs of room: what it adds to the tree, and the buffers of its workers."""

from __future__ import annotations

import pytest

from iotrace.profiles.model import DataSet, Profile, Workload, load
from iotrace.profiles.needs import needs_of
from iotrace.profiles.numbers import numbers_of
from iotrace.profiles.synthesise import synthesised
from iotrace.profiles.totals import totals_of
from iotrace.profiles.workload import composed
from iotrace.replay.plan import build_plan

SMALL = {"width": 64.0, "height": 64.0, "movie_bytes": 3e7, "box": 16.0}
MAPS = ["/data", "/scratch"]


@pytest.mark.parametrize("name", ["patch-motion-correction", "live", "ssd-cache", "extract-particles"])
def test_what_is_sent_elsewhere_needs_no_room_in_the_tree(name: str) -> None:
    profile, dataset = load(Profile, name), load(DataSet, "empiar-10288")
    totals = totals_of(profile, numbers_of(profile, dataset, SMALL, 0.0005))
    plan = build_plan(synthesised(profile, dataset, given=SMALL, scale=0.0005), MAPS)
    assert plan.growth_bytes == totals.bytes_written
    assert plan.snapshot.bytes == totals.needed_bytes


def test_a_workload_needs_the_room_that_its_plan_says() -> None:
    workload, given = load(Workload, "single-user"), SMALL | {"live": 1}
    needs = needs_of(workload, given, 0.0005)
    plan = build_plan(composed(workload, given=given, scale=0.0005), MAPS)
    assert (plan.snapshot.bytes, plan.growth_bytes) == (needs.there_bytes, needs.summed("bytes_written"))


def test_a_copy_that_the_kernel_makes_takes_no_buffer() -> None:
    profile, dataset = load(Profile, "ssd-cache"), load(DataSet, "empiar-10288")
    both = build_plan(synthesised(profile, dataset, scale=0.0005), MAPS)
    # one whole stack in one call, and a line of the log
    assert both.write_bytes == 200
    # where the stacks themselves are not replayed, it is a write of what they held
    alone = build_plan(synthesised(profile, dataset, scale=0.0005), ["/scratch"])
    assert alone.write_bytes == numbers_of(profile, dataset, None, 0.0005).values["stack_bytes"]
