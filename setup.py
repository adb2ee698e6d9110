"""Compiles the BPF program into the package; everything else stands in setup.cfg.

The compiler is the clang inside PyPI's ziglang, so that a build needs no system compiler and no root.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

HERE = Path(__file__).parent
SOURCE = Path("iotrace/record/ebpf/recorder.bpf.c")
ARCHITECTURES = {"x86_64": "IOTRACE_X86_64", "aarch64": "IOTRACE_AARCH64"}


def compile_bpf(target: Path) -> None:
    """Compile the BPF program to `target` for this machine's architecture."""
    source = HERE / SOURCE
    if not source.is_file():
        raise SetupError(f"{SOURCE} is missing: build from a complete checkout.")
    machine = ARCHITECTURES.get(platform.machine())
    if machine is None:
        print(f"iotrace: no BPF recorder for {platform.machine()}; strace will serve.", file=sys.stderr)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        # zig stops without HOME unless it is told where to keep its cache
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", "-mcpu=v3", "-g", "-O2", "-Wall",
             "-Werror", f"-D{machine}", "-c", str(source), "-o", str(target)],
            check=True,
            env=environment,
        )  # fmt: skip


class BuildWithBpf(build_py):
    """build_py that adds the compiled BPF program."""

    def run(self) -> None:
        if not (HERE / "iotrace" / "replay").is_dir():
            raise SetupError(
                "iotrace/replay is not a folder: this copy lost its symbolic links (a zip does); clone with git."
            )
        super().run()
        target = SOURCE.with_suffix("").with_suffix(".bpf.o")
        compile_bpf(HERE / target if self.editable_mode else Path(self.build_lib) / target)


if __name__ == "__main__":
    if sys.argv[1:2] == ["install"]:
        raise SystemExit("use: pip install .")
    if not any(argument == "editable_wheel" for argument in sys.argv):
        # what an earlier build left would come back in this wheel
        shutil.rmtree(HERE / "build" / "lib", ignore_errors=True)
    setup(cmdclass={"build_py": BuildWithBpf})
