"""Every command that README and docs show is run here, in the order of its page, with the files that pages speak of.

Those of the pages of steps are alike and many: a system test runs them.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
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


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with T.iotrace, R.ioresult, A.ioresult, B.ioresult, job.py, and two folders that stand for mounts."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("a", "b"):
        (folder / "mnt" / name).mkdir(parents=True)
    work = folder / "work"
    work.mkdir()
    (work / "job.py").write_text(JOB)
    for i in range(3):
        (work / f"in{i}").write_bytes(os.urandom(50_000))
    for line in (
        "iotrace record -o T.iotrace -- python3 -S job.py",
        "iotrace replay T.iotrace --fs /mnt/a --fs /mnt/b --timing asap --repeat 2 -o R.ioresult",
        "iotrace replay T.iotrace --fs /mnt/a --timing asap -o A.ioresult",
        "iotrace replay T.iotrace --fs /mnt/b --timing asap -o B.ioresult",
    ):
        assert run(line, folder, work).returncode == 0
    return folder


def run(command: str, folder: Path, work: Path) -> "subprocess.CompletedProcess[str]":
    command = re.sub(r"/mnt/(\w+)", lambda m: str(folder / "mnt" / ("a" if m[1] in ("a", "weka") else "b")), command)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", command], cwd=work, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.bpf
@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "steps"], ids=lambda page: page.name)
def test_every_command_of_the_page_works(page: Path, stage: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(stage / "work", work)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made_here = {"T.iotrace", "R.ioresult", "A.ioresult", "B.ioresult"}
    for command in commands(page):
        output = re.search(r" -o (\S+)", command)
        if output and output[1] in made_here:
            # a page that shows how to make one of the staged folders makes it itself
            shutil.rmtree(work / output[1], ignore_errors=True)
        if command.startswith("make "):
            assert command.split()[1] in targets, command
        if command.startswith(ELSEWHERE):
            continue
        done = run(command, stage, work)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"


def test_no_command_of_a_page_hides_from_the_test_above() -> None:
    for page in PAGES:
        for language, body in FENCE.findall(page.read_text()):
            bare = [line for line in body.splitlines() if line.startswith("iotrace ")]
            assert language == "python" or not bare, f"{page.name}: write `$ ` before {bare}"


def test_pages_link_only_to_what_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
