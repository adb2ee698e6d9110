"""The prediction study's runs: a recording tells the calls that its replay issues, and nothing is left on the mount."""

from __future__ import annotations

import sys
from pathlib import Path

import lab
import pytest
from prediction.programs import PROGRAMS, Program
from prediction.runs import record_real, run_real, run_replayed

CODE = """
import os
for name in sorted(os.listdir("in")):
    with open(f"in/{name}", "rb") as file, open(f"{name}.out", "wb") as out:
        out.write(file.read())
"""


def _inputs(folder: Path) -> None:
    (folder / "in").mkdir()
    for number in range(5):
        (folder / "in" / str(number)).write_bytes(bytes(10_000 * number))


PROGRAM = Program("copies", (), _inputs, [sys.executable, "-S", "-c", CODE])


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The program's input, and a folder that stands for a mount."""
    source, mount = tmp_path / "input", tmp_path / "mount"
    source.mkdir()
    mount.mkdir()
    PROGRAM.prepare(source)
    return source, mount


@pytest.mark.bpf
def test_a_replay_issues_the_calls_that_the_recording_counts(places: tuple[Path, Path], tmp_path: Path) -> None:
    source, mount = places
    cpus, trace = lab.Cpus.apart(), tmp_path / "T.iotrace"
    recorded = record_real(PROGRAM, source, mount, "warm", cpus, trace)
    assert list(mount.iterdir()) == []
    replayed = run_replayed(trace, mount, "warm")
    assert list(mount.iterdir()) == []
    assert replayed.errors == 0
    assert {op: of.calls for op, of in replayed.by_op.items()} == {op: of.calls for op, of in recorded.by_op.items()}
    assert recorded.by_op["write"].calls == 4
    assert recorded.by_op["getdents64"].calls == 2


@pytest.mark.bpf
def test_a_call_that_no_replay_issues_counts_as_left_out(places: tuple[Path, Path], tmp_path: Path) -> None:
    source, mount = places
    code = 'import os; os.stat("in/1"); os.setxattr("in/1", "trusted.x", b"1")'
    program = Program("sets", (), _inputs, [sys.executable, "-S", "-c", code])
    of = record_real(program, source, mount, "warm", lab.Cpus.apart(), tmp_path / "T.iotrace")
    assert {op: one.calls for op, one in of.left_out.items()} == {"setxattr": 1}
    assert "setxattr" not in of.by_op


@pytest.mark.bpf
def test_the_parts_of_a_recording_make_up_the_whole(places: tuple[Path, Path], tmp_path: Path) -> None:
    source, mount = places
    of = record_real(PROGRAM, source, mount, "warm", lab.Cpus.apart(), tmp_path / "T.iotrace")
    assert of.lanes == 1
    assert of.before_s == 0  # the exec of the command is the first call, and a replay has it
    assert of.after_s >= 0
    assert of.busy_s == pytest.approx(of.io_s)
    assert of.io_s == pytest.approx(sum(one.time_s for one in of.by_op.values()))
    # what a replay adds to its calls is the rest of the span, whatever the calls on other folders took
    assert of.think_cpu_s + of.think_idle_s == pytest.approx(of.span_s - of.io_s, rel=1e-3)


def test_a_program_that_fails_is_named_with_what_it_said(places: tuple[Path, Path]) -> None:
    source, mount = places
    failing = Program("fails", (), _inputs, ["sh", "-c", "echo no such thing >&2; exit 3"])
    with pytest.raises(RuntimeError, match="fails failed with 3: no such thing"):
        run_real(failing, source, mount, "warm", lab.Cpus.apart())
    assert list(mount.iterdir()) == []


@pytest.mark.parametrize("name", ["tar create", "tar extract", "git status", "sqlite insert"])
def test_a_program_finds_the_same_input_each_time(name: str, tmp_path: Path) -> None:
    program = next(program for program in PROGRAMS if program.name == name)
    contents = []
    for turn in ("one", "other"):
        folder = tmp_path / turn
        folder.mkdir()
        program.prepare(folder)
        # the index of a repository holds inode numbers and times
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "index")
        contents.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
