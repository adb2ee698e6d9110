"""Recipes: their sums, what is refused and how, that numbers have sources, that events are what arithmetic says."""

from __future__ import annotations

import math
import resource
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recipes import GOOD

from iotrace.errors import UsageError
from iotrace.profiles import model
from iotrace.profiles.expressions import Unclear, names_in, value_of
from iotrace.profiles.model import DataSet, Profile, Workload, load, names_of, read
from iotrace.profiles.needs import needs_of
from iotrace.profiles.numbers import numbers_of
from iotrace.profiles.placement import FILLS, FULL, WITHOUT, Disk
from iotrace.profiles.scales import largest_scale
from iotrace.profiles.synthesise import Synthesis, synthesise
from iotrace.profiles.totals import totals_of
from iotrace.profiles.unshrunk import unshrunk
from iotrace.profiles.workload import Composition
from iotrace.trace.operations import BY_NAME, NUMBER_OF, OPERATIONS, Kind
from iotrace.trace.reader import open_trace

PROFILES = names_of(Profile)
SMALL = {"width": 64.0, "height": 64.0, "movie_bytes": 300_000.0, "box": 16.0}

# sums


def sums() -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["a", "b", "c", "0", "1"])
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
            st.tuples(st.sampled_from(["ceil", "floor", "round", "-"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        ),
        max_leaves=12,
    )


@given(sums(), st.tuples(*[st.integers(-50, 50)] * 3))
def test_a_sum_has_the_value_that_python_gives_it(text: str, values: tuple[int, ...]) -> None:
    numbers = dict(zip("abc", map(float, values), strict=True))
    names: dict[str, Any] = {"ceil": math.ceil, "floor": math.floor, "round": round, "min": min, "max": max}
    assert value_of(text, numbers) == pytest.approx(eval(text, {"__builtins__": {}}, names | numbers))
    assert names_in(text) <= set("abc")


@pytest.mark.parametrize(
    "text",
    ["2 * a", "a.b", "a[0]", "open('x')", "__import__('os')", "a if b else c", "lambda: 1", "'x'", "a +", "", "True",
     "max(a, key=b)", "a; b", "min()", "[a]"],
)  # fmt: skip
def test_anything_but_sums_of_names_is_refused(text: str) -> None:
    with pytest.raises(Unclear):
        names_in(text)


@given(st.text(max_size=30))
def test_no_text_does_anything_but_give_names_or_be_refused(text: str) -> None:
    try:
        names_in(text)
    except Unclear:
        return


@pytest.mark.parametrize("text", ["a / b", "a // b", "a ** a", "a % b", "a ** (a * a)"])
def test_a_sum_without_a_value_is_refused_and_takes_no_time(text: str) -> None:
    with pytest.raises(Unclear):
        value_of(text, {"a": 1e9, "b": 0.0})


# recipes


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('source = "somewhere"', 'source = " "', "x.toml: numbers.n.source: every number needs one"),
        ('value = 3, source = "somewhere"', "value = 3", "x.toml: numbers.n: .*`source`"),
        ('items = "n"', 'items = "7 * n"', r"x.toml: phases\[0\].items: 7 in '7 \* n': give that number a name"),
        ('file = "f"', 'file = "g"', r"phases\[0\].actions\[0\].file: there is no class of files 'g'"),
        (', chunk = "n"', "", r"actions\[0\].chunk: reading 'whole' needs it"),
        ('do = "read"', 'do = "dance"', r"phases\[0\].actions\[0\].do: Invalid enum value 'dance'"),
        ('chunk = "n"', 'chunk = "n", how = "fast"', r"actions\[0\].how: 'fast' is no way to read: whole, sendfile"),
        ('path = "J1', 'path = "../J1', "files.f.path: a path below the project's folder"),
        ('path = "J1/{n}.mrc"', 'path = ""', "files.f.path: a path below the project's folder"),
        ('name = "x"', 'nam = "x"', "x.toml: .*"),
        ("[numbers]", "[numbers", "x.toml is no TOML"),
        ('["x"]', "[]", "job_types: at least one"),
        ('["x"]', '["x"]\ngpus = "7"', "x.toml: gpus: 7 in '7': give that number a name"),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_key_and_reason(old: str, new: str, said: str) -> None:
    assert read(Profile, GOOD, "x.toml").name == "x"
    with pytest.raises(UsageError, match=said) as raised:
        read(Profile, GOOD.replace(old, new, 1), "x.toml")
    assert "\n" not in str(raised.value)


def test_a_recipe_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no profile 'clas-2d': choose ab-initio, class-2d"):
        load(Profile, "clas-2d")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load(Profile, tmp_path / "mine.toml")
    (tmp_path / "own.toml").write_text(GOOD)
    assert load(Profile, tmp_path / "own.toml").title == "X"


def test_there_is_a_recipe_for_each_of_the_twelve_steps_and_for_live_and_the_cache() -> None:
    profiles = [load(Profile, name) for name in PROFILES]
    assert sorted(one.step for one in profiles if one.step) == list(range(1, 13))
    keys = {key for one in profiles for key in one.job_types}
    assert keys >= {
        "import_movies", "patch_motion_correction_multi", "patch_ctf_estimation_multi", "curate_exposures_v2",
        "blob_picker_gpu", "template_picker_gpu", "inspect_picks_v2", "extract_micrographs_multi", "class_2D_new",
        "select_2D", "homo_abinit", "nonuniform_refine_new", "local_resolution",
    }  # fmt: skip
    assert {"live", "ssd-cache"} <= set(PROFILES)


@pytest.mark.parametrize("name", [*names_of(DataSet)])
def test_every_profile_has_all_numbers_with_every_data_set(name: str) -> None:
    dataset = load(DataSet, name)
    for one in PROFILES:
        totals = totals_of(load(Profile, one), numbers_of(load(Profile, one), dataset))
        assert totals.bytes_written > 0
        assert sum(totals.calls.values()) > 0


def test_no_number_of_any_recipe_lacks_a_source() -> None:
    kinds: list[Any] = [Profile, DataSet, Workload]
    shipped: list[Any] = [load(kind, name) for kind in kinds for name in names_of(kind)]
    numbers = [number for recipe in shipped for number in recipe.numbers.values()]
    numbers += model.common_numbers().values()
    assert len(numbers) > 80
    assert all(len(number.source) >= 10 for number in numbers)


def test_counts_scale_and_sizes_do_not() -> None:
    profile, dataset = load(Profile, "extract-particles"), load(DataSet, "empiar-10288")
    whole, part = (numbers_of(profile, dataset, None, scale).values for scale in (1.0, 0.01))
    assert part["movies"] == math.ceil(whole["movies"] / 100)
    assert part["particles"] == math.ceil(whole["particles"] / 100)
    for name in ("movie_bytes", "box", "particle_bytes", "micrograph_bytes", "read_chunk", "seconds_a_micrograph"):
        assert part[name] == whole[name]


def test_numbers_that_need_each_other_and_unknown_ones_are_told() -> None:
    profile = read(
        Profile, GOOD.replace("n = { value = 3,", 'm = { value = "n", source = "s" }\nn = { value = "m",'), "x"
    )
    with pytest.raises(UsageError, match="numbers m → n → m need each other"):
        numbers_of(profile, load(DataSet, "own"))
    with pytest.raises(UsageError, match=r"--set bx: there is no such number here; known are .*box"):
        numbers_of(None, load(DataSet, "own"), {"bx": 1})
    with pytest.raises(UsageError, match="--scale 0"):
        numbers_of(None, load(DataSet, "own"), None, 0.0)


def test_bytes_of_empiar_10288_are_those_that_follow_by_arithmetic() -> None:
    dataset = load(DataSet, "empiar-10288")

    def totals(name: str) -> Any:
        profile = load(Profile, name)
        return totals_of(profile, numbers_of(profile, dataset))

    near = pytest.approx
    assert totals("patch-motion-correction").bytes_read == near(476e9, rel=0.02)
    assert totals("patch-motion-correction").bytes_written == near(314e9, rel=0.02)
    assert totals("patch-ctf-estimation").bytes_read == near(157e9, rel=0.02)
    assert totals("pick-particles").bytes_read == near(124e9, rel=0.02)
    assert totals("extract-particles").bytes_read == near(124e9, rel=0.02)
    assert totals("extract-particles").bytes_written == near(455e9, rel=0.02)
    assert totals("ssd-cache").bytes_written == near(455e9, rel=0.02)
    assert totals("patch-motion-correction").made_files >= 13_780


# events


def frame(name: str, seed: int = 1, scale: float = 0.0005, **more: float) -> tuple[Synthesis, Any]:
    profile = load(Profile, name)
    job = Synthesis(profile, numbers_of(profile, load(DataSet, "empiar-10288"), SMALL | more, scale), seed)
    return job, pa.Table.from_batches(job.batches()).to_pandas()


@pytest.mark.parametrize("name", PROFILES)
def test_events_are_those_that_the_arithmetic_counts(name: str) -> None:
    job, events = frame(name)
    totals = totals_of(job.profile, job.numbers)
    counted = Counter(events["op"])
    random = any(action.do == "boxes" for phase in job.profile.phases for action in phase.actions)
    expected = totals.calls
    for op in set(counted) | set(expected):
        loose = random and op in ("openat", "close", "read")
        assert counted[op] == pytest.approx(expected[op], rel=0.2 if loose else 0), op
    kinds = events["op"].map(lambda op: BY_NAME[op].kind)
    moved = events["result"].where(events["result"] > 0, 0)
    read_bytes = moved[kinds.isin([Kind.READ, Kind.COPY])].sum()
    written = moved[(kinds == Kind.WRITE) | ((kinds == Kind.COPY) & events["other_file"].notna())].sum()
    assert read_bytes == pytest.approx(totals.bytes_read, rel=0.02 if random else 0)
    assert written == totals.bytes_written
    assert events[events["op"] == "mmap.fault"]["size"].sum() == totals.bytes_mapped
    # a worker with the most items ends last; think times lie 10 % around the recipe's
    assert job.end_ns / 1e9 == pytest.approx(totals.think_s, rel=0.35, abs=0.05)


@pytest.mark.parametrize("name", ["patch-motion-correction", "class-2d", "ssd-cache", "inspect-picks"])
def test_every_opening_is_used_between_its_open_and_its_close_and_within_its_file(name: str) -> None:
    job, events = frame(name)
    sizes = {one.first + n: one.size for one in job.layout.classes if one.exists for n in range(one.count)}
    for _, of in events[events["open"].notna()].groupby("open"):
        ordered = of.sort_values("time_ns")
        assert ordered["op"].iloc[0] == "openat"
        assert ordered["op"].iloc[-1] == "close"
        assert ordered["op"].isin(["openat", "close"]).sum() == 2
        assert of["thread"].nunique() == of["file"].nunique() == 1
    reads = events[events["op"].isin(["read", "pread64", "sendfile"]) & events["file"].isin(sizes)]
    ends = reads["offset"] + reads["result"]
    assert (ends <= reads["file"].map(sizes)).all()
    for _, of in events[events["op"] != "mmap.fault"].groupby("thread"):
        ordered = of.sort_values("time_ns")
        assert (ordered["time_ns"].iloc[1:].to_numpy() >= (ordered["time_ns"] + ordered["duration_ns"])[:-1]).all()


def test_the_same_seed_gives_the_same_events_and_another_one_others() -> None:
    one, again, other = (frame("class-2d", seed)[1] for seed in (1, 1, 2))
    assert one.equals(again)
    assert not one["offset"].equals(other["offset"])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 30), st.integers(1, 40))
