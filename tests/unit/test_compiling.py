"""Kernels are compiled once, and anew when any file that they call has changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HELPER = "from iotrace.compiling import compiled\n@compiled\ndef helped(x):\n    return x + {}\n"
KERNEL = """from iotrace.compiling import compiled
from room.kernels.helper import helped
@compiled
def kernel(x):
    return helped(x) * 10
"""
RUN = "from room.kernels.kernel import kernel; print(kernel(1), sum(kernel.stats.cache_hits.values()))"


def run(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {RUN}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_kernel_is_compiled_once_and_again_when_a_file_that_it_calls_has_changed(tmp_path: Path) -> None:
    kernels = tmp_path / "room" / "kernels"
    kernels.mkdir(parents=True)
    (tmp_path / "room" / "__init__.py").touch()
    (kernels / "__init__.py").touch()
    (kernels / "helper.py").write_text(HELPER.format(1))
    (kernels / "kernel.py").write_text(KERNEL)
    assert run(tmp_path) == "20 0"
    assert run(tmp_path) == "20 1"
    (kernels / "helper.py").write_text(HELPER.format(22))
    assert run(tmp_path) == "230 0"
