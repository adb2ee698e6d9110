"""What a step does to its GPUs and to the storage: GPU idle, and rates over the time in which it runs."""

import json

import msgspec
import pytest

import iotrace
from iotrace.analysis.commands.size import size
from iotrace.analysis.sizing.answer import RATES, Answer, answer
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.questions import Case, Keeping
from iotrace.analysis.sizing.show import MIX, print_answers, rate_of
from iotrace.analysis.sizing.storages import Catalogue, load_catalogue
from iotrace.profiles.model import Workload, load
from iotrace.terminal import console

HOLD_NONE = {"import", "curate", "inspect", "select"}
HOLD_ONE = {"class-2d", "ab-initio", "refine", "post", "live"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def case_of(catalogue: Catalogue, node: str = "g5.24xlarge", storage: str = "nfs-server", **given: float) -> Case:
    workload = load(Workload, "reference-architecture")
    return Case(workload, node, catalogue.node(node), storage, catalogue.storage(storage), given)


def answered(case: Case) -> Answer:
    return answer(case, 1, Keeping(), search=False)


def test_gpu_idle_is_the_part_of_the_gpu_seconds_held_in_which_jobs_do_not_compute(catalogue: Catalogue) -> None:
    found = answered(case_of(catalogue, users=30, lanes=30))
    held = waiting = 0.0
    for step in found.steps():
        assert step.gpus == (0 if step.step in HOLD_NONE else 1 if step.step in HOLD_ONE else 4), step.step
        assert step.gpu_idle == (1 - step.compute if step.gpus else None)
        # sessions of Live hold their GPU beside the lanes
        if step.gpu_idle is not None and step.step != "live":
            held += 30 * step.job_s * step.gpus
            waiting += 30 * step.job_s * step.gpus * step.gpu_idle
    made = found.to_json()
    assert made["gpu_seconds"] == {"held": pytest.approx(held), "waiting": pytest.approx(waiting)}
    assert made["gpu_idle"] == pytest.approx(waiting / held)
    assert waiting > 0.01 * held


def test_time_of_jobs_without_gpus_is_no_part_of_gpu_idle(catalogue: Catalogue) -> None:
    short, long = (case_of(catalogue, users=1, lanes=1, live=0, look_seconds=seconds).run(1) for seconds in (3, 30_000))
    assert long.structure_s[0] > 2 * short.structure_s[0]
    assert short.gpu_idle is not None
    assert long.gpu_idle == pytest.approx(short.gpu_idle, rel=1e-6)


def test_a_node_without_gpus_has_no_gpu_idle(catalogue: Catalogue, capsys: pytest.CaptureFixture[str]) -> None:
    case = case_of(catalogue, "reference", users=2, lanes=2)
    case.node = msgspec.structs.replace(case.node, gpus=0)
    found = answered(case)
    assert json.loads(json.dumps(found.to_json()))["gpu_idle"] is None
    assert {step.gpu_idle for step in found.steps()} == {None}
    print_answers([found], console())
    lines = capsys.readouterr().out.splitlines()
    choice = next(line.split() for line in lines if line.startswith("reference "))
    assert choice[-5] == "-"


def test_rates_of_all_steps_are_those_of_the_mix(catalogue: Catalogue) -> None:
    run = case_of(catalogue, users=7, lanes=3, cached_lanes=2).run(1, paces=True)
    assert run.demand.crowd.cached_lanes == 2
    for name, (column, of_phase) in RATES.items():
        whole = run.timeline[:, column] @ run.timeline[:, e.LENGTH]
        steps = [run.of_step(step, of_phase) for step in range(len(run.demand.steps))]
        assert sum(values @ lengths for values, lengths in steps) == pytest.approx(whole, rel=1e-4), name
        assert max(values.max() for values, _ in steps) <= run.peak(column) * (1 + 1e-6), name
    # a session of Live runs by itself, for as long as its job takes
    live = run.demand.steps.index("live")
    _, lengths = run.of_step(live, r.READ)
    assert lengths.sum() == pytest.approx(run.sums[live, e.JOB_SECONDS])


def test_rates_of_a_step_are_of_all_its_jobs_that_run_at_a_time(catalogue: Catalogue) -> None:
    one, many = (
        {step.step: step for step in answered(case_of(catalogue, users=users, lanes=users, live=0)).steps()}
        for users in (1, 3)
    )
    for name, step in one.items():
        assert step.rates["read"]["peak"] == pytest.approx(step.peak_read, rel=1e-4), name
        for found in (*step.rates.values(), *many[name].rates.values()):
            assert found["p50"] <= found["p95"] <= found["p99"] <= found["peak"]
    # all three begin at once, on a storage that motion correction does not fill
    assert many["motion"].rates["read"]["p50"] == pytest.approx(3 * one["motion"].rates["read"]["p50"], rel=0.02)


def test_the_terminal_has_rates_by_step_where_they_are_asked_for_in_80_columns(
    catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answered(case_of(catalogue))
    print_answers([found], console())
    without = capsys.readouterr().out
    assert "--rates" in without
    assert MIX not in [line.split("  ")[0] for line in without.splitlines()]
    print_answers([found], console(), rates=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name, rates in [*((step.step, step.rates) for step in found.steps()), (MIX, found.rates())]:
        rows = [line.split("  ", 1)[1].split() for line in lines if line.startswith(f"{name}  ")]
        for figures, rate in zip(rows[-len(RATES) :], RATES, strict=True):
            assert figures == " ".join(rate_of(rate, value) for value in rates[rate].values()).split(), (name, rate)


def test_a_frame_has_rates_and_gpus_of_each_step() -> None:
    frame = iotrace.size("single-user", ["nfs-server"], numbers={"movies": 50}).set_index("step")
    assert frame["step_gpu_idle"].isna()["import"]
    assert frame["gpus"]["motion"] == 1
    for name in RATES:
        assert (frame[f"{name}_p50"] <= frame[f"{name}_peak"]).all()
    assert (frame["read_peak"] > 0).any()


def test_what_a_step_waits_for_is_said_where_computing_takes_longer(
    catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(case_of(catalogue), None, Keeping(), search=False)
    steps = {step.step: step for step in found.steps()}
    for step in steps.values():
        waits = {name: share for name, share in step.parts.items() if name != "compute"}
        assert waits[step.waits_for] == max(waits.values())
        assert step.binding in ("compute", step.waits_for)
    refine = steps["refine"]
    assert refine.binding == "compute" != refine.waits_for
    print_answers([found], console())
    said = " ".join(capsys.readouterr().out.split())
    assert f"refine {refine.waits_for} ({refine.parts[refine.waits_for]:.0%})" in said


def test_rates_are_refused_where_json_has_them() -> None:
    with pytest.raises(iotrace.IotraceError, match="--rates: --json holds"):
        size(rates=True, json=True)


@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_bursts_that_nobody_knows_the_length_of_are_said_to_be_left_out(catalogue: Catalogue, seconds: float) -> None:
    case = case_of(catalogue, storage="fsx-lustre-125", users=1, lanes=1, movies=20)
    case.storage = msgspec.structs.replace(case.storage, burst_seconds=seconds)
    said = [note for note in answer(case, 2, Keeping(), search=False).notes if "Bursts of fsx-lustre-125" in note]
    assert len(said) == (not seconds)
