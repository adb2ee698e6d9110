"""Every command that README and the pages in docs show is run here, in the order of its page."""

import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the traces, results and mounts that pages speak of."""
    return pages.staged(tmp_path_factory.mktemp("docs"))


@pytest.mark.bpf
@pytest.mark.parametrize("page", [pages.README, *pages.DOCS], ids=lambda page: page.stem)
def test_every_command_of_a_page_works(page: Path, stage: Path, tmp_path: Path) -> None:
    pages.works(page, stage, tmp_path / "work")


@pytest.mark.parametrize("page", pages.STEPS, ids=lambda page: page.stem)
def test_every_command_of_a_steps_page_works(page: Path, tmp_path: Path) -> None:
    commands = re.findall(r"^\$ (iotrace .*)$", page.read_text(), re.MULTILINE)
    assert commands or page.stem == "README"
    for command in commands:
        words = [sys.executable, "-m", *command.split()]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"$ {command}\n{done.stderr}"