def test_random_boxes_are_of_the_chosen_number_and_lie_in_their_stacks(stacks: int, reads: int, particles: int) -> None:
    boxes = '{ do = "boxes", file = "f", reads = "reads", box = "box", header = "mrc_header", how = "pread" }'
    text = GOOD.replace('{ do = "read", file = "f", chunk = "n" }', boxes)
    text = text.replace('size = "n"', 'size = "mrc_header + stack_particles * box"')
    text = text.replace("[numbers]", '[numbers]\nreads = { value = 1, source = "here" }')
    chosen = {"n": stacks, "reads": reads, "micrographs": stacks, "particles": particles, "box": 100}
    profile, dataset = read(Profile, text, "x"), load(DataSet, "empiar-10288")
    job = Synthesis(profile, numbers_of(profile, dataset, chosen))
    events = pa.Table.from_batches(job.batches()).to_pandas()
    of_boxes = events[events["op"] == "pread64"]
    assert len(of_boxes) == stacks * reads
    assert ((of_boxes["offset"] - 1024) % 100 == 0).all()
    assert ((of_boxes["offset"] - 1024) // 100 < math.ceil(particles / stacks)).all()
    headers = events[events["op"] == "read"]
    assert (headers["offset"] == 0).all()
    assert len(headers) == (events["op"] == "openat").sum() == (events["op"] == "close").sum()


def test_a_synthesised_trace_is_one_that_readers_take(tmp_path: Path) -> None:
    profile, dataset = load(Profile, "import-movies"), load(DataSet, "empiar-10288")
    info = synthesise(profile, dataset, tmp_path / "T.iotrace", given=SMALL, scale=0.001)
    trace = open_trace(tmp_path / "T.iotrace")
    assert trace.info.complete
    assert trace.info.events == info.events == len(trace.events())
    assert trace.info.unseen[0].startswith("durations are nominal")
    assert trace.table("processes").column("job_type").to_pylist() == ["import_movies"]
    with pytest.raises(Exception, match="exists already"):
        synthesise(profile, dataset, tmp_path / "T.iotrace")


# workloads


def test_jobs_keep_the_order_of_their_steps_and_lanes_run_one_at_a_time() -> None:
    workload = load(Workload, "reference-architecture")
    whole = Composition(workload, {"users": 3, "lanes": 2} | SMALL, 0.0003)
    events = pa.Table.from_batches(whole.batches()).to_pandas()
    assert whole.events == len(events)
    processes = {row["process"]: row for row in whole.processes()}
    assert len(processes) == 1 + 3 * 12 + 1
    spans = {
        number: (of["time_ns"].min(), (of["time_ns"] + of["duration_ns"].fillna(0)).max())
        for number, of in events[events["process"] > 0].groupby("process")
    }
    steps = list(workload.steps)
    for user in range(3):
        mine = [spans[1 + user * 12 + k] for k in range(12)]
        assert all(before[1] <= after[0] for before, after in pairwise(mine))
        assert processes[1 + user * 12]["user"] == f"user{user + 1:02d}"
    assert len(steps) == 12
    for lane in ("lane 1", "lane 2"):
        own = sorted(spans[number] for number, row in processes.items() if row.get("slurm_job") == lane)
        assert len(own) > 5
        assert all(before[1] <= after[0] for before, after in pairwise(own))
    assert [row["slurm_job"] for row in processes.values() if row.get("user") == "live01"] == ["live"]
    ends = events["time_ns"] + events["duration_ns"].fillna(0)
    assert (np.diff(ends[events["op"] != "mmap.fault"]) >= 0).mean() > 0.99
    # a lane waits for the job that it forked, and for those that come before it
    forks, waits = (events[events["op"] == op] for op in ("fork", "wait"))
    assert len(forks[forks["process"] == 0]) == 37
    assert set(waits["child"]) == set(range(1, 38))


def test_what_one_job_makes_is_what_the_next_one_reads() -> None:
    whole = Composition(load(Workload, "single-user"), SMALL, 0.0003)
    made = {one.text: one for one in whole.layout.classes}
    aligned = made["/data/user01/CS-project/J2/motioncorrected/{n}_patch_aligned.mrc"]
    assert not aligned.exists
    readers = [job for job in whole._jobs if any(one.first == aligned.first for one in job.layout.classes)]
    assert [job.step.name for job in readers] == ["motion", "ctf"]
    assert made["/data/user01/raw/session/{n}.tif"].exists


def test_live_takes_each_movie_when_its_microscope_has_written_it() -> None:
    workload = load(Workload, "live-facility")
    given = {"users": 1, "microscopes": 1.0, "exposures_an_hour": 720} | SMALL
    whole = Composition(workload, given, 0.01)
    events = pa.Table.from_batches(whole.batches()).to_pandas()
    of = {row.get("user"): row["process"] for row in whole.processes()}
    assert {"live01", "live02", "microscope01"} <= set(of)
    mine = events[events["process"] == of["microscope01"]]
    renames = mine[mine["op"] == "renameat"]
    there = dict(zip(renames["other_path"], renames["time_ns"] + renames["duration_ns"], strict=True))
    # 720 an hour: one every 5 s, with the time that writing takes
    assert len(there) > 10
    assert np.diff(sorted(there.values())).mean() == pytest.approx(5e9, rel=0.1)
    looks = events[(events["process"] == of["live01"]) & (events["op"] == "newfstatat")]
    first = looks.groupby("path")["time_ns"].min()
    assert set(there) == set(first.index)
    late = np.array([first[path] - time for path, time in there.items()])
    assert late.min() >= 0
    # nothing else is between them than looking at the folder and the work on the movie before
    assert np.median(late) < 2e9
    # the other session has no microscope: its movies are there, and it waits as long for each
    alone = events[(events["process"] == of["live02"]) & (events["op"] == "newfstatat")]
    assert np.diff(alone["time_ns"]).mean() == pytest.approx(5e9, rel=0.1)
    made = {one.text: one for one in whole.layout.classes}
    assert not made["/data/live01/raw/live/{n}.tif"].exists
    assert made["/data/live02/raw/live/{n}.tif"].exists


def test_a_node_with_a_disk_of_its_own_copies_stacks_once_and_reads_them_there() -> None:
    workload = load(Workload, "reference-architecture")
    whole = Composition(workload, {"users": 2, "lanes": 2, "cached_lanes": 1.0, "live": 0} | SMALL, 0.0003)
    events = pa.Table.from_batches(whole.batches()).to_pandas()
    text = {one.first + n: one.path(n) for one in whole.layout.classes for n in range(one.count)}
    events["text"] = events["path"].map(text)
    lane_of = {row["process"]: row.get("slurm_job") for row in whole.processes()}
    events["lane"] = events["process"].map(lane_of)
    stacks = events[events["text"].str.contains("_particles.mrc", na=False)]
    boxes = stacks[(stacks["op"] == "pread64") | (stacks["op"] == "read")]
    cached = boxes["text"].str.startswith("/scratch/lane1/")
    reads_there, reads_here = boxes[cached]["lane"].unique().tolist(), boxes[~cached]["lane"].unique().tolist()
    assert (reads_there, reads_here) == (["lane 1"], ["lane 2"])
    # a copy is a file that is made: each once on this node, however many jobs of its user read it there
    makes = stacks[stacks["text"].str.startswith("/scratch/") & (stacks["flags"].fillna(0).astype(int) & 0o100 != 0)]
    assert makes["text"].nunique() == len(makes) > 0
    readers = boxes[cached].groupby("text")["process"].nunique()
    assert readers.max() > 1
    assert set(readers.index) <= set(makes["text"])


def filled(whole: Composition, events: Any) -> Counter[str]:
    """How many jobs of each step copy stacks to their node, by the files that they make there."""
    text = {one.first + n: one.path(n) for one in whole.layout.classes for n in range(one.count)}
    at = events["path"].map(text).str.startswith("/scratch/", na=False)
    makes = events[at & (events["flags"].fillna(0).astype(int) & 0o100 != 0)]
    steps = {job.number: job.step.name for job in whole._jobs}
    return Counter(steps[process] for process in makes["process"].unique())


@pytest.mark.parametrize(("users", "lanes"), [(1, 1), (3, 1), (3, 3)])
def test_stacks_are_copied_to_a_node_once_for_all_jobs_of_a_user(users: int, lanes: int) -> None:
    workload = load(Workload, "reference-architecture")
    crowd = {"users": users, "lanes": lanes, "cached_lanes": 1, "live": 0, "arrival_seconds": 1.0}
    given = crowd | SMALL
    needs = needs_of(workload, given, 0.0003)
    whole = Composition(workload, given, 0.0003)
    events = pa.Table.from_batches(whole.batches()).to_pandas()
    planned = Counter({one.step: one.jobs for one in needs.jobs if one.cache == FILLS})
    assert planned == filled(whole, events)
    assert needs.total_jobs == 12 * users
    assert needs.events == pytest.approx(len(events), rel=0.02)
    if lanes == 1:
        assert planned == {"class-2d": users}
        found = {one.step: one for one in needs.jobs if one.cache == FULL}
        assert found.keys() == {"ab-initio", "refine"}
        copied = next(one.totals for one in needs.jobs if one.cache == FILLS)
        again = found["refine"].totals
        assert copied.local_written > 0 == again.local_written
        assert again.bytes_read > again.local_read > again.bytes_read / 2


@pytest.mark.parametrize(("room", "copies"), [(0, {}), (1, {"ab-initio": 3, "refine": 3}), (3, {})])
def test_a_disk_without_room_for_all_users_is_filled_anew(room: int, copies: dict[str, int]) -> None:
    """Three users take turns on one lane: where one of them has room, each finds the stacks of another."""
    workload = load(Workload, "reference-architecture")
    given = {"users": 3, "lanes": 1, "cached_lanes": 1, "cache_users": room, "live": 0} | SMALL
    needs = needs_of(workload, given, 0.0003)
    whole = Composition(workload, given, 0.0003)
    events = pa.Table.from_batches(whole.batches()).to_pandas()
    planned = Counter({one.step: one.jobs for one in needs.jobs if one.cache == FILLS})
    assert planned == filled(whole, events) == {"class-2d": 3} | copies
    assert needs.events == pytest.approx(len(events), rel=0.02)


def test_who_used_a_disk_longest_ago_makes_room() -> None:
    disk = Disk(2)
    found = [disk.find(user, "stacks") for user in (1, 2, 1, 3, 1, 2, 3, 3)]
    assert found == [False, False, True, False, True, False, False, True]


def test_a_lane_without_a_disk_is_asked_for_as_one_that_reads_from_the_storage() -> None:
    needs = needs_of(load(Workload, "reference-architecture"), {"cached_lanes": 2.0})
    by_cache = Counter({what: sum(one.jobs for one in needs.jobs if one.cache == what) for what in (WITHOUT, FILLS)})
    refine = {one.cache: one.totals for one in needs.jobs if one.step == "class-2d"}
    assert by_cache[WITHOUT] > 9 * 10
    assert by_cache[FILLS] > 0
    assert refine[WITHOUT].local_read == 0 < refine[FILLS].local_read
    # no job makes copies that another one, or none, has made
    assert refine[FILLS].made_files - refine[WITHOUT].made_files >= 2000


def test_mapped_files_are_asked_of_a_storage_though_no_call_reads_them() -> None:
    profile = load(Profile, "inspect-picks")
    numbers = numbers_of(profile, load(DataSet, "empiar-10288"))
    totals = totals_of(profile, numbers)
    looked_at = numbers.count("looked_at") * numbers.count("micrograph_bytes")
    assert totals.bytes_mapped == pytest.approx(looked_at, rel=1e-3)
    phase = totals.phases[1]
    assert (phase.bytes_read, phase.bytes_touched) == (0, looked_at)


def test_movies_that_a_microscope_writes_need_not_be_there() -> None:
    workload = load(Workload, "live-facility")
    needs = needs_of(workload, {"microscopes": 1.0})
    (alone, fed) = (one.totals for one in needs.jobs if one.step == "live")
    (scope,) = (one.totals for one in needs.jobs if one.step == "microscope")
    assert alone.needed_bytes - fed.needed_bytes == scope.bytes_written
    assert (alone.bytes_read, alone.needed_files - fed.needed_files) == (fed.bytes_read, scope.made_files)
    assert needs.most_jobs == 3 + 2 + 1


def test_a_workload_says_what_it_needs_and_refuses_what_makes_no_sense() -> None:
    workload = load(Workload, "reference-architecture")
    needs = needs_of(workload)
    assert (needs.users, needs.lanes, needs.total_jobs, needs.most_jobs) == (10, 5, 121, 6)
    motion = next(one.totals for one in needs.jobs if one.step == "motion")
    assert motion.bytes_read == pytest.approx(476e9, rel=0.02)
    assert needs_of(workload, {"users": 2.0}).users == 2
    with pytest.raises(UsageError, match="--set user: no step of reference-architecture"):
        needs_of(workload, {"user": 2.0})
    text = (Path(model.__file__).parent / "workloads" / "single-user.toml").read_text()
    text = text.replace(
        '[steps.import]\nprofile = "import-movies"', '[steps.import]\nprofile = "import-movies"\nafter = ["post"]'
    )
    with pytest.raises(UsageError, match="wait for each other"):
        needs_of(read(Workload, text, "circle.toml"))
    with pytest.raises(UsageError, match=r"steps.motion.after: there is no step 'imports'"):
        read(Workload, text.replace('after = ["import"]', 'after = ["imports"]'), "x.toml")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("users", 0, "users = 0: a whole number from 1 to"),
        ("users", 2.5, "users = 2.5: a whole number"),
        ("lanes", 1e8, "lanes = 1e.08: a whole number from 1 to"),
        ("microscopes", 9, "microscopes = 9: a whole number from 0 to 1, one for each session of live"),
        ("exposures_an_hour", 1e-7, "more than 1048576 calls for one item"),
        ("exposures_an_hour", 1e-300, "is too large"),
        ("box", 1e5, r"each micrograph: actions\[2\]: more than 1048576 calls for one item"),
        ("box", 1e9, r"files.particles.size: 3.18e\+21 is too large"),
        ("seconds", 1e12, r"actions\[1\].seconds: an item that takes more than 37 years"),
        ("seconds", 1e10, "look at exposures: a job that takes more than 37 years"),
        ("movies", 1e17, "is too large; at most"),
    ],
)
def test_numbers_that_no_job_could_have_are_refused_before_memory_is_taken(name: str, value: float, said: str) -> None:
    workload = load(Workload, "reference-architecture")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), hard))
    try:
        with pytest.raises(UsageError, match=said) as raised:
            needs_of(workload, {name: value})
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert "\n" not in str(raised.value)


