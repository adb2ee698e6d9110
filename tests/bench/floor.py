"""Runs a command while two empty BPF programs hang on the tracepoints of system calls: `floor.py OBJECT CMD…`."""

import subprocess
import sys
from pathlib import Path

from iotrace.record.ebpf.libbpf import BpfObject


def main() -> int:
    bpf = BpfObject(Path(sys.argv[1]))
    bpf.load()
    for program, _ in bpf.programs():
        bpf.attach(program)
    try:
        return subprocess.run(sys.argv[2:], check=False).returncode
    finally:
        bpf.close()


if __name__ == "__main__":
    raise SystemExit(main())
