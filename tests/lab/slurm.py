"""A Slurm cluster of four nodes on this machine, without systemd: munged, slurmctld and a slurmd for each node."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "sinfo")
NODES = 4
BRINGUP_S = 30.0
_CONFIGURATION = """ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17100
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdLogFile={folder}/%n.log
SlurmctldLogFile={folder}/slurmctld.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=n[1-4] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17004] CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no cluster here; empty when there can."""
    if os.geteuid():
        return "needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (apt: slurm-wlm munge)" if absent else ""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Nodes n1 to n4; gives the environment in which srun and sbatch find them.

    Raises
    ------
    RuntimeError: they are not idle after 30 s; with what they logged.
    """
    for name in ("munge", "state", *(f"n{number}" for number in range(1, NODES + 1))):
        (folder / name).mkdir(parents=True)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(host=platform.node().split(".")[0], folder=folder))
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{what}={folder}/munge/{what.split('-')[0]}" for what in ("key-file", "socket", "pid-file", "log-file")]
    munge.append(f"--seed-file={folder}/munge/seed")
    with ExitStack() as ends, (folder / "out.log").open("w") as log:
        # --force: folders above ours may be anybody's to write
        commands = [["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"]]
        commands += [["slurmd", "-D", "-N", f"n{number}"] for number in range(1, NODES + 1)]
        for command in commands:
            running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            ends.callback(running.wait, 20)
            ends.callback(running.terminate)
        until = time.monotonic() + BRINGUP_S
        while _idle(environment) < NODES:
            if time.monotonic() > until:
                raise RuntimeError((folder / "out.log").read_text()[-2000:])
            time.sleep(0.3)
        yield environment


def _idle(environment: dict[str, str]) -> int:
    done = subprocess.run(["sinfo", "-h", "-t", "idle", "-o", "%D"], env=environment, capture_output=True, text=True)
    return sum(int(line) for line in done.stdout.split() if line.isdigit())
