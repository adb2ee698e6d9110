"""The shipped unit, started by a real systemd: with its rights and its sandbox it records a job, and ends on request.

A service manager for one user serves, since only the first process of a machine can be the system's. It takes the
unit's folders from the user's own places (%S, not /var/lib), and cannot hide parts of /proc, so that two lines go.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from faults import until

from iotrace.trace.reader import open_trace

pytestmark = pytest.mark.bpf
MANAGER = Path("/lib/systemd/systemd")
UNIT = "iotrace-record.service"
RIGHTS = 1 << 39 | 1 << 38 | 1 << 23 | 1 << 19
"""CAP_BPF, CAP_PERFMON, CAP_SYS_NICE, CAP_SYS_PTRACE as /proc/PID/status shows them."""
BOOT = f"""
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$GROUP"
echo $$ > "/sys/fs/cgroup/$GROUP/cgroup.procs"
exec {MANAGER} --user --unit=basic.target --log-target=console
"""
AWAY = """
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
find "/sys/fs/cgroup/$GROUP" -depth -type d -exec rmdir {} +
"""
"""The control groups of the manager outlive it."""
WORKER = "for i in 1 2 3; do dd if=/dev/zero of=$0.$i bs=4096 count=100 status=none; done"


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short name, for sockets have room for few letters, which holds all that the service keeps."""
    folder = Path(tempfile.mkdtemp(prefix="iot-sd-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def systemctl(home: Path) -> Iterator[list[str]]:
    """The command that speaks to a manager of our own."""
    if os.geteuid() or not MANAGER.exists() or not shutil.which("systemctl"):
        pytest.skip("needs root and systemd (apt-get install systemd)")
    places = {f"XDG_{name.upper()}": name for name in ("runtime_dir", "config_home", "cache_home")}
    for name in places.values():
        (home / name).mkdir()
    # %S is the one or the other, as old as systemd is
    places["XDG_STATE_HOME"] = places["XDG_CONFIG_HOME"]
    text = Path(str(resources.files("iotrace.record") / UNIT)).read_text()
    # the two lines that are each host's own; the interpreter of these tests may be root's alone
    text = re.sub(r"^User=.*$", "User=root", text, flags=re.MULTILINE)
    text = text.replace("/opt/iotrace/bin/iotrace", f"{sys.executable} -m iotrace").replace("/var/lib", "%S")
    text = re.sub(r"^(ProtectKernelLogs|ProtectKernelTunables)=.*\n", "", text, flags=re.MULTILINE)
    units = home / "config_home" / "systemd" / "user"
    units.mkdir(parents=True)
    (units / UNIT).write_text(text)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "GROUP": home.name,
        **{name: str(home / place) for name, place in places.items()},
    }  # fmt: skip
    with (home / "log").open("w") as log:
        manager = subprocess.Popen(
            ["unshare", "--mount", "bash", "-ec", BOOT], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(200):
            if manager.poll() is not None:
                pytest.skip(f"systemd does not start here: {(home / 'log').read_text().strip()[-200:]}")
            if (home / "runtime_dir" / "systemd" / "private").exists():
                break
            try:
                manager.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        yield ["env", f"XDG_RUNTIME_DIR={home / 'runtime_dir'}", "systemctl", "--user"]
    finally:
        manager.terminate()
        try:
            manager.wait(30)
        except subprocess.TimeoutExpired:
            manager.kill()
            manager.wait()
        subprocess.run(["unshare", "--mount", "bash", "-ec", AWAY], env=environment, check=False)


def shown(systemctl: list[str], name: str) -> str:
    return subprocess.run([*systemctl, "show", "-P", name, UNIT], capture_output=True, text=True).stdout.strip()


def test_the_unit_records_a_job_with_its_rights_alone_and_ends_when_it_is_stopped(
    home: Path, systemctl: list[str]
) -> None:
    traces = home / "config_home" / "iotrace" / "traces"
    subprocess.run([*systemctl, "start", UNIT], check=True, timeout=60)
    # _recorder.json is what --status reads: it is there when jobs are looked for
    until((traces / "_recorder.json").exists, f"the recording ({(home / 'log').read_text()[-500:]})")
    status = Path("/proc", shown(systemctl, "MainPID"), "status").read_text()
    held = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(held[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {RIGHTS}
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    worker = home / "cryosparcw"
    worker.write_text(WORKER)
    subprocess.run(["bash", str(worker), "run", "--project", "P1", "--job", "J6"], check=True, timeout=60)
    until(lambda: any(traces.glob("P1-J6-*")), "a trace of the job")
    subprocess.run([*systemctl, "stop", UNIT], check=True, timeout=60)
    assert (shown(systemctl, "ActiveState"), shown(systemctl, "Result")) == ("inactive", "success")
    (folder,) = traces.glob("P1-J6-*")
    trace = open_trace(folder)
    assert (trace.info.complete, trace.info.lost, trace.info.backend) == (True, {}, "ebpf")
    events = trace.events()
    for i in (1, 2, 3):
        written = events[(events.op == "write") & (events.path_text == f"{worker}.{i}")]
        assert (len(written), written.result.sum()) == (100, 409600)
    assert set(trace.table("processes").column("job").to_pylist()) == {"J6"}
    assert folder.stat().st_mode & 0o777 == 0o700
