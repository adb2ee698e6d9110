"""A recording holds what strace saw in the very same run: calls, failures and bytes, operation by operation."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from strace_counts import BYTES, count

from iotrace.record.session import record
from iotrace.trace.reader import open_trace

PROGRAMS = Path(__file__).parent.parent / "programs"
# page faults are no calls; Debian 12's strace does not know the name of fchmodat2
UNSEEN_BY_STRACE = {"mmap.fault", "fchmodat2"}

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


def recorded_under_strace(
    command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[pd.DataFrame, Path, Path]:
    """Events of a command that strace watched in the same run, from its own exec on; strace's log; the trace."""
    log, trace = folder / "strace.log", folder / "truth.iotrace"
    strace = ["strace", "-D", "-f", "-y", "-s", "4096", "-a", "1", "-o", str(log)]
    # the folder of the run, not the trace's, is where the command works
    work = folder / "work"
    work.mkdir(exist_ok=True)
    monkeypatch.chdir(work)
    outcome = record([*strace, "--", *command], trace, backend="ebpf")
    assert outcome.exit_status == 0
    assert outcome.info.complete
    assert not outcome.info.lost
    opened = open_trace(trace)
    events, processes = opened.events(), opened.processes()
    execs = events[(events.op == "exec") & (events.process == 0) & (events.result == 0)]
    began = execs.time_ns.iloc[-1]
    family = {0}
    for process, parent, start_ns in processes[["process", "parent", "start_ns"]].itertuples(index=False, name=None):
        if parent in family and start_ns > began:
            family.add(process)
    return events[events.process.isin(family) & (events.time_ns >= began)], log, trace


def table(events: pd.DataFrame) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Calls, failures and bytes by operation."""
    calls = Counter(events.op.astype(str))
    failures = Counter(events[(events.result.fillna(0) < 0) & (events.op != "exit")].op.astype(str))
    moved: Counter[str] = Counter()
    for op, group in events[events.op.isin(BYTES)].groupby("op", observed=True):
        moved[str(op)] = int(group.result.clip(lower=0).sum())
    return calls, failures, moved


def assert_equal_counts(events: pd.DataFrame, log: Path) -> None:
    ours, theirs = table(events), count(log)
    for what, mine, reference in zip(("calls", "failures", "bytes"), ours, theirs, strict=True):
        assert {k: v for k, v in mine.items() if v and k not in UNSEEN_BY_STRACE} == +reference, what


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three folders of files of sizes 0 to 200,000 bytes."""
    root = tmp_path / "tree"
    rng = np.random.default_rng(1)
    for i in range(60):
        file = root / f"d{i % 3}" / f"file{i}.dat"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.bytes(int(rng.integers(0, 200_000))))
    return root


def test_tar_is_recorded_as_strace_sees_it(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, log, _ = recorded_under_strace(
        ["tar", "cf", str(tmp_path / "out.tar"), "-C", str(tree), "."], tmp_path, monkeypatch
    )
    assert_equal_counts(events, log)
    assert len(events) > 300


def test_find_is_recorded_as_strace_sees_it(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, log, _ = recorded_under_strace(
        ["find", str(tree), "-size", "+1k", "-newer", "/etc/passwd"], tmp_path, monkeypatch
    )
    assert_equal_counts(events, log)


def test_every_call_of_the_table_is_recorded_as_strace_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, log, _ = recorded_under_strace(
        [sys.executable, "-S", str(PROGRAMS / "every_call.py")], tmp_path, monkeypatch
    )
    assert_equal_counts(events, log)
    seen = set(events.op.astype(str))
    assert {
        "preadv2",
        "copy_file_range",
        "ioctl.ficlonerange",
        "renameat2",
        "fcntl.lock",
        "getxattr",
        "mmap.fault",
        "wait",
        "exit",
    } <= seen


def test_a_tiff_reader_is_recorded_as_strace_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile")
    frames = np.random.default_rng(2).integers(0, 255, (8, 512, 512), dtype=np.uint8)
    movie = tmp_path / "movie.tif"
    tifffile.imwrite(movie, frames)
    program = (
        f"import tifffile; a = tifffile.imread({str(movie)!r}); m = tifffile.memmap({str(movie)!r}); "
        "print(a.sum() + m.sum())"
    )
    events, log, _ = recorded_under_strace([sys.executable, "-c", program], tmp_path, monkeypatch)
    assert_equal_counts(events, log)


@pytest.mark.skipif(
    shutil.which("relion_run_motioncorr") is None, reason="RELION is not installed (apt-get install relion)"
)
def test_a_relion_step_is_recorded_as_strace_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tifffile")
    pytest.importorskip("mrcfile")
    from iotrace.data.relion import IMPORT, MOTION_CORRECTION
    from iotrace.data.synthetic import write_session

    work = tmp_path / "work"
    write_session(work / "Movies", movies=2, frames=4, size=512)
    (work / "MotionCorr" / "job002").mkdir(parents=True)
    subprocess.run(["sh", "-c", f"mkdir -p Import/job001; {IMPORT}"], cwd=work, check=True, stdout=subprocess.DEVNULL)
    events, log, _ = recorded_under_strace(MOTION_CORRECTION.split(), tmp_path, monkeypatch)
    assert_equal_counts(events, log)
    movies = events[events.path_text.str.contains("Movies/movie_", na=False)]
    assert (movies.op == "mmap").sum() >= 2 * 4
    assert (movies.op == "mmap.fault").any()


def test_every_data_event_has_a_path_and_an_offset(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, _, _ = recorded_under_strace([sys.executable, "-S", str(PROGRAMS / "every_call.py")], tmp_path, monkeypatch)
    data = events[events.op.isin(BYTES - {"getdents", "getdents64", "splice"})]
    assert data.path.notna().all()
    assert data.offset.notna().all()
    assert data.path_text.str.startswith("/").all()
