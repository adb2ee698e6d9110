"""Whole commands to record: find, tar, Python reading TIFFs, RELION's 2D classification, each with its input."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from iotrace.data.synthetic import write_session

PARTICLES, BOX = 300, 64
REFINE = (
    "relion_refine --i particles.star --o {out}/run --K 3 --iter 4 --ctf --particle_diameter 100 --tau2_fudge 2 "
    "--psi_step 24 --offset_range 3 --offset_step 2 --norm --scale --flatten_solvent --zero_mask --oversampling 1 "
    "--j 1 --pool 30"
)
OPTICS = (
    "OpticsGroup", "OpticsGroupName", "Voltage", "SphericalAberration", "AmplitudeContrast", "ImagePixelSize",
    "ImageSize", "ImageDimensionality",
)  # fmt: skip


def files(folder: Path, folders: int, each: int, size: int) -> Path:
    """`folders` folders of `each` files of `size` bytes."""
    for i in range(folders):
        (folder / f"d{i}").mkdir(parents=True)
        for j in range(each):
            (folder / f"d{i}" / f"f{j}").write_bytes(b"x" * size)
    return folder


def _labels(names: tuple[str, ...]) -> str:
    return "loop_\n" + "\n".join(f"_rln{name} #{i}" for i, name in enumerate(names, start=1))


def particles(folder: Path) -> Path:
    """A stack of noisy ellipses and its STAR file, as an extraction leaves them."""
    import mrcfile

    folder.mkdir()
    (folder / "Class2D").mkdir()
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:BOX, :BOX] - BOX / 2
    angles = rng.uniform(0, np.pi, PARTICLES)
    images = [
        2 * np.exp(-((x * c + y * s) ** 2) / 200 - (y * c - x * s) ** 2 / 40)
        for c, s in zip(np.cos(angles), np.sin(angles), strict=True)
    ]
    with mrcfile.new(folder / "particles.mrcs") as file:
        file.set_data((np.stack(images) + rng.standard_normal((PARTICLES, BOX, BOX))).astype(np.float32))
        file.voxel_size = 2.0
    rows = "\n".join(f"{i + 1:06d}@particles.mrcs 1 10000 10000 0" for i in range(PARTICLES))
    (folder / "particles.star").write_text(
        f"data_optics\n\n{_labels(OPTICS)}\n1 opticsGroup1 300 2.7 0.1 2.0 {BOX} 2\n\n"
        f"data_particles\n\n{_labels(('ImageName', 'OpticsGroup', 'DefocusU', 'DefocusV', 'DefocusAngle'))}\n{rows}\n"
    )
    return folder


def commands(folder: Path) -> dict[str, list[str]]:
    """Label and command; RELION's only where it is installed."""
    many = files(folder / "many", 1000, 100, 1)
    tree = files(folder / "tree", 30, 100, 20_000)
    movies = folder / "movies"
    write_session(movies, 8, 16, 1024)
    read = f"import pathlib, tifffile\nfor p in sorted(pathlib.Path({str(movies)!r}).glob('*.tif')): tifffile.imread(p)"
    found = {
        "find -size, 100,000 files": ["find", str(many), "-size", "+1k"],
        "tar, 3,000 files of 20 kB": ["tar", "cf", str(folder / "out.tar"), "-C", str(tree), "."],
        "Python reading TIFF movies": [sys.executable, "-c", read],
    }
    if shutil.which("relion_refine"):
        work = particles(folder / "particles")
        found["RELION 2D classification"] = ["sh", "-c", f"cd {work} && exec {REFINE.format(out='Class2D')}"]
    return found
