"""Makes the shipped traces of RELION again: every job of recordings.toml on synthetic movies, in minutes, on the CPU.

Run as root with RELION 3.1 installed (apt-get install relion): `python -m iotrace.data.relion FOLDER`. FOLDER is
where RELION works. Host and boot are left out of what is kept, and of all but two traces the names of files. What
RELION does stands for the same shapes of data that CryoSPARC handles, not for CryoSPARC's own calls.

CTF estimation is not recorded: RELION leaves it to CTFFIND or Gctf, which cannot be had as free packages. A table of
made-up defoci stands in its place, and one of the particles' known positions for the picks that are extracted.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from iotrace.data.recordings import TRACES, Recording, recording, recordings
from iotrace.data.synthetic import particle_positions, write_session
from iotrace.errors import TraceError, UsageError
from iotrace.record.session import record
from iotrace.trace.anonymise import anonymise_trace
from iotrace.trace.info import Mount, read_info, write_info
from iotrace.trace.reader import open_trace

MOVIES, FRAMES, SIZE = 8, 16, 1024
IMPORT = shlex.join(recording("relion-import").words)
"""For a shell, which must not expand the pattern: RELION lists the movies itself."""
MOTION_CORRECTION = recording("relion-motion-correction").command
EXTRACTION = recording("relion-particle-extraction").command
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",  # what a shell tries in vain is recorded too
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",  # containers forbid process_vm_readv
}


def _write_ctf_star() -> None:
    """micrographs_ctf.star from corrected_micrographs.star, with a made-up defocus for each micrograph."""
    lines = Path("MotionCorr/job002/corrected_micrographs.star").read_text().splitlines()
    start = lines.index("data_micrographs")
    labels = [i for i in range(start, len(lines)) if lines[i].startswith("_rln")]
    extra = ("DefocusU", "DefocusV", "DefocusAngle", "CtfFigureOfMerit", "CtfMaxResolution")
    added = [f"_rln{name} #{len(labels) + i}" for i, name in enumerate(extra, start=1)]
    rows = [
        f"{line} {10_000 + 500 * i} {10_000 + 500 * i} 0 0.2 4"
        for i, line in enumerate(lines[labels[-1] + 1 :])
        if line.strip()
    ]
    Path("CtfFind/job003").mkdir(parents=True)
    text = "\n".join([*lines[: labels[-1] + 1], *added, *rows, ""])
    Path("CtfFind/job003/micrographs_ctf.star").write_text(text)


def _write_coordinates() -> None:
    """Particle positions as a picking job would leave them."""
    folder = Path("AutoPick/job004/Movies")
    folder.mkdir(parents=True)
    for number in range(MOVIES):
        rows = [f"{x} {y}" for y, x in particle_positions(number + 1, SIZE, 30)]
        head = ["data_", "", "loop_", "_rlnCoordinateX #1", "_rlnCoordinateY #2"]
        (folder / f"movie_{number:03d}_autopick.star").write_text("\n".join([*head, *rows, ""]))


@contextlib.contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Standard output and error of the commands go into a file: RELION's own pipeliner keeps them with the job."""
    kept = os.dup(1), os.dup(2)
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)


def _record(one: Recording, key: bytes) -> None:
    """Run a job, record it, and keep a trace that names no machine."""
    Path(one.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "made.iotrace"
        # no descriptor of the recording's own may be handed to the job
        with _output_to(Path(one.folder) / "run.out"):
            outcome = record(one.words, made, backend="ebpf")
        if outcome.exit_status or not outcome.info.complete:
            raise TraceError(f"{one.name}: {one.words[0]} failed or its trace is not complete; see {one.folder}.")
        used = open_trace(made).files()["mount"].max()
        info = read_info(made)
        info.host, info.boot_id, info.kernel = "worker", "", ".".join(info.kernel.split(".")[:2])
        info.mounts = [Mount(m.device, m.point, m.type, "") for m in info.mounts[: int(used) + 1]]
        write_info(made, info)
        if one.names_kept:
            shutil.rmtree(one.trace, ignore_errors=True)
            shutil.copytree(made, one.trace)
            return
        anonymise_trace(made, one.trace, key, force=one.trace.exists())
        info = read_info(one.trace)
        # what ran is public, and says how the trace was made
        info.command = one.words
        info.anonymised = [text for text in info.anonymised if text != "command lines"] + ["command lines of processes"]
        write_info(one.trace, info)


def checksums() -> str:
    """One line for each file of the shipped traces, as sha256sum prints it."""
    files = sorted(path for path in TRACES.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(TRACES)}\n" for path in files)


def make_traces(folder: Path) -> None:
    """Run all jobs in a new folder and keep their traces.

    Raises
    ------
    UsageError: RELION is missing, or the folder is there already. TraceError: a job failed.
    """
    missing = [one.words[0] for one in recordings() if shutil.which(one.words[0]) is None]
    if missing:
        raise UsageError(f"{missing[0]} is not installed (apt-get install relion).")
    if folder.exists():
        raise UsageError(f"{folder} is there already: give a folder that is to be made.")
    folder.mkdir(parents=True)
    os.chdir(folder)
    os.environ.update(_ENVIRONMENT, PWD=str(folder))  # a shell looks up what PWD names
    write_session(Path("Movies"), MOVIES, FRAMES, SIZE)
    Path("Scratch").mkdir()
    key = secrets.token_bytes(32)  # one for all, so that a file has one name in all, and forgotten
    for one in recordings():
        _record(one, key)
        print(f"{one.name}: {read_info(one.trace).events} events", flush=True)
        if one.name == "relion-motion-correction":
            _write_ctf_star()
            _write_coordinates()
    (TRACES / "SHA256SUMS").write_text(checksums())
    shutil.rmtree(folder)


def main() -> None:
    """Run the pipeline in a folder and keep the traces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where RELION works; is made, and must not exist")
    try:
        make_traces(parser.parse_args().folder.resolve())
    except (UsageError, TraceError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