def test_what_a_scale_does_not_shrink_is_said() -> None:
    def jobs(scale: float) -> Any:
        return needs_of(load(Workload, "single-user"), None, scale).steps

    left = unshrunk(jobs(1.0), jobs(0.001), 0.001)
    # volumes are of box³ voxels, and a person's choice takes as long
    assert left["post"]["bytes written"] == pytest.approx(1000, rel=0.01)
    assert left["select"]["think time"] > 100
    assert "bytes read" not in left.get("motion", {})
    assert unshrunk(jobs(1.0), jobs(0.9), 0.9) == {}


@given(st.integers(0, 10**6), st.integers(0, 10**9), st.floats(1e-6, 100), st.integers(1, 10**9))
@example(0, 399_999_841, 100.0, 69)  # as small as what was taken for a constant
def test_the_largest_scale_is_one_that_fits_and_not_much_less(least: int, many: int, scale: float, most: int) -> None:
    def count(at: float) -> int:
        return least + math.ceil(many * at)

    if count(scale) <= most:
        return
    found = largest_scale(count, scale, most)
    if found is None:
        assert count(scale * 1e-9) >= most
        return
    assert count(found) <= most
    assert found < scale
    assert count(found * 1.3) + 2 > most


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="--seed -1: a whole number, 0 or more"):
        Composition(load(Workload, "single-user"), seed=-1)


