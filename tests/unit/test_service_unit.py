"""The systemd unit that the package ships: valid, without a right too many, and what the page about it says."""

import configparser
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from iotrace.record.registry import SERVICE, SYSTEM
from iotrace.trace.writer import LEAST_MAX_BYTES
from iotrace.units import parse_bytes

ROOT = Path(__file__).parent.parent.parent
UNIT = Path(str(resources.files("iotrace.record") / "iotrace-record.service"))


def service() -> configparser.SectionProxy:
    parsed = configparser.RawConfigParser(strict=True)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(UNIT.read_text())
    return parsed["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    # the two lines that are each host's own
    text = re.sub(r"^User=.*$", "User=daemon", text, flags=re.MULTILINE)
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE)
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


def test_the_unit_has_the_rights_that_recording_needs_and_no_others() -> None:
    found = service()
    assert found["AmbientCapabilities"] == found["CapabilityBoundingSet"]
    assert set(found["AmbientCapabilities"].split()) == {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYS_NICE"}
    assert found["User"] != "root"
    assert found["UMask"] == "0077"
    # Numba writes code and runs it; a user namespace would take the capabilities away; jobs must be seen
    assert "MemoryDenyWriteExecute" not in found
    assert "PrivateUsers" not in found
    assert "ProtectProc" not in found


def test_the_unit_and_the_registry_agree_on_the_folder() -> None:
    assert Path("/run") / service()["RuntimeDirectory"] == SYSTEM / SERVICE


def test_the_unit_bounds_what_the_trace_may_take() -> None:
    bound = re.search(r"--max-size (\S+)", service()["ExecStart"])
    assert bound
    assert parse_bytes(bound[1]) > LEAST_MAX_BYTES
    assert service()["StateDirectory"] in service()["ExecStart"]


def test_the_page_speaks_of_every_line_that_an_administrator_may_change() -> None:
    page = (ROOT / "docs" / "always-on.md").read_text()
    for name in ("User", "ExecStart", "AmbientCapabilities", "MemoryMax", "StateDirectory", "CAP_DAC_READ_SEARCH"):
        assert f"`{name}" in page, name


def test_the_package_ships_the_unit() -> None:
    assert "*.service" in (ROOT / "setup.cfg").read_text()
