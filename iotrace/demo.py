"""`iotrace demo`: the main job from end to end on real input, as the commands that a user would type.

It makes a small folder that looks like a CryoSPARC project, records a real program there, and replays that recording
and the shipped ones of RELION on two mounts.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from iotrace.errors import IotraceError, StorageError, UsageError

_MARKER: Final = ".iotrace-demo"
_MOVIES, _FRAMES, _SIZE = 6, 8, 1024
_RUNS: Final = 6
"""Fewer runs give no 95 % interval of a median."""
_SHIPPED: Final = ("relion-motion-correction", "relion-particle-extraction")


def demo(
    *,
    fs: Annotated[list[Path] | None, Parameter(negative=(), consume_multiple=False)] = None,
    folder: Annotated[Path, Parameter(name=["--folder", "-o"])] = Path("iotrace-demo"),
    runs: int = _RUNS,
) -> int:
    """Record, replay, compare and report a small real program.

    Takes about half a minute and 500 MB. Every step is printed as the command that you would type.

    ```
    iotrace demo --fs /mnt/weka --fs /mnt/nfs
    ```

    Parameters
    ----------
    fs
        Folders on the mounts to compare; by default this disk and /dev/shm.
    folder
        Where everything goes: the project, traces, results, report.html. An earlier demonstration there is replaced.
    runs
        Replays on each mount.
    """
    missing = [name for name in ("tifffile", "mrcfile", "imagecodecs") if find_spec(name) is None]
    if missing:
        raise IotraceError(f"the demonstration needs {', '.join(missing)}: pip install 'iotrace[demo]'.")
    began = time.monotonic()
    folder = folder.resolve()
    _make_room(folder)
    mounts = [path.resolve() for path in fs] if fs else _default_mounts(folder)
    job = _make_project(folder / "CS-demo")
    recording = folder / "motion.iotrace"
    program = str(resources.files("iotrace.data") / "motion_job.py")
    _say(
        "A program reads movies through links and memory maps, and writes micrographs, as a motion-correction job does."
    )
    _run(["record", "-o", str(recording), "--", sys.executable, program], cwd=job)
    _run(["summary", str(recording)])
    traces = [
        recording,
        *(Path(str(resources.files("iotrace.data") / "traces" / f"{name}.iotrace")) for name in _SHIPPED),
    ]
    results = []
    for trace in traces:
        # the job reads movies that lie outside its own folder
        moved = ["--map", str(folder)] if trace == recording else []
        result = folder / f"{trace.stem}.ioresult"
        _say(f"Its operations again, {runs} times on each mount in turn, on files of generated names.")
        where = [word for mount in mounts for word in ("--fs", str(mount))]
        _run(["replay", str(trace), *where, *moved, "--timing", "asap", "--repeat", str(runs), "-o", str(result)])
        _run(["compare", str(result)])
        results.append(result)
    report = folder / "report.html"
    _run(["report", str(recording), *(str(result) for result in results), "-o", str(report)])
    _say(f"Done in {time.monotonic() - began:.0f} s. The report: {report}")
    return 0


def _say(sentence: str) -> None:
    print(f"\n# {sentence}", flush=True)


def _run(words: list[str], cwd: Path | None = None) -> None:
    """Run one iotrace command as a user would, and show it."""
    print(f"\n$ iotrace {shlex.join(words)}", flush=True)
    status = subprocess.run([sys.executable, "-m", "iotrace", *words], cwd=cwd, check=False).returncode
    if status:
        raise IotraceError(f"iotrace {words[0]} ended with status {status}; the line above says why.")


def _default_mounts(folder: Path) -> list[Path]:
    shm = Path("/dev/shm")
    return [folder, shm] if os.access(shm, os.W_OK) else [folder]


def _make_room(folder: Path) -> None:
    if folder.exists():
        if not (folder / _MARKER).is_file():
            raise UsageError(f"{folder} exists and is not an earlier demonstration: choose another with --folder.")
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True)
        (folder / _MARKER).touch()
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}; choose another with --folder.") from None


def _make_project(project: Path) -> Path:
    """A folder like a CryoSPARC project with imported movies; returns that of the job to run."""
    from iotrace.data.synthetic import write_session

    raw = project.parent / "microscope"
    imported, job = project / "J1" / "imported", project / "J2"
    imported.mkdir(parents=True)
    job.mkdir()
    for number, movie in enumerate(write_session(raw, _MOVIES, _FRAMES, _SIZE)):
        (imported / f"{number:021d}_{movie.name}").symlink_to(movie)
    shutil.move(raw / "gain.mrc", project / "J1" / "gain.mrc")
    (project / "project.json").write_text(json.dumps({"uid": "P1", "title": "demo"}))
    for folder, kind in ((project / "J1", "import_movies"), (job, "patch_motion_correction_multi")):
        (folder / "job.json").write_text(json.dumps({"uid": folder.name, "project_uid": "P1", "job_type": kind}))
    return job