def test_operations_of_templates_exist_on_all_architectures() -> None:
    for name in PROFILES:
        _, events = frame(name)
        for op in set(events["op"]) - {"fork", "mmap.fault"}:
            numbers = OPERATIONS[NUMBER_OF[op]]
            assert numbers.name == op
            assert numbers.aarch64 is not None or op == "fcntl.lock", op


RECIPE = """
name = "x"
title = "x"
about = "x"
job_types = ["x"]
[numbers]
n = { value = 6, source = "here" }
reads = { value = 7, source = "here" }
few = { value = 3, source = "here" }
bytes = { value = 100000, source = "here" }
box = { value = 1000, source = "here" }
[files]
stacks = { path = "s/{n}.mrc", count = "n * few", size = "bytes", exists = true }
[[phases]]
name = "read"
items = "n"
actions = [ACTION]
"""


def made(action: str) -> Any:
    profile = read(Profile, RECIPE.replace("ACTION", action), "x.toml")
    numbers = numbers_of(profile, load(DataSet, "own"))
    events = pa.Table.from_batches(Synthesis(profile, numbers).batches()).to_pandas()
    assert totals_of(profile, numbers).calls == Counter(events["op"])
    return events


@pytest.mark.parametrize("few", [1, 3])
def test_boxes_of_so_many_stacks_open_just_these(few: int) -> None:
    stacks = "few" if few == 3 else str(few)
    events = made(
        f'{{ do = "boxes", file = "stacks", reads = "reads", box = "box", header = "box", stacks = "{stacks}" }}'
    )
    assert (events["op"] == "openat").sum() == 6 * few
    reads = events[(events["op"] == "read") & (events["offset"] > 0)]
    assert len(reads) == 6 * 7
    assert reads.groupby("open")["file"].nunique().eq(1).all()
    assert reads["open"].nunique() == 6 * few


