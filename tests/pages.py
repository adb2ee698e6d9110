"""The commands that README and docs show, and a place to run them in.

A page's commands run in its order, in a folder with the files that pages speak of.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
STEPS = sorted((ROOT / "docs" / "steps").glob("*.md"))
PAGES = [README, CONTRIBUTING, *DOCS, *STEPS]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("make ", "git ", "cd ", "sudo ", "apt-get ", "dnf ", "pip ", "python3.11 -m venv")
"""Commands that set a machine up; the continuous integration runs them."""
JOB = """
import os
os.makedirs("out", exist_ok=True)
for i in range(3):
    data = open(f"in{i}", "rb").read()
    with open(f"out/{i}.tmp", "wb") as f:
        f.write(data)
    os.rename(f"out/{i}.tmp", f"out/{i}")
"""
_MADE = {
    "T.iotrace": "iotrace record -o T.iotrace -- python3 -S job.py",
    "R.ioresult": "iotrace replay T.iotrace --fs /mnt/a --fs /mnt/b --timing asap --repeat 2 -o R.ioresult",
    "A.ioresult": "iotrace replay T.iotrace --fs /mnt/a --timing asap -o A.ioresult",
    "B.ioresult": "iotrace replay T.iotrace --fs /mnt/b --timing asap -o B.ioresult",
}
"""What pages take as there, and how it is made."""


def commands(page: Path) -> list[str]:
    """Lines of a page's code blocks that begin with `$ `, continued lines joined, what
    follows `<<'END'` included; each block of Python."""
    found: list[str] = []
    for language, body in FENCE.findall(page.read_text()):
        if language == "python":
            found.append(f"python - <<'END'\n{body}END")
            continue
        lines = iter(body.splitlines())
        for line in lines:
            if line.startswith("$ "):
                command = line[2:]
                while command.endswith("\\"):
                    command = command[:-1] + next(lines).strip()
                command = command.split("  #")[0].strip()
                if command.endswith("<<'END'"):
                    command += "\n" + "\n".join(itertools.takewhile(lambda line: line != "END", lines)) + "\nEND"
                found.append(command)
    return found


def run(command: str, folder: Path, work: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in `work`, with mounts of `folder` in the place of /mnt."""
    command = re.sub(r"/mnt/(\w+)", lambda m: str(folder / "mnt" / ("a" if m[1] in ("a", "weka") else "b")), command)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", command], cwd=work, env=environment, capture_output=True, text=True, timeout=120
    )


def staged(folder: Path) -> Path:
    """The folder, with T.iotrace, R.ioresult, A.ioresult, B.ioresult, job.py, and two folders that stand for mounts."""
    for name in ("a", "b"):
        (folder / "mnt" / name).mkdir(parents=True)
    work = folder / "work"
    work.mkdir()
    (work / "job.py").write_text(JOB)
    for i in range(3):
        (work / f"in{i}").write_bytes(os.urandom(50_000))
    for line in _MADE.values():
        assert run(line, folder, work).returncode == 0
    return folder


def targets() -> set[str]:
    """What make can be asked for."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def works(page: Path, stage: Path, work: Path) -> None:
    """Run a page's commands in a new folder `work`; each has to end well."""
    shutil.copytree(stage / "work", work)
    for command in commands(page):
        output = re.search(r" -o (\S+)", command)
        if output and output[1] in _MADE:
            # a page that shows how to make one of the staged folders makes it itself
            shutil.rmtree(work / output[1], ignore_errors=True)
        if command.startswith("make "):
            assert command.split()[1] in targets(), command
        if command.startswith(ELSEWHERE):
            continue
        done = run(command, stage, work)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
