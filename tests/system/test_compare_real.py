"""`iotrace compare` on what real replays and a real fio left."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iotrace
from iotrace.analysis.comparison.family import primary_level
from iotrace.analysis.comparison.power import MOST_RUNS, runs_needed
from iotrace.cli import main
from iotrace.replay.result import Result
from iotrace.statistics import compare_samples

fio = pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")


def fio_json(folder: Path, target: Path, *options: str, form: str = "json+") -> Path:
    """Run fio once and keep its JSON. 64 MB take longer than the millisecond that fio measures in, also in memory."""
    folder.mkdir(exist_ok=True)
    words = ["--name=seq", f"--directory={folder}", "--size=64M", "--bs=64k", *options]
    subprocess.run(
        ["fio", *words, f"--output-format={form}", f"--output={target}"], check=True, capture_output=True, timeout=60
    )
    return target


def compared(capsys: pytest.CaptureFixture[str], *words: Any) -> Any:
    status = main(["compare", *map(str, words), "--json"])
    out = capsys.readouterr()
    assert status == 0, out.err
    return json.loads(out.out)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Two steps replayed at the same time, on a disk and in memory."""
    folder = tmp_path_factory.mktemp("steps")
    traces = []
    for name in ("class-2d", "extract-particles"):
        traces.append(folder / f"{name}.iotrace")
        assert main(["profile", "synthesise", name, "--scale", "0.0001", "-o", str(traces[-1])]) == 0
    memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    (folder / "disk").mkdir()
    try:
        return iotrace.run_replay(
            traces, [folder / "disk", memory], timing="asap", repeat=3, prefixes=["/data"]
        )  # fmt: skip
    finally:
        memory.rmdir()


def test_each_step_has_rows_of_its_own_that_agree_with_the_result(steps: Result) -> None:
    table = iotrace.compare_results(steps)
    rows = {row.metric: row for row in table.rows}
    names = {job.step for job in steps.info.runs[0].jobs}
    assert len(names) == 2
    disk = [run for run in steps.info.runs if run.fs == steps.info.runs[0].fs]
    for name in names:
        row = rows[f"step.{name}.io_s"]
        assert row.a.median == pytest.approx(np.median([run.by_step[name].time_s for run in disk]), rel=1e-6)
        assert rows[f"step.{name}.makespan_s"].a.median <= rows["makespan_s"].a.median * 1.001
        assert {f"step.{name}.read.{p}_us" for p in ("p50", "p95", "p99", "p999")} <= set(rows)
        assert f"step.{name}.read_bytes_per_s" in rows
        assert f"step.{name}.metadata_ops_per_s" in rows
    assert "step.geomean.makespan_s" in rows


MAKESPANS = [
    0.1059, 0.108, 0.1022, 0.0977, 0.0956, 0.0974, 0.0967, 0.0955, 0.1061, 0.0962, 0.0989, 0.0983, 0.0988, 0.097,
    0.1017, 0.1027, 0.0992, 0.1024, 0.4665, 0.1, 0.0987, 0.1047, 0.0968, 0.0979, 0.0964, 0.0907, 0.16, 0.1985, 0.1651,
    0.154, 0.1512, 0.1551, 0.1526, 0.1015, 0.1562, 0.1679, 0.106, 0.1512, 0.161, 0.1556,
]  # fmt: skip
"""Seconds of 40 runs in a row of the shipped trace relion-particle-extraction, `--timing think`, ext4, on a machine
of 2 cores with other work: an outlier, and two speeds."""


def test_the_spread_of_real_runs_asks_for_runs_that_find_five_percent() -> None:
    random = np.random.default_rng(1)
    level, trials, found = primary_level(1), 60, 0
    for _ in range(trials):
        asked = runs_needed(random.choice(MAKESPANS, 10), random.choice(MAKESPANS, 10), True, 0.05, level) or MOST_RUNS
        a, b = random.choice(MAKESPANS, asked), 1.05 * random.choice(MAKESPANS, asked)
        found += compare_samples(a, b, paired=True, level=level).verdict == "slower"
    assert found / trials >= 0.8


@fio
def test_fio_json_plus_gives_the_percentiles_that_fio_itself_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [fio_json(tmp_path / "d", tmp_path / f"{n}.json", "--rw=randrw", "--fsync=4") for n in "ab"]
    rows = {row["metric"]: row for row in compared(capsys, *files)["rows"]}
    job = json.loads(files[0].read_text())["jobs"][0]
    for direction in ("read", "write"):
        of = job[direction]
        assert rows[f"class.{direction}.p95_us"]["a"] * 1e3 == pytest.approx(
            of["clat_ns"]["percentile"]["95.000000"], rel=0.02
        )
    assert rows["class.sync.p50_us"]["a"] * 1e3 == pytest.approx(
        job["sync"]["lat_ns"]["percentile"]["50.000000"], rel=0.02
    )
    assert rows["makespan_s"]["a"] == pytest.approx(job["job_runtime"] / 1e3)
    assert rows["read_bytes_per_s"]["a"] == pytest.approx(job["read"]["io_bytes"] / job["job_runtime"] * 1e3)
    assert rows["step.seq.read.p50_us"]["a"] == rows["class.read.p50_us"]["a"]