def test_what_is_done_several_times_steps_through_the_files() -> None:
    events = made('{ do = "stat", file = "stacks", times = "few" }')
    assert sorted(events["file"].tolist()) == list(range(18))
    again = made('{ do = "stat", file = "stacks", times = "n" }')
    assert again["file"].value_counts().tolist() == [2] * 18


@pytest.mark.parametrize("how", ["whole", "sendfile", "mmap"])
def test_who_reads_a_file_asks_for_its_length_unless_the_recipe_says_no(how: str) -> None:
    action = f'{{ do = "read", file = "stacks", how = "{how}", chunk = "box" MORE }}'
    asks, knows = made(action.replace("MORE", "")), made(action.replace("MORE", ", fstat = false"))
    assert (asks["op"] == "fstat").sum() == 6
    assert knows["op"].tolist() == asks[asks["op"] != "fstat"]["op"].tolist()


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 40), st.sampled_from(["read", "pread"]))
def test_an_item_that_reads_boxes_from_one_stack_opens_one_and_reads_its_header_first(
    reads: int, stacks: int, items: int, how: str
) -> None:
    text = f"""
name = "x"
title = "X"
about = "A step."
job_types = ["x"]
[numbers]
items = {{ value = {items}, source = "here" }}
reads = {{ value = {reads}, source = "here" }}
count = {{ value = {stacks}, source = "here" }}
part = {{ value = 100, source = "here" }}
whole = {{ value = 2100, source = "here" }}
[files]
list = {{ path = "list", size = "part", exists = true }}
stacks = {{ path = "J1/{{n}}.mrcs", count = "count", size = "whole", exists = true }}
[[phases]]
name = "p"
items = "items"
actions = [
    {{ do = "stat", file = "list" }},
    {{ do = "boxes", file = "stacks", how = "{how}", reads = "reads", box = "part", header = "part", stacks = "1" }},
]
"""
    profile = read(Profile, text, "x.toml")
    job = Synthesis(profile, numbers_of(profile, load(DataSet, "own")))
    events = pa.Table.from_batches(list(job.batches())).to_pandas()
    opened = events[events["open"].notna()]
    assert opened["open"].nunique() == items
    assert opened["file"].nunique() == min(items, stacks)
    for _, calls in opened.groupby("open"):
        assert calls["file"].nunique() == 1
        moved = calls[calls["op"].isin(["read", "pread64"])]
        assert (moved["offset"].iloc[0], len(moved)) == (0, 1 + reads)
        assert moved["offset"].iloc[1:].is_monotonic_increasing
        assert (moved["offset"].iloc[1:].between(100, 2000) & (moved["result"].iloc[1:] == 100)).all()
        assert (calls["op"].iloc[0], calls["op"].iloc[-1]) == ("openat", "close")
