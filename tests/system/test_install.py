"""The package installs into a fresh environment, holds its BPF program, and works from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(*words: str | Path, cwd: Path, status: int = 0) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git would hand to somebody who clones now: tracked and new files, no compiled object."""
    folder = tmp_path_factory.mktemp("clone") / "iotrace"
    names = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    for name in names:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.exists():
            target.write_bytes(source.read_bytes())
    return folder


@pytest.mark.system
def test_a_wheel_built_without_a_system_compiler_holds_program_traces_and_every_room(
    copy: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "v", cwd=tmp_path)
    pip = tmp_path / "v" / "bin" / "pip"
    run(pip, "install", "-q", "build", cwd=tmp_path)
    run(
        "env",
        "CC=/bin/false",
        "CLANG=/bin/false",
        tmp_path / "v" / "bin" / "python",
        "-m",
        "build",
        "--outdir",
        tmp_path,
        copy,
        cwd=tmp_path,
    )
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert "iotrace/record/ebpf/recorder.bpf.o" in names
    assert "iotrace/replay/kernels/lane.py" in names
    assert "iotrace/analysis/report/page.html.j2" in names
    assert "iotrace/data/prices/aws-2023-07.toml" in names
    assert "iotrace/data/tables/reference-architecture.toml" in names
    assert any(name.startswith("iotrace/data/traces/") and name.endswith(".parquet") for name in names)
    assert not [name for name in names if name.split("/")[0] in ("replay", "analysis", "profiles", "data", "tests")]


@pytest.mark.system
@pytest.mark.bpf
def test_pip_install_into_a_fresh_environment_records_and_replays_from_another_folder(
    copy: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "v", cwd=tmp_path)
    run(tmp_path / "v" / "bin" / "pip", "install", "-q", copy, cwd=tmp_path)
    iotrace = tmp_path / "v" / "bin" / "iotrace"
    work, mount = tmp_path / "elsewhere", tmp_path / "mount"
    work.mkdir()
    mount.mkdir()
    (work / "in").write_bytes(os.urandom(100_000))
    run(iotrace, "record", "-o", "t.iotrace", "--", "cp", "in", "out", cwd=work)
    assert "100 kB" in run(iotrace, "summary", "t.iotrace", cwd=work)
    run(iotrace, "replay", "t.iotrace", "--fs", mount, "-o", "r.ioresult", cwd=work)
    run(iotrace, "report", "t.iotrace", "r.ioresult", "-o", "report.html", cwd=work)
    assert list(mount.iterdir()) == []
