"""How fast recipes become traces, and traces recipes; prints a Markdown table.

Run by `make bench-profiles`. Each is a command in a process of its own, so start and writing are in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(*words: str, cwd: Path) -> tuple[dict[str, float], float, float]:
    """A command's JSON, its seconds and the largest resident set of the commands so far, in GB."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "iotrace", "profile", *words, "--json"]
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return json.loads(done.stdout), time.monotonic() - begin, peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path.cwd())
    parser.add_argument("--small", action="store_true", help="a tenth of the events")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-profiles-", dir=options.folder))
    share = 10 if options.small else 1
    try:
        print("| what | events | s | M events/s | peak so far, GB |\n|---|---:|---:|---:|---:|")
        many = ["--set", f"iterations={800 // share}", "--set", f"full_passes={20 // share}"]
        made, seconds, peak = run("synthesise", "class-2d", *many, "-o", "a.iotrace", cwd=folder)
        row = f"{made['events'] / 1e6:.1f} M | {seconds:.1f} | {made['events'] / seconds / 1e6:.2f} | {peak:.2f} |"
        print(f"| synthesise class-2d | {row}", flush=True)
        shutil.rmtree(folder / "a.iotrace")
        made, _, _ = run("synthesise", "refine-3d", "--scale", str(0.43 / share), "-o", "b.iotrace", cwd=folder)
        _, seconds, peak = run("fit", "b.iotrace", "-o", "b.toml", cwd=folder)
        row = f"{made['events'] / 1e6:.1f} M | {seconds:.1f} | {made['events'] / seconds / 1e6:.2f} | {peak:.2f} |"
        print(f"| fit refine-3d, make a trace of it and score it | {row}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