@fio
def test_plain_fio_json_gives_percentiles_and_of_several_jobs_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = fio_json(tmp_path / "d", tmp_path / "one.json", "--rw=read", form="json")
    rows = {row["metric"]: row for row in compared(capsys, one, shutil.copy(one, tmp_path / "copy.json"))["rows"]}
    job = json.loads(one.read_text())["jobs"][0]
    assert rows["class.read.p99_us"]["a"] * 1e3 == pytest.approx(job["read"]["clat_ns"]["percentile"]["99.000000"])
    several = fio_json(tmp_path / "d", tmp_path / "two.json", "--rw=read", "--numjobs=2", form="json")
    found = compared(capsys, several, one)
    assert "class.read.p50_us" not in {row["metric"] for row in found["rows"]}
    assert any("json+" in sentence for sentence in found["warnings"])


@fio
def test_fio_on_two_folders_is_the_same_work_and_with_other_options_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = [fio_json(tmp_path / "a", tmp_path / f"a{n}.json", "--rw=write", "--fsync=2") for n in range(4)]
    memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    b = [fio_json(memory, tmp_path / f"b{n}.json", "--rw=write", "--fsync=2") for n in range(4)]
    shutil.rmtree(memory)
    found = compared(capsys, *a, "vs", *b)
    assert found["primary"] == "ops_per_s"
    assert found["runs"] == {"a": 4, "b": 4}
    assert not any("same work" in sentence for sentence in found["warnings"])
    assert main(["compare", *map(str, a), "vs", *map(str, b), "--html", str(tmp_path / "fio.html")]) == 0
    capsys.readouterr()
    assert "fio 3" in (tmp_path / "fio.html").read_text()
    other = fio_json(tmp_path / "a", tmp_path / "o.json", "--rw=write", "--fsync=1")
    found = compared(capsys, *a, "vs", other)
    assert {row["verdict"] for row in found["rows"]} == {"~"}
    assert any("different options" in sentence for sentence in found["warnings"])


@fio
def test_a_replay_beside_fio_is_shown_without_a_verdict(
    steps: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps.save(tmp_path / "s.ioresult")
    file = fio_json(tmp_path / "d", tmp_path / "f.json", "--rw=write")
    found = compared(capsys, tmp_path / "s.ioresult", file)
    assert {row["verdict"] for row in found["rows"]} == {"~"}
    assert any("different programs" in sentence for sentence in found["warnings"])


@fio
def test_what_fio_says_before_its_json_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = fio_json(tmp_path / "d", tmp_path / "f.json", "--rw=write")
    noisy = tmp_path / "noisy.json"
    noisy.write_text("note: both iodepth >= 1 and synchronous I/O engine are selected\n" + file.read_text())
    rows = compared(capsys, file, noisy)["rows"]
    assert rows[0]["a"] == rows[0]["b"]


@fio
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("torn", lambda text: text[:2000], "cut off or damaged in line"),
        ("empty", lambda text: "", "is empty"),
        ("old", lambda text: text.replace("fio-3", "fio-2").replace("clat_ns", "clat"), "fio 3.0 or newer"),
        ("foreign", lambda text: '{"a": 1}', "not fio's JSON"),
        ("text", lambda text: "hello", "neither a result"),
        ("jobless", lambda text: '{"fio version": "fio-3.33", "jobs": []}', "holds no job"),
        ("odd", lambda text: text.replace("total_ios", "ios"), "not as iotrace knows it"),
        ("negative", lambda text: text.replace('"total_ios" : ', '"total_ios" : -'), "not as iotrace knows it"),
        ("nan", lambda text: text.replace('"mean" : ', '"mean" : NaN, "was" : '), "not as iotrace knows it"),
        ("idle", lambda text: text.replace('"total_ios" : ', '"total_ios" : 0, "was" : '), "holds no operation"),
    ],
)
def test_fio_json_that_cannot_be_read_gets_one_line(
    name: str, change: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = fio_json(tmp_path / "d", tmp_path / "f.json", "--rw=write")
    bad = tmp_path / f"{name}.json"
    bad.write_text(change(file.read_text()))
    assert main(["compare", str(bad), str(file)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{name}.json" in error
    assert said in error
