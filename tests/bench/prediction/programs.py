"""The real programs of the study: each with an input that is the same each time, and a command.

A program runs in a copy of its input as working folder and names files by relative paths only, so that the same command
works on each mount. Sizes are such that a run takes from half a second to some ten on the slowest mount.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

_SCRIPTS: Final = Path(__file__).parents[2] / "programs"
ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CEILING_DIRECTORIES": "/",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}  # fmt: skip
"""Of each program: the same on each machine, as far as it decides what a program does with files."""
_GIT: Final = [
    "git",
    "-c",
    "user.name=n",
    "-c",
    "user.email=n@example.org",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=0",
]
_COMMIT_DATES: Final = {name: ENVIRONMENT[name] for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE")}


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its name, what it needs, how its input is made in an existing empty folder, its command.

    `succeeds` are the exit statuses of a run that did its work.
    """

    name: str
    needs: tuple[str, ...]
    prepare: Callable[[Path], None]
    command: list[str]
    succeeds: tuple[int, ...] = (0,)

    def missing(self) -> str | None:
        """Why it cannot run here; None when it can."""
        for need in self.needs:
            if shutil.which(need) is None:
                return f"{self.name}: {need} is not installed (apt-get install {need.split('_')[0]})"
        return None


def _tree(folder: Path, folders: int, each: int, size: int) -> None:
    """`folders` folders of `each` files; sizes lie around `size` bytes, contents do not compress."""
    rng = np.random.default_rng(2)
    for i in range(folders):
        (folder / f"d{i:02d}").mkdir(parents=True)
        for j in range(each):
            (folder / f"d{i:02d}" / f"f{j:03d}.dat").write_bytes(rng.bytes(int(rng.integers(size // 2, 3 * size // 2))))


def _small_files(folder: Path) -> None:
    _tree(folder / "tree", 12, 40, 24_000)


def _many_files(folder: Path) -> None:
    _tree(folder / "tree", 30, 40, 200)


def _archive(folder: Path) -> None:
    _small_files(folder)
    with tarfile.open(folder / "in.tar", "w") as archive:
        archive.add(folder / "tree", "tree", filter=_without_owner)
    shutil.rmtree(folder / "tree")


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 1_700_000_000
    return entry


def _repository(folder: Path) -> None:
    """A repository of three commits and 480 files, of which 40 have changed since the last."""
    environment = {**ENVIRONMENT, **_COMMIT_DATES}

    def git(*words: str) -> None:
        subprocess.run([*_GIT, *words], cwd=folder, env=environment, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for commit in range(3):
        _tree(folder / f"part{commit}", 4, 40, 6_000)
        git("add", "-A")
        git("commit", "-q", "-m", f"part {commit}")
    for number in range(40):
        with (folder / "part1" / f"d{number % 4:02d}" / f"f{number // 4:03d}.dat").open("ab") as file:
            file.write(b"changed\n" * 10)


def _no_database(folder: Path) -> None:
    """SQL that inserts 4,000 rows in 40 transactions, then changes some in 20 more."""
    rows = np.random.default_rng(3)
    statements = ["create table particles(id integer primary key, micrograph text, x real, y real, score real);",
                  "create index by_micrograph on particles(micrograph);"]  # fmt: skip
    for turn in range(40):
        statements.append("begin;")
        statements += [
            f"insert into particles values({100 * turn + i}, 'mic_{rows.integers(500):04d}', {x:.3f}, {y:.3f}, {s});"
            for i, (x, y, s) in enumerate(rows.random((100, 3)))
        ]
        statements.append("commit;")
    statements += [f"update particles set score = score / 2 where id % 20 = {turn};" for turn in range(20)]
    (folder / "insert.sql").write_text("\n".join([*statements, ""]))


def _database(folder: Path) -> None:
    """A database of some 24 MB, and SQL that looks up 1,500 rows by an index with little memory, then reads all."""
    rng = np.random.default_rng(4)
    with contextlib.closing(sqlite3.connect(folder / "particles.db")) as base:
        base.execute("create table particles(id integer primary key, name text, image blob)")
        rows = ((i, f"p{int(n):09d}", rng.bytes(900)) for i, n in enumerate(rng.permutation(22_000)))
        base.executemany("insert into particles values(?, ?, ?)", rows)
        base.execute("create index by_name on particles(name)")
        base.commit()
    wanted = rng.integers(0, 22_000, 1_500)
    lookups = [f"select length(image) from particles where name = 'p{int(n):09d}';" for n in wanted]
    (folder / "select.sql").write_text(
        "\n".join(["pragma cache_size = 200;", *lookups, "select sum(length(image)) from particles;", ""])
    )


def _movies(folder: Path) -> None:
    """TIFF movies, one in three compressed."""
    import tifffile

    from iotrace.data.synthetic import movie

    (folder / "movies").mkdir()
    for number in range(9):
        frames = np.repeat(movie(number + 1, 2, 512), 8, axis=0)
        compression = "zstd" if number % 3 == 0 else None
        tifffile.imwrite(folder / "movies" / f"{number}.tif", frames, compression=compression, photometric="minisblack")


def _one_file(folder: Path) -> None:
    (folder / "stack.dat").write_bytes(np.random.default_rng(5).bytes(48 << 20))


def _relion_session(folder: Path) -> None:
    """Movies that were imported, as motion correction finds them."""
    from iotrace.data import relion
    from iotrace.data.synthetic import write_session

    write_session(folder / "Movies", relion.MOVIES, 4, relion.SIZE)
    for job in ("Import/job001", "MotionCorr/job002", "Extract/job005"):
        (folder / job).mkdir(parents=True)
    _relion(folder, ["sh", "-c", relion.IMPORT])


def _relion_micrographs(folder: Path) -> None:
    """Corrected micrographs with coordinates of particles, as extraction finds them."""
    from iotrace.data import relion

    _relion_session(folder)
    _relion(folder, relion.MOTION_CORRECTION.split())
    with contextlib.chdir(folder):
        relion._write_ctf_star()
        relion._write_coordinates()
    shutil.rmtree(folder / "Movies")


def _relion_particles(folder: Path) -> None:
    """Extracted particles, as whatever refines them finds them."""
    from iotrace.data import relion

    _relion_micrographs(folder)
    _relion(folder, relion.EXTRACTION.split())
    for job in ("MotionCorr", "AutoPick", "Import"):
        shutil.rmtree(folder / job)
    (folder / "Stack").mkdir()


def _relion(folder: Path, command: list[str]) -> None:
    environment = {**os.environ, **ENVIRONMENT}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


def _programs() -> tuple[Program, ...]:
    from iotrace.data import relion

    python = sys.executable
    git = [*_GIT, "-c", "core.preloadIndex=true"]
    return (
        # 1: a file's time of change moved while it was read, as CephFS does soon after it was written
        Program("tar create", ("tar",), _small_files, ["tar", "cf", "out.tar", "tree"], (0, 1)),
        Program("tar extract", ("tar",), _archive, ["tar", "xf", "in.tar"]),
        Program("cp -r", ("cp",), _small_files, ["cp", "-r", "tree", "copy"]),
        Program("find", ("find",), _many_files, ["find", "tree", "-size", "+1k"]),
        Program("du", ("du",), _many_files, ["du", "-s", "tree"]),
        Program("git status", ("git",), _repository, [*git, "status", "--short"]),
        Program("git commit", ("git",), _repository, [*git, "commit", "-q", "-a", "-m", "change"]),
        Program("sqlite insert", ("sqlite3",), _no_database, ["sqlite3", "particles.db", ".read insert.sql"]),
        Program("sqlite select", ("sqlite3",), _database, ["sqlite3", "particles.db", ".read select.sql"]),
        Program("random reads", (), _one_file, [python, "-S", str(_SCRIPTS / "random_reads.py"), "stack.dat", "6000"]),
        Program("Python TIFF reader", (), _movies, [python, str(_SCRIPTS / "read_movies.py"), "movies"]),
        Program(
            "RELION motion correction", ("relion_run_motioncorr",), _relion_session, relion.MOTION_CORRECTION.split()
        ),
        Program("RELION extraction", ("relion_preprocess",), _relion_micrographs, relion.EXTRACTION.split()),
        Program(
            "RELION stack creation", ("relion_stack_create",), _relion_particles,
            ["relion_stack_create", "--i", "Extract/job005/particles.star", "--o", "Stack/all", "--one_by_one"],
        ),
    )  # fmt: skip


PROGRAMS: Final = _programs()
