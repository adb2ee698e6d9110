"""Makes the shipped traces of RELION again: motion correction and particle extraction on synthetic movies.

Run as root with RELION 3.1 installed (apt-get install relion): `python -m iotrace.data.relion FOLDER`. FOLDER is
where RELION works and becomes part of the traces. Host and boot are left out of what is kept. What RELION does stands
for the same shapes of data that CryoSPARC handles, not for CryoSPARC's own calls.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from iotrace.data.synthetic import PIXEL_ANGSTROM, particle_positions, write_session
from iotrace.record.session import record
from iotrace.trace.info import Mount, read_info, write_info
from iotrace.trace.reader import open_trace

HERE = Path(__file__).parent
TRACES = HERE / "traces"
MOVIES, FRAMES, SIZE = 8, 16, 1024
IMPORT = (
    f"relion_import --do_movies --optics_group_name opticsGroup1 --angpix {PIXEL_ANGSTROM} --kV 300 --Cs 2.7 --Q0 0.1 "
    "--i 'Movies/movie_*' --odir Import/job001/ --ofile movies.star"
)
MOTION_CORRECTION = (
    "relion_run_motioncorr --i Import/job001/movies.star --o MotionCorr/job002/ --first_frame_sum 1 --last_frame_sum "
    "-1 --use_own --j 2 --bin_factor 1 --bfactor 150 --dose_per_frame 1.0 --preexposure 0 --patch_x 3 --patch_y 3 "
    "--gainref Movies/gain.mrc --dose_weighting --save_noDW --grouping_for_ps 4"
)
EXTRACTION = (
    "relion_preprocess --i CtfFind/job003/micrographs_ctf.star --coord_dir AutoPick/job004/ "
    "--coord_suffix _autopick.star --part_star Extract/job005/particles.star --part_dir Extract/job005/ "
    "--extract --extract_size 128 --scale 48 --norm --bg_radius 18 --white_dust -1 --black_dust -1 --invert_contrast"
)


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


def _record(command: str, job: str, name: str) -> None:
    target = TRACES / f"{name}.iotrace"
    # RELION's own pipeliner lets a job write what it prints into the job's folder
    log = os.open(f"{job}/run.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    outcome = record(command.split(), target, backend="ebpf", force=True)
    if outcome.exit_status or not outcome.info.complete:
        raise SystemExit(f"{command.split()[0]} failed or its trace is not complete.")
    used = open_trace(target).files()["mount"].max()
    info = read_info(target)
    info.host, info.boot_id, info.kernel = "worker", "", ".".join(info.kernel.split(".")[:2])
    info.mounts = [Mount(m.device, m.point, m.type, "") for m in info.mounts[: int(used) + 1]]
    write_info(target, info)


def checksums() -> str:
    """One line for each file of the shipped traces, as sha256sum prints it."""
    files = sorted(path for path in TRACES.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(TRACES)}\n" for path in files)


def main() -> None:
    """Run the pipeline in a folder and keep the two traces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where RELION works; is made, and must not exist")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True)
    os.chdir(folder)
    os.environ["PATH"] = "/usr/bin:/bin"  # what a shell tries in vain is recorded too
    write_session(Path("Movies"), MOVIES, FRAMES, SIZE)
    for job in ("Import/job001", "MotionCorr/job002", "Extract/job005"):
        Path(job).mkdir(parents=True)
    subprocess.run(["sh", "-c", IMPORT], check=True, stdout=subprocess.DEVNULL)
    TRACES.mkdir(exist_ok=True)
    _record(MOTION_CORRECTION, "MotionCorr/job002", "relion-motion-correction")
    _write_ctf_star()
    _write_coordinates()
    _record(EXTRACTION, "Extract/job005", "relion-particle-extraction")
    (TRACES / "SHA256SUMS").write_text(checksums())
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
