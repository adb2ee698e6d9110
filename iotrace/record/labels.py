"""Labels of a process: which CryoSPARC project, job, type and step it works for, and which Slurm job it is.

Found, in this order, on a command line (`cryosparcw run --project P1 --job J6`), in SLURM_JOB_NAME (`cryosparc_P1_J6`),
by a folder `J6` that holds a job.json or lies beside a project.json, and in these two files (job.json has `job_type` in
version 4, `spec.type` in version 5). Command lines and files are text from strangers: read with limits, believed in
nothing but their form.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from iotrace.trace.redact import redact

__all__ = ["STEPS", "Labels", "labels_of", "read_json", "redact", "step_of"]

STEPS: Final[Mapping[str, str]] = {
    # the twelve steps and the job type keys of each; which keys belong to a step is inference, see docs
    "import_movies": "Import Movies",
    "patch_motion_correction_multi": "Patch Motion Correction",
    "patch_ctf_estimation_multi": "Patch CTF Estimation",
    "curate_exposures_v2": "Curate Exposures",
    "blob_picker_gpu": "Particle Picking",
    "template_picker_gpu": "Particle Picking",
    "inspect_picks_v2": "Inspect Picks",
    "extract_micrographs_multi": "Extract From Micrographs",
    "extract_micrographs_cpu_parallel": "Extract From Micrographs",
    "class_2D_new": "2D Classification",
    "class_2D": "2D Classification",
    "select_2D": "Select 2D",
    "reference_select_2D": "Select 2D",
    "homo_abinit": "Ab-initio Reconstruction",
    "hetero_refine": "3D Refinement",
    "homo_refine_new": "3D Refinement",
    "nonuniform_refine_new": "3D Refinement",
    "new_local_refine": "3D Refinement",
    "local_resolution": "Post-processing",
    "local_filter": "Post-processing",
    "sharpen": "Post-processing",
}
"""Job type key → step of the workflow."""

JSON_LIMIT: Final = 16 << 20
"""Bytes; job.json files of large jobs are a few MB."""

_PROJECT: Final = re.compile(r"P\d{1,9}")
_JOB: Final = re.compile(r"[JS]\d{1,9}")
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SLURM_NAME: Final = re.compile(r"cryosparc_(P\d{1,9})_(J\d{1,9})")
_JOB_FOLDER: Final = re.compile(r"(?=(/(?:[^/]+/)*([JS]\d{1,9}))(?:/|$))")


@dataclass(frozen=True, slots=True)
class Labels:
    """The label columns of processes; None where nothing was found."""

    project: str | None = None
    job: str | None = None
    job_type: str | None = None
    step: str | None = None
    user: str | None = None
    slurm_job: str | None = None

    def known(self) -> dict[str, str]:
        """Only what was found, by column."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def step_of(job_type: str | None) -> str | None:
    """Step of the workflow for a job type key; the key itself for a type that is in no step; None for None."""
    return STEPS.get(job_type, job_type) if job_type else None


def labels_of(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    opened: Iterable[str] = (),
) -> Labels:
    """Labels of a process.

    Parameters
    ----------
    arguments: its command line, or an ancestor's.
    environment: its variables (SLURM_JOB_NAME, SLURM_JOB_ID, USER are used).
    cwd: its working folder.
    opened: absolute paths that it opens.
    """
    project, job = _from_command_line(arguments)
    named = _SLURM_NAME.fullmatch(environment.get("SLURM_JOB_NAME", ""))
    if named and job is None:
        project, job = project or named[1], named[2]
    job_type: str | None = None
    folder = _job_folder([cwd] if cwd else [], job) or _job_folder(opened, job)
    if folder is not None:
        job = job or folder.name
        found_project, job_type = _from_folder(folder)
        project = project or found_project
    labels = Labels(project, job, job_type, step_of(job_type))
    user = environment.get("SLURM_JOB_USER") or environment.get("USER") or environment.get("LOGNAME")
    slurm_job = environment.get("SLURM_JOB_ID")
    if slurm_job is not None and not re.fullmatch(r"[0-9_+.]{1,40}", slurm_job):
        slurm_job = None
    return replace(labels, user=_clean(user), slurm_job=slurm_job)


def _from_command_line(arguments: Sequence[str]) -> tuple[str | None, str | None]:
    # a shell's -c "cryosparcw run --project P1 --job J6 > …" holds the words in one argument
    words = [word for argument in arguments[:4096] for word in argument[:65536].replace("=", " ").split()]
    if not any("cryosparc" in word for word in words):
        return None, None
    project = job = None
    for word, value in pairwise(words):
        if word == "--project" and _PROJECT.fullmatch(value):
            project = value
        elif word == "--job" and _JOB.fullmatch(value):
            job = value
    return project, job


def _job_folder(paths: Iterable[str], job: str | None) -> Path | None:
    """The innermost folder J6 or S2 on one of the paths that is a job's: it has a job.json, or a project.json beside
    it."""
    for path in paths:
        if "\0" in path:
            continue
        for match in reversed(list(_JOB_FOLDER.finditer(os.path.normpath(path)))):
            folder = Path(match[1])
            if job is not None and folder.name != job:
                continue
            if _is_file(folder / "job.json") or _is_file(folder.parent / "project.json"):
                return folder
    return None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _from_folder(folder: Path) -> tuple[str | None, str | None]:
    """Project and job type from job.json and project.json."""
    job = read_json(folder / "job.json")
    spec = job.get("spec")
    job_type = job.get("job_type") or (spec.get("type") if isinstance(spec, dict) else None)
    project = job.get("project_uid")
    if not _matches(_PROJECT, project):
        project = read_json(folder.parent / "project.json").get("uid")
    return (
        project if _matches(_PROJECT, project) else None,
        job_type if _matches(_TYPE, job_type) else None,
    )


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _clean(text: str | None) -> str | None:
    return text if text and text.isprintable() and len(text) <= 256 else None


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object from a folder that anyone may write to; {} for anything else.

    Follows no link in the last component, opens nothing but regular files (a FIFO would block), reads no more than
    JSON_LIMIT.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return {}
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > JSON_LIMIT:
            return {}
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(JSON_LIMIT + 1)
    except OSError:
        return {}
    finally:
        os.close(fd)
    if len(data) > JSON_LIMIT:
        return {}
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
