"""The commands that the pages of steps show, which are the same for each but for its name and scale."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = Path(__file__).parent.parent.parent / "docs" / "steps"


@pytest.mark.parametrize("page", sorted(STEPS.glob("*.md")), ids=lambda page: page.stem)
def test_every_command_of_a_steps_page_works(page: Path, tmp_path: Path) -> None:
    commands = re.findall(r"^\$ (iotrace .*)$", page.read_text(), re.MULTILINE)
    assert commands or page.stem == "README"
    for command in commands:
        words = [sys.executable, "-m", *command.split()]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"$ {command}\n{done.stderr}"
