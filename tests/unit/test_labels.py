"""Labels of processes: found in the given order, from files that anyone may have written."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.record.labels import JSON_LIMIT, STEPS, Labels, labels_of, read_json, step_of

WORKER = [
    "/opt/cryosparcw",
    "run",
    "--project",
    "P1",
    "--job",
    "J6",
    "--master_hostname",
    "h",
    "--master_command_core_port",
    "39002",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project CS-test with a job J12 of version 4 and J13 of version 5."""
    root = tmp_path / "CS-test"
    for name, content in {
        "project.json": {"uid": "P77"},
        "J12/job.json": {"uid": "J12", "job_type": "patch_motion_correction_multi"},
        "J13/job.json": {"uid": "J13", "project_uid": "P78", "spec": {"type": "homo_abinit"}},
        "J14/other": {},
        "S3/exposures": {},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    return root


def test_a_worker_is_known_by_its_command_line() -> None:
    assert labels_of(WORKER, {}, None) == Labels("P1", "J6")
    assert labels_of(["sh", "-c", "/x/cryosparcw run --project P2 --job=J9 > log"], {}, None) == Labels("P2", "J9")


def test_other_programs_with_the_same_options_are_not() -> None:
    assert labels_of(["make", "--project", "P1", "--job", "J6"], {}, None) == Labels()


def test_slurm_names_the_job_where_the_command_line_does_not() -> None:
    environment = {"SLURM_JOB_NAME": "cryosparc_P5_J8", "SLURM_JOB_ID": "4711", "USER": "ann"}
    assert labels_of(["python"], environment, None) == Labels("P5", "J8", user="ann", slurm_job="4711")
    assert labels_of(WORKER, environment, None) == Labels("P1", "J6", user="ann", slurm_job="4711")
    assert labels_of([], {"SLURM_JOB_NAME": "bash", "SLURM_JOB_ID": "x;y"}, None) == Labels()


def test_a_folder_of_a_job_labels_what_works_in_it(project: Path) -> None:
    found = labels_of(["python"], {}, str(project / "J12" / "motioncorrected"))
    assert found == Labels("P77", "J12", "patch_motion_correction_multi", "Patch Motion Correction")
    assert labels_of([], {}, str(project / "J13")) == Labels("P78", "J13", "homo_abinit", "Ab-initio Reconstruction")


def test_opened_paths_label_where_the_working_folder_does_not(project: Path) -> None:
    assert labels_of([], {}, "/", [str(project / "J13" / "a.mrc")]).job_type == "homo_abinit"
    assert labels_of([], {}, str(project / "J12"), [str(project / "J13" / "a.mrc")]).job == "J12"


def test_the_job_of_the_command_line_chooses_among_folders(project: Path) -> None:
    command = ["cryosparcw", "--project", "P77", "--job", "J13"]
    assert labels_of(command, {}, str(project / "J12"), [str(project / "J13" / "x")]).job_type == "homo_abinit"


def test_a_folder_beside_project_json_counts_without_a_job_json(project: Path) -> None:
    assert labels_of([], {}, str(project / "J14")) == Labels("P77", "J14")
    assert labels_of([], {}, str(project / "S3" / "run")) == Labels("P77", "S3")


def test_a_folder_that_only_looks_like_a_job_is_none(tmp_path: Path) -> None:
    (tmp_path / "J5").mkdir()
    assert labels_of([], {}, str(tmp_path / "J5")) == Labels()


def test_steps_are_the_twelve_and_other_types_stand_for_themselves() -> None:
    assert len(set(STEPS.values())) == 12
    assert step_of("class_2D_new") == step_of("class_2D") == "2D Classification"
    assert step_of("var_3D") == "var_3D"
    assert step_of(None) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"job_type": 5}', b'{"job_type": "a\\nb"}', b'{"spec": []}', b'{"spec": {"type": ["x"]}}', b"[" * 100_000,  # noqa: E501
     b'{"job_type": "' + b"x" * 1000 + b'"}', b'{"job_type": "<script>"}'],
)  # fmt: skip
def test_a_job_json_of_any_content_gives_no_label_and_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "J5").mkdir()
    (tmp_path / "J5" / "job.json").write_bytes(content)
    assert labels_of([], {}, str(tmp_path / "J5")) == Labels(job="J5")


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "huge", "missing"])
def test_only_small_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "job.json"
    real = tmp_path / "real.json"
    real.write_text('{"job_type": "x"}')
    if kind == "link":
        path.symlink_to(real)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        with path.open("wb") as file:
            file.write(b'{"job_type": "x"}')
            file.truncate(JSON_LIMIT + 1)
    assert read_json(path) == {}
    assert read_json(real) == {"job_type": "x"}


@given(
    arguments=st.lists(st.text(max_size=30), max_size=6),
    environment=st.dictionaries(st.sampled_from(["SLURM_JOB_NAME", "SLURM_JOB_ID", "USER"]), st.text(max_size=60)),
    cwd=st.none() | st.text(max_size=60),
)
def test_no_text_breaks_it_and_labels_are_printable(
    arguments: list[str], environment: dict[str, str], cwd: str | None
) -> None:
    labels = labels_of(arguments, environment, cwd, [cwd or ""])
    assert all(value.isprintable() for value in labels.known().values())
