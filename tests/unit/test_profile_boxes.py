"""Random reads of particles: each once before any comes again, out of as many as the job has, in another order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.errors import UsageError
from iotrace.profiles.boxes import boxes_of
from iotrace.profiles.layout import layout_of
from iotrace.profiles.model import DataSet, Profile, load, read
from iotrace.profiles.numbers import numbers_of
from iotrace.profiles.shuffling import shuffled
from iotrace.profiles.synthesise import Synthesis
from iotrace.profiles.templates import template_of
from iotrace.profiles.totals import totals_of

RECIPE = """
name = "x"
title = "x"
about = "x"
job_types = ["x"]
[numbers]
items = { value = 4, source = "here" }
count = { value = 5, source = "here" }
reads = { value = 6, source = "here" }
some = { value = 12, source = "here" }
part = { value = 100, source = "here" }
whole = { value = 900, source = "here" }
[files]
stacks = { path = "s/{n}.mrc", count = "count", size = "whole", exists = true }
[[phases]]
name = "read"
items = "items"
actions = [{ do = "boxes", file = "stacks", reads = "reads", box = "part", header = "part" AMONG }]
"""


def boxes_read(text: str, seed: int = 1, **given: float) -> Any:
    """Number of the box of each read, (reads,), in the order of items."""
    profile = read(Profile, text, "x.toml")
    numbers = numbers_of(profile, load(DataSet, "own"), given)
    events = pa.Table.from_batches(Synthesis(profile, numbers, seed).batches()).to_pandas()
    of = events[(events["op"] == "read") & (events["offset"] > 0)]
    return (of["file"] * 8 + (of["offset"] - 100) // 100).to_numpy("int64")


@settings(max_examples=60)
@given(st.integers(1, 700), st.integers(0, 2**62))
def test_numbers_in_a_random_order_are_each_there_once(count: int, key: int) -> None:
    found = shuffled(np.arange(count), count, np.full(count, key))
    assert sorted(found.tolist()) == list(range(count))


def test_orders_of_other_keys_have_nothing_in_common() -> None:
    count = 100_000
    orders = [shuffled(np.arange(count), count, np.full(count, key)) for key in range(4)]
    for one in orders:
        assert abs(np.corrcoef(one, np.arange(count))[0, 1]) < 0.02
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.02
        # tenths of the numbers are spread over tenths of the places
        shares = np.histogram2d(one, np.arange(count), bins=10)[0]
        assert np.abs(shares - count / 100).max() < 6 * np.sqrt(count / 100)
    for one, other in pairwise(orders):
        assert (one == other).mean() < 1e-3


def test_a_pass_reads_each_particle_once_and_the_next_one_reads_them_in_another_order() -> None:
    found = boxes_read(RECIPE.replace("AMONG", ""), items=20, reads=4)
    assert len(found) == 80
    first, second = found[:40], found[40:]
    assert sorted(first) == sorted(second) == list(range(40))
    assert first.tolist() != second.tolist()


def test_a_job_that_reads_some_of_the_particles_reads_the_same_ones_in_each_pass() -> None:
    text = RECIPE.replace("AMONG", ', among = "some"')
    found = boxes_read(text, items=6, reads=6)
    assert sorted(found[:12]) == sorted(found[12:24]) == sorted(found[24:])
    assert len(set(found)) == 12
    # who reads fewer of them reads some of these, whatever the seed
    fewer = boxes_read(text, seed=9, items=2, reads=4, some=8)
    assert set(fewer) < set(found)
    assert boxes_read(text, seed=2, items=6, reads=6).tolist() != found.tolist()
    with pytest.raises(UsageError, match=r"actions\[0\].among: boxes of so many stacks"):
        read(Profile, text.replace("among", 'stacks = "some", among'), "x.toml")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 60))
def test_as_many_stacks_are_opened_as_the_arithmetic_expects(count: int, reads: int) -> None:
    profile = read(Profile, RECIPE.replace("AMONG", ""), "x.toml")
    numbers = numbers_of(profile, load(DataSet, "own"), {"count": count, "reads": reads, "items": 300})
    phase = profile.phases[0]
    boxes = boxes_of(profile, phase, template_of(profile, phase, numbers, ""), numbers, layout_of(profile, numbers), "")
    assert boxes is not None
    events = pa.Table.from_batches(Synthesis(profile, numbers).batches()).to_pandas()
    # nearly: an item that begins in one pass and ends in the next may draw a box twice
    assert (events["op"] == "openat").sum() / 300 == pytest.approx(boxes.opens_mean, rel=0.06)


def test_a_refinement_touches_its_own_particles_only() -> None:
    profile = load(Profile, "refine-3d")
    numbers = numbers_of(profile, load(DataSet, "empiar-10288"))
    passes = totals_of(profile, numbers).phases[1]
    assert passes.bytes_touched == 620_000 * 256 * 256 * 4
    assert passes.scattered == 8 * 620_000
