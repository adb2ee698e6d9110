"""`iotrace doctor`: what it finds is so, and each lack has a line that mends it."""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iotrace import doctor
from iotrace.cli import main
from iotrace.doctor import Check, can_record, can_replay, examine


@pytest.fixture(scope="module")
def checks() -> Any:
    return examine()


def named(checks: list[Check], name: str) -> Any:
    return next(check for check in checks if check.name == name)


def test_every_lack_has_a_line_that_mends_it(checks: list[Check]) -> None:
    for check in checks:
        if check.status == "missing":
            assert check.mend


def test_every_check_could_look(checks: list[Check]) -> None:
    assert [check for check in checks if check.name == "(check)"] == []


def test_what_it_says_of_the_system_is_so(checks: list[Check]) -> None:
    assert platform.release() in named(checks, "kernel").found
    assert sys.executable in named(checks, "Python").found
    assert (named(checks, "strace").status == "ok") == (shutil.which("strace") is not None)
    assert (named(checks, "BTF").status == "ok") == Path("/sys/kernel/btf/vmlinux").exists()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert f"{hard:,}" in named(checks, "open files").found or hard == resource.RLIM_INFINITY


def test_each_kernel_feature_that_recording_uses_is_named(monkeypatch: pytest.MonkeyPatch, checks: list[Check]) -> None:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF, which is said instead")
    from iotrace.record.ebpf import needs

    for feature in needs.FEATURES:
        assert feature.version in named(checks, feature.name).found + named(checks, feature.name).mend
    monkeypatch.setattr(needs, "present", lambda library: frozenset(needs.BY_NAME) - {"io_uring_submit_req"})
    lacking = named(list(doctor._recording()), "io_uring_submit_req")
    assert (lacking.status, lacking.mend) == ("warn", "Linux 6.3 or newer")
    assert "io_uring operations" in lacking.found


def test_rights_are_those_of_the_process(checks: list[Check]) -> None:
    effective = int(
        next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("CapEff")).split()[1], 16
    )
    assert ("CAP_SYS_ADMIN" in named(checks, "capabilities").found) == bool(effective >> 21 & 1)


def test_json_and_status_agree_with_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status == (0 if found["record"] and found["replay"] else 1)
    assert set(found["checks"][0]) == {"area", "name", "status", "found", "mend"}
    assert {check["status"] for check in found["checks"]} <= {"ok", "warn", "missing"}


def test_the_table_names_every_check_and_shows_each_mend_whole(
    checks: list[Check], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    main(["doctor"])
    out = capsys.readouterr().out
    for check in checks:
        assert check.name in out
        if check.mend:
            assert f"→ {check.mend}\n" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ('ID=debian\nVERSION="12"', "sudo apt-get install strace"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"', "sudo apt-get install strace"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "sudo dnf install strace"),
        ('ID="sles"\nID_LIKE="suse"', "sudo zypper install strace"),
        ("ID=arch", "sudo apt-get install strace (Debian) or sudo dnf install strace (Red Hat)"),
    ],
)
def test_the_line_is_the_distributions_own(release: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: release if str(self) == "/etc/os-release" else real(self, *a, **k)
    )
    assert doctor._install("strace") == line


def test_a_machine_without_strace_is_told_how_to_get_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iotrace", "doctor", "--json"], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": "/nonexistent"},
    )  # fmt: skip
    strace = next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "strace")
    assert strace["status"] == "warn"
    assert strace["mend"].endswith("strace")


def test_recording_needs_one_backend_and_replay_its_kernels() -> None:
    bpf, strace = Check("record", "eBPF backend", "missing", ""), Check("record", "strace backend", "ok", "")
    assert can_record([bpf, strace])
    assert not can_record([bpf])
    assert can_replay([Check("replay", "psync engine", "ok", "")])
    assert not can_replay([Check("replay", "psync engine", "missing", "")])


def test_a_check_that_fails_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "_rights", broken)
    found = examine()
    assert named(found, "(check)").found == "could not look: OSError: no such thing"
    assert named(found, "kernel")
