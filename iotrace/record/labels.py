"""What labels are, and what a command line, an environment and a path tell of them.

Pure text in, labels out: a command line (`cryosparcw run --project P1 --job J6`), SLURM_JOB_NAME (`cryosparc_P1_J6`), a
folder J6 or S2 on a path. Text from strangers is believed in nothing but its form. What job folders say is read by
label_child.py; label_book.py puts all of it together.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from iotrace.trace.redact import redact

__all__ = [
    "LABELS",
    "STEPS",
    "job_folders",
    "job_of_command",
    "job_of_slurm_name",
    "plain",
    "redact",
    "slurm_job_of",
    "step_of",
]

LABELS: Final = ("project", "job", "job_type", "step", "user", "slurm_job")
"""The label columns of processes."""

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

_PROJECT: Final = re.compile(r"P[0-9]{1,9}")
_JOB: Final = re.compile(r"[JS][0-9]{1,9}")
_SLURM_NAME: Final = re.compile(r"cryosparc_(P[0-9]{1,9})_(J[0-9]{1,9})")
_SLURM_JOB: Final = re.compile(r"[0-9_+.]{1,40}")
_JOB_FOLDER: Final = re.compile(r"/[JS][0-9]{1,9}(?=/|$)")
_PSEUDO: Final = ("/proc/", "/sys/", "/dev/")
_FOLDERS_OF_A_PATH: Final = 4


def step_of(job_type: str | None) -> str | None:
    """Step of the workflow for a job type key; the key itself for a type that is in no step; None for None."""
    return STEPS.get(job_type, job_type) if job_type else None


def job_of_command(arguments: Sequence[str]) -> tuple[str | None, str | None]:
    """Project and job that a command line of CryoSPARC's names."""
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


def job_of_slurm_name(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Project and job that SLURM_JOB_NAME names."""
    named = _SLURM_NAME.fullmatch(environment.get("SLURM_JOB_NAME", ""))
    return (named[1], named[2]) if named else (None, None)


def slurm_job_of(environment: Mapping[str, str]) -> str | None:
    """SLURM_JOB_ID, where it has the form of one."""
    value = environment.get("SLURM_JOB_ID", "")
    return value if _SLURM_JOB.fullmatch(value) else None


def job_folders(path: str) -> list[str]:
    """Folders on an absolute path, itself included, whose names are a job's or a session's; the innermost first."""
    if not path.startswith("/") or "\0" in path or path.startswith(_PSEUDO) or len(path) > 4096:
        return []
    if "//" in path or "/." in path:
        path = posixpath.normpath(path)
    ends = [match.end() for match in _JOB_FOLDER.finditer(path)]
    return [path[:end] for end in reversed(ends[-_FOLDERS_OF_A_PATH:])]


def plain(text: str | None) -> str | None:
    """A short printable name, or None."""
    return text if text and text.isprintable() and len(text) <= 256 else None
