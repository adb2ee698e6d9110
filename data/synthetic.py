"""Synthetic electron-microscope movies: small, seeded, shaped like a detector's.

A movie is a stack of frames of one field with a few dozen round particles that drift while the counts come in. They
serve to run real programs on files of the right kind; they say nothing about image processing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

PIXEL_ANGSTROM: Final = 1.77
COMPRESSIONS: Final = ("lzw", "lzw", "lzw", "zstd", "none", "mrc")
"""What a session's movies are stored as, in turn."""


def particle_positions(seed: int, size: int, count: int) -> npt.NDArray[np.int64]:
    """Centres of particles that do not overlap, shape (≤ count, 2), (y, x) in pixels."""
    rng = np.random.default_rng(seed)
    found: list[npt.NDArray[np.int64]] = []
    margin, distance = size // 14, size // 10
    for _ in range(200 * count):
        candidate = rng.integers(margin, size - margin, 2)
        if all(np.hypot(*(candidate - other)) > distance for other in found):
            found.append(candidate)
            if len(found) == count:
                break
    return np.array(found)


def movie(seed: int, frames: int, size: int) -> npt.NDArray[np.uint8]:
    """A movie of shape (frames, size, size), uint8 counts."""
    rng = np.random.default_rng(seed)
    radius = size // 40
    y, x = np.mgrid[-4 * radius : 4 * radius, -4 * radius : 4 * radius]
    blob = np.exp(-(y**2 + x**2) / (2 * radius**2)).astype(np.float32)
    stack = np.empty((frames, size, size), np.uint8)
    for frame in range(frames):
        drift = np.round([3 * np.exp(-frame / 4), -2 * np.exp(-frame / 5)]).astype(int)
        field = np.full((size, size), 6.0, np.float32)
        for centre in particle_positions(seed, size, 30):
            top, left = centre + drift - 4 * radius
            part = field[max(top, 0) : top + 8 * radius, max(left, 0) : left + 8 * radius]
            part -= blob[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] * 2.5
        stack[frame] = rng.poisson(field.clip(0.05)).clip(0, 255)
    return stack


def write_session(folder: Path, movies: int, frames: int, size: int) -> list[Path]:
    """Write `movies` movies and a gain reference (gain.mrc) into a folder; returns the movies' paths.

    Raises
    ------
    ModuleNotFoundError: tifffile, mrcfile or imagecodecs is missing (the extra `demo`).
    """
    import mrcfile
    import tifffile

    folder.mkdir(parents=True, exist_ok=True)
    gain = (1 + 0.05 * np.random.default_rng(0).standard_normal((size, size))).clip(0.7, 1.4).astype(np.float32)
    with mrcfile.new(folder / "gain.mrc", overwrite=True) as file:
        file.set_data(gain)
        file.voxel_size = PIXEL_ANGSTROM
    written = []
    for number in range(movies):
        stack = movie(number + 1, frames, size)
        compression = COMPRESSIONS[number % len(COMPRESSIONS)]
        path = folder / f"movie_{number:03d}{'.mrcs' if compression == 'mrc' else '.tif'}"
        if compression == "mrc":
            with mrcfile.new(path, overwrite=True) as file:
                file.set_data(stack.astype(np.int16))
                file.voxel_size = PIXEL_ANGSTROM
        else:
            tifffile.imwrite(
                path, stack, compression=None if compression == "none" else compression, photometric="minisblack"
            )
        written.append(path)
    return written
