"""A program that does to its files what a motion-correction job does: run as a script in a job's folder.

It reads each movie of `../J1/imported` (links to the raw movies) by memory map and as a whole, averages its frames,
writes aligned, dose-weighted and background micrographs and two thumbnails, appends to job.log, and at the end writes
the results table to a temporary name and renames it. The arithmetic is a mean: only the file operations are meant to
be alike.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import tifffile

THREADS = 2


def read_movie(path: Path) -> npt.NDArray[np.float32]:
    """Mean over the frames: MRC stacks by memory map, TIFF frame by frame."""
    if path.suffix == ".mrcs":
        with mrcfile.mmap(path, mode="r") as file:
            return np.asarray(file.data.mean(axis=0), np.float32)
    try:
        frames = tifffile.memmap(path, mode="r")  # works for what is not compressed
    except ValueError:
        frames = tifffile.imread(path)
    return np.asarray(frames.mean(axis=0), np.float32)


def write_mrc(path: Path, image: npt.NDArray[np.float32]) -> None:
    """Write an image as MRC."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(image)


def correct(movie: Path, out: Path, gain: npt.NDArray[np.float32], log: int) -> str:
    """Correct one movie; returns its name in the results."""
    image = read_movie(movie) / gain
    stem = movie.stem
    write_mrc(out / f"{stem}_patch_aligned.mrc", image)
    write_mrc(out / f"{stem}_patch_aligned_doseweighted.mrc", image * 0.9)
    write_mrc(out / f"{stem}_background.mrc", image[::8, ::8])
    write_mrc(out / f"{stem}_thumb_@1x.mrc", image[::16, ::16])
    write_mrc(out / f"{stem}_thumb_@2x.mrc", image[::8, ::8])
    os.write(log, f"[{time.strftime('%H:%M:%S')}] -- {stem}: {image.size} pixels\n".encode())
    return stem


def main() -> None:
    """Correct all movies of the project in which the working folder is a job."""
    job = Path.cwd()
    description = json.loads((job / "job.json").read_text())
    out = job / "motioncorrected"
    out.mkdir(exist_ok=True)
    with mrcfile.open(job.parent / "J1" / "gain.mrc") as file:
        gain = np.asarray(file.data, np.float32)
    log = os.open("job.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    movies = sorted((job.parent / "J1" / "imported").iterdir())
    with ThreadPoolExecutor(THREADS) as pool:
        done = list(pool.map(lambda movie: correct(movie, out, gain, log), movies))
    results = np.array([(name, index) for index, name in enumerate(done)], dtype=[("path", "S64"), ("uid", "u8")])
    temporary = job / f"{description['uid']}_micrographs.cs.tmp"
    with temporary.open("wb") as stream:
        np.save(stream, results)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(job / f"{description['uid']}_micrographs.cs")
    os.close(log)
    print(f"corrected {len(done)} movies", file=sys.stderr)


if __name__ == "__main__":
    main()
